"""Which warehouse files are current, and which ledger they were built from.

All files a step wrote together become current in one transaction; what they replace stays on record until it is
collected, so that a restatement is visible and a query that began earlier still finds its files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.ledger.database import reading, writing
from basis_pipeline.ledger.schema import publications
from basis_pipeline.ledger.snapshot import Head
from basis_pipeline.ledger.types import UtcTime


class MarketMark(NamedTuple):
    """How many recorded observations a day rests on (they are never taken back), and its last instant as text."""

    facts: int
    last: str


class Publication(NamedTuple):
    """One day file: ``file`` is relative to the warehouse, ``heads`` what it was built from, per portfolio.

    ``market`` is set where recorded observations decide which instants the day has and what was worth what.
    """

    table: str
    day: date
    file: str
    rows: int
    heads: Mapping[str, Head]
    market: MarketMark | None = None


class CurrentFiles(NamedTuple):
    """All current publications and the generation they belong to; a higher generation is newer."""

    generation: int
    files: tuple[Publication, ...]


def publish(engine: Engine, files: Sequence[Publication], moment: datetime) -> CurrentFiles:
    """Make the files current together, superseding those of the same table and day; returns what is current now.

    A file built from an older ledger or market than the one it would replace is left out: of two runs over the same
    days, the one that saw more wins, whichever ends last.
    """
    with writing(engine) as connection:
        current = {(p.table, p.day): (number, p) for number, p in _current(connection, _replaceable(files))}
        fresh = [p for p in files if not _older(p, current.get((p.table, p.day)))]
        replaced = [current[(p.table, p.day)][0] for p in fresh if (p.table, p.day) in current]
        if replaced:
            connection.execute(
                sa.update(publications)
                .where(publications.c.id == sa.bindparam("replaced"))
                .values(superseded_at=sa.bindparam("moment")),
                [{"replaced": number, "moment": moment} for number in replaced],
            )
        if fresh:
            origins = {(id(p.heads), p.market): _to_json(p) for p in fresh}
            connection.execute(
                sa.insert(publications),
                [
                    {
                        "table_name": p.table,
                        "day": p.day,
                        "file": p.file,
                        "row_count": p.rows,
                        "heads": origins[id(p.heads), p.market],
                        "published_at": moment,
                        "superseded_at": None,
                    }
                    for p in fresh
                ],
            )
        return _current_files(connection)


def _replaceable(files: Sequence[Publication]) -> sa.ColumnElement[bool]:
    """The tables and the range of days that the files may replace."""
    days = [p.day for p in files]
    if not days:
        return sa.false()
    tables = sorted({p.table for p in files})
    return sa.and_(publications.c.table_name.in_(tables), publications.c.day.between(min(days), max(days)))


def _older(new: Publication, current: tuple[int, Publication] | None) -> bool:
    if current is None:
        return False
    before = current[1]
    if before.market is not None and new.market is not None and before.market.facts > new.market.facts:
        return True
    return any(name in new.heads and head.sequence > new.heads[name].sequence for name, head in before.heads.items())


def current_files(engine: Engine, first: date | None = None, last: date | None = None) -> CurrentFiles:
    """What is current now, of all days or of those from ``first`` to ``last``."""
    conditions = [] if first is None else [publications.c.day >= first]
    conditions += [] if last is None else [publications.c.day <= last]
    with reading(engine) as connection:
        return _current_files(connection, *conditions)


def generation(engine: Engine) -> int:
    """The generation of what is current now."""
    with reading(engine) as connection:
        return _generation(connection)


def superseded(engine: Engine) -> dict[str, datetime]:
    """Files that were current once and are not now, and since when: what the garbage collection may remove."""
    with reading(engine) as connection:
        current = {p.file for _, p in _current(connection)}
        query = sa.select(publications.c.file, sa.func.max(publications.c.superseded_at, type_=UtcTime).label("since"))
        query = query.where(publications.c.superseded_at.is_not(None)).group_by(publications.c.file)
        return {row.file: row.since for row in connection.execute(query) if row.file not in current}


def forget(engine: Engine, files: Sequence[str]) -> None:
    """Drop the records of superseded files that are gone."""
    if not files:
        return
    with writing(engine) as connection:
        connection.execute(
            sa.delete(publications).where(
                publications.c.file == sa.bindparam("gone"), publications.c.superseded_at.is_not(None)
            ),
            [{"gone": file} for file in files],
        )


def withdraw(engine: Engine, files: Sequence[str]) -> None:
    """Forget publications whose files are gone: their days count as never materialized."""
    with writing(engine) as connection:
        connection.execute(
            sa.delete(publications).where(publications.c.file == sa.bindparam("gone")),
            [{"gone": file} for file in files],
        )


def withdraw_all(engine: Engine) -> None:
    """Forget every publication: the warehouse is gone or to be built anew."""
    with writing(engine) as connection:
        connection.execute(sa.delete(publications))


def _current(connection: Connection, *conditions: sa.ColumnElement[bool]) -> Iterator[tuple[int, Publication]]:
    query = (
        sa.select(
            publications.c.id,
            publications.c.table_name,
            publications.c.day,
            publications.c.file,
            publications.c.row_count,
            publications.c.heads,
        )
        .where(publications.c.superseded_at.is_(None), *conditions)
        .order_by(publications.c.table_name, publications.c.day)
    )
    parsed: dict[str, tuple[dict[str, Head], MarketMark | None]] = {}
    for number, table, day, file, rows, text in connection.execute(query):
        origin = parsed.get(text)
        if origin is None:
            origin = parsed[text] = _from_json(text)
        yield number, Publication(table, day, file, rows, *origin)


def _current_files(connection: Connection, *conditions: sa.ColumnElement[bool]) -> CurrentFiles:
    found = list(_current(connection, *conditions))
    return CurrentFiles(_generation(connection), tuple(publication for _, publication in found))


def _generation(connection: Connection) -> int:
    return connection.execute(sa.select(sa.func.max(publications.c.id))).scalar() or 0


_MARKET = ""
"""Where the market's mark stands among the heads: no portfolio is called so."""


def _to_json(publication: Publication) -> str:
    origin: dict[str, Head | MarketMark] = dict(sorted(publication.heads.items()))
    if publication.market is not None:
        origin[_MARKET] = publication.market
    return json.dumps(origin, separators=(",", ":"))


def _from_json(text: str) -> tuple[dict[str, Head], MarketMark | None]:
    origin = json.loads(text)
    market = origin.pop(_MARKET, None)
    heads = {name: Head(sequence, own) for name, (sequence, own) in origin.items()}
    return heads, None if market is None else MarketMark(*market)
