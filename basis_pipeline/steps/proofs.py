"""Structural truths about the rows of tables. Files are held against them before they are published.

They hold by construction; a proof turns a defect into an error instead of a wrong number. The asset checks ask the same
of what is published. Each is one query for the rows that contradict it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.catalogue import connect_memory
from basis_pipeline.warehouse.dayfiles import DayFile
from basis_pipeline.warehouse.tables import ALL_TABLES, Table

_SHOWN_MAX = 10


class ProofFailed(WarehouseError):
    """Rows that were about to be published contradict each other: a defect, and nothing to try again."""


@dataclass(frozen=True)
class Proof:
    """What must hold for a table, and the query for the rows for which it does not."""

    table: str
    name: str
    statement: str
    sql: str


@dataclass(frozen=True)
class Contradictions:
    """How many rows contradict a proof, and the first few of them with their column names."""

    count: int
    columns: tuple[str, ...]
    first: tuple[tuple[Any, ...], ...]

    def __str__(self) -> str:
        named = (", ".join(f"{c}={v}" for c, v in zip(self.columns, row, strict=True)) for row in self.first[:3])
        more = f" and {self.count - 3} more" if self.count > 3 else ""
        return "; ".join(named) + more


def _keys_unique(table: Table) -> Proof:
    keys = ", ".join(table.sort_by)
    return Proof(
        table.name,
        "keys_unique",
        f"No two rows have the same {keys}.",
        f"SELECT {keys}, count(*) AS rows FROM {table.name} GROUP BY {keys} HAVING count(*) > 1",
    )


def _not_from_the_future(table: str, name: str) -> Proof:
    return Proof(
        table,
        "known_in_time",
        "Nothing is used before it was known: observed_at is never after as_of.",
        f"SELECT as_of, {name}, observed_at FROM {table} WHERE observed_at > as_of",
    )


NEVER_NEGATIVE = Proof(
    "wallet_balances",
    "never_negative",
    "No wallet holds less than nothing of any token.",
    "SELECT as_of, portfolio, token, balance FROM wallet_balances WHERE balance < 0",
)

_SIDES = """
    sides AS (
        SELECT as_of, portfolio,
            coalesce(sum(value) FILTER (side = 'asset'), 0) AS assets,
            -coalesce(sum(value) FILTER (side = 'debt'), 0) AS debts,
            coalesce(sum(value) FILTER (side = 'perp'), 0) AS unrealized_pnl,
            coalesce(sum(value) FILTER (side = 'in_transit'), 0) AS in_transit,
            coalesce(sum(value) FILTER (side = 'locked'), 0) AS locked,
            sum(value) AS nav
        FROM equity_positions GROUP BY as_of, portfolio
    )
"""
_SIDES_DIFFER = """
    s.total_equity IS NULL
        OR s.total_equity <> s.assets - s.debts
        OR s.assets <> coalesce(sides.assets, 0)
        OR s.debts <> coalesce(sides.debts, 0)
        OR s.unrealized_pnl <> coalesce(sides.unrealized_pnl, 0)
        OR s.in_transit <> coalesce(sides.in_transit, 0)
        OR s.locked <> coalesce(sides.locked, 0)
        OR s.nav <> coalesce(sides.nav, 0)
        OR s.nav <> s.total_equity + s.unrealized_pnl + s.in_transit + s.locked
