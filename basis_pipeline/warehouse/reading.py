"""Reading a home's warehouse: any table or query, as a pandas frame or as plain rows, with exact decimals.

Every call opens the catalogue for itself and closes it again, so a reader neither blocks a publication nor misses the
next one, and one call sees one publication from beginning to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import duckdb
import pyarrow as pa

from basis_pipeline.domain.errors import InputError, WarehouseError
from basis_pipeline.domain.instants import day_start
from basis_pipeline.warehouse.catalogue import attach_catalogue, catalogue_info, catalogue_path
from basis_pipeline.warehouse.dayfiles import warehouse_root
from basis_pipeline.warehouse.tables import relation

if TYPE_CHECKING:
    import pandas as pd

Parameters = Sequence[object] | Mapping[str, object] | None
"""Values for ``?`` or ``$name`` in a query; pass instants as aware datetimes."""


@dataclass(frozen=True)
class Reader:
    """Reads the published warehouse of one home. Holds no connection: keep it as long as you like, share it freely."""

    home: Path

    @classmethod
    def open(cls, home: Path | str) -> Self:
        """A reader of the home; WarehouseError if nothing has been published there."""
        reader = cls(Path(home).resolve())
        if not catalogue_path(reader.home).exists():
            raise reader._nothing_published()
        return reader

    def table(
        self,
        name: str,
        start: date | datetime | None = None,
        end: date | datetime | None = None,
        portfolio: str | None = None,
    ) -> pd.DataFrame:
        """A table or view as a frame, in its declared order: start <= time < end, one portfolio or all.

        A date means its 00:00 UTC. Types as in ``query``. InputError when the table has no time or no portfolio to
        choose by.
        """
        declared = relation(name)
        conditions: list[str] = []
        values: list[object] = []
        for moment, comparison in ((start, ">="), (end, "<")):
            if moment is not None:
                if declared.time_column is None:
                    raise InputError(f"{name}: has no time; ask for it without start and end")
                conditions.append(f"{declared.time_column} {comparison} ?")
                values.append(_instant(moment))
        if portfolio is not None:
            if all(column.name != "portfolio" for column in declared.columns):
                raise InputError(f"{name}: has no column portfolio; ask for it without one")
            conditions.append("portfolio = ?")
            values.append(portfolio)
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return self.query(f"SELECT * FROM {name}{where} ORDER BY {', '.join(declared.sort_by)}", values)

    def query(self, sql: str, parameters: Parameters = None) -> pd.DataFrame:
        """One SQL query as a frame.

        Decimals are exact (Arrow-backed ``decimal128``; DuckDB's own ``.df()`` would make them floats); timestamps are
        UTC without zone, as in the tables.
        """
        import pandas as pd

        def frame_type(arrow_type: pa.DataType) -> pd.ArrowDtype | None:
            return pd.ArrowDtype(arrow_type) if pa.types.is_decimal(arrow_type) else None

        frame: pd.DataFrame = self.arrow(sql, parameters).to_pandas(types_mapper=frame_type)
        return frame

    def rows(self, sql: str, parameters: Parameters = None) -> list[dict[str, Any]]:
        """One SQL query as dictionaries, without pandas: Decimals, and aware UTC datetimes."""
        result = self.arrow(sql, parameters)
        columns = [_python_values(column) for column in result.columns]
        return [dict(zip(result.column_names, row, strict=True)) for row in zip(*columns, strict=True)]

    def arrow(self, sql: str, parameters: Parameters = None) -> pa.Table:
        """One SQL query as an Arrow table; a statement without a result gives one without columns.

        WarehouseError for whatever DuckDB refuses; the message says what to do.
        """
        if not catalogue_path(self.home).exists():
            raise self._nothing_published()
        try:
            with attach_catalogue(self.home) as connection:
                result = cast("duckdb.DuckDBPyRelation | None", connection.sql(sql, params=_naive(parameters)))
                return pa.table({}) if result is None else _distinct_names(result.to_arrow_table())
        except duckdb.Error as error:
            if isinstance(error, duckdb.IOException) or str(warehouse_root(self.home)) in str(error):
                raise self._unreadable(error) from error
            raise WarehouseError(f"the query failed: {error}") from error

    def _nothing_published(self) -> WarehouseError:
        return WarehouseError(
            f"there is no {catalogue_path(self.home)} yet; run `basis materialize` on this home first"
        )

    def _unreadable(self, error: duckdb.Error) -> WarehouseError:
        info = catalogue_info(self.home)
        if info is not None and info.home != self.home:
            return WarehouseError(
                f"the home was moved from {info.home} to {self.home}; "
                "run `basis materialize` to publish it at its new place"
            )
        return WarehouseError(f"cannot read {self.home}: {error}; run `basis rebuild` to write the warehouse anew")


def _instant(moment: date | datetime) -> datetime:
    if not isinstance(moment, datetime):
        return day_start(moment)
    if moment.tzinfo is None:
        raise InputError(f"{moment!r} has no time zone; give an aware datetime")
    return moment


def _naive(parameters: Parameters) -> object:
    """Aware datetimes as the tables have them: DuckDB would compare a zoned value as TIMESTAMPTZ, without pruning."""

    def plain(value: object) -> object:
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)
        return value

    if isinstance(parameters, Mapping):
        return {name: plain(value) for name, value in parameters.items()}
    return [plain(value) for value in parameters or ()]


def _python_values(column: pa.ChunkedArray) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if pa.types.is_timestamp(column.type):
        return [None if v is None else v.replace(tzinfo=UTC) if v.tzinfo is None else v.astimezone(UTC) for v in values]
    return values


def _distinct_names(result: pa.Table) -> pa.Table:
    """Two columns of one name would swallow each other in a dictionary: the second becomes ``name_2``."""
    seen: dict[str, int] = {}
    names = []
    for name in result.column_names:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result.rename_columns(names)
