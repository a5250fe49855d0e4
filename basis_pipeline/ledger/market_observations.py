"""Recorded market observations: facts, append-only, from which the live market of any past instant is rebuilt.

A series has one value at a time, the first that was recorded: what was published from it can be computed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Engine, Row

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import decimal_places, parse_decimal
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.domain.quotes import AHEAD_MAX
from basis_pipeline.ledger.database import reading, writing
from basis_pipeline.ledger.schema import market_observations
from basis_pipeline.ledger.types import UtcTime

PLACES_MAX = 27
"""Aave's ray, the finest number there is."""
_BATCH = 1000
_END_OF_TIME = datetime(9999, 12, 31, tzinfo=UTC)
_t = market_observations.c


class SeriesName(NamedTuple):
    """The three names of a series."""

    venue: str
    symbol: str
    kind: str


class Bounds(NamedTuple):
    """``began``: when the oldest observation was fetched. ``newest``: up to when the sources have spoken."""

    began: datetime
    newest: datetime


def record(engine: Engine, observations: Iterable[MarketObservation]) -> int:
    """Keep the observations, all or none; returns how many were new.

    Of two values of a series at the same time the first stays, whoever brings the other. ``InputError`` names an
    observation that cannot be one: not positive, not finite, too large or too fine, a time without zone or to come.
    """
    first_of: dict[tuple[str, str, str, datetime], MarketObservation] = {}
    for each in observations:
        if (problem := refusal(each)) is not None:
            raise InputError(problem)
        first_of.setdefault((each.venue, each.symbol, each.kind, each.observed_at), each)
    # Everyone inserts in the same order, so that no two writers wait for each other's rows.
    rows = iter([first_of[key]._asdict() for key in sorted(first_of)])
    insert = (postgresql if engine.dialect.name == "postgresql" else sqlite).insert
    statement = insert(market_observations).on_conflict_do_nothing().returning(_t.venue)
    new = 0
    with writing(engine) as connection:
        while batch := list(islice(rows, _BATCH)):
            new += len(connection.execute(statement, batch).all())
    return new


def between(engine: Engine, first: datetime, last: datetime) -> list[MarketObservation]:
    """What was observed from first to last, both included, by series and time."""
    # Sorted by time only: for the whole order SQLite would read all that was ever recorded, in the primary key's order.
    query = sa.select(market_observations).where(_t.observed_at >= first, _t.observed_at <= last)
    with reading(engine) as connection:
        found = _read(connection.execute(query.order_by(_t.observed_at)))
        return sorted(found, key=itemgetter(0, 1, 2))


def latest(engine: Engine, since: datetime) -> dict[SeriesName, MarketObservation]:
    """The newest observation of every series that was observed at or after ``since``."""
    query = sa.select(market_observations).where(_t.observed_at >= since).order_by(_t.observed_at)
    with reading(engine) as connection:
        return {SeriesName(*each[:3]): each for each in _read(connection.execute(query))}


def series(engine: Engine) -> list[SeriesName]:
    """Every series that was ever observed, sorted."""
    # The next name after the last one, again and again: one probe a series, however many values it has. The time is
    # part of the comparison because SQLite would walk over all values of a series to leave it behind.
    key = sa.tuple_(_t.venue, _t.symbol, _t.kind, _t.observed_at)
    first = sa.select(_t.venue, _t.symbol, _t.kind).order_by(_t.venue, _t.symbol, _t.kind, _t.observed_at).limit(1)
    end = sa.literal(_END_OF_TIME, UtcTime)
    found: list[SeriesName] = []
    with reading(engine) as connection:
        row = connection.execute(first).first()
        while row is not None:
            found.append(SeriesName(*row))
            row = connection.execute(first.where(key > sa.tuple_(*map(sa.literal, found[-1]), end))).first()
    return found


def bounds(engine: Engine) -> Bounds | None:
    """When recording began and the time of the newest observation; None when nothing was recorded."""
    oldest = sa.select(sa.func.min(_t.observed_at, type_=UtcTime)).scalar_subquery()
    began_at = sa.select(sa.func.min(_t.fetched_at, type_=UtcTime)).where(_t.observed_at == oldest)
    newest = sa.select(sa.func.max(_t.observed_at, type_=UtcTime))
    with reading(engine) as connection:
        began = connection.execute(began_at).scalar()
        return None if began is None else Bounds(began, connection.execute(newest).scalar_one())


def count(engine: Engine, start: datetime, end: datetime) -> int:
    """How many observations there are with ``start <= observed_at < end``. It only ever grows."""
    query = sa.select(sa.func.count()).where(_t.observed_at >= start, _t.observed_at < end)
    with reading(engine) as connection:
        return connection.execute(query).scalar_one()


@dataclass(frozen=True)
class MarketObservations:
    """The observations of one ledger, as a recorded market reads them."""

    engine: Engine

    def between(self, first: datetime, last: datetime) -> list[MarketObservation]:
        """See the function of that name."""
        return between(self.engine, first, last)

    def series(self) -> list[SeriesName]:
        """See the function of that name."""
        return series(self.engine)

    def bounds(self) -> Bounds | None:
        """See the function of that name."""
        return bounds(self.engine)

    def count(self, start: datetime, end: datetime) -> int:
        """See the function of that name."""
        return count(self.engine, start, end)


def _read(rows: Iterable[Row[Any]]) -> Iterator[MarketObservation]:
    for row in rows:
        yield MarketObservation(row.venue, row.symbol, row.kind, row.value, row.observed_at, row.fetched_at)


def refusal(given: MarketObservation) -> str | None:
    """Why the observation cannot be one, None if it can: what ``record`` would raise."""
    name = " ".join(given[:3])
    if not all(given[:3]):
        return f"market observation {name!r}: venue, symbol and kind must not be empty"
    try:
        value = parse_decimal(given.value, name)
    except InputError as error:
        return str(error)
    if value <= 0:
        return f"{name}: {value} is not positive; a price, mark, rate or index is"
    if decimal_places(value) > PLACES_MAX:
        return f"{name}: {value} has more than {PLACES_MAX} decimal places; round it at its source"
    for field, moment in (("observed_at", given.observed_at), ("fetched_at", given.fetched_at)):
        if moment.tzinfo is None:
            return f"{name}: {field} {moment} has no time zone; give UTC"
    if given.observed_at > given.fetched_at + AHEAD_MAX:
        return (
            f"{name}: its time {iso(given.observed_at)} has not come yet; check this machine's clock and the source's"
        )
    return None
