"""The event logger: listening to the channel of updates, and reading from the ledger what each message is about.

Redis keeps no messages for a subscriber that is away. The sequence in every message tells what was missed, and the
ledger has it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from typing import Any

from redis.exceptions import RedisError

from basis_pipeline.domain.errors import PublishingError
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.outbox import entries_between
from basis_pipeline.monitors.publisher import CHANNEL, connect, describe

RECONNECT_S = 0.5
_POLL_S = 1.0

Remark = Callable[[str], None]


def recent(ledger: Ledger, portfolios: Iterable[str], count: int) -> list[Entry]:
    """The entries recorded last, oldest first."""
    snapshot = ledger.snapshot()
    found: list[Entry] = []
    for portfolio in portfolios:
        head = snapshot.state(portfolio).head.sequence
        found += entries_between(ledger.engine, portfolio, head - count, head)
    return sorted(found, key=lambda entry: (entry.recorded_at, entry.portfolio, entry.sequence))[-count:]


async def follow(url: str, ledger: Ledger, portfolios: Collection[str], remark: Remark) -> AsyncIterator[Entry]:
    """Each entry of the portfolios from now on, once and in order of its sequence, when the channel tells of it.

    Never ends by itself: while Redis is away it waits, and reads afterwards what it missed. ``remark`` hears of that.
    """
    heads = ledger.snapshot().heads()
    seen = {portfolio: heads[portfolio].sequence for portfolio in portfolios}
    connected_before = False
    while True:
        client = connect(url)
        try:
            async with client.pubsub() as channel:
                await channel.subscribe(CHANNEL)
                if connected_before:
                    remark("connected to Redis again; what was missed is read from the ledger")
                    newest = ledger.snapshot().heads()
                    for portfolio in portfolios:
                        for entry in _unseen(ledger, seen, portfolio, newest[portfolio].sequence):
                            yield entry
                else:
                    remark(f"listening to {CHANNEL}; Ctrl-C ends it")
                connected_before = True
                while True:
                    message = await channel.get_message(ignore_subscribe_messages=True, timeout=_POLL_S)
                    for entry in _told(ledger, seen, message, remark):
                        yield entry
        except (RedisError, OSError) as error:
            if not connected_before:
                raise PublishingError(
                    f"redis_url: {describe(error)}; start Redis, or correct BASIS_REDIS_URL"
                ) from None
            remark(f"{describe(error)}; waiting for it")
        finally:
            await client.aclose()
        await asyncio.sleep(RECONNECT_S)


def _told(ledger: Ledger, seen: dict[str, int], message: Any, remark: Remark) -> list[Entry]:
    """What a message of the channel is about, and what came before it and was not told."""
    if message is None:
        return []
    try:
        told = json.loads(message["data"])
        portfolio, sequence = str(told["portfolio"]), int(told["ledger_sequence"])
    except (ValueError, TypeError, KeyError):
        remark(f"a message on {CHANNEL} that is none of ours: {message['data']!r:.200}")
        return []
    if portfolio not in seen:
        return []
    missed = sequence - seen[portfolio] - 1
    if missed > 0:
        remark(f"{portfolio}: {missed} messages before {sequence} did not arrive; read from the ledger")
    return _unseen(ledger, seen, portfolio, sequence)


def _unseen(ledger: Ledger, seen: dict[str, int], portfolio: str, sequence: int) -> list[Entry]:
    found = entries_between(ledger.engine, portfolio, seen[portfolio], sequence)
    if found:
        seen[portfolio] = found[-1].sequence
    return found
