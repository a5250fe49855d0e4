"""What an equity monitor watches in tests: a wallet that holds USDT, valued by the real calculator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import ONE
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.simulated_time import SimulatedTime
from basis_pipeline.monitors.venue_interfaces import OtherHoldings
from basis_pipeline_tests.builders import START

DUE_S = 5.0
"""Within this, what ends "at once" has ended, however busy the machine."""


class Wallet:
    """A wallet whose balances are set by hand; ``before`` happens each time before it answers."""

    def __init__(self, usdt: object = "1000", before: Callable[[], Awaitable[object]] | None = None) -> None:
        self.usdt = Decimal(str(usdt))
        self.locked = Decimal(0)
        self.before = before
        self.asked = 0

    async def get_balances(self) -> dict[str, Decimal]:
        self.asked += 1
        if self.before is not None:
            await self.before()
        return {"USDT": self.usdt}

    async def get_other_holdings(self) -> OtherHoldings:
        return OtherHoldings(locked={"USDT": self.locked})

    def calculator(self) -> EquityCalculator:
        return EquityCalculator({"wallet": self}, EveryPriceIsOne())


class EveryPriceIsOne:
    """A price source by which the amount is the value."""

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        return dict.fromkeys(assets, ONE)


def watching(wallet: Wallet, *callbacks: Callable[[EquitySnapshot], object], **options: Any) -> EquityMonitor:
    """A monitor of the wallet that by time calculates once a day, unless told otherwise."""
    options.setdefault("update_interval", 86_400)
    monitor = EquityMonitor(wallet.calculator(), **options)
    for callback in callbacks:
        monitor.add_callback(callback)
    return monitor


def simulated(seconds: float) -> SimulatedTime:
    return SimulatedTime(START, START + timedelta(seconds=seconds))


def run_simulated(wallet: Wallet, seconds: float, told: list[Decimal], **options: Any) -> EquityMonitor:
    """A monitor's whole life of so many seconds, calculating each minute; ``told`` gets the total equities told."""
    time = options.pop("time", None) or simulated(seconds)

    async def main() -> EquityMonitor:
        monitor = watching(
            wallet,
            lambda snapshot: told.append(snapshot.total_equity),
            **{"update_interval": 60, "monotonic": time.monotonic, "sleep": time.sleep, **options},
        )
        await asyncio.wait_for(time.run(monitor.start_monitoring("USDT")), DUE_S)
        return monitor

    return asyncio.run(main())


async def started(monitor: EquityMonitor) -> asyncio.Task[None]:
    """A task that monitors."""
    return asyncio.create_task(monitor.start_monitoring("USDT"))


async def ended(task: asyncio.Task[None]) -> None:
    """It ends by itself, and soon."""
    await asyncio.wait_for(asyncio.shield(task), DUE_S)
