"""Monitors as a strategy makes them, and what tests ask of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import redis

from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.outbox import entries_between
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import START
from basis_pipeline_tests.rigs.redis_server import RedisServer

CAPITAL = "1000"
PATIENCE_S = 15.0

_Result = TypeVar("_Result")


def backtest(home: Path, capital: Any = CAPITAL, share_class: str = "USDT", **config: Any) -> PositionMonitor:
    return PositionMonitor({"home": home, "start": START, **config}, "backtest", capital, share_class)


def live(home: Path, capital: Any = CAPITAL, share_class: str = "USDT", **config: Any) -> PositionMonitor:
    return PositionMonitor({"home": home, "start": START, **config}, "live", capital, share_class)


def run(
    monitor: PositionMonitor | AbstractAsyncContextManager[PositionMonitor],
    work: Callable[[PositionMonitor], Coroutine[Any, Any, _Result]],
) -> _Result:
    """Do the work with the monitor in an event loop, and close it."""

    async def main() -> _Result:
        async with monitor as opened:
            return await work(opened)

    return asyncio.run(main())


def updated(monitor: PositionMonitor, *payloads: dict[str, Any]) -> list[dict[str, Any]]:
    """The snapshots that the updates return, one after the other; the monitor is closed afterwards."""

    async def work(opened: PositionMonitor) -> list[dict[str, Any]]:
        return [await opened.update(payload) for payload in payloads]

    return run(monitor, work)


def stored(monitor: PositionMonitor) -> list[Entry]:
    """All entries of the monitor's portfolio by sequence."""
    return entries_between(monitor._ledger.engine, monitor.portfolio, 0, 1_000_000)


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait, not for ever, until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        await asyncio.sleep(0.01)


class Subscriber:
    """Someone who listens on the channel and reads the key, with a plain client."""

    def __init__(self, server: RedisServer) -> None:
        self.client = redis.Redis.from_url(server.url, decode_responses=True)
        self._channel = self.client.pubsub(ignore_subscribe_messages=True)
        self._channel.subscribe("position:updated")
        self._channel.get_message(timeout=1)
        self.told: list[dict[str, Any]] = []

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._channel.close()
        self.client.close()

    def hears(self) -> list[dict[str, Any]]:
        """Everything told so far."""
        while (message := self._channel.get_message(timeout=0.02)) is not None:
            self.told.append(json.loads(message["data"]))
        return self.told

    def sequences(self) -> list[int]:
        return [message["ledger_sequence"] for message in self.hears()]

    def snapshot(self, key: str = "position:snapshot") -> dict[str, Any]:
        text = self.client.get(key)
        assert isinstance(text, str), f"{key} is not set"
        found: dict[str, Any] = json.loads(text)
        return found


def in_order(sequences: Iterable[int]) -> list[int]:
    """The sequences with repetitions left out, as a subscriber does that has seen them."""
    found: list[int] = []
    for sequence in sequences:
        if not found or sequence > found[-1]:
            found.append(sequence)
    return found
