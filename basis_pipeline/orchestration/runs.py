"""Materializing in this process: one Dagster run for a whole range of days, recorded in the home's own instance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import uuid4

import dagster as dg

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.home import open_home
from basis_pipeline.ledger.database import DATABASE_FAILURES
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import daily_partitions, range_tags
from basis_pipeline.orchestration.failures import describe, readable_errors
from basis_pipeline.orchestration.instance import dagster_home, events_kept_open
from basis_pipeline.orchestration.jobs import BOOKS
from basis_pipeline.orchestration.leases import end_abandoned_runs, held_lease
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.settings import load_settings
from basis_pipeline.steps.ports import DayRange, Progress, no_progress
from basis_pipeline.steps.publishing import collect_garbage

_STORAGE_FAILURES: tuple[type[Exception], ...] = (*DATABASE_FAILURES, OSError)
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended.

    ``errors`` are readable messages, such as the list of everything that could not be valued. ``failed_checks`` are
    those that failed with an error and ``warnings`` the others, each with what it found.
    """

    run_id: str
    success: bool
    errors: tuple[str, ...]
    failed_checks: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def materialize(home: Path, first: date, last: date, progress: Progress = no_progress) -> RunOutcome:
    """Materialize every table for the days in one run, with all checks.

    InputError when a day is outside the partitions, ConfigError when the home's settings are unusable, BasisError when
    Dagster cannot record the run. Everything else that goes wrong is in the outcome, and in the UI.
    """
    home = home.resolve()
    tags = range_tags(daily_partitions(load_settings(home)), DayRange(first, last))
    # Without a pool: a run in the UI that died with its slot would otherwise hold this one up for ever.
    job = build_definitions(home, pool=None).resolve_job_def(BOOKS)
    run_id = str(uuid4())
    with ExitStack() as stack:
        stack.enter_context(_translated(home))
        stack.enter_context(dagster_home(home))
        instance = stack.enter_context(dg.DagsterInstance.get())
        end_abandoned_runs(instance, home)
        stack.enter_context(held_lease(home, run_id))
        instance.all_logs(run_id)  # creates the database of the run's events
        stack.enter_context(events_kept_open(home, run_id))
        result = job.execute_in_process(
            run_config=_QUIET,
            instance=instance,
            raise_on_error=False,
            run_id=run_id,
            tags={**tags, "dagster/max_retries": "0", "basis/started_by": "basis materialize"},
            resources={"home": dg.ResourceDefinition.hardcoded_resource(HomeResource.watched(home, progress))},
        )
    with open_home(home) as opened:
        collect_garbage(opened.ports())
    evaluations = [evaluation for evaluation in result.get_asset_check_evaluations() if not evaluation.passed]
    is_error = dg.AssetCheckSeverity.ERROR
    return RunOutcome(
        run_id,
        result.success,
        tuple(readable_errors(result.all_events)),
        tuple(describe(e) for e in evaluations if e.severity is is_error),
        tuple(describe(e) for e in evaluations if e.severity is not is_error),
    )


@contextmanager
def _translated(home: Path) -> Iterator[None]:
    """Failures of Dagster's own storage as errors with what to do: a full disk must not end in a traceback."""
    try:
        yield
    except _STORAGE_FAILURES as error:
        raise BasisError(
            f"cannot record the run in {home / 'dagster'}: {getattr(error, 'orig', None) or error}; free disk space or "
            "fix permissions, then run it again (what finished steps published stays)"
        ) from error
