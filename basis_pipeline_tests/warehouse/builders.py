"""Small warehouses for tests: a few rows of any declared table, all carrying one version number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from basis_pipeline.domain.instants import hours_of
from basis_pipeline.warehouse.dayfiles import DayFile, warehouse_root, write_days
from basis_pipeline.warehouse.tables import ColumnType, Table, table

FIRST_DAY = date(2024, 5, 12)


def cells(kind: ColumnType, moments: Sequence[datetime], version: int) -> list[Any]:
    """A value per moment: the moment itself, or the version in the column's type."""
    if kind is ColumnType.TIMESTAMP:
        return list(moments)
    value = {
        ColumnType.AMOUNT: Decimal(version),
        ColumnType.RATE: Decimal(version),
        ColumnType.TEXT: "x",
        ColumnType.COUNT: version,
        ColumnType.BOOLEAN: True,
    }[kind]
    return [value] * len(moments)


def columns(declared: Table, day: date = FIRST_DAY, version: int = 1, **replaced: Any) -> dict[str, Any]:
    """24 rows, one an hour; columns given by name are taken as they are."""
    return {c.name: cells(c.type, hours_of(day), version) for c in declared.columns} | replaced


def snapshots(day: date = FIRST_DAY, version: int = 1, **replaced: Any) -> dict[str, Any]:
    return columns(table("equity_snapshots"), day, version, **replaced)


def write_version(
    home: Path, version: int, days: Iterable[date], tables: Sequence[str] = ("equity_snapshots", "equity_positions")
) -> list[DayFile]:
    """The days of some tables, every row carrying the version."""
    return write_days(
        warehouse_root(home), [(name, day, columns(table(name), day, version)) for day in days for name in tables]
    )
