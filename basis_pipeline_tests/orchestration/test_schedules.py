"""What the schedules of live mode decide at a tick."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from basis_pipeline.domain.instants import DAY, HOUR
from basis_pipeline.home import open_home
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import RANGE_END_TAG, RANGE_START_TAG, daily_partitions
from basis_pipeline.orchestration.schedules import MISSED_DAYS_MAX, projection_due, reconciliation_due
from basis_pipeline.settings import load_settings
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline_tests.live_homes import hours_ago, record_usdt, write_live_home

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_live_home(tmp_path / "home", NOWHERE, start=hours_ago(24 * 40))


def due(home: Path, tick: datetime | None = None) -> dg.RunRequest | dg.SkipReason:
    days = daily_partitions(load_settings(home))
    return projection_due(home, days, tick or datetime.now(UTC))


def days_of(request: dg.RunRequest | dg.SkipReason) -> tuple[date, date]:
    assert isinstance(request, dg.RunRequest)
    first = request.partition_key or request.tags[RANGE_START_TAG]
    last = request.partition_key or request.tags[RANGE_END_TAG]
    return date.fromisoformat(first), date.fromisoformat(last)


def materialize(home: Path, first: date, last: date) -> None:
    with open_home(home) as opened:
        rebuild(opened.ports(), DayRange(first, last))


def test_a_tick_reconciles_the_hour_it_is_in(home: Path) -> None:
    tick = hours_ago(0) + timedelta(seconds=3)
    request = reconciliation_due(load_settings(home), tick, tick)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == tick.strftime("%Y-%m-%d-%H:00")


def test_a_tick_that_is_late_by_more_than_its_hour_is_skipped_with_the_reason(home: Path) -> None:
    settings, tick = load_settings(home), hours_ago(3)
    assert isinstance(reconciliation_due(settings, tick, tick + HOUR - timedelta(seconds=1)), dg.RunRequest)
    late = reconciliation_due(settings, tick, tick + HOUR)
    assert isinstance(late, dg.SkipReason)
    assert "venues tell only what is held now" in str(late.skip_message)


def test_nothing_is_reconciled_before_the_first_portfolio_starts_or_without_accounts(tmp_path: Path) -> None:
    early = write_live_home(tmp_path / "early", NOWHERE, start=hours_ago(-2))
    skipped = reconciliation_due(load_settings(early), hours_ago(0), hours_ago(0))
    assert isinstance(skipped, dg.SkipReason)
    assert "the first portfolio starts at" in str(skipped.skip_message)
    (early / "basis.yaml").write_text("mode: live\n")
    alone = reconciliation_due(load_settings(early), hours_ago(0), hours_ago(0))
    assert isinstance(alone, dg.SkipReason)
    assert "no accounts are configured" in str(alone.skip_message)


def test_the_requested_hour_is_a_partition_of_the_job(home: Path) -> None:
    definitions = build_definitions(home)
    repository = definitions.get_repository_def()
    [schedule] = [found for found in repository.schedule_defs if found.name == "hourly_reconciliation"]
    with dg.instance_for_test() as instance:
        context = dg.build_schedule_context(
            instance=instance, scheduled_execution_time=hours_ago(0), repository_def=repository
        )
        [request] = schedule.evaluate_tick(context).run_requests or []
        job = definitions.resolve_job_def("hourly_reconciliation")
        assert job.partitions_def is not None
        assert request.partition_key in job.partitions_def.get_partition_keys(dynamic_partitions_store=instance)


def test_days_that_were_never_published_are_due_as_far_back_as_a_month(home: Path) -> None:
    today = datetime.now(UTC).date()
    assert days_of(due(home)) == (today - MISSED_DAYS_MAX * DAY, today)


def test_once_everything_is_published_only_today_is_due(home: Path) -> None:
    today = datetime.now(UTC).date()
    materialize(home, today - 40 * DAY, today)
    assert days_of(due(home)) == (today, today)


def test_yesterday_is_due_again_when_its_last_hours_were_recorded_after_it_was_published(home: Path) -> None:
    today = datetime.now(UTC).date()
    materialize(home, today - 40 * DAY, today)
    record_usdt(home, datetime.combine(today - DAY, datetime.min.time(), UTC) + 23 * HOUR)
    assert days_of(due(home)) == (today - DAY, today)


def test_a_day_of_long_ago_that_could_not_be_valued_does_not_fail_every_hour(home: Path) -> None:
    today = datetime.now(UTC).date()
    materialize(home, today - 40 * DAY, today)
    record_usdt(home, datetime.combine(today - 9 * DAY, datetime.min.time(), UTC) + 3 * HOUR)
    assert days_of(due(home))[0] >= today - 2 * DAY


def test_nothing_is_projected_before_a_portfolio_starts(tmp_path: Path) -> None:
    home = write_live_home(tmp_path / "home", NOWHERE, start=hours_ago(-48))
    assert isinstance(due(home), dg.SkipReason)
