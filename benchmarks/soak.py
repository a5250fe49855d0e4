"""Ten thousand updates in a minute while an equity monitor watches and a running Dagster's sensor recalculates.

A strategy's position monitor writes them, one every six milliseconds; the equity monitor is a process of its own. None
may be missed, memory must not grow with their number, and at the end equity is exact in the monitor and in DuckDB.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import duckdb

from basis_pipeline.domain.instants import day_start, iso
from basis_pipeline.home import open_home
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.monitors.watching import open_equity_monitor
from basis_pipeline.warehouse.catalogue import catalogue_path
from benchmarks.data import Data
from benchmarks.measure import Figure
from benchmarks.served import LONGEST_S, published_home, served_home

UPDATES, SECONDS = 10_000, 60.0
GROWTH_MB_MAX = 16.0
LATE_MAX = 1.05
"""How much longer than planned the updates may take: a writer that is held up falls behind its plan."""
_DEPOSIT = Decimal("0.01")
_WARM = 0.3
"""The part of the updates after which memory is looked at first: by then everything is loaded and every cache full."""


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    number, seconds = (UPDATES // 10, SECONDS / 10) if quick else (UPDATES, SECONDS)
    home, terms = published_home(data, folder / "home"), data.terms[0]
    before, _ = _published(home, terms.portfolio)
    ours, theirs = multiprocessing.Pipe()
    watcher = multiprocessing.get_context("spawn").Process(target=_watch, args=(theirs, home, terms), daemon=True)
    with served_home(home) as group:
        watcher.start()
        try:
            if not ours.poll(LONGEST_S):
                raise RuntimeError("the equity monitor did not start")
            ours.recv()
            took, grown_mb, head = asyncio.run(_write(data, home, terms, group, watcher.pid or 0, number, seconds))
            settled = _await_published(home, terms.portfolio, head)
            ours.send(head)
            if not ours.poll(LONGEST_S):
                raise RuntimeError("the equity monitor did not come to the newest entry")
            seen: dict[str, Any] = ours.recv()
        finally:
            watcher.terminate()
            watcher.join()
    after, rows = _published(home, terms.portfolio)
    exact = before + number * _DEPOSIT
    detail = f"{seen['calculations']} calculations, {seen['failures']} failed; in DuckDB {settled:.1f} s after the last"
    yield Figure(f"{number:,} updates beside monitor and sensor", took, "s", detail, at_most=seconds * LATE_MAX)
    yield Figure("  updates that DuckDB does not show", number - rows, "", at_most=0)
    yield Figure("  equity at the end, DuckDB away from exact by", float(abs(after - exact)), "", at_most=0)
    yield Figure("  the same of the monitor", float(abs(Decimal(seen["equity"]) - exact)), "", at_most=0)
    yield Figure("  growth of the monitor's memory", grown_mb["monitor"], "MB", at_most=GROWTH_MB_MAX)
    yield Figure("  growth of Dagster's memory", grown_mb["dagster"], "MB", "runs apart", at_most=GROWTH_MB_MAX)


async def _write(
    data: Data, home: Path, terms: Terms, group: int, watcher: int, number: int, seconds: float
) -> tuple[float, dict[str, float], int]:
    """Seconds it took, growth of memory meanwhile, and the sequence of the last entry."""
    day = day_start(data.days.last)
    config = {"home": home, "portfolio": terms.portfolio}
    resident: dict[str, float] = {}
    async with PositionMonitor(config, "backtest", terms.initial_capital, terms.share_class) as monitor:
        began = time.perf_counter()
        for n in range(number):
            await asyncio.sleep(began + seconds * n / number - time.perf_counter())
            if n == int(number * _WARM):
                resident = _resident_mb(group, watcher)
            legs = [{"venue": "wallet", "token": "USDT", "delta": _DEPOSIT}]
            moment = iso(day + timedelta(milliseconds=n))
            update = {"id": f"soak-{n}", "timestamp": moment, "trigger": "DEPOSIT", "token_changes": legs}
            await monitor.update(update)
        took = time.perf_counter() - began
        head: int = monitor.get_snapshot()["ledger_sequence"]
    grown = {name: megabytes - resident[name] for name, megabytes in _resident_mb(group, watcher).items()}
    return took, grown, head


def _resident_mb(group: int, watcher: int) -> dict[str, float]:
    """Memory of the equity monitor, and of Dagster's lasting processes; runs come and go."""
    lasting = [pid for pid in _group(group) if b"multiprocessing" not in _command(pid)]
    return {"monitor": _mb(watcher), "dagster": sum(map(_mb, lasting))}


def _group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found.append(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _mb(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def _published(home: Path, portfolio: str) -> tuple[Decimal, int]:
    """Total equity at the last instant, and how many of the updates are in `balance_changes`."""
    with duckdb.connect(str(catalogue_path(home)), read_only=True) as connection:
        equity = connection.execute("SELECT total_equity FROM equity_latest WHERE portfolio = ?", [portfolio])
        [[total]] = equity.fetchall()
        rows = connection.execute("SELECT count(*) FROM balance_changes WHERE entry_id LIKE 'soak-%'").fetchall()
    return total, rows[0][0]


def _await_published(home: Path, portfolio: str, head: int) -> float:
    """Seconds until the newest equity rests on the entry."""
    began = time.perf_counter()
    query = "SELECT ledger_sequence FROM equity_latest WHERE portfolio = ?"
    while time.perf_counter() - began < LONGEST_S:
        with duckdb.connect(str(catalogue_path(home)), read_only=True) as connection:
            if connection.execute(query, [portfolio]).fetchall() == [(head,)]:
                return time.perf_counter() - began
        time.sleep(0.2)
    raise RuntimeError(f"the sensor did not recalculate entry {head} within {LONGEST_S} s")


def _watch(pipe: Connection, home: Path, terms: Terms) -> None:
    asyncio.run(_watching(pipe, home, terms))


async def _watching(pipe: Connection, home: Path, terms: Terms) -> None:
    """The equity monitor's process: says when it has begun, and what it came to at the sequence it is asked for."""
    with open_home(home) as opened:
        async with open_equity_monitor(opened, terms.portfolio) as monitor:
            task = asyncio.create_task(monitor.start_monitoring(terms.share_class))
            while monitor.last_snapshot is None:
                await asyncio.sleep(0.01)
            pipe.send("watching")
            while not pipe.poll():
                await asyncio.sleep(0.01)
            asked = pipe.recv()
            while monitor.last_snapshot.ledger_sequence != asked:
                await asyncio.sleep(0.01)
            pipe.send(
                {
                    "equity": str(monitor.last_snapshot.total_equity),
                    "calculations": monitor.calculations,
                    "failures": monitor.failures,
                }
            )
            monitor.stop_monitoring()
            await task
