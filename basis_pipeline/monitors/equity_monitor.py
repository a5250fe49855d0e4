"""The equity monitor: equity calculated again and again, and who needs to know is told when it changed enough.

It calculates by time and at once when something wakes it, one calculation after the other. What fails, a venue or a
callback, is counted, logged and shown in ``status``; nothing but ``stop_monitoring`` or a cancellation ends it.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, Literal, Protocol

from basis_pipeline.domain.equity import changed_enough
from basis_pipeline.domain.errors import InputError, MonitorError
from basis_pipeline.domain.numbers import ZERO, parse_decimal
from basis_pipeline.domain.tokens import SHARE_CLASSES
from basis_pipeline.logs import get_logger
from basis_pipeline.monitors.equity_calculator import EquitySnapshot
from basis_pipeline.monitors.monitor_status import Activity, Failure, MonitorStatus, Updates, in_time

Measure = Literal["total_equity", "nav"]
MEASURES: tuple[Measure, ...] = ("total_equity", "nav")

RELISTEN_S = 5.0
"""How long after updates ended with an error that they do not handle themselves they are listened to again."""

RECANCEL_S = 0.5
"""How long a task that was cancelled may go on before it is cancelled again."""

Callback = Callable[[EquitySnapshot], object]
"""Is told a snapshot; what it returns is awaited if it can be."""

_callback: ContextVar[asyncio.Task[Any] | None] = ContextVar("_callback", default=None)
"""The task of the callback in which this code runs."""
_log = get_logger(__name__)


class Calculator(Protocol):
    """What calculates: an ``EquityCalculator``."""

    async def calculate_equity(self, share_class: str) -> EquitySnapshot:
        """Equity now."""
        ...


class _Run:
    """One time of monitoring, from its start to its end, in one event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.thread = threading.get_ident()
        self.stopped = False
        self.due_at_once = asyncio.Event()
        self.ending = asyncio.Event()
        self.over = asyncio.Event()
        self.callbacks: set[asyncio.Task[None]] = set()
        self.trouble: Failure | None = None

    def wake(self) -> None:
        """From any thread."""
        if threading.get_ident() == self.thread:
            self.due_at_once.set()
        else:
            with suppress(RuntimeError):  # the event loop was closed meanwhile
                self.loop.call_soon_threadsafe(self.due_at_once.set)

    def end(self, caller: asyncio.Task[Any] | None) -> None:
        """Cancel what is under way, except the callback that asks for it."""
        if caller in self.callbacks:
            for task in self.callbacks - {caller}:
                task.cancel()
        else:
            self.ending.set()


