"""Which failures end a step for good, and which are tried again."""

from __future__ import annotations

import dagster as dg
import pytest

from basis_pipeline.domain.errors import (
    BasisError,
    ConfigError,
    LedgerError,
    MissingPriceError,
    ReconciliationError,
    VenueConfigError,
    VenueError,
    WarehouseError,
)
from basis_pipeline.orchestration.failures import readable_failures
from basis_pipeline.steps.proofs import ProofFailed


def outcome(error: BasisError, attempt: int = 0, *, reads_venues: bool = False) -> str:
    """How a step that raises this ends: again, or failed with or without a policy's retries."""
    with (
        pytest.raises((dg.RetryRequested, dg.Failure)) as raised,
        readable_failures(attempt, reads_venues=reads_venues),
    ):
        raise error
    if isinstance(raised.value, dg.Failure):
        assert raised.value.description == str(error)
        return "may be retried" if raised.value.allow_retries else "for good"
    return "again"


def test_a_warehouse_that_could_not_be_written_is_tried_once_more() -> None:
    assert outcome(WarehouseError("locked")) == "again"
    assert outcome(WarehouseError("locked"), attempt=1) == "for good"
    assert outcome(ProofFailed("rows contradict each other")) == "for good"


@pytest.mark.parametrize("error", [VenueError("timeout"), LedgerError("locked")])
def test_what_a_venue_or_a_database_may_do_better_is_retried_by_steps_that_read_venues(error: BasisError) -> None:
    assert outcome(error, reads_venues=True) == "may be retried"
    assert outcome(error) == "for good"


@pytest.mark.parametrize(
    "error", [ConfigError("x"), VenueConfigError("x"), ReconciliationError("x"), MissingPriceError("x")]
)
def test_what_would_fail_again_is_not_retried(error: BasisError) -> None:
    assert outcome(error, reads_venues=True) == "for good"
    assert outcome(error) == "for good"
