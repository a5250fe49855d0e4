"""A journal lived through hour by hour: told to a position monitor as it happens, and valued by the live code path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from basis_pipeline.home import open_home
from basis_pipeline.monitors.equity import open_equity
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.position_monitor import PositionMonitor

HOUR = timedelta(hours=1)


@dataclass
class LiveReplay:
    """A fund whose time is set: what happened up to then is told to ``positions``, and ``equity`` values it then."""

    positions: PositionMonitor
    equity: EquityCalculator
    share_class: str
    now: list[datetime]
    coming: Iterator[Mapping[str, Any]]
    updates: int = 0
    _next: Mapping[str, Any] | None = field(default=None, init=False)

    async def go_to(self, moment: datetime) -> None:
        """Tell what happened until the moment, one update after the other, and let it be the time."""
        self._next = self._next or next(self.coming, None)
        while self._next is not None and (at := datetime.fromisoformat(self._next["timestamp"])) <= moment:
            self.now[0] = at
            await self.positions.update(self._next)
            self.updates += 1
            self._next = next(self.coming, None)
        self.now[0] = moment

    async def hours(
        self, first: datetime, last: datetime, step: timedelta = HOUR
    ) -> AsyncIterator[tuple[datetime, EquitySnapshot]]:
        """Equity at every hour from first to last, or at every so many."""
        hour = first
        while hour <= last:
            await self.go_to(hour)
            yield hour, await self.equity.calculate_equity(self.share_class)
            hour += step


@asynccontextmanager
async def live_replay(
    home: Path,
    portfolio: str,
    capital: Decimal,
    share_class: str,
    start: datetime,
    payloads: Iterable[Mapping[str, Any]],
) -> AsyncIterator[LiveReplay]:
    """The portfolio of a backtest home that nothing has happened to yet, at its start."""
    now = [start]
    config = {"home": home, "portfolio": portfolio}
    with open_home(home, clock=lambda: now[0]) as opened:
        async with (
            PositionMonitor(config, "backtest", capital, share_class) as positions,
            open_equity(opened, portfolio) as equity,
        ):
            yield LiveReplay(positions, equity, share_class, now, iter(payloads))
