"""From the ledger to the warehouse: through Dagster, or the same steps without it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.homes import chosen_days
from basis_pipeline.cli.options import FromOption, HomeOption, ToOption, examples
from basis_pipeline.cli.output import counted, note, say, warn
from basis_pipeline.cli.progress import day_progress
from basis_pipeline.domain.instants import DAY

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.steps.publishing import StepReport

_DAY_FILES = "[0-9]*.parquet"
"""Files of days; the empty catalogue still needs the typed files without rows."""


@examples(
    "materialize",
    "basis materialize",
    "basis materialize --from 2024-05-12 --to 2024-05-12",
    "basis materialize --stale",
    "basis materialize --last",
)
def materialize(
    *,
    first: FromOption = None,
    last: ToOption = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only days never materialized, or changed by entries since.")
    ] = False,
    newest: Annotated[bool, typer.Option("--last", help="Only the last day there is: today when live.")] = False,
    home: HomeOption,
) -> None:
    """Materialize days through Dagster: one run for each range, seen in `basis ui`.

    By default from the first portfolio's start to the end of the market data, or to today when live. Ends with exit
    code 3 when a day could not be completed or a check failed; what could be published was.
    """
    from basis_pipeline.home import open_home

    if newest and (first or last):
        raise typer.BadParameter("--last is one day; leave out --from and --to")
    with open_home(home) as opened:
        if newest:
            first = last = opened.last_day()
        days = chosen_days(opened, first, last)
        runs = stale_runs(opened, days) if stale else [(days.first, days.last)]
    if not runs:
        say("Every day is materialized and current.")
    complete = [run_in_dagster(opened.path, *run) for run in runs]
    if not all(complete):
        raise typer.Exit(exits.FINDINGS)


def stale_runs(home: Home, days: Iterable[date]) -> list[tuple[date, date]]:
    """The stale days among these as first and last of each run of consecutive ones."""
    from basis_pipeline.steps.ports import DayRange
    from basis_pipeline.steps.staleness import stale_days

    wanted = list(days)
    return list(_runs(stale_days(home.ports(), DayRange(wanted[0], wanted[-1]))))


def _runs(days: Iterable[date]) -> Iterator[tuple[date, date]]:
    first = last = None
    for day in days:
        if first is None or last is None or day != last + DAY:
            if first is not None and last is not None:
                yield first, last
            first = day
        last = day
    if first is not None and last is not None:
        yield first, last


def run_in_dagster(home: Path, first: date, last: date) -> bool:
    """One Dagster run; says how it ended and returns whether everything is complete."""
    from basis_pipeline.orchestration import runs

    began = time.monotonic()
    with day_progress() as progress:
        outcome = runs.materialize(home, first, last, progress)
    count = (last - first).days + 1
    how = "materialized" if outcome.success else "not complete:"
    say(f"{first} to {last} ({counted(count, 'day')}) {how} in {time.monotonic() - began:.1f} s, run {outcome.run_id}")
    for error in outcome.errors:
        warn(str(error))
    for check in outcome.failed_checks:
        warn(f"check failed: {check}")
    for warning in outcome.warnings:
        note(f"check warns: {warning}")
    return outcome.success and not outcome.failed_checks


@examples(
    "rebuild",
    "basis rebuild",
    "basis rebuild --from 2024-05-12 --to 2024-05-12",
    "basis rebuild --clean",
)
def rebuild(
    *,
    first: FromOption = None,
    last: ToOption = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Delete the warehouse first, and build all of it from nothing.")
    ] = False,
    home: HomeOption,
) -> None:
    """Materialize days without Dagster: the same steps, the same rows, in seconds; no run is recorded.

    By default from the first portfolio's start to the end of the market data, or to today when live, with what is
    recorded of the market. Ends with exit code 3 when a holding could not be valued; everything else was published.
    """
    from basis_pipeline.domain.errors import MissingPriceError
    from basis_pipeline.home import open_home
    from basis_pipeline.steps.rebuild import rebuild as run_steps

    if clean and (first or last):
        raise typer.BadParameter("--clean builds everything; leave out --from and --to")
    began = time.monotonic()
    with open_home(home) as opened:
        days = chosen_days(opened, first, last)
        if clean:
            _delete_warehouse(opened)
        try:
            with day_progress() as progress:
                reports = run_steps(opened.ports(progress), days)
        except MissingPriceError as error:
            warn(str(error))
            raise typer.Exit(exits.FINDINGS) from error
    _print_rows(reports)
    say(f"{days.first} to {days.last} ({counted(len(days), 'day')}) rebuilt in {time.monotonic() - began:.1f} s")


def _print_rows(reports: Iterable[StepReport]) -> None:
    for report in reports:
        for table in report.tables:
            say(f"{table}: {counted(report.row_count(table), 'row')}")


def _delete_warehouse(home: Home) -> None:
    """Withdraw everything published, show readers the empty catalogue, then delete the files."""
    from basis_pipeline.ledger.publications import withdraw_all
    from basis_pipeline.steps.publishing import ensure_catalogue
    from basis_pipeline.warehouse.dayfiles import warehouse_root
    from basis_pipeline.warehouse.lock import writer_lock

    withdraw_all(home.ledger.engine)
    ensure_catalogue(home.ports())
    with writer_lock(home.path):
        for file in warehouse_root(home.path).glob(f"*/{_DAY_FILES}"):
            file.unlink()
