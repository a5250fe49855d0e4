"""Time that passes only when somebody waits for it: what lets a backtest run live code as fast as it can."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import iso


class SimulatedTime:
    """The time from ``start`` to ``end`` for one who waits: a monitor with ``monotonic`` and ``sleep`` of this.

    What values the ledger or asks for prices is handed ``clock``.
    """

    def __init__(self, start: datetime, end: datetime) -> None:
        if end < start:
            raise InputError(f"end: {iso(end)} is before the start, {iso(start)}")
        self._start = self._now = start
        self._end = end
        self._over = asyncio.Event()

    def clock(self) -> datetime:
        """The time it is."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since the start."""
        return (self._now - self._start).total_seconds()

    async def sleep(self, seconds: float) -> None:
        """Wait so long, without waiting. What would be after the end never comes."""
        until = self._now + timedelta(seconds=seconds)
        if until > self._end:
            self._over.set()
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(0)
        self._now = until

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work until it is done or the time is over, and then it is cancelled."""
        doing, over = asyncio.create_task(work), asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([doing, over], return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                doing.result()
        finally:
            doing.cancel()
            over.cancel()
            await asyncio.gather(doing, over, return_exceptions=True)
