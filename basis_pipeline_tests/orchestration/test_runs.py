from __future__ import annotations

import os
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import create_engine, text

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import daily_partitions
from basis_pipeline.orchestration.instance import dagster_home
from basis_pipeline.orchestration.runs import RunOutcome, materialize
from basis_pipeline.settings import load_settings
from basis_pipeline_tests.homes import ask, copy_home, published
from basis_pipeline_tests.orchestration.homes import (
    CASH,
    COINS,
    DAYS,
    FIRST,
    LAST,
    SECOND,
    write_market,
    write_small_home,
)

ASSETS = (
    "balance_changes",
    "wallet_balances",
    "cex_balances",
    "perp_positions",
    "prices",
    "conversion_rates",
    "equity_positions",
    "equity_snapshots",
)


def statuses(home: Path, asset: str) -> list[str | None]:
    """What the UI shows of each of the three days."""
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        found = instance.get_status_by_partition(
            dg.AssetKey(asset), [day.isoformat() for day in DAYS], daily_partitions(load_settings(home))
        )
    return [None if found is None else getattr(found.get(day.isoformat()), "value", None) for day in DAYS]


def runs(home: Path) -> list[dg.DagsterRun]:
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        return list(instance.get_runs())


def metadata_of(home: Path, asset: str) -> dict[str, dict[str, object]]:
    """The metadata of every day's newest materialization."""
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        found = instance.fetch_materializations(dg.AssetKey(asset), limit=100, ascending=True).records
        return {
            str(record.partition_key): {
                name: value.value for name, value in record.asset_materialization.metadata.items()
            }
            for record in found
            if record.asset_materialization is not None
        }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunOutcome, list[tuple[str, int, int]]]:
    """A complete home, materialized, its outcome, and what its progress said."""
    home = write_small_home(tmp_path_factory.mktemp("sound"))
    said: list[tuple[str, int, int]] = []
    outcome = materialize(home, FIRST, LAST, lambda step, done, total: said.append((step, done, total)))
    return home, outcome, said


@pytest.fixture(scope="module")
def gappy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunOutcome]:
    """A home in which one portfolio cannot be valued on the second day, materialized."""
    home = write_small_home(tmp_path_factory.mktemp("gappy"), hole=True)
    return home, materialize(home, FIRST, LAST)


def test_a_range_is_one_run_that_materializes_every_asset_on_every_day(
    sound: tuple[Path, RunOutcome, list[tuple[str, int, int]]],
) -> None:
    home, outcome, _ = sound
    assert outcome == RunOutcome(outcome.run_id, True, (), (), ())
    assert [run.run_id for run in runs(home)] == [outcome.run_id]
    assert {asset: statuses(home, asset) for asset in ASSETS} == {asset: ["MATERIALIZED"] * 3 for asset in ASSETS}
    assert {day for _, day in published(home)} == set(DAYS)


def test_progress_counts_the_days_of_each_step(sound: tuple[Path, RunOutcome, list[tuple[str, int, int]]]) -> None:
    _, _, said = sound
    assert {step for step, done, total in said if done == total == len(DAYS)} == {
        "balance_changes",
        "positions",
        "prices",
        "conversion_rates",
        "equity",
    }


def test_each_day_carries_its_own_numbers(sound: tuple[Path, RunOutcome, list[tuple[str, int, int]]]) -> None:
    home, _, _ = sound
    days = metadata_of(home, "equity_snapshots")
    assert days[FIRST.isoformat()]["dagster/partition_row_count"] == 2 * 23
    assert days[LAST.isoformat()]["dagster/partition_row_count"] == 2 * 24
    assert days[FIRST.isoformat()]["coins nav (USDT)"] == 5000 + 2 * 60_023
    assert days[LAST.isoformat()]["coins nav (USDT)"] == 5000 + 2 * 60_071
    assert days[LAST.isoformat()]["ledger entries"] == 3
    assert "| coins | USDT | 125,142.000000 | 125,142.000000 |" in str(days[LAST.isoformat()]["last equity"])
    assert "last equity" not in days[FIRST.isoformat()]


def test_the_environment_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "/somewhere/else")
    home = write_small_home(tmp_path)
    capfd.readouterr()
    assert materialize(home, FIRST, FIRST).success
    assert os.environ["DAGSTER_HOME"] == "/somewhere/else"
    assert capfd.readouterr() == ("", "")


def test_a_gap_ends_in_one_error_that_names_portfolio_instant_token_and_what_was_tried(
    gappy: tuple[Path, RunOutcome],
) -> None:
    _, outcome = gappy
    assert not outcome.success
    (error,) = outcome.errors
    assert "coins: BTC has no usable price from 2024-05-13T02:00:00Z to 2024-05-13T22:00:00Z (21 hours)" in error
    assert "tried binance BTCUSDT spot" in error


def test_a_gap_costs_only_its_own_portfolio_and_day(gappy: tuple[Path, RunOutcome]) -> None:
    home, _ = gappy
    rows = ask(home, "SELECT portfolio, as_of::DATE, count(*) FROM equity_snapshots GROUP BY ALL ORDER BY ALL")
    assert rows == [
        (CASH, FIRST, 23),
        (CASH, SECOND, 24),
        (CASH, LAST, 24),
        (COINS, FIRST, 23),
        (COINS, LAST, 24),
    ]


def test_only_the_day_with_the_gap_is_shown_as_failed(gappy: tuple[Path, RunOutcome]) -> None:
    home, _ = gappy
    assert statuses(home, "prices") == ["MATERIALIZED"] * 3
    for asset in ("equity_positions", "equity_snapshots"):
        assert statuses(home, asset) == ["MATERIALIZED", "FAILED", "MATERIALIZED"]
    assert metadata_of(home, "equity_snapshots")[LAST.isoformat()]["coins nav (USDT)"] == 5000 + 2 * 60_071


