"""Runs of live mode through Dagster: the current hour against a real exchange on loopback, past hours, what fails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from basis_pipeline.domain.instants import HOUR
from basis_pipeline.home import open_home
from basis_pipeline.ledger.readings import ReconciliationRecord, reconciliations_between, record_reconciliations
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import RANGE_END_TAG, RANGE_START_TAG
from basis_pipeline.orchestration.hours import hour_key
from basis_pipeline.orchestration.instance import dagster_home
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline_tests.homes import ask
from basis_pipeline_tests.live_homes import (
    ACCOUNT,
    PART,
    PORTFOLIO,
    LiveHome,
    configuration,
    hours_ago,
    live_home,
    record_usdt,
)
from basis_pipeline_tests.rigs.exchanges import Answer


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveHome]:
    with live_home(tmp_path / "home", monkeypatch) as found:
        yield found


def run(home: LiveHome, first: datetime, last: datetime | None = None) -> dg.ExecuteInProcessResult:
    """What the schedule's job does for these hours."""
    job = build_definitions(home.path).resolve_job_def("hourly_reconciliation")
    hours: dict[str, Any] = {"partition_key": hour_key(first)}
    if last is not None:
        hours = {"tags": {RANGE_START_TAG: hour_key(first), RANGE_END_TAG: hour_key(last)}}
    with dagster_home(home.path), dg.DagsterInstance.get() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False, **hours)


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {found.check_name: found for found in result.get_asset_check_evaluations()}


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    [found] = [
        each for each in result.asset_materializations_for_node("reconcile_accounts") if each.asset_key.path == [asset]
    ]
    return {name: value.value for name, value in found.metadata.items()}


def failures(result: dg.ExecuteInProcessResult) -> str:
    failed = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return "\n".join(str(each.user_failure_data.description) for each in failed if each.user_failure_data)


def test_the_current_hour_is_read_compared_and_published(home: LiveHome) -> None:
    hour = hours_ago(0)
    result = run(home, hour)
    assert result.success
    assert ask(home.path, "SELECT hour, portfolio, account, key, outcome FROM reconciliation") == [
        (hour.replace(tzinfo=None), PORTFOLIO, ACCOUNT, "USDT", "MATCHED")
    ]
    assert all(check.passed for check in checks(result).values())
    shown = metadata(result, "reconciliation")
    assert (shown["MATCHED"], shown["DRIFT"], shown["UNAVAILABLE"]) == (1, 0, 0)
    assert f"| {PORTFOLIO} | {ACCOUNT} | AVAILABLE | 1 MATCHED |" in shown["by account"]
    assert metadata(result, "venue_observations")["accounts"] == 1


def test_drift_that_was_adjusted_is_a_warning_and_drift_that_stands_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for on_drift, severity in (("adjust", dg.AssetCheckSeverity.WARN), ("alert", dg.AssetCheckSeverity.ERROR)):
        rules = {"on_drift": on_drift, "second_reading_after": "0s"}
        with live_home(tmp_path / on_drift, monkeypatch, reconciliation=rules) as home:
            home.account.add(PART, "USDT", "-12.34")
            result = run(home, hours_ago(0))
            drift = checks(result)["no_unexplained_drift"]
            assert result.success, "an hour that was reconciled is no failed run, whatever was found"
            assert (drift.passed, drift.severity) == (False, severity)
            assert f"{PORTFOLIO} {ACCOUNT} USDT: DRIFT, ledger 10000, venue 9987.66" in str(drift.description)


