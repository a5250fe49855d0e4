"""Taking care of the books: verify, backup."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.options import FormatOption, HomeOption, examples
from basis_pipeline.cli.output import Format, counted, emit, note, say
from basis_pipeline.reports.report import Column, Report

if TYPE_CHECKING:
    from basis_pipeline.home import Home

SHOWN_MAX = 50
"""Problems of one kind that are listed; a deleted warehouse would otherwise fill pages."""

_Tell = Callable[[str], None]


class _Problem(NamedTuple):
    area: str
    text: str

    def __str__(self) -> str:
        return f"{self.area}: {self.text}"


@examples(
    "verify",
    "basis verify",
    "basis verify --market",
    "basis verify --format json",
)
def verify(
    *,
    market: Annotated[bool, typer.Option("--market", help="Also look through the market data.")] = False,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Check that nothing was changed behind the product's back: every ledger entry, every published file.

    Ends with exit code 3 after listing what is wrong. Repeats and gaps of the market data are told but no fault of
    the books; rows that contradict each other or cannot be used are. As csv or json, one row for each problem; what
    was looked at goes to standard error.
    """
    from basis_pipeline.home import open_home

    looks = [_ledger_problems, _warehouse_problems, *([_market_problems] if market else [])]
    tell = say if form is Format.TABLE else note
    with open_home(home) as opened:
        found = [look(opened, tell) for look in looks]
    if form is Format.TABLE:
        _list_problems(found)
    else:
        emit(Report((Column("area"), Column("problem")), chain.from_iterable(found)), form)
    if any(found):
        raise typer.Exit(exits.FINDINGS)


def _list_problems(found: list[list[_Problem]]) -> None:
    for problems in found:
        for problem in problems[:SHOWN_MAX]:
            say(str(problem))
        if len(problems) > SHOWN_MAX:
            say(f"... and {counted(len(problems) - SHOWN_MAX, 'problem')} more of this kind")


def _ledger_problems(home: Home, tell: _Tell) -> list[_Problem]:
    from basis_pipeline.ledger.verification import verify as verify_ledger

    found = verify_ledger(home.ledger.engine)
    tell(_summary("ledger", f"{found.entries:,} entries", len(found.problems)))
    return [_Problem("ledger", str(problem)) for problem in found.problems]


def _warehouse_problems(home: Home, tell: _Tell) -> list[_Problem]:
    from basis_pipeline.ledger.publications import current_files
    from basis_pipeline.steps.publishing import day_files
    from basis_pipeline.warehouse.catalogue import catalogue_is_current
    from basis_pipeline.warehouse.dayfiles import check_files, warehouse_root

    current = current_files(home.ledger.engine)
    problems = []
    if current.files and not catalogue_is_current(home.path, current.generation):
        unshown = "basis.duckdb does not show what is published; any command that reads mends it"
        problems.append(_Problem("catalogue", unshown))
    damaged = check_files(warehouse_root(home.path), day_files(current))
    if damaged:
        advice = f"{counted(len(damaged), 'file')} damaged; `basis rebuild` writes them anew"
        problems += [_Problem("warehouse", line) for line in (advice, *damaged)]
    tell(_summary("warehouse", counted(len(current.files), "file"), len(problems)))
    return problems


def _market_problems(home: Home, tell: _Tell) -> list[_Problem]:
    from basis_pipeline.market.checks import Severity, check_history

    findings = check_history(home.history)
    for finding in findings:
        if finding.severity is not Severity.ERROR:
            note(f"market data: {finding.severity}: {finding.file}: {finding.message}")
    wrong = [f for f in findings if f.severity is Severity.ERROR]
    tell(_summary("market data", counted(len(findings), "finding"), len(wrong)))
    return [_Problem("market data", f"{f.file}: {f.message}") for f in wrong]


def _summary(area: str, size: str, problems: int) -> str:
    return f"{area}: {size}, {counted(problems, 'problem') if problems else 'in order'}"


@examples(
    "backup",
    "basis backup books-2024-05-12.tar.gz",
)
def backup(
    file: Annotated[Path, typer.Argument(help="Archive to write (.tar.gz); never overwritten.")],
    *,
    home: HomeOption,
) -> None:
    """Copy what cannot be computed again, the ledger and basis.yaml, into one archive, and verify the copy.

    To restore, unpack it into an empty directory with tar -xzf, then run rebuild and verify with --home there. For a
    ledger in PostgreSQL this prints the pg_dump command instead.
    """
    from basis_pipeline.cli.backup import write_backup
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        done = write_backup(opened, file)
    say(f"{file}: {done.entries:,} entries of {counted(done.portfolios, 'portfolio')}, {done.size:,} bytes, verified")
    note("Market data and the warehouse are not in it; restore with tar -xzf, then `basis rebuild` and `basis verify`.")
