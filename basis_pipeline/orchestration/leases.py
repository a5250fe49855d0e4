"""Which runs are alive: each holds a locked file while it lasts, and the system drops the lock however it ends.

Without this, a run whose process was killed would stay "started" for ever, hold its slot in the pool and count against
the number of concurrent runs: Dagster's own monitoring looks after runs it launched itself, while its daemon lives.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import dagster as dg
from filelock import FileLock, Timeout

_BEFORE_THE_LEASE = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING)
_UNDER_THE_LEASE = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)


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


def end_abandoned_runs(
    instance: dg.DagsterInstance, home: Path, *, updated_before: datetime | None = None, no_daemon: bool = False
) -> list[str]:
    """Report the runs whose process is gone as failed and free what they held; returns their ids.

    ``updated_before``: only of those that have not moved on since. A run that was started a moment ago has not taken
    its lease yet; give this wherever runs may be starting. ``no_daemon``: nothing that launches runs is alive, so that
    one that was being launched is lost, too.
    """
    unfinished = dg.RunsFilter(statuses=[*_BEFORE_THE_LEASE, *_UNDER_THE_LEASE], updated_before=updated_before)
    lost = (*_UNDER_THE_LEASE, dg.DagsterRunStatus.STARTING) if no_daemon else _UNDER_THE_LEASE
    abandoned = [run for run in instance.get_runs(unfinished) if _is_abandoned(run, _lease(home, run.run_id), lost)]
    for run in abandoned:
        instance.report_run_failed(run, "The process of this run ended before it did.")
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        _lease(home, run.run_id).unlink(missing_ok=True)
    return [run.run_id for run in abandoned]


def _is_abandoned(run: dg.DagsterRun, lease: Path, lost: Sequence[dg.DagsterRunStatus]) -> bool:
    if not lease.exists():  # a run of the UI takes its lease when it starts
        return run.status in lost
    try:
        with FileLock(lease, timeout=0):
            return True
    except Timeout:
        return False


def _lease(home: Path, run_id: str) -> Path:
    return home.resolve() / "dagster" / "leases" / f"{run_id}.lock"
