"""Whoever materializes, and however often, the same rows come out: down to the hash in the file's name."""

from __future__ import annotations

import shutil
from datetime import date, timedelta

import pytest

from basis_pipeline.home import open_home
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.publishing import ensure_catalogue
from basis_pipeline.steps.staleness import stale_days
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME
from basis_pipeline_tests.homes import ask, copy_home, problems, published, rebuild_days

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]


def test_a_backfill_through_dagster_publishes_the_very_files_of_a_rebuild(imported_home, rebuilt_home, tmp_path):
    home = copy_home(imported_home, tmp_path / "home")
    days = DayRange(date(2024, 7, 26), date(2024, 8, 8))
    outcome = materialize(home, days.first, days.last)
    assert (outcome.success, outcome.errors, outcome.failed_checks) == (True, (), ())
    assert published(home) == published(rebuilt_home, days)
    assert len(published(home)) == 8 * 14
    assert problems(home) == []


def test_a_deleted_warehouse_comes_back_identical(rebuilt_home, tmp_path):
    home = copy_home(rebuilt_home, tmp_path / "home")
    shutil.rmtree(home / "warehouse")
    (home / CATALOGUE_NAME).unlink()
    with open_home(home) as opened:
        assert ensure_catalogue(opened.ports())
        assert stale_days(opened.ports(), opened.all_days()) == list(opened.all_days())
    assert ask(home, "SELECT count(*) FROM equity_snapshots") == [(0,)]

    first, last = DayRange(date(2024, 5, 12), date(2024, 5, 31)), DayRange(date(2025, 8, 29), date(2025, 9, 25))
    for days in (last, first):
        rebuild_days(home, days)
    assert published(home) == published(rebuilt_home, first) | published(rebuilt_home, last)
    assert problems(home) == []
    with open_home(home) as opened:
        assert len(stale_days(opened.ports(), opened.all_days())) == 502 - 20 - 28


def test_days_rebuilt_one_by_one_are_the_days_rebuilt_together(imported_home, rebuilt_home, tmp_path):
    home = copy_home(imported_home, tmp_path / "home")
    days = [date(2025, 3, 9) + timedelta(days=n) for n in range(3)]
    for day in reversed(days):
        rebuild_days(home, DayRange(day, day))
    assert published(home) == published(rebuilt_home, DayRange(days[0], days[-1]))
