"""Who needs to know of equity is told in time, and nothing that fails or is slow keeps the monitor from going on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from basis_pipeline.domain.errors import InputError, MonitorError
from basis_pipeline.monitors import equity_monitor
from basis_pipeline.monitors.equity_calculator import EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.monitor_status import Failure, UpdatesState
from basis_pipeline.monitors.simulated_time import SimulatedTime
from basis_pipeline_tests.builders import START
from basis_pipeline_tests.monitors.builders import until
from basis_pipeline_tests.monitors.watched import DUE_S, Wallet, ended, run_simulated, simulated, started, watching

FOREVER = 86_400.0


def amounts(*values: object) -> list[Decimal]:
    return [Decimal(str(value)) for value in values]


def following(wallet: Wallet, *balances: object) -> Wallet:
    """The wallet holds one balance after the other, a calculation each, and then stays."""
    left = amounts(*balances)

    async def change() -> None:
        if left:
            wallet.usdt = left.pop(0)

    wallet.before = change
    return wallet


# What is told


def test_the_first_snapshot_is_told_and_then_what_is_away_from_the_value_told_last() -> None:
    wallet = following(Wallet(), 1000, "1000.6", "1001", "1001.2", "1001.9", "1000.1")
    told: list[Decimal] = []
    monitor = run_simulated(wallet, 300, told)
    assert told == amounts(1000, "1001.2", "1000.1")
    assert monitor.last_snapshot is not None
    assert monitor.last_snapshot.total_equity == Decimal("1000.1")
    assert monitor.last_notified == monitor.last_snapshot
    assert (monitor.calculations, monitor.notifications) == (6, 3)


def test_a_change_of_just_the_threshold_is_not_told() -> None:
    told: list[Decimal] = []
    run_simulated(following(Wallet(), 1000, 1010, "1010.01"), 120, told, threshold=Decimal("0.01"))
    assert told == amounts(1000, "1010.01")


def test_near_zero_the_floor_decides_and_equity_may_be_zero_or_negative() -> None:
    told: list[Decimal] = []
    run_simulated(following(Wallet(), 0, "0.9", "1.1", "-0.1", "-1"), 240, told, floor=Decimal(1000))
    assert told == amounts(0, "1.1", "-0.1")
    told.clear()
    run_simulated(following(Wallet(), 0, 0, "0.000001", "-0.000001"), 180, told)
    assert told == amounts(0, "0.000001", "-0.000001")


def test_nav_can_be_watched_instead() -> None:
    wallet, told = Wallet(), list[Decimal]()
    steps = amounts(0, 5, 5)

    async def lock() -> None:
        wallet.locked = steps.pop(0)

    wallet.before = lock
    monitor = run_simulated(wallet, 120, told, measure="nav")
    assert told == amounts(1000, 1000)
    assert monitor.last_snapshot is not None
    assert monitor.last_snapshot.nav == 1005


def test_a_callback_can_compare_what_it_is_told_with_what_was_told_before() -> None:
    seen: list[tuple[Decimal, Decimal | None, Decimal]] = []

    async def main() -> None:
        time = simulated(60)

        def compare(snapshot: EquitySnapshot) -> None:
            before, newest = monitor.last_notified, monitor.last_snapshot
            assert newest is not None
            seen.append((snapshot.total_equity, before and before.total_equity, newest.total_equity))

        wallet = following(Wallet(), 1000, 2000)
        monitor = watching(wallet, compare, update_interval=60, monotonic=time.monotonic, sleep=time.sleep)
        await time.run(monitor.start_monitoring("USDT"))

    asyncio.run(main())
    assert seen == [(1000, None, 1000), (2000, 1000, 2000)]


def test_asynchronous_callbacks_go_on_side_by_side_and_are_done_before_the_next_calculation() -> None:
    async def main() -> None:
        wallet, order, meeting = Wallet(), list[str](), asyncio.Barrier(2)

        def plain(_: EquitySnapshot) -> None:
            order.append("plain")

        async def waits(_: EquitySnapshot) -> None:
            order.append("first")
            monitor.wake()
            await meeting.wait()
            assert wallet.asked == 1

        async def meets(_: EquitySnapshot) -> None:
            order.append("second")
            await meeting.wait()

        def answers_later(snapshot: EquitySnapshot) -> Awaitable[None]:
            return meets(snapshot)

        monitor = watching(wallet, plain, waits, answers_later)
        task = await started(monitor)
        await until(lambda: wallet.asked == 2, "the next calculation")
        monitor.stop_monitoring()
        await ended(task)
        assert order == ["plain", "first", "second"]
        assert monitor.callback_failures == 0

    asyncio.run(main())


# When it is calculated


def calculated_at(time: SimulatedTime, seconds: float) -> tuple[Callable[[], Awaitable[None]], list[float]]:
    """Something to do before a wallet answers, that takes simulated seconds; and when each began."""
    began: list[float] = []

    async def take() -> None:
        began.append(time.monotonic())
        if seconds:
            await time.sleep(seconds)

    return take, began


@pytest.mark.parametrize(
    ("takes_s", "began_s", "skipped"),
    [
        (0, [0, 60, 120, 180, 240], 0),
        (7, [0, 60, 120, 180, 240], 0),
        (60, [0, 60, 120, 180, 240], 0),
        (90, [0, 120, 240], 2),
        (121, [0, 180], 2),
    ],
)
def test_calculations_are_due_at_multiples_of_the_interval_and_those_that_were_missed_are_skipped(
    takes_s: float, began_s: list[float], skipped: int
) -> None:
    time = simulated(299)
    take, began = calculated_at(time, takes_s)
    monitor = run_simulated(Wallet(before=take), 299, [], time=time)
    assert began == began_s
    assert monitor.skipped == skipped


def test_an_interval_that_binary_numbers_cannot_hold_does_not_drift() -> None:
    time = simulated(100)
    take, began = calculated_at(time, 0)
    run_simulated(Wallet(before=take), 100, [], time=time, update_interval=0.1)
    assert len(began) in (1000, 1001)
    assert began == pytest.approx([n / 10 for n in range(len(began))])


def test_being_woken_does_not_move_the_times_at_which_it_is_due() -> None:
    time = simulated(130)
    began: list[float] = []

    async def take() -> None:
        began.append(time.monotonic())
        if len(began) == 1:
            monitor.wake()
        if len(began) == 2:
            await time.sleep(10)
            monitor.wake()

    async def main() -> None:
        await time.run(monitor.start_monitoring("USDT"))

    monitor = watching(Wallet(before=take), update_interval=60, monotonic=time.monotonic, sleep=time.sleep)
    asyncio.run(main())
    assert began == [0, 0, 10, 60, 120]


def test_whoever_wakes_it_gets_a_calculation_at_once() -> None:
    async def main() -> None:
        wallet, told = Wallet(), list[Decimal]()
        monitor = watching(wallet, lambda snapshot: told.append(snapshot.total_equity))
        task = await started(monitor)
        await until(lambda: told == [1000], "the first")
        wallet.usdt = Decimal(2000)
        monitor.wake()
        await until(lambda: told == [1000, 2000], "from the same thread")
        wallet.usdt = Decimal(3000)
        await asyncio.to_thread(monitor.wake)
        await until(lambda: told == [1000, 2000, 3000], "from another")
        monitor.stop_monitoring()
        await ended(task)
        monitor.wake()
        assert monitor.status.activity == "stopped"

    asyncio.run(main())


def test_a_burst_becomes_one_calculation_that_sees_the_last_of_it() -> None:
    async def main() -> None:
        gate, running = asyncio.Event(), list[int]()

        async def pass_the_gate() -> None:
            running.append(1)
            assert len(running) == 1, "calculations overlap"
            await gate.wait()
            running.pop()

        wallet, told = Wallet(before=pass_the_gate), list[Decimal]()
        monitor = watching(wallet, lambda snapshot: told.append(snapshot.total_equity))
        task = await started(monitor)
        await until(lambda: wallet.asked == 1, "the first is under way")
        gate.set()
        await until(lambda: told == [1000], "the first is told")
        gate.clear()
        monitor.wake()
        await until(lambda: wallet.asked == 2, "the second is under way")
        for amount in range(2000, 3000):
            wallet.usdt = Decimal(amount)
            monitor.wake()
            await asyncio.sleep(0)
        assert wallet.asked == 2
        gate.set()
        await until(lambda: told[-1] == 2999, "the last is seen")
        await until(lambda: monitor.status.activity == "waiting", "it is calm")
        assert wallet.asked == 3
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())


# Stopping


async def never() -> None:
    await asyncio.Event().wait()


def stopped_when(reached: Callable[[EquityMonitor], object], wallet: Wallet, *callbacks: Any) -> EquityMonitor:
    """A monitor that was stopped when it was so far."""

    async def main() -> EquityMonitor:
        monitor = watching(wallet, *callbacks, calculation_timeout=None)
        task = await started(monitor)
        await until(lambda: reached(monitor), "it is so far")
        assert monitor.running
        monitor.stop_monitoring()
        assert not monitor.running
        await ended(task)
        assert monitor.status.activity == "stopped"
        assert len(asyncio.all_tasks()) == 1, "nothing is left behind"
        return monitor

    return asyncio.run(main())


def test_stopping_ends_it_at_once_while_it_waits() -> None:
    monitor = stopped_when(lambda monitor: monitor.status.activity == "waiting", Wallet())
    assert monitor.calculations == 1


def test_stopping_ends_it_at_once_while_it_calculates() -> None:
    monitor = stopped_when(lambda monitor: monitor.status.activity == "calculating", Wallet(before=never))
    assert (monitor.calculations, monitor.failures) == (0, 0)


def test_stopping_ends_it_at_once_while_a_slow_callback_works() -> None:
    outcome: list[str] = []

    async def slow(_: EquitySnapshot) -> None:
        try:
            await never()
        finally:
            outcome.append("cleaned up")

    monitor = stopped_when(lambda monitor: monitor.status.activity == "telling", Wallet(), slow)
    assert outcome == ["cleaned up"]
    assert (monitor.callback_failures, monitor.last_notified) == (0, None)


def test_a_calculation_that_takes_the_cancellation_for_something_else_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(equity_monitor, "RECANCEL_S", 0.01)
    heard: list[int] = []

    async def deaf() -> None:
        while len(heard) < 3:
            with suppress(asyncio.CancelledError):
                await never()
            heard.append(1)

    monitor = stopped_when(lambda monitor: monitor.status.activity == "calculating", Wallet(before=deaf))
    assert len(heard) == 3
    assert monitor.calculations == 0


def test_a_callback_that_cleans_up_is_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equity_monitor, "RECANCEL_S", 0.01)
    outcome: list[str] = []

    async def slow(_: EquitySnapshot) -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0.1)
            outcome.append("cleaned up")

    stopped_when(lambda monitor: monitor.status.activity == "telling", Wallet(), slow)
    assert outcome == ["cleaned up"]


def test_a_callback_that_stops_it_is_finished_and_nobody_is_told_after_it() -> None:
    async def main() -> None:
        done: list[str] = []

        async def is_slow(_: EquitySnapshot) -> None:
            await never()

        async def stops(_: EquitySnapshot) -> None:
            await asyncio.to_thread(monitor.stop_monitoring)
            await asyncio.sleep(0.01)
            done.append("closed positions")

        async def comes_later(_: EquitySnapshot) -> None:
            await asyncio.sleep(0)
            await never()

        monitor = watching(Wallet(), is_slow, stops, comes_later)
        await asyncio.wait_for(monitor.start_monitoring("USDT"), DUE_S)
        assert done == ["closed positions"]
        assert (monitor.notifications, monitor.callback_failures, monitor.calculations) == (1, 0, 1)

        told: list[str] = []

        def stops_at_once(_: EquitySnapshot) -> None:
            told.append("first")
            monitor.stop_monitoring()

        monitor = watching(Wallet(), stops_at_once, lambda _: told.append("second"))
        await asyncio.wait_for(monitor.start_monitoring("USDT"), DUE_S)
        assert told == ["first"]

    asyncio.run(main())


def test_a_callback_that_stopped_it_and_does_not_end_is_ended_by_a_second_stop() -> None:
    async def main() -> None:
        async def stops(_: EquitySnapshot) -> None:
            monitor.stop_monitoring()
            await never()

        monitor = watching(Wallet(), stops)
        task = await started(monitor)
        await until(lambda: monitor.status.activity == "telling" and not monitor.running, "it hangs")
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())


def test_it_can_be_woken_and_stopped_from_another_thread_and_started_again_in_another_loop() -> None:
    wallet, told = Wallet(), list[Decimal]()
    monitor = watching(wallet, lambda snapshot: told.append(snapshot.total_equity))

    def waits(calculations: int) -> None:
        def reached() -> bool:
            return monitor.status.activity == "waiting" and monitor.calculations == calculations

        asyncio.run(until(reached, f"it waits after {calculations}"))

    for start in (1, 2):
        thread = threading.Thread(target=lambda: asyncio.run(monitor.start_monitoring("USDT")))
        thread.start()
        waits(2 * start - 1)
        monitor.wake()
        waits(2 * start)
        monitor.stop_monitoring()
        thread.join(DUE_S)
        assert not thread.is_alive()
        assert told == [1000] * start, "each start tells its first snapshot"


def test_a_stop_before_the_first_step_counts_and_one_before_the_start_does_not() -> None:
    async def main() -> None:
        wallet = Wallet()
        monitor = watching(wallet)
        monitor.stop_monitoring()
        task = await started(monitor)
        monitor.stop_monitoring()
        await ended(task)
        assert wallet.asked == 0
        again = await started(monitor)
        await until(lambda: monitor.status.activity == "waiting", "it runs")
        monitor.stop_monitoring()
        await ended(again)

    asyncio.run(main())


def test_a_second_start_is_refused_and_the_first_goes_on() -> None:
    async def main() -> None:
        wallet = Wallet()
        monitor = watching(wallet)
        task = await started(monitor)
        await until(lambda: monitor.running, "it runs")
        with pytest.raises(MonitorError, match="the monitor is running"):
            await monitor.start_monitoring("USDT")
        with pytest.raises(MonitorError, match="the monitor is running"):
            await asyncio.to_thread(lambda: asyncio.run(monitor.start_monitoring("USDT")))
        monitor.wake()
        await until(lambda: wallet.asked == 2, "it goes on")
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())


def test_a_start_right_after_a_stop_waits_for_the_end() -> None:
    async def main() -> None:
        calls: list[str] = []

        async def slow(_: EquitySnapshot) -> None:
            calls.append("begun")
            try:
                await never()
            finally:
                await asyncio.sleep(0.01)
                calls.append("ended")

        monitor = watching(Wallet(), slow)
        first = await started(monitor)
        await until(lambda: calls, "the callback works")
        monitor.stop_monitoring()
        second = await started(monitor)
        await until(lambda: len(calls) == 3, "the second has begun")
        assert calls == ["begun", "ended", "begun"]
        assert first.done()
        monitor.stop_monitoring()
        await ended(second)

    asyncio.run(main())


def test_a_callback_cannot_start_the_monitor_that_calls_it() -> None:
    async def main() -> None:
        async def restarts(_: EquitySnapshot) -> None:
            monitor.stop_monitoring()
            await monitor.start_monitoring("USDT")

        monitor = watching(Wallet(), restarts)
        await asyncio.wait_for(monitor.start_monitoring("USDT"), DUE_S)
        assert monitor.last_error is not None
        assert "the monitor is running" in monitor.last_error.error

    asyncio.run(main())


def test_cancelling_its_task_ends_everything_in_it() -> None:
    async def main() -> None:
        cleaned: list[str] = []

        async def slow(_: EquitySnapshot) -> None:
            try:
                await never()
            finally:
                cleaned.append("callback")

        monitor = watching(Wallet(), slow)
        task = await started(monitor)
        await until(lambda: monitor.status.activity == "telling", "the callback works")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert cleaned == ["callback"]
        assert not monitor.running
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


# What fails


def test_a_failing_callback_stops_neither_the_others_nor_the_monitor_and_says_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures: list[Failure] = []
    told: list[Decimal] = []

    def plain(_: EquitySnapshot) -> None:
        raise ValueError("https://node.example/secret-key")

    async def asynchronous(_: EquitySnapshot) -> None:
        raise KeyError("secret-key")

    async def cancelled(_: EquitySnapshot) -> None:
        raise asyncio.CancelledError

    async def main() -> EquityMonitor:
        time = simulated(60)
        monitor = watching(
            following(Wallet(), 1000, 2000),
            plain,
            asynchronous,
            cancelled,
            lambda snapshot: told.append(snapshot.total_equity),
            update_interval=60,
            on_error=failures.append,
            monotonic=time.monotonic,
            sleep=time.sleep,
        )
        await time.run(monitor.start_monitoring("USDT"))
        return monitor

    monitor = asyncio.run(main())
    assert told == [1000, 2000]
    assert (monitor.callback_failures, monitor.failures, monitor.notifications) == (6, 0, 2)
    assert [type(failure.exception) for failure in failures[:3]] == [ValueError, KeyError, asyncio.CancelledError]
    assert failures[0].of.endswith("plain")
    assert "ValueError in" in failures[0].error
    assert "plain (test_equity_monitor.py:" in failures[0].error
    assert monitor.last_error == failures[-1]
    assert "secret-key" not in caplog.text + str(failures)
    assert caplog.text.count("a callback of the equity monitor failed") == 6


def test_a_failing_calculation_is_counted_and_told_and_the_next_one_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Failure] = []
    outcomes: list[Exception | None] = [
        RuntimeError("secret-key"),
        RuntimeError("secret-key"),
        asyncio.CancelledError(),  # type: ignore[list-item]
        None,
        None,
    ]

    async def answer() -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    told: list[Decimal] = []
    monitor = run_simulated(Wallet(before=answer), 240, told, on_error=failures.append)
    assert told == [1000], "the first that can be calculated"
    assert (monitor.calculations, monitor.failures, monitor.status.failing) == (2, 3, 0)
    assert [failure.of for failure in failures] == ["calculation"] * 3
    assert "wallet: failed with RuntimeError" in failures[0].error
    assert monitor.last_error == failures[-1]
    assert "secret-key" not in caplog.text + str(failures)
    assert caplog.text.count("equity cannot be calculated") == 2, "the same reason is not logged again"
    assert "equity can be calculated again failures=3" in caplog.text


def test_what_takes_too_long_has_failed() -> None:
    async def main() -> None:
        gate = asyncio.Event()

        async def hangs(_: EquitySnapshot) -> None:
            await never()

        async def fails_by_itself(_: EquitySnapshot) -> None:
            raise TimeoutError

        wallet = Wallet(before=gate.wait)
        monitor = watching(wallet, hangs, fails_by_itself, calculation_timeout=0.05, callback_timeout=0.05)
        task = await started(monitor)
        await until(lambda: monitor.failures == 1, "the calculation has failed")
        assert monitor.last_error is not None
        assert monitor.last_error.error == "took longer than 0.05 s"
        gate.set()
        failures: list[Failure] = []
        monitor.on_error = failures.append
        monitor.wake()
        await until(lambda: monitor.callback_failures == 2, "the callbacks have failed")
        assert failures[0].error == "took longer than 0.05 s"
        assert failures[1].error.startswith("TimeoutError in")
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())


def test_on_error_may_be_asynchronous_may_fail_and_may_stop_the_monitor(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        done: list[str] = []

        async def gives_up(failure: Failure) -> None:
            if monitor.status.failing < 3:
                raise ValueError("secret-key")
            monitor.stop_monitoring()
            await asyncio.sleep(0.01)
            done.append(failure.of)

        async def fails() -> None:
            monitor.wake()
            raise RuntimeError

        monitor = watching(Wallet(before=fails), on_error=gives_up)
        await asyncio.wait_for(monitor.start_monitoring("USDT"), DUE_S)
        assert done == ["calculation"]
        assert monitor.failures == 3

    asyncio.run(main())
    assert caplog.text.count("on_error of the equity monitor failed error='ValueError in") == 2
    assert "secret-key" not in caplog.text


class Breaking:
    """Updates that end with an error, and end well when they are listened to again."""

    def __init__(self) -> None:
        self.listened = 0

    @property
    def state(self) -> UpdatesState:
        return UpdatesState(False, 0, self.listened, "broken")

    async def listen(self, wake: Callable[[], None]) -> None:
        self.listened += 1
        if self.listened == 1:
            raise RuntimeError("redis://secret-key")
        wake()


def test_updates_that_break_are_surfaced_and_listened_to_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(equity_monitor, "RELISTEN_S", 0.01)

    async def main() -> None:
        failures: list[Failure] = []
        updates, wallet = Breaking(), Wallet()
        monitor = watching(wallet, updates=updates, on_error=failures.append)
        task = await started(monitor)
        await until(lambda: updates.listened == 2 and wallet.asked >= 3, "it is woken by the second try")
        assert [failure.of for failure in failures] == ["updates"]
        assert monitor.last_error == failures[0]
        assert monitor.status.updates == UpdatesState(False, 0, 2, "broken")
        assert monitor.failures == 0
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())
    assert "secret-key" not in caplog.text


def test_status_says_what_it_does_and_for_how_long() -> None:
    time = simulated(FOREVER)

    async def main() -> None:
        gate = asyncio.Event()

        async def slow(_: EquitySnapshot) -> None:
            await time.sleep(5)
            await gate.wait()

        async def sleep(_: float) -> None:
            await never()

        monitor = watching(Wallet(), slow, monotonic=time.monotonic, sleep=sleep)
        status = monitor.status
        assert (status.running, status.activity, status.snapshot_age_s) == (False, "stopped", None)
        task = await started(monitor)
        await until(lambda: monitor.status.activity == "telling" and time.monotonic() == 5, "it tells")
        status = monitor.status
        assert (status.running, status.activity_s, status.snapshot_age_s) == (True, 5, 5)
        assert (status.calculations, status.notifications, status.updates) == (1, 0, None)
        gate.set()
        await until(lambda: monitor.status.activity == "waiting", "it waits")
        assert monitor.status.notifications == 1
        monitor.stop_monitoring()
        await ended(task)

    asyncio.run(main())


def test_a_wait_that_fails_is_raised() -> None:
    async def sleep(_: float) -> None:
        raise ZeroDivisionError

    monitor = watching(Wallet(), sleep=sleep)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(monitor.start_monitoring("USDT"))
    assert not monitor.running


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"update_interval": 0}, "update_interval: 0 is not a number of seconds above zero"),
        ({"update_interval": float("nan")}, "update_interval: nan"),
        ({"update_interval": "60"}, "update_interval: '60'"),
        ({"calculation_timeout": -1}, "calculation_timeout: -1"),
        ({"callback_timeout": True}, "callback_timeout: True"),
        ({"threshold": Decimal(-1)}, "threshold: -1 must not be negative"),
        ({"threshold": 0.001}, "threshold: 0.001 is a float"),
        ({"floor": Decimal("NaN")}, "floor: "),
        ({"measure": "profit"}, "measure: 'profit' is not one of total_equity, nav"),
    ],
)
def test_what_a_monitor_cannot_work_with_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EquityMonitor(Wallet().calculator(), **options)


def test_an_unknown_share_class_an_interval_and_a_callback_that_are_none_are_refused() -> None:
    monitor = watching(Wallet())
    with pytest.raises(InputError, match="share_class: 'BTC' is not one of"):
        asyncio.run(monitor.start_monitoring("BTC"))
    monitor.update_interval = 0
    with pytest.raises(InputError, match="update_interval: 0 is not a number of seconds"):
        asyncio.run(monitor.start_monitoring("USDT"))
    with pytest.raises(InputError, match="callback: 'print' cannot be called"):
        monitor.add_callback("print")  # type: ignore[arg-type]


def test_simulated_time_ends_with_the_work_or_cuts_it_off_and_raises_what_it_raises() -> None:
    async def main() -> None:
        done: list[float] = []

        async def work() -> None:
            with suppress(asyncio.CancelledError):
                while True:
                    await time.sleep(30)
                    done.append(time.monotonic())

        async def fails() -> None:
            raise ZeroDivisionError

        time = simulated(60)
        await time.run(work())
        assert done == [30, 60]
        assert time.clock() == START.replace(minute=1)
        time = simulated(60)
        await time.run(asyncio.sleep(0))
        with pytest.raises(ZeroDivisionError):
            await time.run(fails())

    asyncio.run(main())
    with pytest.raises(InputError, match="end: 2024-05-12T01:00:00Z is before the start"):
        SimulatedTime(START.replace(hour=2), START)
