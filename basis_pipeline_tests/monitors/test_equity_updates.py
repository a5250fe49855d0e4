"""A change in the ledger reaches who watches equity, over a real Redis, whatever becomes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.errors import PublishingError
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.monitors import equity_updates, publisher
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.equity_updates import RedisUpdates
from basis_pipeline.monitors.monitor_status import UpdatesState
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from basis_pipeline_tests.builders import payload, wallet
from basis_pipeline_tests.monitors.builders import Subscriber, live, until
from basis_pipeline_tests.monitors.watched import DUE_S, ended, started
from basis_pipeline_tests.rigs.redis_server import HOST, RedisServer, free_port

DAY_S = 86_400.0
USD = {"USDT": Decimal(1), "ETH": Decimal(3000)}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as in production, sooner."""
    monkeypatch.setattr(publisher, "WATCH_INTERVAL_S", 0.05)
    monkeypatch.setattr(publisher, "BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr(publisher, "BACKOFF_MAX_S", 0.1)


class Prices:
    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        return {asset: USD[asset] for asset in assets}


@dataclass
class Watched:
    """A monitor over the ledger of a position monitor, and what it told."""

    monitor: EquityMonitor
    updates: RedisUpdates
    positions: PositionMonitor
    told: list[EquitySnapshot] = field(default_factory=list)

    def equities(self) -> list[Decimal]:
        return [snapshot.total_equity for snapshot in self.told]

    async def listening(self) -> None:
        await until(lambda: self.updates.state.listening, "it listens")
        await self.calm()

    async def calm(self) -> None:
        """Everything that woke it so far is calculated."""
        run = self.monitor._run
        assert run is not None
        await until(
            lambda: self.monitor.status.activity == "waiting" and not run.due_at_once.is_set(), "nothing is due"
        )


@asynccontextmanager
async def watched(home: Path, url: str, interval_s: float = DAY_S) -> AsyncIterator[Watched]:
    """A live position monitor, and an equity monitor of the same portfolio, which runs."""
    async with live(home) as positions:
        interfaces = ledger_interfaces(positions._ledger, "default", DEFAULT_REGISTRY)
        updates = RedisUpdates(url, "default")
        monitor = EquityMonitor(EquityCalculator(interfaces, Prices()), interval_s, updates=updates)
        found = Watched(monitor, updates, positions)
        monitor.add_callback(found.told.append)
        task = await started(monitor)
        try:
            yield found
        finally:
            monitor.stop_monitoring()
            await ended(task)


def gain(eth: object = 1) -> dict[str, Any]:
    return payload("DEPOSIT", wallet("ETH", str(eth)), minute=1)


def test_an_update_reaches_the_callback_with_the_equity_after_it(home: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with watched(home, redis_server.url) as seen:
            await seen.listening()
            assert seen.equities() == [1000]
            began = time.monotonic()
            await seen.positions.update(gain())
            await until(lambda: len(seen.told) == 2, "it is told")
            assert time.monotonic() - began < 5, "not by time"
            assert seen.equities() == [1000, 4000]
            assert seen.told[-1].ledger_sequence == 2
            assert seen.updates.state == UpdatesState(True, 1, 0, None)

    asyncio.run(main())


def test_after_a_burst_of_updates_the_last_snapshot_is_exact(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with watched(tmp_path, redis_server.url) as seen:
            await seen.listening()
            for _ in range(100):
                await seen.positions.update(gain("0.01"))
            await until(lambda: seen.updates.state.messages == 100, "every message arrives")
            await seen.calm()
            assert seen.monitor.last_snapshot is not None
            assert seen.monitor.last_snapshot.ledger_sequence == 101
            assert seen.monitor.last_snapshot.total_equity == 4000
            assert seen.monitor.calculations <= 103

    asyncio.run(main())


def test_messages_of_other_portfolios_and_those_of_nobody_wake_nobody(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def main() -> None:
        async with watched(tmp_path, redis_server.url) as seen:
            await seen.listening()
            before = seen.monitor.calculations
            with Subscriber(redis_server) as teller:
                for message in ("nonsense", "[1]", "{}", '{"portfolio": "other", "ledger_sequence": 2}'):
                    teller.client.publish("position:updated", message)
                teller.client.publish("position:updated", '{"portfolio": "default", "ledger_sequence": 2}')
            await until(lambda: seen.updates.state.messages, "its own arrives")
            await seen.calm()
            assert seen.updates.state.messages == 1
            assert seen.monitor.calculations == before + 1

    asyncio.run(main())


def test_a_message_that_is_no_text_costs_one_connection(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with watched(tmp_path, redis_server.url) as seen:
            await seen.listening()
            before = seen.monitor.calculations
            with Subscriber(redis_server) as teller:
                teller.client.publish("position:updated", b"\xff\xfe")
                await until(lambda: seen.updates.state.interruptions, "it is noticed")
                await until(lambda: seen.updates.state.listening, "it listens again")
                await until(lambda: seen.monitor.calculations > before, "it looks at what was missed")
                teller.client.publish("position:updated", '{"portfolio": "default", "ledger_sequence": 2}')
                await until(lambda: seen.updates.state.messages, "the next one is heard")
            assert seen.monitor.last_error is None

    asyncio.run(main())


def test_a_flood_of_messages_leaves_time_for_others(redis_server: RedisServer) -> None:
    async def main() -> None:
        updates = RedisUpdates(redis_server.url)
        turns = [0]
        longest = [0]

        def wake() -> None:
            longest[0] = max(longest[0], updates.state.messages - turns[0])

        listening = asyncio.create_task(updates.listen(wake))
        await until(lambda: updates.state.listening, "it listens")
        with Subscriber(redis_server) as teller:
            batch = teller.client.pipeline(transaction=False)
            for _ in range(500):
                batch.publish("position:updated", '{"portfolio": "default"}')
            batch.execute()
        while updates.state.messages < 500:
            turns[0] = updates.state.messages
            await asyncio.sleep(0)
        assert longest[0] < 10
        listening.cancel()
        await asyncio.wait([listening])

    asyncio.run(main())


def test_updates_of_all_portfolios_can_be_listened_to(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        woken: list[int] = []
        updates = RedisUpdates(redis_server.url)
        listening = asyncio.create_task(updates.listen(lambda: woken.append(1)))
        await until(lambda: updates.state.listening, "it listens")
        async with live(tmp_path) as one, live(tmp_path, portfolio="other") as other:
            await one.update(gain())
            await other.update(gain())
            await until(lambda: updates.state.messages >= 2, "both are heard")
        listening.cancel()
        await asyncio.wait([listening])
        assert not updates.state.listening
        assert len(woken) == updates.state.messages + 1

    asyncio.run(main())


def test_while_redis_is_killed_time_goes_on_and_afterwards_what_was_missed_is_seen(
    home: Path, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with watched(home, redis_server.url) as seen:
            await seen.listening()
            redis_server.kill()
            await until(lambda: not seen.updates.state.listening, "it notices")
            assert seen.updates.state.error is not None
            assert "Redis cannot be reached" in seen.updates.state.error
            await seen.positions.update(gain())
            await until(lambda: len(seen.positions._ledger.snapshot().heads()) == 1, "the ledger has it")
            assert seen.equities() == [1000]
            redis_server.start()
            await until(lambda: seen.equities() == [1000, 4000], "it is seen, with no update after it")
            assert seen.updates.state.listening
            assert seen.updates.state.error is None
            assert seen.updates.state.interruptions == 1
            await seen.positions.update(gain())
            await until(lambda: seen.equities()[-1] == 7000, "it is woken again")

    asyncio.run(main())
    assert caplog.text.count("updates cannot be listened to") == 1
    assert caplog.text.count("Redis is back; updates are listened to again") == 1
    assert str(redis_server.port) not in caplog.text
    assert "wrong-horse" not in caplog.text


def test_the_interval_goes_on_while_redis_is_away(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with watched(tmp_path, redis_server.url, interval_s=0.02) as seen:
            await seen.listening()
            redis_server.kill()
            await until(lambda: not seen.updates.state.listening, "it notices")
            before = seen.monitor.calculations
            await seen.positions.update(gain())
            await until(lambda: seen.equities() == [1000, 4000], "seen by time")
            await until(lambda: seen.monitor.calculations > before + 3, "it goes on")
            assert not seen.updates.state.listening
            assert seen.monitor.last_error is None
            redis_server.start()

    asyncio.run(main())


def test_after_a_connection_that_was_only_cut_it_looks_once(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        async with watched(tmp_path, redis_server.url) as seen:
            await seen.listening()
            before = seen.monitor.calculations
            with Subscriber(redis_server) as other:
                other.client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: seen.updates.state.interruptions, "it has noticed")
            await until(lambda: seen.updates.state.listening, "it has connected anew")
            await seen.calm()
            assert seen.updates.state == UpdatesState(True, 0, 1, None)
            assert seen.monitor.calculations == before + 1

    asyncio.run(main())


def test_a_redis_that_hangs_is_noticed(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(equity_updates, "QUIET_S", 0.4)

    async def main() -> None:
        async with watched(tmp_path, redis_server.url) as seen:
            await seen.listening()
            messages = seen.updates.state.messages
            await asyncio.sleep(1)
            assert seen.updates.state == UpdatesState(True, messages, 0, None), "silence alone is no interruption"
            redis_server.hang()
            await until(lambda: not seen.updates.state.listening, "it notices")
            assert seen.updates.state.error == "Redis does not answer in time"
            await seen.positions.update(gain())
            redis_server.resume()
            await until(lambda: seen.equities() == [1000, 4000], "what was missed is seen")
            await seen.listening()

    asyncio.run(main())


def test_a_redis_that_is_away_at_the_start_is_waited_for(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        later = RedisServer(password="wrong-horse")
        async with watched(tmp_path, later.url) as seen:
            await until(lambda: seen.updates.state.error, "it notices")
            await until(lambda: seen.equities() == [1000], "the first calculation needs no Redis")
            await seen.positions.update(gain())
            with later:
                await until(lambda: seen.equities() == [1000, 4000], "it looks when it can listen")
                assert seen.updates.state.listening

    asyncio.run(main())


def test_whenever_it_is_cancelled_it_ends(redis_server: RedisServer) -> None:
    async def main() -> None:
        for number in range(120):  # the client loses about one of ten cancellations while it connects
            listening = asyncio.create_task(RedisUpdates(redis_server.url).listen(_nothing))
            await asyncio.sleep(number * 0.0002)
            listening.cancel()
            await asyncio.wait([listening], timeout=DUE_S)
            assert listening.cancelled(), f"cancelled after {number * 0.2:.1f} ms"

    asyncio.run(main())


def test_a_wrong_password_is_said_without_it(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        updates = RedisUpdates(f"redis://:secret-word@{HOST}:{redis_server.port}/0")
        listening = asyncio.create_task(updates.listen(_nothing))
        await until(lambda: updates.state.error, "it is refused")
        assert updates.state.error == "Redis refuses the user or password"
        listening.cancel()
        await asyncio.wait([listening])

    asyncio.run(main())


def test_the_wait_for_redis_grows_to_its_limit_however_long_it_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def main() -> None:
        enough = asyncio.Event()
        sleep = asyncio.sleep

        async def note(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) > 30:
                enough.set()
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", note)
        updates = RedisUpdates(f"redis://{HOST}:{free_port()}/0")
        listening = asyncio.create_task(updates.listen(_nothing))
        await asyncio.wait_for(enough.wait(), 15)
        listening.cancel()
        await asyncio.wait([listening])
        assert updates.state.interruptions == 1

    asyncio.run(main())
    assert waits[:4] == [0.02, 0.04, 0.08, 0.1]
    assert set(waits[3:]) == {0.1}


def test_what_is_not_a_url_is_refused_at_once() -> None:
    with pytest.raises(PublishingError, match="is not a Redis URL"):
        RedisUpdates("localhost:6379")


def _nothing() -> None:
    """What waking does where nobody sleeps."""