def test_a_later_run_of_the_hour_does_not_hide_that_the_ledger_was_adjusted(home: LiveHome) -> None:
    home.account.add(PART, "USDT", "-12.34")
    run(home, hours_ago(0))
    again = run(home, hours_ago(0))
    assert metadata(again, "reconciliation")["MATCHED"] == 1
    drift = checks(again)["no_unexplained_drift"]
    assert (drift.passed, drift.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"adjusted earlier in the hour: recon:{PORTFOLIO}:{ACCOUNT}:" in str(drift.description)


def test_books_that_cannot_be_opened_yet_are_not_said_to_agree_with_the_venues(home: LiveHome, tmp_path: Path) -> None:
    unopened = home._replace(path=tmp_path / "unopened")
    unopened.path.mkdir()
    settings = configuration(home.venues.url, hours_ago(2), PORTFOLIO)
    (unopened.path / "basis.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    home.venues.fail("*", "500")
    drift = checks(run(unopened, hours_ago(0)))["no_unexplained_drift"]
    assert str(drift.description).startswith("Nothing was compared.")
    assert f"{PORTFOLIO}: its books open with the first complete reading" in str(drift.description)


def test_what_a_venue_answers_is_shown_as_it_stands_and_not_as_html(home: LiveHome) -> None:
    home.venues.fail("*", Answer(502, "<html>\n<b>Bad | gateway</b>\n</html>", "text/html"))
    shown = metadata(run(home, hours_ago(0)), "venue_observations")["by account"]
    assert len(shown.splitlines()) == 3
    assert "&lt;b>Bad \\| gateway&lt;/b>" in shown


def test_a_run_that_hangs_is_ended_within_its_hour(home: LiveHome) -> None:
    job = build_definitions(home.path).resolve_job_def("hourly_reconciliation")
    assert 0 < int(job.tags["dagster/max_runtime"]) < HOUR.total_seconds()


def test_an_account_that_cannot_be_read_warns_with_the_reason_and_is_published_as_unavailable(home: LiveHome) -> None:
    home.venues.fail("*", "500")
    result = run(home, hours_ago(0))
    assert result.success
    available = checks(result)["all_accounts_available"]
    assert (available.passed, available.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert ACCOUNT in str(available.description)
    drift = checks(result)["no_unexplained_drift"]
    assert (drift.passed, drift.description) == (True, f"Nothing was compared. Not compared: {ACCOUNT}.")
    assert checks(result)["skew_in_bounds"].description == "No two accounts were read at different times."
    assert ask(home.path, "SELECT status FROM venue_observations") == [("UNAVAILABLE",)]
    assert ask(home.path, "SELECT outcome FROM reconciliation") == [("UNAVAILABLE",)]


def test_a_past_hour_that_was_never_reconciled_says_that_it_cannot_be(home: LiveHome) -> None:
    past = hours_ago(5)
    result = run(home, past)
    assert not result.success
    assert f"{past:%Y-%m-%dT%H}:00:00Z was not reconciled and cannot be any more" in failures(result)
    assert home.venues.requests == []


def test_a_past_hour_that_was_reconciled_is_published_again_and_not_read(home: LiveHome) -> None:
    assert run(home, hours_ago(0)).success
    pretend_that_it_was_earlier(home, hours_ago(3))
    home.venues.requests.clear()
    result = run(home, hours_ago(3))
    assert result.success
    assert home.venues.requests == []
    assert {hour for (hour,) in ask(home.path, "SELECT hour FROM reconciliation")} >= {
        hours_ago(3).replace(tzinfo=None)
    }


def test_of_a_range_the_hours_that_were_reconciled_are_materialized_and_the_others_named(home: LiveHome) -> None:
    assert run(home, hours_ago(0)).success
    pretend_that_it_was_earlier(home, hours_ago(3))
    result = run(home, hours_ago(3), hours_ago(1))
    assert not result.success
    assert "2 hours from" in failures(result)
    with dagster_home(home.path), dg.DagsterInstance.get() as instance:
        done = instance.get_materialized_partitions(dg.AssetKey("reconciliation"))
    assert done == {hour_key(hours_ago(0)), hour_key(hours_ago(3))}


def pretend_that_it_was_earlier(home: LiveHome, hour: datetime) -> None:
    """Store what the current hour came to as that hour's."""
    with open_home(home.path) as opened:
        engine = opened.ledger.engine
        found = reconciliations_between(engine, hours_ago(1), datetime.now(UTC) + timedelta(hours=1))
        record_reconciliations(engine, [ReconciliationRecord(hour, *found[0][1:])])


def test_accounts_read_far_apart_warn(home: LiveHome) -> None:
    assert run(home, hours_ago(0)).success
    with open_home(home.path) as opened:
        engine = opened.ledger.engine
        [found] = reconciliations_between(engine, hours_ago(0), hours_ago(-1))
        record_reconciliations(engine, [found._replace(hour=hours_ago(2), skew=timedelta(seconds=95))])
    skewed = checks(run(home, hours_ago(2)))["skew_in_bounds"]
    assert (skewed.passed, skewed.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "lie 95 s apart, more than `reconciliation.skew_max` (30 s)" in str(skewed.description)


def test_today_is_projected_from_what_was_recorded_of_the_market(home: LiveHome) -> None:
    record_usdt(home.path, hours_ago(0), "0.5")
    today = datetime.now(UTC).date()
    outcome = materialize(home.path, today, today)
    assert outcome.success, outcome
    assert outcome.failed_checks == ()
    rows = ask(home.path, "SELECT share_class, total_equity FROM equity_latest")
    assert rows == [("USDT", 10000)]
    assert ask(home.path, "SELECT DISTINCT price_usd FROM prices WHERE symbol = 'ETH' AND venue = 'binance'") == [
        (1500,)
    ]


def test_sources_of_prices_that_do_not_answer_warn_and_hold_nothing_up(home: LiveHome) -> None:
    record_usdt(home.path, hours_ago(0))
    home.venues.fail("*", "500")
    today = datetime.now(UTC).date()
    outcome = materialize(home.path, today, today)
    assert outcome.success
    assert any(warning.startswith("market_observations.every_source_answered: binance") for warning in outcome.warnings)
    assert ask(home.path, "SELECT total_equity FROM equity_latest") == [(10000,)]


def test_the_daily_job_removes_what_newer_files_took_the_place_of(home: LiveHome) -> None:
    (home.path / "basis.yaml").write_text((home.path / "basis.yaml").read_text() + "\nsuperseded_files_kept: 0s\n")
    run(home, hours_ago(0))
    home.account.add(PART, "USDT", "-1")
    run(home, hours_ago(0))
    files = home.path / "warehouse" / "reconciliation"
    before = len(list(files.glob("2*.parquet")))
    job = build_definitions(home.path).resolve_job_def("daily_maintenance")
    assert job.execute_in_process().success
    assert (before, len(list(files.glob("2*.parquet")))) == (2, 1)
