"""Statements of the append path, compiled once.

On SQLite they run on the driver's own connection: an update waits for them, and there SQLAlchemy spends several times
as long on handing over a statement as SQLite on running it. Types convert as everywhere else. On PostgreSQL, where the
way to the server is what takes time, they run as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect

_Convert = Callable[[Any], Any]


class _Compiled(NamedTuple):
    """The text, and the parameters in their order with how each is converted (None: as it is)."""

    text: str
    parameters: tuple[tuple[str, _Convert | None], ...]

    def values(self, given: Mapping[str, Any]) -> list[Any]:
        return [given[name] if convert is None else convert(given[name]) for name, convert in self.parameters]


class Prepared:
    """A statement with named parameters. An INSERT takes the columns that its rows have."""

    def __init__(self, statement: sa.Select[Any] | sa.Update | sa.Insert) -> None:
        self._statement = statement
        self._compiled: dict[tuple[str, ...], _Compiled] = {}
        self._results: tuple[_Convert | None, ...] | None = None

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run it for each row; all have the same names. Nothing happens without rows."""
        if not rows:
            return
        if connection.dialect.name != "sqlite":
            connection.execute(self._statement, rows if len(rows) > 1 else rows[0])
            return
        compiled = self._for(tuple(rows[0]), connection.dialect)
        if len(rows) == 1:
            _driver(connection).execute(compiled.text, compiled.values(rows[0]))
        else:
            _driver(connection).executemany(compiled.text, [compiled.values(row) for row in rows])

    def first(self, connection: Connection, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        """The first row of a SELECT, None without one."""
        if connection.dialect.name != "sqlite":
            row = connection.execute(self._statement, parameters).first()
            return None if row is None else tuple(row)
        compiled = self._for(tuple(parameters), connection.dialect)
        found = _driver(connection).execute(compiled.text, compiled.values(parameters)).fetchone()
        if found is None:
            return None
        if self._results is None:
            self._results = tuple(
                column.type.result_processor(connection.dialect, None)
                for column in self._statement.selected_columns  # type: ignore[union-attr]
            )
        return tuple(
            value if convert is None else convert(value) for value, convert in zip(found, self._results, strict=True)
        )

    def _for(self, names: tuple[str, ...], dialect: Dialect) -> _Compiled:
        known = self._compiled.get(names)
        if known is None:
            columns = list(names) if isinstance(self._statement, sa.Insert) else None
            compiled: Any = self._statement.compile(dialect=dialect, column_keys=columns)
            parameters = ((name, compiled.binds[name].type.bind_processor(dialect)) for name in compiled.positiontup)
            known = self._compiled[names] = _Compiled(str(compiled), tuple(parameters))
        return known


def _driver(connection: Connection) -> Any:
    return connection.connection.driver_connection
