"""An equity monitor as the settings of a home want it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from basis_pipeline.home import Home
from basis_pipeline.live import redis_url
from basis_pipeline.monitors.equity import open_equity
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.ledger_updates import LedgerUpdates
from basis_pipeline.monitors.monitor_status import Failure, Updates
from basis_pipeline.monitors.simulated_time import SimulatedTime


@asynccontextmanager
async def open_equity_monitor(
    home: Home,
    portfolio: str,
    *,
    on_error: Callable[[Failure], object] | None = None,
    simulated: SimulatedTime | None = None,
) -> AsyncIterator[EquityMonitor]:
    """A monitor of the portfolio's equity by its ledger, with interval, threshold, floor and measure of ``equity:``.

    Live, updates on Redis wake it; without Redis and in a backtest, new entries of the ledger. ``simulated`` is the
    time of a backtest whose home was opened with its clock; then only time matters. When the block ends the monitor is
    stopped. ``UnknownNameError`` when the ledger does not have the portfolio.
    """
    given = home.settings.equity
    share_class = home.ledger.snapshot().state(portfolio).share_class
    time: dict[str, Any] = {} if simulated is None else {"monotonic": simulated.monotonic, "sleep": simulated.sleep}
    async with open_equity(home, portfolio) as calculator:
        monitor = EquityMonitor(
            calculator,
            given.update_interval.total_seconds(),
            threshold=given.change_threshold,
            floor=given.change_floor["ETH" if share_class == "ETH" else "USDT"],
            measure=given.change_of,
            updates=_updates(home, portfolio) if simulated is None else None,
            on_error=on_error,
            **time,
        )
        try:
            yield monitor
        finally:
            monitor.stop_monitoring()
            await monitor.ended()


def _updates(home: Home, portfolio: str) -> Updates:
    url = redis_url(home) if home.live else None
    if url is None:
        return LedgerUpdates(home.ledger, portfolio)
    from basis_pipeline.monitors.equity_updates import RedisUpdates

    return RedisUpdates(url, portfolio)
