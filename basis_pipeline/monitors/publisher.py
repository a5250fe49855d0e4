"""Redis: the newest snapshot under a key, and one message per ledger entry on a channel, in ledger order.

The contract with subscribers:

- Channel ``position:updated``. Each entry of the ledger is one message, in order of its sequence: ``timestamp``,
  ``trigger``, ``changes_count``, ``ledger_sequence``, ``portfolio``. Messages come at least once; after a failure some
  may come again. Redis keeps no messages for who is away: a subscriber that sees a gap re-reads.
- Key ``position:snapshot`` holds the snapshot as JSON, amounts as decimal strings; it is only replaced by one of a
  higher ``ledger_sequence``, and may be ahead of the messages. In a home with several portfolios each has a key of its
  own, ``position:snapshot:<portfolio>``, and the plain key is removed. Which it is, is decided when a monitor starts.
- Key ``position:published:<portfolio>`` is the publishers' own: how far publishing is. A script in Redis moves it, so
  that any number of processes publish one after the other and without a gap.

One home per Redis database. Nothing is published that is not committed, and nothing committed is held up: while Redis
is away, updates go on, and what is due is published when it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import redis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.retry import Retry as BlockingRetry

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BasisError, PublishingError
from basis_pipeline.domain.instants import iso
from basis_pipeline.ledger import outbox
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.logs import get_logger

CHANNEL = "position:updated"
SNAPSHOT_KEY = "position:snapshot"
CURSOR_KEY = "position:published"

ANSWER_TIMEOUT_S = 0.25
"""How long an update waits for Redis, at most once per outage: while Redis is known to be away, nobody waits."""
WATCH_INTERVAL_S = 1.0
"""How often to look for entries that other processes wrote, and to note the cursor in the ledger."""
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.1, 5.0
INLINE_MAX = 100
"""An update publishes up to so many entries that came before its own; more are left to the background, which takes as
many at a time, so that an update meanwhile does not wait for long."""
BATCH = 500
ALL = 2**62

_UNAVAILABLE = (exceptions.RedisError, OSError)
_log = get_logger(__name__)

# Publishes one message if it is the next one, and keeps the newest snapshot. Returns how far publishing is: the
# message's sequence if it was published now, something else if it was not its turn. An empty message publishes nothing.
_SCRIPT = """
local known = redis.call('HMGET', KEYS[2], 'ledger', 'published', 'snapshot')
local published, snapshot = tonumber(known[2]), tonumber(known[3])
if known[1] ~= ARGV[1] then published, snapshot = nil, nil end
local new = published == nil
if new then published, snapshot = tonumber(ARGV[2]), 0 end
local sequence = tonumber(ARGV[5])
local turn = ARGV[6] ~= '' and published == sequence - 1
if ARGV[6] ~= '' and not turn then return published end
local newest = tonumber(ARGV[3])
if newest > snapshot or (newest > 0 and newest == snapshot and redis.call('EXISTS', KEYS[1]) == 0) then
    snapshot = newest
    redis.call('SET', KEYS[1], ARGV[4])
end
if turn then
    published = sequence
    redis.call('PUBLISH', ARGV[7], ARGV[6])
end
redis.call('HSET', KEYS[2], 'ledger', ARGV[1], 'published', published, 'snapshot', snapshot)
return published
"""


def connect(url: str) -> Redis:
    """A client with short timeouts for the server that the URL names; ``rediss://`` is TLS.

    A command on a connection that the server has closed meanwhile is sent once more on a new one.
    """
    try:
        return Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=ANSWER_TIMEOUT_S,
            socket_connect_timeout=ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
        )
    except ValueError:
        raise PublishingError(_NOT_A_URL) from None


_NOT_A_URL = "redis_url: is not a Redis URL; write redis://:password@host:6379/0, or rediss:// for TLS"


def check_connection(url: str, timeout_s: float = 2.0) -> None:
    """``PublishingError`` when Redis does not answer; the URL is not shown."""
    try:
        client = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=BlockingRetry(NoBackoff(), 0),
        )
    except ValueError:
        raise PublishingError(_NOT_A_URL) from None
    try:
        client.ping()
    except _UNAVAILABLE as error:
        raise PublishingError(f"redis_url: {describe(error)}; start Redis, or correct BASIS_REDIS_URL") from None
    finally:
        client.close()


def describe(error: Exception) -> str:
    """What went wrong with Redis. The client's own messages name the host, which is part of the URL."""
    if isinstance(error, exceptions.AuthenticationError):
        return "Redis refuses the user or password"
    if isinstance(error, exceptions.TimeoutError):
        return "Redis does not answer in time"
    if isinstance(error, exceptions.ResponseError):
        return f"Redis refuses: {error}"
    return f"Redis cannot be reached ({type(error).__name__})"


