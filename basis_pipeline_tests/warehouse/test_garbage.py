from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest

from basis_pipeline.warehouse.catalogue import publish_catalogue
from basis_pipeline.warehouse.dayfiles import warehouse_root, write_day
from basis_pipeline.warehouse.garbage import GRACE, remove_unreferenced
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.warehouse.builders import FIRST_DAY, snapshots

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - 10 * GRACE
JUST_NOW = NOW - GRACE / 2


@pytest.fixture
def root(tmp_path):
    return warehouse_root(tmp_path)


def day_file(root, version, written_at=LONG_AGO):
    file = write_day(root, "equity_snapshots", FIRST_DAY, snapshots(version=version))
    os.utime(root / file.file, (written_at.timestamp(),) * 2)
    return file


def test_a_superseded_file_goes_after_the_grace_period_and_not_before(root):
    current, fresh, old = (day_file(root, version) for version in range(3))
    superseded = {fresh.file: JUST_NOW, old.file: NOW - GRACE}
    assert remove_unreferenced(root, {current.file}, superseded, NOW) == [old.file]
    assert (root / current.file).exists()
    assert (root / fresh.file).exists()


def test_a_superseded_file_that_is_current_again_stays(root):
    file = day_file(root, 1)
    assert remove_unreferenced(root, {file.file}, {file.file: LONG_AGO}, NOW) == []
    assert (root / file.file).exists()


def test_a_superseded_file_about_to_become_current_again_stays(root):
    file = day_file(root, 1, written_at=JUST_NOW)
    assert remove_unreferenced(root, set(), {file.file: LONG_AGO}, NOW) == []


def test_a_superseded_file_that_has_vanished_is_reported_gone(root):
    name = "equity_snapshots/2024-05-12-0123456789abcdef.parquet"
    assert remove_unreferenced(root, set(), {name: LONG_AGO}, NOW) == [name]


def test_what_a_killed_run_left_goes_once_it_is_old(root):
    orphan, young = day_file(root, 1), day_file(root, 2, written_at=JUST_NOW)
    temporary = root / "equity_snapshots" / ".2024-05-12-0123456789abcdef.parquet.1-aa.tmp"
    temporary.write_bytes(b"half")
    os.utime(temporary, (0, 0))
    removed = remove_unreferenced(root, set(), {}, NOW)
    assert removed == sorted([orphan.file, f"equity_snapshots/{temporary.name}"])
    assert (root / young.file).exists()


def test_files_that_are_not_ours_and_the_typed_empty_ones_stay(tmp_path, root):
    current = day_file(root, 1)
    publish_catalogue(tmp_path, [current], 1)
    (root / "equity_snapshots" / "notes.parquet").write_bytes(b"mine")
    for path in root.rglob("*"):
        os.utime(path, (0, 0))
    assert remove_unreferenced(root, {current.file}, {}, NOW) == []
    assert len(Reader.open(tmp_path).table("prices")) == 0


def test_a_shorter_grace_can_be_asked_for(root):
    file = day_file(root, 1, written_at=JUST_NOW)
    assert remove_unreferenced(root, set(), {}, NOW, grace=timedelta(minutes=5)) == [file.file]
