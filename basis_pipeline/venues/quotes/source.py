"""One exchange as a source of quotes: every series for itself, so that one that fails spoils no other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import ccxt.async_support as ccxt

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.instants import HOUR, Clock
from basis_pipeline.domain.observations import Finding, MarketObservation, Verdict
from basis_pipeline.domain.quotes import AHEAD_MAX, WantedSeries
from basis_pipeline.venues.exchanges.connection import Connection, Credentials, open_exchange
from basis_pipeline.venues.quotes.binance import BINANCE
from basis_pipeline.venues.quotes.bybit import BYBIT
from basis_pipeline.venues.quotes.dialect import Dialect, NotListed, Question, Told
from basis_pipeline.venues.quotes.okx import OKX

DIALECTS: dict[str, Dialect] = {"binance": BINANCE, "bybit": BYBIT, "okx": OKX}
CANDLES_MAX = 72
SETTLED_AFTER = timedelta(seconds=2)
"""A value is recorded once and for all, so that a candle is taken only when its last trade is surely in it."""
SKEW_MAX = timedelta(seconds=5)


def exchange_quotes(
    venue: str,
    series: Sequence[WantedSeries],
    gateway: str | None,
    clock: Clock,
) -> ExchangeQuotes:
    """A source of these series; needs no key. ``gateway`` as in ``open_exchange``. To be closed."""
    return ExchangeQuotes(venue, series, Connection(open_exchange(venue, None, gateway), Credentials("", "")), clock)


class ExchangeQuotes:
    """The ``QuoteSource`` of one exchange."""

    def __init__(
        self,
        venue: str,
        series: Sequence[WantedSeries],
        connection: Connection,
        clock: Clock,
    ) -> None:
        self.name = venue
        self.series = tuple(each for each in series if each.venue == venue)
        self._dialect = DIALECTS[venue]
        self._connection = connection
        self._clock = clock
        self._problems: list[str] = []
        self._unlisted: list[WantedSeries] = []
        self._venue_time: datetime | None = None

    @property
    def problems(self) -> Sequence[str]:
        """What the last ``observe`` could not learn; a series that nothing depends on may be unlisted without."""
        return tuple(self._problems)

    async def observe(self, since: datetime) -> list[MarketObservation]:
        """The newest value of every series, and the closes of the hours from that of ``since`` on.

        Only the venue's own clock says which candles are closed. VenueError when no series can be read.
        """
        self._problems, self._unlisted = [], []
        answers = await asyncio.gather(*(self._newest(each) for each in self.series))
        newest = [told for told in answers if told is not None]
        if not newest and self._problems:
            more = f" (and {len(self._problems) - 1} more)" if len(self._problems) > 1 else ""
            raise VenueError(f"{self.name}: no series could be read: {self._problems[0]}{more}")
        self._venue_time = max((told.observed_at for told in newest), default=None)
        believed = [told.observed_at for told in newest if told.observed_at <= told.fetched_at + AHEAD_MAX]
        if not believed:
            return newest
        listed = [each for each in self.series if each not in self._unlisted]
        closes = await asyncio.gather(*(self._closes(each, since, max(believed)) for each in listed))
        return newest + [told for found in closes for told in found]

    async def check(self) -> list[Finding]:
        """Reachable, on time, and every series it is asked for listed there."""
        subject = f"{self.name} prices"
        try:
            await self.observe(self._clock() - HOUR)
        except VenueError as error:
            return [Finding(subject, Verdict.FAILED, str(error), "check the network, and exchange_gateway if set")]
        findings = [
            Finding(subject, Verdict.FAILED, problem, "check `prices:` in basis.yaml") for problem in self._problems
        ]
        if self._venue_time is not None and abs(skew := self._clock() - self._venue_time) > SKEW_MAX:
            message = f"this machine's clock is {skew.total_seconds():+.0f} s off the venue's"
            findings.append(Finding(subject, Verdict.WARNING, message, "synchronise it (NTP)"))
        if not findings:
            names = ", ".join(_label(each) for each in self._unlisted)
            left_out = f"; it does not list {names}, which other venues may" if names else ""
            number = len(self.series) - len(self._unlisted)
            findings.append(Finding(subject, Verdict.OK, f"{number} series answer{left_out}"))
        return findings

    async def close(self) -> None:
        """Close the sessions; safe to call twice."""
        await self._connection.close()

    async def _newest(self, series: WantedSeries) -> MarketObservation | None:
        try:
            symbol = series.symbol.upper()
            payload = await ask(self._connection, self._dialect.now(symbol, series.kind))
            return self._observation(series, self._dialect.read_now(payload, symbol))
        except NotListed as error:
            self._unlisted.append(series)
            if series.required:
                self._problems.append(f"{self.name} {_label(series)}: is not listed ({error})")
        except VenueError as error:
            self._problems.append(f"{self.name} {_label(series)}: {error}")
        return None

    async def _closes(self, series: WantedSeries, since: datetime, venue_time: datetime) -> list[MarketObservation]:
        first = since.replace(minute=0, second=0, microsecond=0)
        number = max(2, min((venue_time - first) // HOUR + 2, CANDLES_MAX))
        try:
            question = self._dialect.candles(series.symbol.upper(), series.kind, number)
            candles = self._dialect.read_candles(await ask(self._connection, question))
        except VenueError as error:
            self._problems.append(f"{self.name} {_label(series)}, hourly closes: {error}")
            return []
        return [
            self._observation(series, Told(candle.close, candle.end))
            for candle in sorted(candles)
            if candle.closed and first <= candle.end <= venue_time - SETTLED_AFTER
        ]

    def _observation(self, series: WantedSeries, told: Told) -> MarketObservation:
        return MarketObservation(self.name, series.symbol, series.kind, told.value, told.at, self._clock())


async def ask(connection: Connection, question: Question) -> Any:
    """The payload that a venue answers; ``NotListed`` when it has no such symbol, ``VenueError`` for all else."""
    try:
        return (await connection.ask(*question)).payload
    except VenueError as error:
        if isinstance(error.__context__, ccxt.BadSymbol):
            raise NotListed(str(error)) from None
        raise


def _label(series: WantedSeries) -> str:
    return f"{series.symbol} {series.kind}"
