"""Everything through Dagster: the journals imported and materialized over all their days in one run.

Against the same Dagster materializing as many empty assets and partitions in as many steps: one run, in this process,
on the same kind of storage on the same disk, without checks and without our ways of sparing the disk. Each side is a
process of its own; memory is the peak of that process.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.data import Data, write_home
from benchmarks.measure import Figure, python, timed

TIMES_MAX = 1.3
MEMORY_MAX_MB = 1024


class _Ended(NamedTuple):
    seconds: float
    peak_mb: float


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    ours: list[_Ended] = []
    empty: list[_Ended] = []
    for number, turn in enumerate("AB" if quick else "ABBA"):
        place = folder / f"turn-{number}"
        (ours if turn == "A" else empty).append(_ours(data, place) if turn == "A" else _empty(data, place))
    seconds, empty_seconds = (median(e.seconds for e in side) for side in (ours, empty))
    turns = (
        f"in the turns {', '.join(f'{e.seconds:.1f}' for e in ours)} and {', '.join(f'{e.seconds:.1f}' for e in empty)}"
    )
    detail = f"ours {seconds:.1f} s, empty assets {empty_seconds:.1f} s ({turns})"
    yield Figure("import and materialize, over empty assets", seconds / empty_seconds, "×", detail, at_most=TIMES_MAX)
    peak = max(e.peak_mb for e in ours)
    yield Figure(
        "peak memory", peak, "MB", f"empty assets {max(e.peak_mb for e in empty):.0f} MB", at_most=MEMORY_MAX_MB
    )
    rebuilt = _rebuild(data, folder / "rebuild")
    yield Figure("basis rebuild: the same steps without Dagster", rebuilt, "s", "a process of its own, import apart")


def _ours(data: Data, home: Path) -> _Ended:
    write_home(home, data.market_data, data.terms)
    journals = json.dumps({name: str(path) for name, path in data.journals.items()})
    return _process("ours", str(home), str(data.days.first), str(data.days.last), journals)


def _empty(data: Data, directory: Path) -> _Ended:
    return _process("empty", str(directory), str(data.days.first), str(data.days.last))


def _process(*arguments: str) -> _Ended:
    took, done = timed(lambda: python("-m", "benchmarks.dagster_process", *arguments))
    return _Ended(took.wall, float(done.stdout.split()[-1]))


def _rebuild(data: Data, home: Path) -> float:
    write_home(home, data.market_data, data.terms)
    for name, journal in data.journals.items():
        python("-m", "basis_pipeline", "--home", str(home), "import", str(journal), "--portfolio", name)
    days = ("--from", _iso(data.days.first), "--to", _iso(data.days.last))
    return timed(lambda: python("-m", "basis_pipeline", "--home", str(home), "rebuild", *days))[0].wall


def _iso(day: date) -> str:
    return day.isoformat()
