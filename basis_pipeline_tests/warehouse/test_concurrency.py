"""A reader is never locked out, never blocks the writer, and never sees half of what was published together."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from basis_pipeline.warehouse.catalogue import catalogue_info, publish_catalogue
from basis_pipeline.warehouse.dayfiles import check_files
from basis_pipeline.warehouse.lock import writer_lock
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.warehouse.builders import write_version
from basis_pipeline_tests.warehouse.process import DAYS, EVERY_DAY_OF_BOTH_TABLES, ROWS_A_DAY

SECONDS = 4
KILLS = 4


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "basis_pipeline_tests.warehouse.process", *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.integration
def test_readers_in_other_processes_see_whole_publications_while_the_same_days_are_rewritten(tmp_path):
    home, stop = tmp_path / "home", tmp_path / "stop"
    publish_catalogue(home, write_version(home, 1, DAYS), 1)
    readers = [start("read", home, how, stop) for how in ("reader", "reader", "client")]
    try:
        for reader in readers:
            assert reader.stdout.readline() == "reading\n"
        version, end = 1, time.monotonic() + SECONDS
        while time.monotonic() < end:
            version += 1
            files = write_version(home, version, DAYS)
            with writer_lock(home):
                publish_catalogue(home, files, version)
    finally:
        stop.touch()
        reports = [json.loads(reader.communicate(timeout=30)[0]) for reader in readers]

    assert version > 5
    for report in reports:
        assert report["problems"] == []
        assert report["reads"] > 10
        assert len(report["versions"]) > 3
        assert report["versions"] == sorted(report["versions"])


@pytest.mark.slow
@pytest.mark.integration
def test_a_writer_killed_at_any_instant_leaves_a_whole_publication_and_no_lock(tmp_path):
    moment = random.Random(11)
    generation = 0
    for _ in range(KILLS):
        writer = start("write", tmp_path)
        try:
            assert int(writer.stdout.readline()) > generation
            with pytest.raises(subprocess.TimeoutExpired):
                writer.wait(timeout=moment.uniform(0, 0.4))
        finally:
            os.kill(writer.pid, signal.SIGKILL)
            writer.communicate()
        info = catalogue_info(tmp_path)
        assert info is not None
        assert info.generation > generation
        generation = info.generation
        rows = Reader.open(tmp_path).rows(EVERY_DAY_OF_BOTH_TABLES)
        assert {(row["n"], row["low"], row["high"]) for row in rows} == {(ROWS_A_DAY, generation, generation)}
        assert len(rows) == 2 * len(DAYS)
    files = write_version(tmp_path, generation, DAYS)
    assert check_files(tmp_path / "warehouse", files) == []
    assert not [file for file in files if file.rows != ROWS_A_DAY]
