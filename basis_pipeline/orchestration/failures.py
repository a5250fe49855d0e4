"""Our errors as Dagster failures: the message as it stands, and another attempt only where that can help."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import dagster as dg

from basis_pipeline.domain.errors import BasisError, LedgerError, LedgerMovedError, VenueError, WarehouseError

MISSING_PRICES = "missing prices"
"""Under which a failure keeps what could not be valued, by portfolio, for the alerts."""
_RETRIES_MAX = 1
_RETRY_DELAY_S = 5
_FAILED_CHECK = "DagsterAssetCheckFailedError"
"""What a blocking check ends its step with; its findings are told as those of a check."""
_HEALING = (VenueError, LedgerError, LedgerMovedError)
READS_VENUES = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""For steps that read venues. That an account is unavailable is no failure of theirs, but what they came to."""


@contextmanager
def readable_failures(attempt: int = 0, *, reads_venues: bool = False) -> Iterator[None]:
    """End the step in a failure that people can read instead of a stack trace.

    Tries once more when the warehouse could not be written (another process may hold the writer's lock, or a disk is
    being tidied). A retry policy would also repeat bad input, missing prices and defects, which stay what they are.
    A step that ``reads_venues`` has one: it repeats what a venue or a database may do better the next time.
    """
    try:
        yield
    except BasisError as error:
        if type(error) is WarehouseError and attempt < _RETRIES_MAX:
            raise dg.RetryRequested(max_retries=_RETRIES_MAX, seconds_to_wait=_RETRY_DELAY_S) from error
        if reads_venues and type(error) in _HEALING:
            raise dg.Failure(str(error)) from error
        raise failure(error) from error


def failure(error: BasisError, metadata: dict[str, dg.MetadataValue] | None = None) -> dg.Failure:
    """The failure that says what the error says."""
    return dg.Failure(str(error), metadata, allow_retries=False)


def readable_errors(events: Iterable[dg.DagsterEvent]) -> Iterator[str]:
    """What went wrong in the steps of a run, for people; blocking checks that failed tell it themselves."""
    for event in events:
        if not event.is_step_failure:
            continue
        failed = event.step_failure_data
        if failed.user_failure_data is not None and failed.user_failure_data.description:
            yield failed.user_failure_data.description
        elif failed.error is not None and failed.error.cls_name != _FAILED_CHECK:
            cause = failed.error.cause or failed.error
            yield f"{event.step_key}: {cause.message.strip()}"


def errors_of_run(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Why a recorded run failed: its steps, else its blocking checks, else what Dagster says of the run itself."""
    kinds = {
        dg.DagsterEventType.STEP_FAILURE,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.RUN_FAILURE,
    }
    found = [record.dagster_event for record in instance.all_logs(run_id, of_type=kinds)]
    events = [event for event in found if event is not None]
    return (
        list(readable_errors(events))
        or [describe(e) for e in evaluations(events) if not e.passed and e.severity is dg.AssetCheckSeverity.ERROR]
        or [event.message for event in events if event.event_type is dg.DagsterEventType.RUN_FAILURE and event.message]
    )


def evaluations(events: Iterable[dg.DagsterEvent]) -> list[dg.AssetCheckEvaluation]:
    """What the checks of a run came to."""
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    return [event.asset_check_evaluation_data for event in events if event.event_type is kind]


def describe(evaluation: dg.AssetCheckEvaluation) -> str:
    """A check and what it found."""
    return f"{evaluation.asset_key.to_user_string()}.{evaluation.check_name}: {evaluation.description}"