"""

SIDES_ADD_UP = Proof(
    "equity_snapshots",
    "sides_add_up",
    "total_equity = assets - debts, and nav and each side are the sums of their lines, to the last digit.",
    f"""
    WITH {_SIDES}
    SELECT as_of, portfolio, s.total_equity, s.nav, sides.nav AS sum_of_lines
    FROM equity_snapshots s
    FULL JOIN sides USING (as_of, portfolio)
    WHERE {_SIDES_DIFFER}
    """,
)

TOTALS_ADD_UP = Proof(
    "equity_snapshots",
    "totals_add_up",
    "total_equity = assets - debts = sum by venue = sum by asset, and nav = sum over all sides, to the last digit.",
    f"""
    WITH {_SIDES},
    venues AS (SELECT as_of, portfolio, sum(value) AS by_venue FROM equity_by_venue GROUP BY as_of, portfolio),
    tokens AS (SELECT as_of, portfolio, sum(value) AS by_asset FROM equity_by_asset GROUP BY as_of, portfolio)
    SELECT as_of, portfolio, s.total_equity, s.nav, by_venue, by_asset, sides.nav AS sum_of_lines
    FROM equity_snapshots s
    FULL JOIN sides USING (as_of, portfolio)
    LEFT JOIN venues USING (as_of, portfolio)
    LEFT JOIN tokens USING (as_of, portfolio)
    WHERE {_SIDES_DIFFER}
        OR s.total_equity <> coalesce(by_venue, 0)
        OR s.total_equity <> coalesce(by_asset, 0)
    """,
)

DIFFERENCES_ADD_UP = Proof(
    "reconciliation",
    "differences_add_up",
    "difference = actual - tracked, to the last digit, and both are null where the account was unavailable.",
    """
    SELECT hour, portfolio, account, key, tracked, actual, difference, outcome FROM reconciliation
    WHERE difference IS DISTINCT FROM actual - tracked OR (outcome = 'UNAVAILABLE' AND actual IS NOT NULL)
    """,
)

OUTCOMES_TRUE = Proof(
    "reconciliation",
    "outcomes_true",
    "MATCHED has no difference, WITHIN_TOLERANCE one that is allowed, every other outcome one that is not.",
    """
    SELECT hour, portfolio, account, key, difference, tolerance, outcome FROM reconciliation
    WHERE actual IS NOT NULL AND CASE outcome
        WHEN 'MATCHED' THEN difference <> 0
        WHEN 'WITHIN_TOLERANCE' THEN abs(difference) > tolerance
        ELSE abs(difference) <= tolerance
    END
    """,
)

ADJUSTED_ONLY_DRIFT = Proof(
    "reconciliation",
    "adjusted_only_drift",
    "Only a difference that nothing explains was adjusted, and never an asset that the registry does not know.",
    """
    SELECT hour, portfolio, account, key, outcome FROM reconciliation
    WHERE adjusted AND (outcome NOT IN ('DRIFT', 'UNEXPECTED', 'MISSING') OR starts_with(key, 'UNMAPPED:'))
    """,
)

PROOFS = (
    *(_keys_unique(table) for table in ALL_TABLES),
    NEVER_NEGATIVE,
    _not_from_the_future("prices", "symbol"),
    _not_from_the_future("conversion_rates", "name"),
    DIFFERENCES_ADD_UP,
    OUTCOMES_TRUE,
    ADJUSTED_ONLY_DRIFT,
    TOTALS_ADD_UP,
)
"""What the asset checks ask of what is published."""

BEFORE_PUBLISHING = (*(proof for proof in PROOFS if proof is not TOTALS_ADD_UP), SIDES_ADD_UP)
"""What a step asks of its own files. Breakdowns are views over the same lines: the asset check sees to them."""


def contradictions(connection: duckdb.DuckDBPyConnection, sql: str) -> Contradictions:
    """The rows that a proof's query finds."""
    found = connection.execute(sql)
    columns = tuple(str(column[0]) for column in found.description or ())
    first = found.fetchmany(_SHOWN_MAX)
    count = len(first)
    while more := found.fetchmany(10_000):
        count += len(more)
    return Contradictions(count, columns, tuple(first))


def prove(home: Path, files: Sequence[DayFile], proofs: Iterable[Proof] = BEFORE_PUBLISHING) -> None:
    """Hold the files, published or not, against every proof about their tables. WarehouseError names what fails."""
    tables = {file.table for file in files}
    with connect_memory(home, files) as connection:
        for proof in proofs:
            if proof.table in tables and (found := contradictions(connection, proof.sql)).count:
                raise ProofFailed(
                    f"{proof.table}: {found.count} rows contradict {proof.name} ({proof.statement}): {found}. "
                    "Nothing of this step was published; this is a defect, please report it"
                )
