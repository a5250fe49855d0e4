"""The ledger: durable appends one by one, and importing journals.

Against the same rows written by sqlite3 alone into tables with the same columns, keys and indexes, in a file beside
the ledger's, in WAL mode with full sync. Only the rows of entries and legs: the bare side keeps no head, checks
nothing and chains no hashes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.ledger.database import open_engine, sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.schema import metadata
from basis_pipeline.steps.importing import open_journal
from benchmarks.data import Data
from benchmarks.measure import Figure, timed

APPEND_TIMES_MAX = 1.5
APPEND_EXTRA_MS = 0.3
UPDATES_PER_S_MIN = 10_000
BLOCK = 25
_TABLES = ("entries", "legs")

Rows = list[tuple[Any, ...]]


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    yield from _appends(data, folder, 8 if quick else 24)
    yield from _bulk(data, folder, 1 if quick else 3)


def _appends(data: Data, folder: Path, blocks: int) -> Iterator[Figure]:
    portfolio, updates = _longest_journal(data, (blocks + 1) * BLOCK)
    ours: list[float] = []
    bare: list[float] = []
    path = folder / "append.db"
    with data.ledger(path) as ledger, closing(bare_database(folder / "bare-append.db")) as connection:
        for number in range(blocks + 1):
            head = ledger.snapshot().heads()[portfolio].sequence
            took = [_append(ledger, portfolio, u) for u in updates[number * BLOCK : (number + 1) * BLOCK]]
            entries, legs = stored_rows(path, portfolio, head)
            bare_took = [insert(connection, e, [leg for leg in legs if leg[:2] == e[:2]]) for e in entries]
            if number:  # the first block warms up
                ours += took
                bare += bare_took
    ours_ms, bare_ms = median(ours) * 1e3, median(bare) * 1e3
    bound = APPEND_TIMES_MAX * bare_ms + APPEND_EXTRA_MS
    detail = f"bare insert-and-commit {bare_ms:.2f} ms, ratio {ours_ms / bare_ms:.2f}; medians of {len(ours)}"
    yield Figure("durable append (1.5 × bare + 0.3 ms)", ours_ms, "ms", detail, at_most=bound)


def _append(ledger: Ledger, portfolio: str, update: BalanceUpdate) -> float:
    began = perf_counter()
    ledger.append(portfolio, update)
    return perf_counter() - began


def insert(connection: sqlite3.Connection, entry: tuple[Any, ...], legs: Rows) -> float:
    began = perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_insert_into("entries", entry), entry)
    if legs:
        connection.executemany(_insert_into("legs", legs[0]), legs)
    connection.execute("COMMIT")
    return perf_counter() - began


def _bulk(data: Data, folder: Path, runs: int) -> Iterator[Figure]:
    ours: list[float] = []
    ratios: list[float] = []
    count = 0
    for number in range(runs):
        path = folder / f"bulk-{number}.db"
        with data.ledger(path) as ledger:
            heads = {name: head.sequence for name, head in ledger.snapshot().heads().items()}
            took, count = timed(partial(data.import_all, ledger))
        rows = [stored_rows(path, name, head) for name, head in heads.items()]
        with closing(bare_database(folder / f"bare-bulk-{number}.db")) as connection:
            bare = timed(partial(_insert_all, connection, rows))[0]
        ours.append(took.wall)
        ratios.append(took.wall / bare.wall)
    seconds = median(ours)
    detail = f"{count:,} updates in {seconds:.2f} s, {median(ratios):.1f} × a bare executemany of the same rows"
    yield Figure("bulk import, updates a second", count / seconds, "/s", detail, at_least=UPDATES_PER_S_MIN)


def _insert_all(connection: sqlite3.Connection, portfolios: list[tuple[Rows, Rows]]) -> None:
    """A transaction per portfolio."""
    for tables in portfolios:
        connection.execute("BEGIN IMMEDIATE")
        for name, rows in zip(_TABLES, tables, strict=True):
            if rows:
                connection.executemany(_insert_into(name, rows[0]), rows)
        connection.execute("COMMIT")


def _insert_into(table: str, row: tuple[Any, ...]) -> str:
    return f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})"


def bare_database(path: Path) -> sqlite3.Connection:
    """The ledger's own tables, empty, for sqlite3 alone."""
    engine = open_engine(sqlite_url(path))
    metadata.create_all(engine)
    engine.dispose()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def stored_rows(path: Path, portfolio: str, after: int) -> tuple[Rows, Rows]:
    """The stored rows of entries and legs from a sequence on."""
    with closing(sqlite3.connect(path)) as connection:
        entries, legs = (
            connection.execute(
                f"SELECT * FROM {table} WHERE portfolio = ? AND sequence > ? ORDER BY 2, 3", (portfolio, after)
            ).fetchall()
            for table in _TABLES
        )
    return entries, legs


def _longest_journal(data: Data, count: int) -> tuple[str, list[BalanceUpdate]]:
    """The first updates of the journal with the largest file."""
    portfolio, journal = max(data.journals.items(), key=lambda item: item[1].stat().st_size)
    with open_journal(journal) as lines:
        return portfolio, [parse_update(json.loads(line)) for line in islice(lines, count)]
