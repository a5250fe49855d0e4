from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import days_of_run
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.warehouse.tables import ALL_TABLES
from basis_pipeline_tests.homes import terms, write_home
from basis_pipeline_tests.orchestration.golden import GOLDEN, LIVE, both_modes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def definitions(tmp_path: Path) -> dg.Definitions:
    return build_definitions(tmp_path)


@pytest.fixture
def live(tmp_path: Path) -> dg.Definitions:
    home = tmp_path / "live"
    home.mkdir()
    (home / "basis.yaml").write_text(LIVE)
    return build_definitions(home)


def partitioned(definitions: dg.Definitions) -> list[dg.AssetsDefinition]:
    found = definitions.resolve_asset_graph().assets_defs
    return [asset for asset in found if asset.partitions_def is not None and asset.is_executable]


def names(assets: list[dg.AssetsDefinition]) -> set[str]:
    return {key.to_user_string() for asset in assets for key in asset.keys}


def test_the_declared_names_are_those_of_the_committed_list(tmp_path: Path) -> None:
    assert both_modes(tmp_path) == GOLDEN.read_text(encoding="utf-8")


def test_every_partitioned_asset_materializes_a_range_in_one_run(
    definitions: dg.Definitions, live: dg.Definitions
) -> None:
    tables = {table.name for table in ALL_TABLES}
    hourly = {"venue_observations", "reconciliation", "account_health"}
    assert names(partitioned(definitions)) == tables - hourly
    assert names(partitioned(live)) == tables | {"market_observations"}
    every = [*partitioned(definitions), *partitioned(live)]
    assert all(asset.backfill_policy == dg.BackfillPolicy.single_run() for asset in every)


def test_only_what_reads_venues_is_tried_again(live: dg.Definitions) -> None:
    retried = [asset for asset in partitioned(live) if asset.op.retry_policy is not None]
    assert names(retried) == {"market_observations", "venue_observations", "reconciliation", "account_health"}


def test_a_backtest_has_no_schedules_and_nothing_of_live_mode(definitions: dg.Definitions) -> None:
    assert list(definitions.schedules or []) == []
    assert [job.name for job in definitions.jobs or []] == ["materialize_books", "send_alerts"]
    known = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert known.isdisjoint({"venues", "market", "reconciliation", "market_observations"})


def test_the_schedules_of_live_mode_run_without_being_turned_on(live: dg.Definitions) -> None:
    schedules = live.get_repository_def().schedule_defs
    assert {schedule.name for schedule in schedules} == {
        "hourly_reconciliation",
        "hourly_projection",
        "daily_maintenance",
    }
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.RUNNING}


def test_the_sensors_run_in_both_modes_without_being_turned_on(
    definitions: dg.Definitions, live: dg.Definitions
) -> None:
    for found in (definitions, live):
        sensors = found.get_repository_def().sensor_defs
        assert {sensor.name for sensor in sensors} == {
            "balance_change_sensor",
            "equity_change_sensor",
            "run_failure_sensor",
            "alert_sensor",
        }
        assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}


def test_sensors_look_as_often_as_the_settings_say(tmp_path: Path) -> None:
    home = write_home(tmp_path, tmp_path, {}, sensors={"interval": "20s"})
    sensors = build_definitions(home).get_repository_def().sensor_defs
    assert {sensor.minimum_interval_seconds for sensor in sensors} == {20}


def test_columns_in_the_ui_are_the_declared_ones(live: dg.Definitions) -> None:
    for table in ALL_TABLES:
        spec = live.resolve_asset_graph().get(dg.AssetKey(table.name))
        shown = spec.metadata["dagster/column_schema"]
        columns = [(column.name, column.type, column.description) for column in shown.columns]
        assert columns == [(column.name, column.type.value, column.description) for column in table.columns]
        assert spec.description == table.description


def test_days_begin_where_the_earliest_portfolio_does_and_end_today(tmp_path: Path) -> None:
    start = datetime(2025, 3, 4, 5, tzinfo=UTC)
    later = datetime(2025, 4, 1, tzinfo=UTC)
    home = write_home(tmp_path, tmp_path, {"a": terms("USDT", 1, later), "b": terms("ETH", 1, start)})
    days = build_definitions(home).resolve_asset_graph().get(dg.AssetKey("prices")).partitions_def
    assert days is not None
    assert days.get_first_partition_key() == "2025-03-04"
    assert days.get_last_partition_key() == datetime.now(UTC).date().isoformat()


def test_a_wrong_config_file_is_told_when_definitions_load_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "basis.yaml").write_text("mode: dreaming\n")
    monkeypatch.setenv("BASIS_HOME", str(tmp_path))
    from basis_pipeline import definitions

    with pytest.raises(ConfigError, match="mode: Input should be 'backtest'"):
        definitions.basis()


def test_beta_notices_of_dagster_are_kept_from_the_user(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_definitions(tmp_path)


@pytest.mark.parametrize(
    ("tags", "days"),
    [
        ({}, None),
        ({"dagster/partition": "2024-05-12"}, DayRange(date(2024, 5, 12), date(2024, 5, 12))),
        (
            {
                "dagster/asset_partition_range_start": "2024-05-12",
                "dagster/asset_partition_range_end": "2024-05-14",
            },
            DayRange(date(2024, 5, 12), date(2024, 5, 14)),
        ),
    ],
)
def test_the_days_of_a_run_come_from_its_tags(tags: dict[str, str], days: DayRange | None) -> None:
    assert days_of_run(tags) == days


@pytest.mark.slow
def test_a_fresh_clone_validates_without_any_setting(tmp_path: Path) -> None:
    """As `dagster definitions validate` is run from the root: no home, no config file, no DAGSTER_HOME."""
    for name in ("dagster.yaml", "workspace.yaml", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "basis_pipeline", tmp_path / "basis_pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Validation successful for code location basis_pipeline" in done.stdout
