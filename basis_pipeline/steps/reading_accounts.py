"""Reading all accounts at once: whoever is late or breaks is UNAVAILABLE, and nobody waits for them."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from datetime import datetime, timedelta

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.observations import Reading, VenueReader
from basis_pipeline.logs import get_logger

CANCELLATION_GRACE = timedelta(seconds=1)
"""How long a reader that is late may take to let go of its connections."""

_log = get_logger(__name__)


async def read_accounts(readers: Sequence[VenueReader], deadline: timedelta, clock: Clock) -> list[Reading]:
    """One reading per account, of all readers concurrently, in the order of the readers' accounts.

    A reader that has not answered by the deadline, or that raises, is UNAVAILABLE in all its accounts.
    """
    if not readers:
        return []
    started = clock()
    tasks = [asyncio.create_task(_read(reader)) for reader in readers]
    try:
        _, late = await asyncio.wait(tasks, timeout=deadline.total_seconds())
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_acknowledge)
    if late:
        await asyncio.wait(late, timeout=CANCELLATION_GRACE.total_seconds())
    readings: list[Reading] = []
    for reader, task in zip(readers, tasks, strict=True):
        if task in late:
            answer: list[Reading] = []
            problem = f"no answer within {deadline.total_seconds():g} s; see `reconciliation.deadline`"
        else:
            answer, problem = _answer_of(task)
        by_account = {reading.account: reading for reading in answer}
        readings.extend(
            by_account.get(account) or Reading.unavailable(account, problem, started, clock())
            for account in reader.accounts
        )
    return readings


async def _read(reader: VenueReader) -> list[Reading]:
    return list(await reader.read())


def _answer_of(task: asyncio.Task[list[Reading]], /) -> tuple[list[Reading], str]:
    """What a finished reader answered, and what to say of its accounts that are not in the answer."""
    if task.cancelled():
        return [], "the reader was cancelled"
    error = task.exception()
    if error is None:
        return task.result(), "the reader did not answer for this account"
    if isinstance(error, BasisError):  # a chain that is not the configured one
        return [], str(error)
    # The message is left out: it may hold the URL of a node, which is a secret. The frames lead to the defect.
    frames = "".join(traceback.format_tb(error.__traceback__))
    _log.error("a venue reader raised, which is a defect", error=type(error).__name__, frames=frames)
    return [], f"the reader failed with {type(error).__name__}, which is a defect; the log has where"


def _acknowledge(task: asyncio.Task[list[Reading]]) -> None:
    """Look at how a late task ended, or asyncio would complain that nobody did."""
    if not task.cancelled():
        task.exception()


def skew_of(readings: Sequence[Reading]) -> timedelta:
    """The time between the first and the last answer; zero where fewer than two answered."""
    times: list[datetime] = [reading.observed_at for reading in readings if reading.available]
    return max(times) - min(times) if times else timedelta(0)
