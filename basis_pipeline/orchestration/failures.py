"""Our errors as Dagster failures: the message as it stands, and another attempt only where that can help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from basis_pipeline.domain.errors import BasisError, LedgerError, LedgerMovedError, VenueError, WarehouseError

_RETRIES_MAX = 1
_RETRY_DELAY_S = 5
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
