"""The reference at work: hour by hour over a ledger's entries, on series taken from the market's columns."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import pyarrow as pa

from basis_pipeline.domain.instants import hours_of
from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.snapshot import BookAt, LedgerSnapshot
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.plans import Plans, Source
from basis_pipeline.market.routing import USD
from basis_pipeline.market.store import StoredSeries
from basis_pipeline.market.window import from_us
from basis_pipeline.steps.cursor import BookCursor, open_cursors
from basis_pipeline.steps.ports import DayRange
from benchmarks import reference


class EntriesInMemory(LedgerSnapshot):
    """A snapshot that read all entries beforehand, so that the database is not part of what is measured."""

    def __init__(self, snapshot: LedgerSnapshot) -> None:
        self.portfolios = snapshot.portfolios
        self._entries = {name: list(snapshot.entries(name, None, None)) for name in snapshot.portfolios}

    def entries(
        self, portfolio: str, after: datetime | None, until: datetime | None, *, as_recorded: bool = False
    ) -> Iterator[Entry]:
        found = self._entries[portfolio]
        for entry in sorted(found, key=lambda e: e.sequence) if as_recorded else found:
            moment = entry.update.timestamp
            if (after is None or moment > after) and (until is None or moment <= until):
                yield entry

    def book_at(self, portfolio: str, instant: datetime) -> BookAt:
        book, sequence = Book(), 0
        for entry in self.entries(portfolio, None, instant):
            book.replay(entry.update.token_changes, entry.update.derivative_changes, entry.update.timestamp)
            sequence = max(sequence, entry.sequence)
        return BookAt(book, sequence)


class Hour(NamedTuple):
    """One portfolio at one hour, as the reference sees it."""

    instant: datetime
    cursor: BookCursor
    snapshot: reference.EquitySnapshot


class LiteralMarket:
    """The series the reference needs as dictionaries by hour, from the same columns the product starts from."""

    def __init__(self, market: MarketHistory) -> None:
        self._store = market.store()
        self._plans = Plans(market.routing, tuple(sorted(self._store.series)))
        self._marks: dict[tuple[str, str], dict[datetime, Decimal]] = {}
        self._instants: dict[int, datetime] = {}
        usdt = self._plain(self._plans.price("USDT").sources)[1]
        self.series: dict[str, dict[datetime, Decimal]] = {"USDT": usdt}
        for token in reference.PRICED:
            quote, values = self._plain(self._plans.price(token).sources)
            if quote == "USDT":
                values = {hour: value * usdt[hour] for hour, value in values.items() if hour in usdt}
            elif quote not in ("", USD):
                raise ValueError(f"{token}: the reference has no price of {quote}")
            self.series.setdefault(token, values)
        for name in reference.SERIES:
            self.series[name] = self._plain(self._plans.rate(name).sources)[1]

    def mark(self, venue: str, instrument: str) -> dict[datetime, Decimal]:
        """A perpetual's marks by hour, in its settlement coin."""
        key = (venue, instrument)
        if key not in self._marks:
            self._marks[key] = self._plain(self._plans.mark(*key).sources)[1]
        return self._marks[key]

    def _plain(self, sources: Sequence[Source]) -> tuple[str, dict[datetime, Decimal]]:
        """Quote currency and values of the first series there is."""
        for source in sources:
            stored = self._store.series.get(source.ref)
            if stored is not None:
                return source.quote, dict(zip(self._hours(stored), _decimals(stored), strict=True))
        return "", {}

    def _hours(self, stored: StoredSeries) -> Iterator[datetime]:
        known = self._instants
        for us in stored.times.tolist():
            instant = known.get(us)
            if instant is None:
                instant = known[us] = from_us(us)
            yield instant


def _decimals(stored: StoredSeries) -> list[Decimal]:
    return list(map(Decimal, stored.values.cast(pa.string()).to_pylist()))


async def hour_by_hour(snapshot: LedgerSnapshot, market: LiteralMarket, days: DayRange) -> AsyncIterator[Hour]:
    """Every portfolio at every hour of the days from its start on, one call of the reference each."""
    clock = reference.Clock()
    cursors = open_cursors(snapshot, days.first, days.last)
    calculators = [reference.build(cursor.book.balances, market.series, clock) for cursor in cursors]
    for day in days:
        for hour in hours_of(day):
            clock.now = hour
            for cursor, calculator in zip(cursors, calculators, strict=True):
                if hour >= cursor.state.start:
                    cursor.advance(hour)
                    yield Hour(hour, cursor, await calculator.calculate_equity(cursor.state.share_class))
