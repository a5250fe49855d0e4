"""What subscribers of a real Redis see: every entry in order, whatever happens to Redis or to who publishes."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.errors import PublishingError
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.outbox import PublishingState, publishing_state
from basis_pipeline.monitors import publisher
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import payload, perp, token, update, wallet
from basis_pipeline_tests.ledger.writer import start, told
from basis_pipeline_tests.monitors import writer
from basis_pipeline_tests.monitors.builders import Subscriber, backtest, in_order, live, run, stored, until, updated
from basis_pipeline_tests.rigs.redis_server import RedisServer


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same as in production, sooner."""
    monkeypatch.setattr(publisher, "WATCH_INTERVAL_S", 0.05)
    monkeypatch.setattr(publisher, "BACKOFF_FIRST_S", 0.02)
    monkeypatch.setattr(publisher, "BACKOFF_MAX_S", 0.1)


def gain(**more: Any) -> dict[str, Any]:
    return payload("DEPOSIT", wallet("ETH", "1"), minute=1, **more)


def publishing(monitor: PositionMonitor) -> PublishingState:
    [found] = publishing_state(monitor._ledger.engine)
    return found


def test_when_an_update_returns_its_message_and_its_snapshot_are_published(
    home: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            snapshot = await monitor.update(
                payload(
                    "PERP_OPENED", perp("OPEN", "-1", entry_price="3000"), token("binance", "USDT", "-1.5"), minute=5
                )
            )
            assert subscriber.hears() == [
                {
                    "timestamp": "2024-05-12T01:05:00Z",
                    "trigger": "PERP_OPENED",
                    "changes_count": 2,
                    "ledger_sequence": 2,
                    "portfolio": "default",
                }
            ]
            assert subscriber.snapshot() == json.loads(monitor.to_json(snapshot))
            assert subscriber.snapshot()["cex_accounts"]["binance"]["USDT"] == "-1.5"

    run(live(home), work)


def test_a_refused_update_and_a_duplicate_tell_nobody(home: Path, redis_server: RedisServer) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(gain(entry_id="once"))
        with Subscriber(redis_server) as subscriber:
            before = subscriber.snapshot()
            await monitor.update(gain(entry_id="once"))
            with pytest.raises(ValueError, match="would be -1"):
                await monitor.update(payload("WITHDRAWAL", wallet("BTC", "-1"), minute=1))
            assert subscriber.hears() == []
            assert subscriber.snapshot() == before

    run(live(home), work)


def test_a_new_portfolio_tells_of_its_capital_and_an_old_one_begins_with_its_newest_entry(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def look(_: PositionMonitor) -> None:
        return None

    with Subscriber(redis_server) as subscriber:
        run(live(tmp_path / "new"), look)
        assert subscriber.sequences() == [1]
        updated(backtest(tmp_path / "old"), *(gain() for _ in range(4)))
        assert subscriber.sequences() == [1], "a backtest tells nobody"
        run(live(tmp_path / "old"), look)
        assert subscriber.sequences() == [1, 5]
        assert subscriber.snapshot()["wallet"]["ETH"] == "4"


def test_in_a_home_with_several_portfolios_each_has_a_key(tmp_path: Path, redis_server: RedisServer) -> None:
    async def work(first: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            await first.update(gain())
            assert subscriber.snapshot()["portfolio"] == "default"
            async with live(tmp_path, portfolio="other") as second:
                await second.update(gain())
                assert subscriber.snapshot("position:snapshot:other")["portfolio"] == "other"
            assert {each["portfolio"] for each in subscriber.hears()} == {"default", "other"}

    async def later(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            assert subscriber.client.get("position:snapshot") is None
            assert subscriber.snapshot("position:snapshot:default")["ledger_sequence"] == 2

    run(live(tmp_path), work)
    run(live(tmp_path), later)


def test_updates_go_on_while_redis_is_gone_and_are_told_when_it_is_back(home: Path, redis_server: RedisServer) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(gain())
        redis_server.kill()
        began = time.monotonic()
        for _ in range(20):
            snapshot = await monitor.update(gain())
        assert time.monotonic() - began < 5
        assert snapshot["wallet"]["ETH"] == 21
        state = publishing(monitor)
        assert state.failing
        assert state.pending >= 20
        assert state.error is not None
        assert "cannot be reached" in state.error
        assert "127.0.0.1" not in state.error
        assert str(redis_server.port) not in state.error
        redis_server.start()
        with Subscriber(redis_server) as subscriber:
            await until(lambda: 22 in subscriber.sequences(), "Redis is told what it missed, with no further update")
            assert in_order(subscriber.sequences())[-1] == 22
            first = subscriber.sequences()[0]
            assert in_order(subscriber.sequences()) == list(range(first, 23)), "no gap"
            assert subscriber.snapshot()["ledger_sequence"] == 22
        await until(lambda: not publishing(monitor).failing, "the recovery shows")
        assert publishing(monitor).pending == 0

    run(live(home), work)


def test_a_redis_that_was_away_for_hours_is_tried_again_like_any_other(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        own = monitor._publisher
        assert own is not None
        redis_server.kill()
        own._failures = 5000
        await monitor.update(gain())
        assert own._failures > 5000
        redis_server.start()
        await until(lambda: not own._failures, "it publishes again")

    run(live(tmp_path), work)


def test_a_subscriber_that_stays_sees_every_entry_over_a_redis_that_hangs(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            await monitor.update(gain())
            redis_server.hang()
            began = time.monotonic()
            await monitor.update(gain())
            first = time.monotonic() - began
            assert first < 2 * publisher.ANSWER_TIMEOUT_S + 0.5, "an update does not wait for long"
            await until(lambda: publishing(monitor).failing, "the failure shows")
            for _ in range(5):
                await monitor.update(gain())
            redis_server.resume()
            await until(lambda: 8 in subscriber.sequences(), "everything is told")
            assert in_order(subscriber.sequences()) == list(range(2, 9))

    run(live(tmp_path), work)


def test_a_redis_that_lost_its_data_gets_the_snapshot_again_by_itself(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(gain())
        redis_server.restart()
        with Subscriber(redis_server) as subscriber:
            await until(lambda: subscriber.client.exists("position:snapshot"), "the key is back")
            assert subscriber.snapshot()["ledger_sequence"] == 2
            await monitor.update(gain())
            assert subscriber.sequences() == [3]

    run(live(tmp_path), work)


def test_what_a_killed_process_did_not_tell_is_told_by_the_next(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, pipe = start(writer.updates_until_killed, tmp_path, {"BASIS_REDIS_URL": redis_server.url})
    with Subscriber(redis_server) as subscriber:
        assert pipe.recv() == 2
        redis_server.kill()
        while pipe.recv() < 10:
            pass
        process.kill()
        process.join()
    redis_server.start()
    with Subscriber(redis_server) as subscriber:

        async def work(monitor: PositionMonitor) -> None:
            head = len(stored(monitor))
            assert head >= 10
            await until(lambda: head in subscriber.sequences(), "the rest is told")
            assert {*range(3, head + 1)} <= set(subscriber.sequences())

        run(live(tmp_path), work)


def test_entries_that_others_wrote_are_told_before_the_next_and_without_one(
    home: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        with (
            Subscriber(redis_server) as subscriber,
            Ledger(monitor._ledger.engine.url.render_as_string(False)) as other,
        ):
            other.append("default", update("DEPOSIT", wallet("ETH", "1"), minute=1))
            await monitor.update(gain())
            assert subscriber.sequences() == [2, 3]
            other.append("default", update("DEPOSIT", wallet("ETH", "1"), minute=1))
            await until(lambda: subscriber.sequences() == [2, 3, 4], "the watcher tells of it")
            assert subscriber.snapshot()["wallet"]["ETH"] == "3"

    run(live(home), work)


def test_more_than_an_update_has_time_for_is_told_in_the_background_in_order(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "INLINE_MAX", 3)
    monkeypatch.setattr(publisher, "BATCH", 10)

    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            with Ledger(monitor._ledger.engine.url.render_as_string(False)) as other:
                other.append_many("default", [update("DEPOSIT", wallet("ETH", "1"), minute=1) for _ in range(40)])
            await monitor.update(gain())
            await until(lambda: 42 in subscriber.sequences(), "all of it is told")
            assert subscriber.sequences() == list(range(2, 43))

    run(live(tmp_path), work)


def test_another_ledger_on_the_same_redis_begins_anew(tmp_path: Path, redis_server: RedisServer) -> None:
    updated(live(tmp_path / "one"), *(gain() for _ in range(5)))
    with Subscriber(redis_server) as subscriber:
        updated(live(tmp_path / "two"), gain())
        assert subscriber.sequences() == [1, 2]
        assert subscriber.snapshot()["ledger_sequence"] == 2


def test_a_ledger_put_back_from_a_backup_is_told_on(tmp_path: Path, redis_server: RedisServer) -> None:
    home, backup = tmp_path / "home", tmp_path / "backup.db"
    updated(live(home), gain())
    with closing(sqlite3.connect(home / "ledger.db")) as ledger:
        ledger.execute("VACUUM INTO ?", (str(backup),))
    updated(live(home), *(gain() for _ in range(5)))
    for file in home.glob("ledger.db*"):
        file.unlink()
    backup.rename(home / "ledger.db")
    with Subscriber(redis_server) as subscriber:
        assert subscriber.snapshot()["ledger_sequence"] == 7
        updated(live(home), gain())
        assert in_order(subscriber.sequences())[-1] == 3
        assert subscriber.snapshot()["ledger_sequence"] == 3


def test_an_older_snapshot_never_replaces_a_newer_one(tmp_path: Path, redis_server: RedisServer) -> None:
    async def work(monitor: PositionMonitor) -> None:
        own = monitor._publisher
        assert own is not None
        old = (monitor._state.sequence, monitor._state.json())
        await monitor.update(gain())
        with Subscriber(redis_server) as subscriber:
            newest = subscriber.snapshot()
            assert await own._tell(*old) == 2
            assert await own._tell(*old, 2, "{}") == 2, "a message comes once"
            assert subscriber.snapshot() == newest
            assert subscriber.hears() == []

    run(live(tmp_path), work)


def test_two_processes_that_write_at_once_have_one_order_without_gaps(home: Path, redis_server: RedisServer) -> None:
    variables = {"BASIS_REDIS_URL": redis_server.url}
    if url := os.environ.get("BASIS_LEDGER__URL"):
        variables["BASIS_LEDGER__URL"] = url
    count = 25
    asyncio.run(live(home).close())
    with Subscriber(redis_server) as subscriber:
        writers = [start(writer.updates, home, variables, own, count) for own in ("a", "b")]
        answers = [told(pipe) for _, pipe in writers]
        for process, _ in writers:
            process.join()
        head = 1 + 3 * count
        assert in_order(subscriber.sequences()) == [*range(subscriber.sequences()[0], head + 1)]
        assert subscriber.sequences() == sorted(set(subscriber.sequences())), "each once, in order"
        assert subscriber.snapshot()["ledger_sequence"] == head
        assert subscriber.snapshot()["wallet"]["ETH"] == str(3 * count)

    async def look(monitor: PositionMonitor) -> None:
        entries = stored(monitor)
        assert [entry.sequence for entry in entries] == list(range(1, head + 1))
        assert len({entry.update.id for entry in entries}) == head
        assert publishing(monitor).pending == 0

    run(live(home), look)
    for own in answers:
        assert own[1:] == sorted(own[1:]), "nobody is shown a state older than one before"


def test_closing_notes_how_far_publishing_is(home: Path, redis_server: RedisServer) -> None:
    monitor = live(home)
    updated(monitor, gain(), gain())
    with Ledger(monitor._ledger.engine.url.render_as_string(False)) as ledger:
        [state] = publishing_state(ledger.engine)
        assert (state.portfolio, state.published_sequence, state.head_sequence) == ("default", 3, 3)
        assert (state.pending, state.failing, state.error) == (0, False, None)
        assert state.published_at is not None
        assert state.published_at <= datetime.now(UTC)


def test_a_live_monitor_belongs_to_one_event_loop_and_says_so_before_it_writes(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    monitor = live(tmp_path)

    async def first() -> None:
        await monitor.update(gain())

    async def second() -> None:
        with pytest.raises(PublishingError, match="belongs to another event loop"):
            await monitor.update(gain())
        assert len(stored(monitor)) == 2

    async def both() -> None:
        await first()
        await asyncio.to_thread(lambda: asyncio.run(second()))
        await monitor.close()

    asyncio.run(both())


def test_redis_that_refuses_to_write_is_reported_and_overcome(tmp_path: Path, redis_server: RedisServer) -> None:
    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            subscriber.client.config_set("maxmemory", "1")
            snapshot = await monitor.update(gain())
            assert snapshot["ledger_sequence"] == 2
            state = publishing(monitor)
            assert state.error is not None
            assert "maxmemory" in state.error
            subscriber.client.config_set("maxmemory", "0")
            await until(lambda: 2 in subscriber.sequences(), "it is told when there is memory again")

    run(live(tmp_path), work)


async def cancelled_after(steps: int, monitor: PositionMonitor) -> bool:
    """Whether an update that is cancelled after so many steps of the event loop had ended by then."""
    task = asyncio.create_task(monitor.update(gain()))
    for _ in range(steps):
        await asyncio.sleep(0)
    if task.done():
        return True
    task.cancel()
    with pytest.raises(asyncio.CancelledError):  # a client that takes it for a timeout must not swallow it
        await task
    return False


def test_an_update_cancelled_at_any_moment_leaves_ledger_memory_and_redis_agreed(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        steps = 0
        with Subscriber(redis_server) as subscriber:
            while not await cancelled_after(steps, monitor):
                head = len(stored(monitor))
                assert monitor._state.snapshot() == monitor.get_snapshot()
                assert monitor.get_snapshot()["ledger_sequence"] == head
                await until(lambda head=head: subscriber.snapshot()["ledger_sequence"] == head, "Redis has it")
                steps += 1
            assert steps > 3
            assert subscriber.sequences() == [*range(2, len(stored(monitor)) + 1)]

    run(live(tmp_path), work)


def test_a_monitor_whose_first_update_was_cancelled_goes_on_watching(tmp_path: Path, redis_server: RedisServer) -> None:
    async def main() -> None:
        monitor = live(tmp_path)
        redis_server.hang()
        task = asyncio.create_task(monitor.update(gain()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        redis_server.resume()
        with (
            Subscriber(redis_server) as subscriber,
            Ledger(monitor._ledger.engine.url.render_as_string(False)) as other,
        ):
            other.append("default", update("DEPOSIT", wallet("ETH", "1"), minute=1))
            await until(lambda: 2 in subscriber.sequences(), "the watcher tells of it")
        await monitor.close()

    asyncio.run(main())


def test_updates_that_come_in_thousands_are_published_when_they_return(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            await asyncio.gather(*(monitor.update(gain()) for _ in range(1000)))
            assert subscriber.snapshot()["ledger_sequence"] == 1001
            assert subscriber.sequences() == [*range(2, 1002)]

    run(live(tmp_path), work)


def test_a_monitor_that_nobody_closed_lets_go_of_redis_with_its_event_loop(
    tmp_path: Path, redis_server: RedisServer
) -> None:
    monitor = live(tmp_path)

    async def work() -> None:
        await monitor.update(gain())

    asyncio.run(work())
    with Subscriber(redis_server) as subscriber:
        assert len(subscriber.client.client_list()) == 2, "the subscriber's own"
    asyncio.run(monitor.close())
