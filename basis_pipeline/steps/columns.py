"""Rows into columns, in the order a table declares them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from basis_pipeline.warehouse.dayfiles import Columns
from basis_pipeline.warehouse.tables import table


def columns_of(table_name: str, rows: Sequence[tuple[Any, ...]]) -> Columns:
    """The rows as one sequence per declared column; each row must have the table's columns in its order."""
    names = [column.name for column in table(table_name).columns]
    if not rows:
        return dict.fromkeys(names, ())
    return dict(zip(names, zip(*rows, strict=True), strict=True))


class ColumnBuilder:
    """Columns of a table that grow by runs of rows, in the order the table declares them."""

    def __init__(self, table_name: str) -> None:
        self.columns: dict[str, list[Any]] = {column.name: [] for column in table(table_name).columns}

    def extend(self, size: int, *values: Any) -> None:
        """Append ``size`` rows: a list or tuple gives one value per row, anything else the same value for each."""
        for column, value in zip(self.columns.values(), values, strict=True):
            column.extend(value if isinstance(value, list | tuple) else [value] * size)
