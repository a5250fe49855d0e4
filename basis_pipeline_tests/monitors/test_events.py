"""Listening to the channel: each entry once and in order, whatever the channel drops, repeats or garbles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.errors import PublishingError
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.monitors import events
from basis_pipeline.monitors.events import follow, recent
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import payload, update, wallet
from basis_pipeline_tests.monitors.builders import PATIENCE_S, Subscriber, live, run, until
from basis_pipeline_tests.rigs.redis_server import HOST, RedisServer, free_port


def gain() -> dict[str, Any]:
    return payload("DEPOSIT", wallet("ETH", "1"), minute=1)


async def heard(entries: AsyncIterator[Entry], count: int) -> list[int]:
    """The sequences of the next entries."""
    return [(await asyncio.wait_for(anext(entries), PATIENCE_S)).sequence for _ in range(count)]


def test_a_follower_hears_every_entry_once_over_gaps_repetitions_and_a_restart(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "RECONNECT_S", 0.02)
    monkeypatch.setattr(events, "_POLL_S", 0.05)
    remarks: list[str] = []

    async def work(monitor: PositionMonitor) -> None:
        ledger = monitor._ledger
        async with aclosing(follow(redis_server.url, ledger, ["default"], remarks.append)) as entries:
            next_one = asyncio.create_task(heard(entries, 1))
            await until(lambda: remarks, "it listens")
            await monitor.update(gain())
            assert await next_one == [2]

            with Subscriber(redis_server) as teller:
                ledger.append_many("default", [update("DEPOSIT", wallet("ETH", "1"), minute=1) for _ in range(2)])
                for message in (
                    "nonsense",
                    '{"portfolio": "unknown", "ledger_sequence": 9}',
                    '{"portfolio": "default", "ledger_sequence": 2}',
                    '{"portfolio": "default", "ledger_sequence": 4}',
                ):
                    teller.client.publish("position:updated", message)
            assert await heard(entries, 2) == [3, 4]

            next_one = asyncio.create_task(heard(entries, 2))
            redis_server.kill()
            await until(lambda: any("waiting for it" in remark for remark in remarks), "it notices")
            await monitor.update(gain())
            await monitor.update(gain())
            redis_server.start()
            assert await next_one == [5, 6]
        assert any("none of ours" in remark for remark in remarks)
        assert any("connected to Redis again" in remark for remark in remarks)

    run(live(tmp_path), work)


def test_a_follower_does_not_wait_for_a_redis_that_was_never_there(tmp_path: Path, redis_server: RedisServer) -> None:
    async def work(monitor: PositionMonitor) -> None:
        nowhere = f"redis://:secret-word@{HOST}:{free_port()}/0"
        with pytest.raises(PublishingError, match="cannot be reached") as caught:
            await heard(follow(nowhere, monitor._ledger, ["default"], lambda _: None), 1)
        assert "secret-word" not in str(caught.value)

    run(live(tmp_path), work)


def test_recent_entries_of_several_portfolios_come_in_the_order_they_were_recorded(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        async with live(tmp_path, portfolio="other") as other:
            for each in (monitor, other, monitor):
                await each.update(gain())
        found = recent(monitor._ledger, ["default", "other"], 4)
        assert [(entry.portfolio, entry.sequence) for entry in found] == [
            ("other", 1),
            ("default", 2),
            ("other", 2),
            ("default", 3),
        ]

    run(live(tmp_path), work)