class EquityMonitor:
    """Calculates equity every ``update_interval`` seconds, and at once when ``updates`` or ``wake`` say so.

    Callbacks are told the first snapshot, and after it each whose ``measure`` (``total_equity`` or ``nav``) is away
    from that of the snapshot told last by more than ``threshold`` of it, or of ``floor`` (share-class currency) where
    that is larger. They are begun in the order they were added; asynchronous ones then go on side by side, and all are
    done before the next calculation. A plain function holds up the event loop while it works.

    A calculation that takes longer than ``calculation_timeout`` seconds has failed, and so has a callback that takes
    longer than ``callback_timeout`` (None: as long as it wants). ``on_error`` is told each ``Failure``.

    The n-th calculation by time is due n times the interval after the start on the ``monotonic`` clock, and ``sleep``
    waits so many of its seconds; a backtest hands over simulated ones. ``InputError`` names an argument that cannot be.
    """

    def __init__(
        self,
        equity_calculator: Calculator,
        update_interval: float = 60.0,
        *,
        threshold: Decimal = Decimal("0.001"),
        floor: Decimal = ZERO,
        measure: Measure = "total_equity",
        updates: Updates | None = None,
        on_error: Callable[[Failure], object] | None = None,
        calculation_timeout: float | None = 60.0,
        callback_timeout: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Coroutine[Any, Any, None]] = asyncio.sleep,
    ) -> None:
        if measure not in MEASURES:
            raise InputError(f"measure: {measure!r} is not one of {', '.join(MEASURES)}")
        self.equity_calculator = equity_calculator
        self.update_interval = _seconds(update_interval, "update_interval")
        self.threshold = _not_negative(threshold, "threshold")
        self.floor = _not_negative(floor, "floor")
        self.measure = measure
        self.updates = updates
        self.on_error = on_error
        self.callbacks: list[Callback] = []
        self.running = False
        self.last_snapshot: EquitySnapshot | None = None
        """Of the newest calculation that worked, whether it was told or not."""
        self.last_notified: EquitySnapshot | None = None
        """Told last; while callbacks are told one, still the one before. Each start begins without."""
        self.last_error: Failure | None = None
        self.calculations = 0
        self.failures = 0
        self.callback_failures = 0
        self.notifications = 0
        self.skipped = 0
        self._failing = 0
        self._calculation_timeout = _limit(calculation_timeout, "calculation_timeout")
        self._callback_timeout = _limit(callback_timeout, "callback_timeout")
        self._monotonic = monotonic
        self._sleep = sleep
        self._activity: Activity = "stopped"
        self._since = self._calculated_at = monotonic()
        self._run: _Run | None = None
        self._starting = threading.Lock()
        self._stops = 0

    def add_callback(self, callback: Callback) -> None:
        """Tell this function, which may be asynchronous, from the next change on."""
        if not callable(callback):
            raise InputError(f"callback: {callback!r:.100} cannot be called; give a function that takes a snapshot")
        self.callbacks.append(callback)

    def start_monitoring(self, share_class: str) -> Coroutine[Any, Any, None]:
        """Monitor until ``stop_monitoring``: ``await`` it, or make a task of it, which may be cancelled.

        When it has ended it may be started again, also in another event loop. ``MonitorError`` while it is running,
        ``InputError`` for an unknown share class. A stop that comes before the task's first step counts.
        """
        return self._monitor(share_class, self._stops)

    def stop_monitoring(self) -> None:
        """End monitoring at once, from any thread: what is under way is cancelled, and nobody is told anything more.

        A callback that calls this is not cancelled itself, unless it is called again from elsewhere. Nothing happens
        when the monitor is not running.
        """
        self._stops += 1
        run = self._run
        if run is None:
            return
        run.stopped = True
        self.running = False
        with suppress(RuntimeError):  # the event loop was closed meanwhile, and everything in it has ended
            run.loop.call_soon_threadsafe(run.end, _callback.get())

    async def ended(self) -> None:
        """Wait until it is not running any more; not for its callbacks to call. ``MonitorError`` in another loop."""
        run = self._run
        if run is not None:
            if run.loop is not asyncio.get_running_loop():
                raise MonitorError("ended: the monitor runs in another event loop; wait for it there")
            await run.over.wait()

    def wake(self) -> None:
        """Something changed: calculate at once, or right after the calculation under way. From any thread.

        However often it is called meanwhile, one calculation follows. Nothing happens when the monitor is not running.
        """
        run = self._run
        if run is not None:
            run.wake()

    @property
    def status(self) -> MonitorStatus:
        """How it is doing."""
        now = self._monotonic()
        return MonitorStatus(
            running=self.running,
            activity=self._activity,
            activity_s=now - self._since,
            calculations=self.calculations,
            failures=self.failures,
            failing=self._failing,
            callback_failures=self.callback_failures,
            notifications=self.notifications,
            skipped=self.skipped,
            snapshot_age_s=None if self.last_snapshot is None else now - self._calculated_at,
            last_error=self.last_error,
            updates=None if self.updates is None else self.updates.state,
        )

    async def _monitor(self, share_class: str, stops: int) -> None:
        if share_class not in SHARE_CLASSES:
            raise InputError(f"share_class: {share_class!r} is not one of {', '.join(SHARE_CLASSES)}")
        interval_s = _seconds(self.update_interval, "update_interval")
        run = await self._begin()
        try:
            if self._stops == stops:
                self.running = True
                self.last_notified = None
                await self._work(run, share_class, interval_s)
        finally:
            self.running = False
            self._does("stopped")
            self._run = None
            run.over.set()

    async def _begin(self) -> _Run:
        """The run that starts now, after one that was stopped has ended."""
        run = _Run()
        while True:
            with self._starting:
                before = self._run
                if before is None:
                    self._run = run
                    return run
            ending = before.stopped and before.loop is run.loop and asyncio.current_task() not in before.callbacks
            if not ending:
                raise MonitorError("start_monitoring: the monitor is running; stop it first, or make a second one")
            await before.over.wait()

    async def _work(self, run: _Run, share_class: str, interval_s: float) -> None:
        work = asyncio.create_task(self._rounds(run, share_class, interval_s), name="calculate equity")
        ending = asyncio.create_task(run.ending.wait())
        others: list[asyncio.Task[Any]] = [ending]
        if self.updates is not None:
            others.append(asyncio.create_task(self._listen(run, self.updates), name="listen for updates"))
        try:
            await asyncio.wait([work, ending], return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _end(run, work, others)
        if not work.cancelled():
            work.result()

    async def _rounds(self, run: _Run, share_class: str, interval_s: float) -> None:
        """Calculate and tell, by time and when woken."""
        start, number, by_time = self._monotonic(), 0, True
        while not run.stopped:
            run.due_at_once.clear()  # what wakes from here on is not in this calculation
            if run.trouble is not None:
                trouble, run.trouble = run.trouble, None
                await self._surface(run, trouble)
            await self._round(run, share_class)
            number += by_time
            missed = max(0, math.ceil((self._monotonic() - start) / interval_s) - number)
            self.skipped += missed
            number += missed
            self._does("waiting")
            by_time = await self._time_passes(run, start + number * interval_s - self._monotonic())

    async def _round(self, run: _Run, share_class: str) -> None:
        self._does("calculating")
        [outcome] = await asyncio.gather(self._calculate(share_class), return_exceptions=True)
        if isinstance(outcome, BaseException):
            await self._failed(run, outcome)
            return
        if self._failing:
            _log.warning("equity can be calculated again", failures=self._failing)
        self._failing = 0
        self.calculations += 1
        self._calculated_at = self._monotonic()
        self.last_snapshot, enough = outcome
        if enough and not run.stopped:
            await self._notify(run, self.last_snapshot)

    async def _calculate(self, share_class: str) -> tuple[EquitySnapshot, bool]:
        """The snapshot of now, and whether it is to be told."""
        answer = self.equity_calculator.calculate_equity(share_class)
        snapshot = await in_time(answer, self._calculation_timeout)
        value: Decimal = getattr(snapshot, self.measure)
        if self.last_notified is None:
            return snapshot, True
        before: Decimal = getattr(self.last_notified, self.measure)
        return snapshot, changed_enough(value, before, self.threshold, self.floor)

    async def _failed(self, run: _Run, error: BaseException) -> None:
        failure = Failure.from_exception("calculation", error)
        if not self._failing or self.last_error != failure:
            _log.warning("equity cannot be calculated; the monitor goes on", error=failure.error)
        self.failures += 1
        self._failing += 1
        await self._surface(run, failure)

    async def _notify(self, run: _Run, snapshot: EquitySnapshot) -> None:
        self._does("telling")
        callbacks = tuple(self.callbacks)
        outcomes = await self._tell(run, callbacks, snapshot)
        self.last_notified = snapshot
        self.notifications += 1
        for callback, outcome in zip(callbacks, outcomes, strict=True):
            if outcome is None or (run.stopped and isinstance(outcome, asyncio.CancelledError)):
                continue
            failure = Failure.from_exception(_name(callback), outcome)
            _log.warning("a callback of the equity monitor failed", callback=failure.of, error=failure.error)
            self.callback_failures += 1
            await self._surface(run, failure)

    async def _surface(self, run: _Run, failure: Failure) -> None:
        """Keep it where it is seen, and tell ``on_error``, of which a failure of its own is only logged."""
        self.last_error = failure
        if self.on_error is not None:
            [outcome] = await self._tell(run, [self.on_error], failure)
            if outcome is not None:
                told = Failure.from_exception("on_error", outcome).error
                _log.warning("on_error of the equity monitor failed", error=told)

    async def _tell(
        self, run: _Run, callbacks: Sequence[Callable[[Any], object]], told: object
    ) -> list[BaseException | None]:
        """Call them all; what became of each."""
        tasks = [asyncio.create_task(self._call(run, callback, told)) for callback in callbacks]
        run.callbacks = set(tasks)
        try:
            return await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            run.callbacks = set()

    async def _call(self, run: _Run, callback: Callable[[Any], object], told: object) -> None:
        if not run.stopped:
            _callback.set(asyncio.current_task())
            answer = callback(told)
            if inspect.isawaitable(answer):
                await in_time(answer, self._callback_timeout)

    async def _listen(self, run: _Run, updates: Updates) -> None:
        """Be woken by the updates, for as long as they go on."""
        while True:
            [outcome] = await asyncio.gather(updates.listen(run.wake), return_exceptions=True)
            if outcome is None:
                return
            run.trouble = Failure.from_exception("updates", outcome)
            _log.warning("updates cannot be listened to; equity is calculated by time", error=run.trouble.error)
            run.wake()
            await asyncio.sleep(RELISTEN_S)

    async def _time_passes(self, run: _Run, seconds: float) -> bool:
        """Wait for so long, or until something wakes, and then False."""
        if seconds <= 0 or run.stopped:
            return True
        if run.due_at_once.is_set():
            return False
        sleeping, woken = asyncio.create_task(self._sleep(seconds)), asyncio.create_task(run.due_at_once.wait())
        try:
            await asyncio.wait([sleeping, woken], return_when=asyncio.FIRST_COMPLETED)
            if sleeping.done():
                sleeping.result()
            return sleeping.done()
        finally:
            sleeping.cancel()
            woken.cancel()
            await asyncio.gather(sleeping, woken, return_exceptions=True)

    def _does(self, activity: Activity) -> None:
        self._activity, self._since = activity, self._monotonic()


async def _end(run: _Run, work: asyncio.Task[None], others: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel the tasks until they have ended.

    Client libraries may take a cancellation for a timeout of their own and go on, so that once is not enough. Callbacks
    are cancelled once, because they may be cleaning up.
    """
    again, pending = True, {work, *others}
    while pending:
        for task in pending:
            if again or task is not work:
                task.cancel()
        _, pending = await asyncio.wait(pending, timeout=RECANCEL_S)
        again = not run.callbacks


def _seconds(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value > 0):
        raise InputError(f"{name}: {value!r} is not a number of seconds above zero")
    return float(value)


def _limit(value: float | None, name: str) -> float | None:
    return None if value is None else _seconds(value, name)


def _not_negative(value: Decimal, name: str) -> Decimal:
    number = parse_decimal(value, name)
    if number < 0:
        raise InputError(f"{name}: {value} must not be negative")
    return number


def _name(callback: Callable[..., object]) -> str:
    return str(getattr(callback, "__qualname__", type(callback).__qualname__))
