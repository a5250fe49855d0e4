"""Measure speed: ``python benchmarks/run.py [NAME ...] [--quick]``; exit code 1 when a bound is missed."""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path

TOPICS = (
    "startup",
    "engine",
    "rows",
    "ledger",
    "updates",
    "equity_now",
    "reacting",
    "reconciliation",
    "recalculation",
    "soak",
    "one_day",
    "dagster_cost",
)
SLOW = "dagster_cost"


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure speed, against alternatives and bounds.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"what to measure: {', '.join(TOPICS)}")
    parser.add_argument("--quick", action="store_true", help=f"fewer repetitions, and not {SLOW} unless it is named")
    arguments = parser.parse_args()
    if unknown := set(arguments.names).difference(TOPICS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    names = arguments.names or [name for name in TOPICS if not (arguments.quick and name == SLOW)]
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    data_module = importlib.import_module("benchmarks.data")
    missed = 0
    with tempfile.TemporaryDirectory(prefix="basis-bench-") as scratch:
        data = data_module.find_data(Path(scratch))
        print(f"Measured on {data.name}.", flush=True)
        if not data.is_shared:
            print("The shared data was not found (set BASIS_SHARED); without it a missed bound is shown, not counted.")
        for name in names:
            topic = importlib.import_module(f"benchmarks.{name}")
            print(f"{name}: {(topic.__doc__ or '').splitlines()[0]}", flush=True)
            with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=scratch) as folder:
                for figure in topic.measure(data, Path(folder), arguments.quick):
                    print(figure, flush=True)
                    missed += data.is_shared and figure.verdict not in ("", "OK")
    print(f"Bounds missed: {missed}." if missed else "No bound is missed.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
