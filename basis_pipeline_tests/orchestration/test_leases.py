from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.instance import dagster_home
from basis_pipeline.orchestration.jobs import BOOKS
from basis_pipeline.orchestration.leases import end_abandoned_runs, held_lease


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_home(tmp_path), dg.DagsterInstance.get() as instance:
        yield instance


def run_with(instance: dg.DagsterInstance, home: Path, status: dg.DagsterRunStatus) -> str:
    job = build_definitions(home).resolve_job_def(BOOKS)
    return instance.create_run_for_job(job, status=status).run_id


def status_of(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status.value


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_run_whose_lease_nobody_holds_any_more_is_ended(
    instance: dg.DagsterInstance, tmp_path: Path, status: dg.DagsterRunStatus
) -> None:
    run_id = run_with(instance, tmp_path, status)
    lease = tmp_path / "dagster" / "leases" / f"{run_id}.lock"
    lease.parent.mkdir(parents=True, exist_ok=True)
    lease.touch()  # what a killed process leaves behind
    assert end_abandoned_runs(instance, tmp_path) == [run_id]
    assert status_of(instance, run_id) == "FAILURE"
    assert not lease.exists()


def test_a_run_that_is_alive_is_left_alone(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = run_with(instance, tmp_path, dg.DagsterRunStatus.STARTED)
    with held_lease(tmp_path, run_id):
        assert end_abandoned_runs(instance, tmp_path) == []
        assert status_of(instance, run_id) == "STARTED"


def test_a_run_that_the_ui_has_not_started_yet_is_left_alone(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = run_with(instance, tmp_path, dg.DagsterRunStatus.NOT_STARTED)
    assert end_abandoned_runs(instance, tmp_path) == []
    assert status_of(instance, run_id) == "NOT_STARTED"


def test_a_run_that_was_being_launched_is_lost_with_the_daemon_and_only_then(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = run_with(instance, tmp_path, dg.DagsterRunStatus.STARTING)
    assert end_abandoned_runs(instance, tmp_path) == []
    assert end_abandoned_runs(instance, tmp_path, no_daemon=True) == [run_id]
    assert status_of(instance, run_id) == "FAILURE"


def test_slots_of_an_abandoned_run_are_free_again(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = run_with(instance, tmp_path, dg.DagsterRunStatus.STARTED)
    events = instance.event_log_storage
    events.initialize_concurrency_limit_to_default("warehouse")
    assert events.claim_concurrency_slot("warehouse", run_id, "project_prices").is_claimed
    assert not events.claim_concurrency_slot("warehouse", "another run", "project_prices").is_claimed
    end_abandoned_runs(instance, tmp_path)
    assert events.claim_concurrency_slot("warehouse", "another run", "project_prices").is_claimed
