"""Which runs are alive: each holds a locked file while it lasts, and the system drops the lock however it ends.

Without this, a run whose process was killed would stay "started" for ever, hold its slot in the pool and count against
the number of concurrent runs: Dagster's own monitoring looks after runs it launched itself, while its daemon lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout


@contextmanager
def held_lease(home: Path, run_id: str) -> Iterator[None]:
    """Hold a run's lease while the block lasts."""
    path = _lease(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def end_abandoned_runs(instance: dg.DagsterInstance, home: Path) -> list[str]:
    """Report the runs whose process is gone as failed and free what they held; returns their ids."""
    running = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])
    abandoned = [run for run in instance.get_runs(running) if not _is_alive(home, run.run_id)]
    for run in abandoned:
        instance.report_run_failed(run, "The process of this run ended before it did. Materialize its days again.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        _lease(home, run.run_id).unlink(missing_ok=True)
    return [run.run_id for run in abandoned]


def _is_alive(home: Path, run_id: str) -> bool:
    path = _lease(home, run_id)
    if path.exists():
        with suppress(OSError):
            try:
                with FileLock(path, timeout=0):
                    return False
            except Timeout:
                return True
    return False


def _lease(home: Path, run_id: str) -> Path:
    return home.resolve() / "dagster" / "leases" / f"{run_id}.lock"
