"""What a benchmark says, and the few ways of timing.

Two things are always compared in turns (A B A B ...), so that a machine that becomes busy slows both, and by the median
of the ratios of neighbours.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Figure:
    """One measured number with the bound it is held to, if any."""

    what: str
    value: float
    unit: str
    detail: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def verdict(self) -> str:
        """OK, ABOVE or BELOW; empty without a bound."""
        if self.at_most is not None and not self.value <= self.at_most:
            return "ABOVE"
        if self.at_least is not None and not self.value >= self.at_least:
            return "BELOW"
        return "" if self.at_most is None and self.at_least is None else "OK"

    def __str__(self) -> str:
        bound = ""
        if self.at_most is not None:
            bound = f"at most {_number(self.at_most)}"
        elif self.at_least is not None:
            bound = f"at least {_number(self.at_least)}"
        shown = f"{_number(self.value)} {self.unit}"
        return f"  {self.what:<50} {shown:>13}  {bound:<15} {self.verdict:<5}  {self.detail}".rstrip()


class Took(NamedTuple):
    """Seconds by the clock on the wall and seconds of this process's CPU (all threads)."""

    wall: float
    cpu: float


class Pairs(NamedTuple):
    """Both sides' times, taken in turns."""

    ours: list[Took]
    theirs: list[Took]

    def times_faster(self, clock: str) -> float:
        """The median of their time over ours."""
        position = Took._fields.index(clock)
        return median(b[position] / a[position] for a, b in zip(self.ours, self.theirs, strict=True))

    def medians(self, names: tuple[str, str] = ("ours", "reference")) -> str:
        """Both sides' median times, for people."""
        parts = []
        for name, side in zip(names, self, strict=True):
            parts.append(f"{name} {median(t.wall for t in side):.2f} s (CPU {median(t.cpu for t in side):.2f} s)")
        return ", ".join(parts)


def timed(call: Callable[[], Any]) -> tuple[Took, Any]:
    """How long the call took, and its result."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return Took(time.perf_counter() - wall, time.process_time() - cpu), result


def in_turns(ours: Callable[[], Any], theirs: Callable[[], Any], pairs: int) -> Pairs:
    """Run both in turns."""
    found = Pairs([], [])
    for _ in range(pairs):
        found.ours.append(timed(ours)[0])
        found.theirs.append(timed(theirs)[0])
    return found


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in a process of its own that finds the project; a failure is raised with what it said."""
    return run_process([sys.executable, *arguments])


def run_process(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that finds the project; a failure is raised with what it said."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:4])} ... ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 1 else f"{value:.2f}"
