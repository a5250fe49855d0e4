"""What an equity monitor says of itself and of what went wrong."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

from basis_pipeline.domain.errors import BasisError

Activity = Literal["stopped", "waiting", "calculating", "telling"]

_Answer = TypeVar("_Answer")


class UpdatesState(NamedTuple):
    """How it is with being woken: ``messages`` woke us, ``interruptions`` is how often nobody was listening."""

    listening: bool
    messages: int
    interruptions: int
    error: str | None


class Updates(Protocol):
    """What tells that something changed."""

    @property
    def state(self) -> UpdatesState:
        """How it is going."""
        ...

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` at every change, and whenever one may have been missed, until cancelled."""
        ...


@dataclass(frozen=True)
class Failure:
    """Something that went wrong: ``of`` is "calculation", "updates" or the name of a callback.

    ``error`` is fit for logs; the text of ``exception`` may not be, because it can hold addresses with keys.
    """

    of: str
    error: str
    exception: BaseException = field(repr=False, compare=False)

    @classmethod
    def from_exception(cls, of: str, exception: BaseException) -> Failure:
        """Our own errors as they are; of others the kind and the place in the code."""
        return cls(of, _describe(exception), exception)


@dataclass(frozen=True)
class MonitorStatus:
    """How a monitor is doing.

    ``calculations`` (that worked), ``failures`` (of calculations), ``notifications`` (snapshots told) and
    ``callback_failures`` count since it was made, ``failing`` the failures since the last calculation that worked.
    ``skipped`` are the times by the clock at which something was still under way. ``activity_s`` is for how long it
    does what it does, ``snapshot_age_s`` how old ``last_snapshot`` is, None without one. ``updates`` is None where only
    time, and ``wake``, start a calculation.
    """

    running: bool
    activity: Activity
    activity_s: float
    calculations: int
    failures: int
    failing: int
    callback_failures: int
    notifications: int
    skipped: int
    snapshot_age_s: float | None
    last_error: Failure | None
    updates: UpdatesState | None


class TooLongError(TimeoutError):
    """Our own limit on how long something may take."""


async def in_time(answer: Awaitable[_Answer], limit_s: float | None) -> _Answer:
    """The answer; ``TooLongError`` when it is not there in time, and then it is cancelled. None: no limit."""
    try:
        async with asyncio.timeout(limit_s) as limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise TooLongError(f"took longer than {limit_s:g} s") from None
        raise


def _describe(error: BaseException) -> str:
    if isinstance(error, BasisError | TooLongError):
        return str(error)
    frames: list[Any] = list(traceback.walk_tb(error.__traceback__))
    if not frames:
        return type(error).__name__
    code, line = frames[-1][0].f_code, frames[-1][1]
    return f"{type(error).__name__} in {code.co_qualname} ({Path(code.co_filename).name}:{line})"
