"""Progress of long work on standard error: bars on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from basis_pipeline.cli.output import note

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY_S = 10.0


@contextmanager
def day_progress() -> Iterator[Callable[[str, int, int], None]]:
    """A callback for the steps: (name, days done, days in all)."""
    if not sys.stderr.isatty():
        yield _lines("days")
        return
    with _bars() as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=total)
            bars.update(tasks[step], completed=done, total=total)

        yield show


@contextmanager
def update_progress(source: str) -> Iterator[Callable[[int], None]]:
    """A callback for an import: the number of updates so far; nobody knows how many will come."""
    if not sys.stderr.isatty():
        lines = _lines("updates")
        yield lambda count: lines(source, count, 0)
        return
    with _bars() as bars:
        task = bars.add_task(source, total=None)
        yield lambda count: bars.update(task, completed=count)


def _lines(unit: str) -> Callable[[str, int, int], None]:
    last = time.monotonic()

    def show(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S:
            last = now
            note(f"{name}: {done:,} of {total:,} {unit}" if total else f"{name}: {done:,} {unit}")

    return show


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    )