def pause_s(failures: int) -> float:
    """How long until Redis is tried again after it failed, and so many times before that."""
    doublings = min(failures, 16)  # a power without a bound becomes too large for a float
    return min(BACKOFF_FIRST_S * 2.0**doublings, BACKOFF_MAX_S)


def snapshot_key(portfolio: str, only_one: bool) -> str:
    """Where a portfolio's snapshot is found."""
    return SNAPSHOT_KEY if only_one else f"{SNAPSHOT_KEY}:{portfolio}"


def message_of(portfolio: str, sequence: int, update: BalanceUpdate) -> str:
    """What the channel is told of an entry."""
    return json.dumps(
        {
            "timestamp": iso(update.timestamp),
            "trigger": update.trigger.value,
            "changes_count": len(update.token_changes) + len(update.derivative_changes),
            "ledger_sequence": sequence,
            "portfolio": portfolio,
        }
    )


def cancellations() -> int:
    """How often the current task was asked to end."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


Look = Callable[[], tuple[int, str]]
"""The newest sequence and the snapshot after it, as JSON."""


class Publisher:
    """Publishes one portfolio, for as long as it is started. It belongs to the event loop that starts it."""

    def __init__(self, url: str, ledger: Ledger, portfolio: str, look: Look, *, only_one: bool) -> None:
        self._engine = ledger.engine
        self._portfolio = portfolio
        self._look = look
        self._client = connect(url)
        self._script = self._client.register_script(_SCRIPT)
        self._keys = (snapshot_key(portfolio, only_one), f"{CURSOR_KEY}:{portfolio}")
        self._stale_key = None if only_one else SNAPSHOT_KEY
        [first] = outbox.entries_between(self._engine, portfolio, 0, 1)
        self._ledger_id = first.hash[:16]
        self._published = outbox.begin(self._engine, portfolio)
        self._published_at = datetime.now(UTC)
        self._noted: int | None = self._published
        self._busy = asyncio.Lock()
        self._wake = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._closing = False

    async def start(self) -> None:
        """Publish what is due and go on watching. Nothing happens if it is started already."""
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
            self._watcher = asyncio.create_task(self._watch(), name=f"publish {self._portfolio}")
            await self.catch_up()
        elif self._loop is not loop:
            raise PublishingError("monitor: belongs to another event loop; use it in the one it was first used in")

    async def publish(self, sequence: int, update: BalanceUpdate, newest: int, snapshot: str) -> None:
        """Tell of an entry just committed, and before it of what is still due. Never raises because of Redis.

        ``snapshot`` is the state after entry ``newest``.
        """
        if self._known_away() or (self._failures and self._busy.locked()):
            self._wake.set()  # the watcher gets there
            return
        before = cancellations()
        try:
            async with self._busy:
                if not self._known_away():
                    await self._publish(sequence, update, newest, snapshot)
        except _UNAVAILABLE as error:
            if cancellations() == before:
                await self._failed(error)
        except BasisError as error:
            _log.warning(
                "an entry is not published yet", portfolio=self._portfolio, sequence=sequence, error=str(error)
            )
        finally:
            if cancellations() > before:
                self._wake.set()  # the watcher does what was interrupted
                raise asyncio.CancelledError  # the client may have taken it for a timeout

    async def _publish(self, sequence: int, update: BalanceUpdate, newest: int, snapshot: str) -> None:
        message = message_of(self._portfolio, sequence, update)
        if await self._tell(newest, snapshot, sequence, message) == sequence:
            self._reached(sequence)
        else:
            await self._drain(INLINE_MAX)

    def _known_away(self) -> bool:
        return time.monotonic() < self._retry_at

    async def close(self) -> None:
        """Publish what is due if Redis is there, note how far it is, and let go of the connection.

        Not in another event loop than it was started in: with that, the watcher let go of the connection.
        """
        if self._watcher is None:
            await self._client.aclose()
        elif self._loop is asyncio.get_running_loop():
            self._closing = True
            self._wake.set()
            await asyncio.wait([self._watcher])
            self._watcher = None
            await self.flush()
            await self._client.aclose()

    async def flush(self) -> None:
        """Publish all that is due, and note how far it is. Never raises because of Redis."""
        await self.catch_up(ALL)
        await self._note()

    async def catch_up(self, entries_max: int = INLINE_MAX) -> None:
        """Publish what is due, at most so many entries. Never raises because of Redis."""
        # In a task of its own, which goes on if whoever waits is cancelled: see ``publish``.
        work = asyncio.create_task(self._catch_up(entries_max))
        self._working.add(work)
        work.add_done_callback(self._working.discard)
        await asyncio.shield(work)

    async def _catch_up(self, entries_max: int) -> None:
        async with self._busy:
            try:
                await self._drain(entries_max)
            except _UNAVAILABLE as error:
                await self._failed(error)
            except BasisError as error:
                _log.warning("the ledger cannot be read to publish it", portfolio=self._portfolio, error=str(error))

    async def _watch(self) -> None:
        try:
            while not self._closing:
                pause_s = self._retry_at - time.monotonic() if self._failures else WATCH_INTERVAL_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()
                self._wake.clear()
                if not self._known_away() and not self._closing:
                    await self.catch_up()
                    await self._note()
        except asyncio.CancelledError:  # the event loop ends, and nobody closed the monitor
            await self._client.aclose()
            raise

    async def _drain(self, entries_max: int) -> None:
        """Publish what follows Redis's cursor, in order, at most so many entries."""
        if self._stale_key is not None:
            await self._client.delete(self._stale_key)
            self._stale_key = None
        newest, snapshot = self._look()
        reached = await self._tell(newest, snapshot)
        if reached > newest:
            newest, snapshot = self._look()  # another process may have been faster
        if reached > newest:
            # Redis is ahead of the ledger, which was put back from a backup together with the cursor in it.
            await self._client.delete(self._keys[1])
            self._published = outbox.begin(self._engine, self._portfolio)
            reached = await self._tell(newest, snapshot)
        last = min(newest, reached + entries_max)
        while reached < last:
            due = outbox.entries_between(self._engine, self._portfolio, reached, min(last, reached + BATCH))
            for entry in due:
                message = message_of(self._portfolio, entry.sequence, entry.update)
                reached = await self._tell(0, "", entry.sequence, message)
                if reached != entry.sequence:
                    break  # another process publishes, too, or Redis lost its data: go on from where it is
        self._reached(reached)
        if reached < newest:
            self._wake.set()

    async def _tell(self, newest: int, snapshot: str, sequence: int = 0, message: str = "") -> int:
        """Hand over a snapshot and, unless empty, a message; returns how far publishing is."""
        arguments: list[Any] = [self._ledger_id, self._published, newest, snapshot, sequence, message, CHANNEL]
        return int(await self._script(keys=self._keys, args=arguments))

    def _reached(self, sequence: int) -> None:
        if self._failures:
            _log.warning("Redis is back, publishing goes on", portfolio=self._portfolio, published=sequence)
        self._failures, self._retry_at = 0, 0.0
        self._published, self._published_at = sequence, datetime.now(UTC)

    async def _failed(self, error: Exception) -> None:
        """Remember, for people, what is wrong, and when to try again."""
        self._retry_at = time.monotonic() + pause_s(self._failures)
        self._failures += 1
        self._wake.set()
        reason = describe(error)
        if self._failures == 1:
            _log.warning(
                "publishing fails; updates go on, and are told when it works", portfolio=self._portfolio, error=reason
            )
        self._noted = None
        try:
            await asyncio.to_thread(outbox.note_failure, self._engine, self._portfolio, datetime.now(UTC), reason)
        except BasisError as problem:
            _log.warning("that publishing fails cannot be noted", portfolio=self._portfolio, error=str(problem))

    async def _note(self) -> None:
        """Write down how far it is."""
        if self._failures or self._noted == self._published:
            return
        try:
            reached, moment = self._published, self._published_at
            await asyncio.to_thread(outbox.note_published, self._engine, self._portfolio, reached, moment)
            self._noted = reached
        except BasisError as problem:
            _log.warning("how far publishing is cannot be noted", portfolio=self._portfolio, error=str(problem))
