"""A ledger whose market is recorded, at a simulated time, without any settings."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from basis_pipeline.domain.observations import Finding, MarketObservation
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.market_observations import MarketObservations, record
from basis_pipeline.ledger.publications import current_files
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.market.recorded import RecordedMarket
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline_tests.steps.builders import hour

USDT, ETH, MARK = "aave_oracle USDTUSD oracle", "binance ETHUSDT spot", "binance ETHUSDT perp"


def seen(name: str, at: float, value: str = "1", fetched: float | None = None) -> MarketObservation:
    """A value known so many hours after the first midnight, fetched then unless said otherwise."""
    return MarketObservation(*name.split(), Decimal(value), hour(at), hour(at if fetched is None else fetched))


@dataclass
class Live:
    """A ledger with the portfolio ``book`` (1,000 USDT from the first midnight), and its recorded market."""

    home: Path
    ledger: Ledger
    now: float = 0

    @property
    def ports(self) -> Ports:
        market = RecordedMarket(MarketObservations(self.ledger.engine))
        return Ports(self.home, self.ledger, market, DEFAULT_REGISTRY, clock=lambda: hour(self.now))

    def record(self, *observations: MarketObservation) -> int:
        return record(self.ledger.engine, observations)

    def hours(self, first: int, last: float, *names: str) -> None:
        """Each series at every hour from first to last; prices rise by one a full hour."""
        for name in names or (USDT, ETH):
            start = 1 if name == USDT else 3000
            step = 0 if name == USDT else 1
            count = int(last - first) + 1
            self.record(*(seen(name, first + n, str(start + step * (first + n))) for n in range(count)))

    def published(self, days: DayRange) -> dict[tuple[str, str], str]:
        """The current file of each table and day; its name holds the hash of its content."""
        files = current_files(self.ledger.engine).files
        return {(p.table, p.day.isoformat()): p.file for p in files if days.first <= p.day <= days.last}


@contextmanager
def live(home: Path, url: str) -> Iterator[Live]:
    """A home at this database."""
    home.mkdir(parents=True, exist_ok=True)
    with Ledger(url) as ledger:
        ledger.register(Terms("book", "USDT", Decimal(1000), hour(0)))
        yield Live(home, ledger)


@dataclass
class Scripted:
    """A source that says what it is told to, or fails or hangs as told."""

    name: str
    says: Sequence[MarketObservation] = ()
    problems: Sequence[str] = ()
    failure: Exception | None = None
    asked_since: list[datetime] = field(default_factory=list)
    waits_for: timedelta = timedelta(0)

    async def observe(self, since: datetime) -> Sequence[MarketObservation]:
        self.asked_since.append(since)
        await asyncio.sleep(self.waits_for.total_seconds())
        if self.failure is not None:
            raise self.failure
        return self.says

    async def check(self) -> Sequence[Finding]:
        return []

    async def close(self) -> None:
        """Nothing is open."""
