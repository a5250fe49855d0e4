"""Asking one exchange's quotes in a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from basis_pipeline.domain.observations import Finding, MarketObservation
from basis_pipeline.domain.quotes import WantedSeries
from basis_pipeline.venues.quotes import ExchangeQuotes, exchange_quotes
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues

NOW = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)
HALF_PAST_NINE = NOW.replace(hour=9)


def at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """A time of the simulated day."""
    return NOW.replace(hour=hour, minute=minute, second=second)


def spot(venue: str, symbol: str = "ETHUSDT", required: bool = True) -> WantedSeries:
    return WantedSeries(venue, symbol, "spot", required)


def mark(venue: str, symbol: str = "ETHUSDT") -> WantedSeries:
    return WantedSeries(venue, symbol, "perp", True)


class Heard(NamedTuple):
    """What one ``observe`` brought."""

    observed: list[MarketObservation]
    problems: list[str]

    def values(self, kind: str = "spot", symbol: str = "ETHUSDT") -> list[tuple[str, datetime]]:
        """Values of a series by time, the newest last."""
        found = [each for each in self.observed if (each.symbol, each.kind) == (symbol, kind)]
        return [(str(each.value), each.observed_at) for each in sorted(found, key=lambda each: each.observed_at)]


async def _with(
    venues: ExchangeVenues, series: tuple[WantedSeries, ...], clock: Callable[[], datetime], act: str, since: datetime
) -> tuple[object, ExchangeQuotes]:
    source = exchange_quotes(series[0].venue, series, venues.url, clock)
    try:
        return (await source.observe(since) if act == "observe" else await source.check()), source
    finally:
        await source.close()
        await source.close()


def observe(
    venues: ExchangeVenues, *series: WantedSeries, since: datetime = HALF_PAST_NINE, now: datetime = NOW
) -> Heard:
    """Ask once; the source's own clock says ``now``."""
    observed, source = asyncio.run(_with(venues, series, lambda: now, "observe", since))
    assert isinstance(observed, list)
    return Heard(observed, list(source.problems))


def check(venues: ExchangeVenues, *series: WantedSeries, now: datetime = NOW) -> list[Finding]:
    findings, _ = asyncio.run(_with(venues, series, lambda: now, "check", NOW))
    assert isinstance(findings, list)
    return findings
