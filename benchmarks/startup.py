"""Starting up: heavy packages load only where they are used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchmarks.data import Data
from benchmarks.measure import Figure, run_process, timed

BOUND_S = 0.5


def measure(_data: Data, _folder: Path, quick: bool) -> Iterator[Figure]:
    python = [sys.executable]
    script = Path(sys.executable).with_name("basis")
    basis = [str(script)] if script.exists() else [*python, "-m", "basis_pipeline"]
    commands = {
        "import basis_pipeline": [*python, "-c", "import basis_pipeline"],
        "basis --help": [*basis, "--help"],
    }
    nothing = _seconds([*python, "-c", ""], quick)
    for what, command in commands.items():
        yield Figure(what, _seconds(command, quick), "s", f"Python alone {nothing:.3f} s", at_most=BOUND_S)


def _seconds(command: list[str], quick: bool) -> float:
    run_process(command)
    return median(timed(lambda: run_process(command))[0].wall for _ in range(3 if quick else 7))
