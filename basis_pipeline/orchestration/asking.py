"""What a sensor needs to know before it asks for a run: which are on their way, and which died."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from basis_pipeline.home import Home
from basis_pipeline.orchestration.leases import end_abandoned_runs

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
ABANDONED_AFTER = timedelta(minutes=1)
"""A run that takes longer than this to take its lease has no process any more."""
RESTARTED_WITHIN = timedelta(seconds=30)
"""A crashed run that Dagster has not started again by then is not waited for."""
WILL_RETRY_TAG = "dagster/will_retry"


def unfinished_runs(instance: dg.DagsterInstance, home: Home) -> list[dg.DagsterRun]:
    """The runs that are on their way, whoever asked for them. Those whose process died are reported as failed first.

    Dagster's own monitoring looks after runs that it launched; a `basis materialize` that was killed would stay
    "started" for ever, and a sensor would wait for it.
    """
    unfinished = dg.RunsFilter(statuses=_UNFINISHED)
    found = instance.get_runs(unfinished)
    if found and end_abandoned_runs(instance, home.path, updated_before=home.clock() - ABANDONED_AFTER):
        found = instance.get_runs(unfinished)
    return [*found, *_to_be_started_again(instance, home.clock() - RESTARTED_WITHIN)]


def _to_be_started_again(instance: dg.DagsterInstance, since: datetime) -> list[dg.DagsterRun]:
    """The runs that crashed and that Dagster is about to start again."""
    crashed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], tags={WILL_RETRY_TAG: "true"}, updated_after=since)
    return [run for run in instance.get_runs(crashed) if run.is_complete_and_waiting_to_retry]


def ended_at(record: dg.RunRecord) -> datetime:
    """When a finished run ended."""
    return record.update_timestamp if record.end_time is None else datetime.fromtimestamp(record.end_time, UTC)


def short(run: dg.DagsterRun) -> str:
    """A run's id as the UI shows it."""
    return run.run_id[:8]


def on_it(run: dg.DagsterRun) -> str:
    """Why nothing is asked for while one of the unfinished runs is on its way."""
    if run.is_finished:
        return f"run {short(run)} ({run.job_name}) crashed, and Dagster is about to start it again"
    return f"run {short(run)} ({run.job_name}, {run.status.value}) is on it"
