"""What wakes an equity monitor: the messages on Redis that a position changed.

A message only says that something changed, and what holds now is read from the ledger. So no message needs to be
repeated: after every time that nobody was listening, equity is calculated once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from basis_pipeline.logs import get_logger
from basis_pipeline.monitors.monitor_status import UpdatesState
from basis_pipeline.monitors.publisher import CHANNEL, cancellations, connect, describe, pause_s

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

QUIET_S = 5.0
"""After so long without a message Redis is asked whether it is there, and after as long again it counts as away."""

_log = get_logger(__name__)


class RedisUpdates:
    """The messages on ``position:updated`` of one portfolio, or of all (None).

    While Redis is away it is tried again and again, and nothing fails. ``PublishingError`` for what is not a URL.
    """

    def __init__(self, url: str, portfolio: str | None = None) -> None:
        connect(url)
        self._url = url
        self._portfolio = portfolio
        self._listening = False
        self._messages = 0
        self._interruptions = 0
        self._error: str | None = None

    @property
    def state(self) -> UpdatesState:
        """How it is going; ``error`` is why nobody is listening at the moment."""
        return UpdatesState(self._listening, self._messages, self._interruptions, self._error)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` at each message, and each time that listening begins, until cancelled."""
        failures, before = 0, cancellations()
        while cancellations() == before:  # the client may have taken one for a timeout, and gone on
            client = connect(self._url)
            try:
                async with client.pubsub() as channel:
                    await channel.subscribe(CHANNEL)
                    while cancellations() == before:
                        await self._hear(channel, wake)
                        failures = 0
                        await asyncio.sleep(0)  # the client does not wait for messages that it already has
            except (RedisError, OSError, UnicodeDecodeError) as error:
                self._interrupted(_describe_loss(error))
            finally:
                self._listening = False
                await client.aclose()
            if cancellations() == before:
                await asyncio.sleep(pause_s(failures))
            failures += 1
        raise asyncio.CancelledError

    async def _hear(self, channel: PubSub, wake: Callable[[], None]) -> None:
        """The next message. ``TimeoutError`` when there is none, and Redis does not answer either."""
        message = await channel.get_message(timeout=QUIET_S)
        if message is None:
            await channel.ping()
            message = await channel.get_message(timeout=QUIET_S)
        if message is None:
            raise TimeoutError
        if message["type"] == "subscribe":
            self._begins(wake)
        elif message["type"] == "message" and self._concerns_us(message["data"]):
            self._messages += 1
            wake()

    def _begins(self, wake: Callable[[], None]) -> None:
        """From now on every message arrives; what came before may have been missed."""
        if self._error is not None:
            _log.warning("Redis is back; updates are listened to again")
        elif self._listening:  # the client connected anew by itself
            self._interruptions += 1
        self._listening, self._error = True, None
        wake()

    def _interrupted(self, error: str) -> None:
        if self._error is None:
            _log.warning("updates cannot be listened to; equity is calculated by time until Redis is back", error=error)
            self._interruptions += 1
        self._error = error

    def _concerns_us(self, data: Any) -> bool:
        """Whether the message is of the portfolio; what is none of ours is of nobody."""
        try:
            told = json.loads(data)
            portfolio = told["portfolio"]
        except (ValueError, TypeError, KeyError):
            return False
        return self._portfolio in (None, portfolio)


def _describe_loss(error: Exception) -> str:
    """What went wrong, without the address."""
    if isinstance(error, UnicodeDecodeError):
        return "a message is no text; whoever publishes it should use another channel"
    return "Redis does not answer in time" if isinstance(error, TimeoutError) else describe(error)
