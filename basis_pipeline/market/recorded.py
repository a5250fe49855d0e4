"""The market of live mode: what was recorded of venues and chain, answered by the same rules as history files.

An observation answers from the moment it was known at its source, whenever we came to know of it: a candle that is
fetched late still closes its own hour. So the answers for an instant depend on the recorded facts alone, which are
never changed, and not on when somebody asks. What is filled in late shows as a day with more facts than before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from operator import itemgetter
from typing import Protocol

import numpy as np
import pyarrow as pa

from basis_pipeline.domain.errors import InputError, MarketDataError
from basis_pipeline.domain.instants import DAY, day_start, days_between, hours_of
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.domain.quotes import AskableDay
from basis_pipeline.market.files import exact_numbers
from basis_pipeline.market.plans import Plans
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline.market.store import Store, StoredSeries
from basis_pipeline.market.window import MarketWindow, to_us

_FILL_DAYS = 2
FILLED_WITHIN = DAY * _FILL_DAYS
"""How long after its own time an observation may still be recorded; older holes stay holes."""
_ORIGIN = "recorded"


class Facts(Protocol):
    """Where observations are recorded. ``ledger.market_observations.MarketObservations`` is one."""

    def between(self, first: datetime, last: datetime) -> Sequence[MarketObservation]:
        """What was observed from first to last, both included, by series and time."""
        ...

    def series(self) -> Sequence[tuple[str, str, str]]:
        """(venue, symbol, kind) of everything that was ever observed, sorted."""
        ...

    def bounds(self) -> tuple[datetime, datetime] | None:
        """When recording began, and the time of the newest observation; None before the first."""
        ...

    def count(self, start: datetime, end: datetime) -> int:
        """How many observations have ``start <= observed_at < end``."""
        ...


class RecordedMarket:
    """Recorded observations and the routing by which they answer. Nothing is kept but the plans."""

    def __init__(self, facts: Facts, routing: Routing | None = None) -> None:
        self.routing = Routing() if routing is None else routing
        self._facts = facts
        self._plans = Plans(self.routing, ())
        self._catalog: tuple[SeriesRef, ...] = ()

    def window(self, first: datetime, last: datetime) -> MarketWindow:
        """The market for instants in [first, last], as recorded by now; its cost depends on its own length only."""
        if first.tzinfo is None or last.tzinfo is None or first > last:
            raise InputError(f"window: {first} to {last} must be two UTC instants in order")
        observed = self._facts.between(first - self.routing.look_back, last)
        plans = self._plans_now()
        none = (StoredSeries(ref, _ORIGIN, *_columns(ref, []), _NO_TIMES, None) for ref in self._catalog)
        stored = {each.ref: each for each in (*none, *_stored(observed))}
        return MarketWindow(Store(stored, to_us(first), to_us(last)), plans, first, last)

    def span(self) -> tuple[datetime, datetime]:
        """When recording began and up to when the sources have spoken. ``MarketDataError`` before the first time."""
        bounds = self._facts.bounds()
        if bounds is None:
            raise MarketDataError("no market data was recorded yet; run `basis reconcile` once, or start the schedules")
        return bounds[0], bounds[1]

    def days(self, first: date, last: date) -> dict[date, AskableDay]:
        """The hours of each day since recording began that are known by now, and the facts they rest on.

        The day on which the newest observation lies has that moment too, as its latest instant; a later day has none.
        """
        facts = {}
        counts = deque((self._count(first - DAY * back) for back in range(_FILL_DAYS, 0, -1)), _FILL_DAYS + 1)
        for day in days_between(first, last):
            counts.append(self._count(day))
            facts[day] = sum(counts)
        bounds = self._facts.bounds()  # after counting: what is recorded meanwhile will count as news
        return {day: AskableDay(_instants(day, bounds), number) for day, number in facts.items()}

    def _count(self, day: date) -> int:
        return self._facts.count(day_start(day), day_start(day) + DAY)

    def _plans_now(self) -> Plans:
        catalog = tuple(SeriesRef(*name) for name in self._facts.series())
        if catalog != self._catalog:
            self._plans, self._catalog = Plans(self.routing, catalog), catalog
        return self._plans


def _instants(day: date, bounds: tuple[datetime, datetime] | None) -> list[datetime]:
    if bounds is None:
        return []
    began, newest = bounds
    instants = [hour for hour in hours_of(day) if began <= hour <= newest]
    if newest.date() == day and newest not in instants:
        instants.append(newest)
    return instants


_NO_TIMES = np.array([], dtype=np.int64)


def _stored(observed: Sequence[MarketObservation]) -> Iterator[StoredSeries]:
    for name, group in groupby(observed, key=itemgetter(0, 1, 2)):
        ref, rows = SeriesRef(*name), list(group)
        yield StoredSeries(ref, _ORIGIN, *_columns(ref, rows), _NO_TIMES, None)


def _columns(ref: SeriesRef, rows: list[MarketObservation]) -> tuple[np.ndarray, pa.Array]:
    times = np.array([to_us(row.observed_at) for row in rows], dtype=np.int64)
    return times, exact_numbers(pa.array([canonical(row.value) for row in rows], pa.string()), str(ref))