def test_holes_in_market_data_are_told_without_stopping_anything(gappy: tuple[Path, RunOutcome]) -> None:
    _, outcome = gappy
    assert outcome.failed_checks == ()
    assert any(
        found.startswith("prices.source_clean: prices.parquet: 1 findings: binance BTCUSDT spot: 23 rows are missing")
        for found in outcome.warnings
    )


def test_materializing_the_failed_day_again_after_the_data_is_complete_heals_it(tmp_path: Path) -> None:
    home = write_small_home(tmp_path, hole=True)
    assert not materialize(home, FIRST, LAST).success
    write_market(home / "market", hole=False)
    assert materialize(home, SECOND, SECOND).success
    assert statuses(home, "equity_snapshots") == ["MATERIALIZED"] * 3
    assert ask(home, "SELECT count(*) FROM equity_snapshots WHERE portfolio = 'coins'") == [(23 + 24 + 24,)]


def test_a_day_before_the_first_portfolio_starts_is_refused(sound: tuple[Path, RunOutcome, object]) -> None:
    home, _, _ = sound
    with pytest.raises(InputError, match="2024-05-11 is before 2024-05-12, the day on which the earliest portfolio"):
        materialize(home, FIRST.replace(day=11), LAST)
    with pytest.raises(InputError, match="2999-01-01 is after"):
        materialize(home, FIRST, LAST.replace(2999, 1, 1))


def test_a_home_without_a_config_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"basis\.yaml does not exist"):
        materialize(tmp_path, FIRST, LAST)


def change_ledger(home: Path) -> None:
    """Of the first day, behind the ledger's back."""
    engine = create_engine(sqlite_url(home / "ledger.db"))
    with engine.begin() as connection:
        for (trigger,) in connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(text(f'DROP TRIGGER "{trigger}"'))
        connection.execute(text("UPDATE legs SET delta = '3' WHERE token = 'BTC'"))
    engine.dispose()


def only_checks(home: Path) -> dg.ExecuteInProcessResult:
    definitions = build_definitions(home)
    job = dg.Definitions(
        assets=list(definitions.assets or []),
        asset_checks=list(definitions.asset_checks or []),
        resources=definitions.resources,
        jobs=[dg.define_asset_job("only_checks", dg.AssetSelection.all_asset_checks())],
    ).resolve_job_def("only_checks")
    return job.execute_in_process(raise_on_error=False)


def test_a_changed_ledger_stops_positions_and_equity(tmp_path: Path) -> None:
    home = write_small_home(tmp_path)
    change_ledger(home)
    outcome = materialize(home, FIRST, FIRST)
    assert not outcome.success
    assert outcome.errors == ()
    (check,) = outcome.failed_checks
    assert check.startswith("balance_changes.ledger_chain_intact: 1 problems: coins entry 2")
    assert {table for table, _ in published(home)} == {"balance_changes", "prices", "conversion_rates"}


def chain_check(evaluations: list[dg.AssetCheckEvaluation]) -> dg.AssetCheckEvaluation:
    return next(found for found in evaluations if found.check_name == "ledger_chain_intact")


def test_a_run_verifies_the_ledger_of_its_days_and_the_check_alone_all_of_it(tmp_path: Path) -> None:
    home = write_small_home(tmp_path)
    change_ledger(home)
    outcome = materialize(home, LAST, LAST)
    assert outcome.success
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        recorded = instance.all_logs(outcome.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    of_run = chain_check([event.get_dagster_event().asset_check_evaluation_data for event in recorded])
    assert of_run.metadata["entries read"].value == 0
    assert "those of these days and their neighbours" in str(of_run.description)
    alone = chain_check(only_checks(home).get_asset_check_evaluations())
    assert not alone.passed
    assert alone.metadata["entries read"].value == 3
    assert str(alone.description).startswith("1 problems: coins entry 2")


def test_a_run_whose_process_was_killed_is_reported_as_failed_by_the_next(tmp_path: Path) -> None:
    home = write_small_home(tmp_path)
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        job = build_definitions(home).resolve_job_def("materialize_books")
        left = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    outcome = materialize(home, FIRST, FIRST)
    assert {run.run_id: run.status.value for run in runs(home)} == {left.run_id: "FAILURE", outcome.run_id: "SUCCESS"}


def test_checks_on_their_own_look_at_everything_that_is_published(
    sound: tuple[Path, RunOutcome, list[tuple[str, int, int]]],
) -> None:
    home, _, _ = sound
    result = only_checks(home)
    found = result.get_asset_check_evaluations()
    assert {evaluation.metadata["days"].value for evaluation in found} == {"2024-05-12 to 2024-05-14"}
    assert all(evaluation.passed for evaluation in found)


def test_two_homes_never_mix(tmp_path: Path) -> None:
    one, other = write_small_home(tmp_path / "one"), write_small_home(tmp_path / "other")
    first, second = materialize(one, FIRST, FIRST), materialize(other, SECOND, SECOND)
    assert [run.run_id for run in runs(one)] == [first.run_id]
    assert [run.run_id for run in runs(other)] == [second.run_id]
    assert {day for _, day in published(one)} == {FIRST}
    assert {day for _, day in published(other)} == {SECOND}


def test_a_home_that_was_moved_keeps_its_history_and_goes_on(
    sound: tuple[Path, RunOutcome, list[tuple[str, int, int]]], tmp_path: Path
) -> None:
    home, outcome, _ = sound
    moved = copy_home(home, tmp_path / "moved")
    again = materialize(moved, LAST, LAST)
    assert [run.run_id for run in runs(moved)] == [again.run_id, outcome.run_id]
    assert len(runs(home)) == 1
