from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.market import history
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.instance import check_instance, dagster_home
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline.settings import config_path
from basis_pipeline_tests.orchestration.homes import FIRST, LAST, write_market, write_small_home


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The market directory, once for each time that its files are read."""
    found: list[Path] = []
    load_store = history.load_store

    def counted(directory: Path, *rest: tuple[str, ...]) -> object:
        found.append(directory)
        return load_store(directory, *rest)

    monkeypatch.setattr(history, "load_store", counted)
    return found


def test_a_run_reads_the_market_files_once(tmp_path: Path, loads: list[Path]) -> None:
    assert materialize(write_small_home(tmp_path), FIRST, LAST).success
    assert loads == [tmp_path / "market"]


def test_so_does_a_run_that_dagster_starts(tmp_path: Path, loads: list[Path]) -> None:
    home = write_small_home(tmp_path)
    definitions = build_definitions(home)
    with dg.instance_for_test() as instance:
        job = definitions.resolve_job_def("materialize_books")
        assert job.execute_in_process(instance=instance, partition_key=FIRST.isoformat()).success
    assert loads == [tmp_path / "market"]


def test_market_files_replaced_during_a_run_are_read_again(tmp_path: Path, loads: list[Path]) -> None:
    home = write_small_home(tmp_path)
    resource = HomeResource(path=str(home))
    for hole in (True, False):
        write_market(home / "market", hole=hole)
        for _ in range(2):
            with resource.open() as (opened, _ports):
                opened.last_day()
    assert len(loads) == 2


def test_changed_settings_open_another_market(tmp_path: Path) -> None:
    home = write_small_home(tmp_path)
    resource = HomeResource(path=str(home))
    with resource.open() as (opened, _):
        before = opened.market
    with resource.open() as (opened, _):
        assert opened.market is before
    file = config_path(home)
    file.write_text(file.read_text() + "\nprices: {max_age: 5h}\n")
    with resource.open() as (opened, ports):
        assert opened.market.routing.max_age == timedelta(hours=5)
        assert ports.market is opened.market


def test_a_run_in_the_instance_of_another_home_is_refused_before_it_writes(tmp_path: Path) -> None:
    home, other = write_small_home(tmp_path / "one"), write_small_home(tmp_path / "two")
    tags = {"dagster/asset_partition_range_start": str(FIRST), "dagster/asset_partition_range_end": str(FIRST)}
    job = build_definitions(home).resolve_job_def("materialize_books")
    with dagster_home(other), dg.DagsterInstance.get() as instance:
        with pytest.raises(ConfigError, match=f"belongs to the home {other}, not to {home}"):
            check_instance(instance, home)
        check_instance(instance, other)
        assert not job.execute_in_process(instance=instance, raise_on_error=False, tags=tags).success
    assert not (home / "warehouse").exists()
