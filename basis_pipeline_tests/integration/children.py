"""What the tests run in processes of their own: imports and rebuilds to be killed or starved, readers without pause.

Children are forked from a server that has loaded everything, so that starting one costs milliseconds: a kill then hits
the work and not the imports.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import duckdb

from basis_pipeline.domain.errors import BasisError, WarehouseError
from basis_pipeline.home import open_home
from basis_pipeline.steps.publishing import collect_garbage
from basis_pipeline.steps.rebuild import STEPS
from basis_pipeline.steps.rebuild import rebuild as rebuild_all
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.homes import ask, import_file, sample_range

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__, "alembic.command"])

EVERY_PORTFOLIO_DAY = """
    WITH lines AS (
        SELECT as_of, portfolio, sum(value) AS nav,
               coalesce(sum(value) FILTER (side IN ('asset', 'debt')), 0) AS total_equity
        FROM equity_positions GROUP BY ALL
    )
    SELECT as_of::DATE AS day, portfolio, count(*) AS hours,
           count(*) FILTER (s.nav = lines.nav AND s.total_equity = lines.total_equity) AS agreeing,
           min(ledger_sequence) AS low, max(ledger_sequence) AS high
    FROM equity_snapshots s FULL JOIN lines USING (as_of, portfolio) GROUP BY ALL ORDER BY ALL
"""


def start(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Run ``work`` in a process of its own."""
    child = _SERVER.Process(target=work, args=arguments)
    child.start()
    return child


def acknowledged(path: Path) -> list[str]:
    """What a child said was done, also when it was killed right after."""
    return path.read_text().split() if path.exists() else []


def _acknowledge(path: Path, what: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{what}\n".encode())
    os.close(descriptor)


def import_files(home: Path, portfolio: str, files: Sequence[Path], done: Path) -> None:
    """Import one journal after the other; each is acknowledged once its updates are accepted."""
    for file in files:
        import_file(home, portfolio, file)
        _acknowledge(done, file.name)


def rebuild(home: Path, done: Path) -> None:
    """Every step over the days of a sample home; each is acknowledged once it has published."""
    with open_home(home) as opened:
        for step in STEPS:
            step(opened.ports(), sample_range(home))
            _acknowledge(done, step.__name__)
        collect_garbage(opened.ports())


def starve(home: Path, bytes_max: int, portfolio: str | None, file: Path | None, said: Path) -> None:
    """Import a file, or rebuild, where no file may grow beyond so many bytes; leaves the error behind."""
    with open_home(home) as opened:
        days = opened.all_days() if file is None else None
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_max, bytes_max))
        try:
            if days is not None:
                rebuild_all(opened.ports(), days)
            elif portfolio is not None and file is not None:
                import_file(home, portfolio, file)
        except BasisError as error:
            said.write_text(f"{type(error).__name__}: {error}")


def read(home: Path, how: str, days: int, stop: Path, report: Path) -> None:
    """Query without pause until ``stop`` exists; report the reads, the versions seen in order, and all that was odd.

    The version of a publication is the portfolio's newest entry, which the test always puts at its very start.
    """
    query = {"client": ask, "reader": _through_reader}[how]
    reads, versions, problems = 0, [], []
    while not stop.exists():
        try:
            rows = query(home, EVERY_PORTFOLIO_DAY)
        except (WarehouseError, duckdb.Error) as error:
            problems.append(str(error))
            continue
        seen = {(portfolio, low, high) for _, portfolio, _, _, low, high in rows}
        portfolios = {portfolio for portfolio, _, _ in seen}
        whole = len(rows) == days * len(portfolios) and {(r[2], r[3]) for r in rows} == {(24, 24)}
        if not whole or len(seen) != len(portfolios) or any(low != high for _, low, high in seen):
            problems.append(f"{len(rows)} portfolio-days: {sorted(seen)}")
        version = sum(high for _, _, high in seen)
        if versions[-1:] != [version]:
            versions.append(version)
        reads += 1
        report.write_text(json.dumps({"reads": reads, "versions": versions, "problems": problems}))


def _through_reader(home: Path, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in Reader.open(home).rows(sql)]
