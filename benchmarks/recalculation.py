"""From the commit of a ledger entry to the recalculated row in DuckDB, by the sensor of a running Dagster.

Against the same Dagster with the same kind of sensor on a file that changes, which asks for a run of one empty asset.
Both wait for their sensor's next tick; what comes at every moment between two ticks is part of both. Besides: what a
tick of the sensor costs when nothing happened.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import mean, median

import duckdb
import yaml

from basis_pipeline.domain.instants import day_start, iso
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.home import open_home
from basis_pipeline.orchestration.instance import instance_config
from basis_pipeline.warehouse.catalogue import catalogue_path
from benchmarks.data import Data
from benchmarks.measure import Figure, python
from benchmarks.recalculation_process import DIRECTORY_VARIABLE, DONE, WANTED
from benchmarks.served import LONGEST_S, free_port, published_home, served, served_home

TIMES_MAX = 1.5
TICK_MS_MAX = 50
_BETWEEN_TICKS_S = 5


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    home = published_home(data, folder / "home")
    yield Figure(f"an idle tick at {len(data.days)} days", _tick_ms(home), "ms", at_most=TICK_MS_MAX)
    samples = 3 if quick else 6
    ours: list[float] = []
    empty: list[float] = []
    for number, turn in enumerate("AB" if quick else "ABBA"):
        if turn == "A":
            ours += _ours(data, home, samples)
        else:
            empty += _empty(folder / f"empty-{number}", samples)
    detail = f"ours {_spread(ours)}, an empty asset {_spread(empty)}"
    yield Figure("from commit to row, over an empty asset", mean(ours) / mean(empty), "×", detail, at_most=TIMES_MAX)


def _spread(seconds: list[float]) -> str:
    return f"{mean(seconds):.1f} s (median {median(seconds):.1f}, {min(seconds):.1f} to {max(seconds):.1f})"


def _tick_ms(home: Path) -> float:
    return float(python("-m", "benchmarks.recalculation_process", str(home)).stdout.split()[-1])


_numbers = count(1)


def _ours(data: Data, home: Path, samples: int) -> list[float]:
    portfolio = data.terms[0].portfolio

    def change() -> Callable[[], bool]:
        number = next(_numbers)
        update = {
            "id": f"benchmark-{number}",
            "timestamp": iso(day_start(data.days.last)),
            "trigger": "DEPOSIT",
            "token_changes": [{"venue": "wallet", "token": "USDT", "delta": Decimal("0.01")}],
        }
        with open_home(home) as opened:
            sequence = opened.ledger.append(portfolio, parse_update(update)).sequence
        return lambda: _shown(home, portfolio) >= sequence

    with served_home(home):
        return _samples(change, samples)


def _shown(home: Path, portfolio: str) -> int:
    with duckdb.connect(str(catalogue_path(home)), read_only=True) as connection:
        query = "SELECT max(ledger_sequence) FROM equity_snapshots WHERE portfolio = ? AND as_of >= ?"
        newest = connection.execute("SELECT max(as_of) FROM equity_snapshots").fetchone()
        found = connection.execute(query, [portfolio, newest[0] if newest else None]).fetchone()
    return 0 if found is None or found[0] is None else int(found[0])


def _empty(directory: Path, samples: int) -> list[float]:
    directory.mkdir(parents=True)
    (directory / "dagster.yaml").write_text(yaml.safe_dump(instance_config(directory)), encoding="utf-8")

    def change() -> Callable[[], bool]:
        wanted = str(next(_numbers))
        (directory / WANTED).write_text(wanted, encoding="utf-8")
        return lambda: (directory / DONE).exists() and (directory / DONE).read_text(encoding="utf-8") == wanted

    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-m", "benchmarks.recalculation_process", "-p", str(port)]
    environment = {"DAGSTER_HOME": str(directory), DIRECTORY_VARIABLE: str(directory)}
    with served([*command, "--log-level", "error"], environment, port, None):
        return _samples(change, samples)


def _samples(change: Callable[[], Callable[[], bool]], samples: int) -> list[float]:
    """Seconds from a change to what it is to bring about, begun at moments spread evenly between two ticks."""
    _seconds(change)  # the sensor's first tick, and whatever is loaded only once
    found = []
    for number in range(samples):
        time.sleep(_BETWEEN_TICKS_S * number / samples)
        found.append(_seconds(change))
    return found


def _seconds(change: Callable[[], Callable[[], bool]]) -> float:
    done = change()
    began = time.perf_counter()
    while not done():
        if time.perf_counter() - began > LONGEST_S:
            raise RuntimeError(f"nothing came of a change within {LONGEST_S} s")
        time.sleep(0.05)
    return time.perf_counter() - began
