"""Programs that the tests run as processes of their own: readers without pause, a writer to be killed, a full disk."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import duckdb

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME, catalogue_info, publish_catalogue
from basis_pipeline.warehouse.dayfiles import warehouse_root, write_day
from basis_pipeline.warehouse.lock import writer_lock
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline.warehouse.tables import table
from basis_pipeline_tests.warehouse.builders import FIRST_DAY, columns, write_version

DAYS = [FIRST_DAY + timedelta(days=n) for n in range(30)]
ROWS_A_DAY = 24
EVERY_DAY_OF_BOTH_TABLES = """
    SELECT 'snapshots' AS source, as_of::DATE AS day, count(*) AS n,
           min(ledger_sequence) AS low, max(ledger_sequence) AS high
    FROM equity_snapshots GROUP BY as_of::DATE
    UNION ALL
    SELECT 'positions', as_of::DATE, count(*), min(amount)::BIGINT, max(amount)::BIGINT
    FROM equity_positions GROUP BY as_of::DATE
"""


def _with_reader(home: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in Reader.open(home).rows(EVERY_DAY_OF_BOTH_TABLES)]


def _with_any_client(home: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(home / CATALOGUE_NAME, read_only=True) as connection:
        return connection.execute(EVERY_DAY_OF_BOTH_TABLES).fetchall()


READERS: dict[str, Callable[[Path], list[tuple[Any, ...]]]] = {"reader": _with_reader, "client": _with_any_client}


def read(home: Path, how: str, stop: Path) -> None:
    """Query without pause until ``stop`` exists; report reads, the versions seen in order, and everything odd."""
    report: dict[str, Any] = {"reads": 0, "versions": [], "problems": []}
    while not stop.exists():
        try:
            rows = READERS[how](home)
        except (WarehouseError, duckdb.Error) as error:
            report["problems"].append(str(error))
            continue
        versions = {version for row in rows for version in row[3:]}
        if len(rows) != 2 * len(DAYS) or {row[2] for row in rows} != {ROWS_A_DAY} or len(versions) != 1:
            report["problems"].append(f"{len(rows)} days, versions {sorted(versions)}")
        report["versions"] = [*report["versions"], *versions.difference(report["versions"][-1:])]
        report["reads"] += 1
        if report["reads"] == 1:
            sys.stdout.write("reading\n")
            sys.stdout.flush()
    sys.stdout.write(json.dumps(report) + "\n")


def write(home: Path) -> None:
    """Write and publish one version after the other until killed."""
    info = catalogue_info(home)
    for version in count(1 if info is None else info.generation + 1):
        files = write_version(home, version, DAYS)
        with writer_lock(home, timeout_s=10):
            publish_catalogue(home, files, version)
        sys.stdout.write(f"{version}\n")
        sys.stdout.flush()


def fill_disk(home: Path, what: str) -> None:
    """Do one thing where no file may grow beyond a few bytes; report the error."""
    files = [] if what == "day" else write_version(home, 2, DAYS[:1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    try:
        if what == "day":
            declared = table("equity_positions")
            write_day(warehouse_root(home), declared.name, FIRST_DAY, columns(declared))
        else:
            publish_catalogue(home, files, 2)
    except WarehouseError as error:
        sys.stdout.write(str(error))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["read", home, how, stop]:
            read(Path(home), how, Path(stop))
        case ["write", home]:
            write(Path(home))
        case ["fill_disk", home, what]:
            fill_disk(Path(home), what)
        case other:
            sys.exit(f"unknown: {other}")
