"""A disk that is full: a clear error, what was published stays readable, and running again finishes the job."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress

import pytest

from basis_pipeline.domain.errors import BasisError, LedgerError, WarehouseError
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline_tests.builders import START, payload, token
from basis_pipeline_tests.homes import (
    ask,
    entries,
    import_file,
    import_sample,
    problems,
    published,
    rebuild_days,
    sample_range,
    terms,
    write_home,
    write_journal,
    write_sample_home,
)
from basis_pipeline_tests.integration.children import start, starve

pytestmark = pytest.mark.integration

SAMPLE_DAYS = 3
UPDATES = 9000
PORTFOLIO = "book"


@pytest.fixture
def big_journal(tmp_path):
    return write_journal(
        tmp_path / "big.jsonl",
        (
            payload("FUNDING_PAYMENT", token("okx", "USDT", "0.01"), minute=n / 60, entry_id=f"funding-{n}")
            for n in range(UPDATES)
        ),
    )


@pytest.fixture
def small_disk(tmp_path):
    """A file system of two megabytes, and a way to make it larger. Only where the test may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if mount is None or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system; the tests with a limit on file sizes still run")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(path):
    """Take all the room there is, to the last page."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def enlarge(disk):
    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)


def test_an_import_on_a_full_disk_stops_with_a_clear_error_and_can_be_finished(small_disk, big_journal):
    home = write_home(small_disk / "home", small_disk, {PORTFOLIO: terms("USDT", 1000, START)})
    with pytest.raises(LedgerError, match=r"the disk is full .* Free space and run again"):
        import_file(home, PORTFOLIO, big_journal)
    enlarge(small_disk)
    assert problems(home) == []
    accepted = len(entries(home, PORTFOLIO)) - 1
    assert 0 < accepted < UPDATES
    imported = import_file(home, PORTFOLIO, big_journal)
    assert (imported.duplicates, imported.new) == (accepted, UPDATES - accepted)
    assert problems(home) == []


def test_a_rebuild_on_a_full_disk_leaves_the_publication_before_readable_and_can_be_finished(small_disk, tmp_path):
    home = small_disk / "home"
    sample = write_sample_home(tmp_path / "source", SAMPLE_DAYS)
    write_home(
        home, sample.market_data, {p.name: terms(p.share_class, p.initial_capital, p.start) for p in sample.portfolios}
    )
    rebuild_days(home, sample_range(home))
    before, equity = published(home), ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL")
    import_sample(home, sample)
    filler = small_disk / "filler"
    fill(filler)
    with pytest.raises((LedgerError, WarehouseError), match=r"disk (is|not) full|No space left on device; free"):
        rebuild_days(home, sample_range(home))
    assert ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL") == equity
    filler.unlink()
    assert problems(home) == []
    assert published(home) == before
    rebuild_days(home, sample_range(home))
    assert ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL") != equity
    assert problems(home) == []


def test_a_dagster_backfill_on_a_full_disk_stops_with_a_clear_error_and_can_be_finished(small_disk, tmp_path):
    home = small_disk / "home"
    sample = write_sample_home(tmp_path / "source", SAMPLE_DAYS)
    write_home(
        home, sample.market_data, {p.name: terms(p.share_class, p.initial_capital, p.start) for p in sample.portfolios}
    )
    import_sample(home, sample)
    with pytest.raises(BasisError, match=r"cannot record the run in .*free disk space .* then run it again"):
        materialize(home, sample.first_day, sample.last_day)
    enlarge(small_disk)
    assert problems(home) == []
    outcome = materialize(home, sample.first_day, sample.last_day)
    assert (outcome.success, outcome.errors, outcome.failed_checks) == (True, (), ())
    assert problems(home) == []


def test_a_limit_on_file_sizes_stops_an_import_with_a_clear_error(tmp_path, big_journal):
    home = write_home(tmp_path / "home", tmp_path, {PORTFOLIO: terms("USDT", 1000, START)})
    error = starved(tmp_path, home, 1_000_000, PORTFOLIO, big_journal)
    assert error.startswith("LedgerError: ledger: ")
    assert problems(home) == []
    accepted = len(entries(home, PORTFOLIO)) - 1
    assert accepted < UPDATES
    assert import_file(home, PORTFOLIO, big_journal).duplicates == accepted
    assert len(entries(home, PORTFOLIO)) == UPDATES + 1
    assert problems(home) == []


@pytest.mark.parametrize("bytes_max", [6_000, 60_000, 200_000])
def test_a_limit_on_file_sizes_stops_a_rebuild_before_new_equity_shows(tmp_path, bytes_max):
    """Whichever comes first: a day file, the ledger's log or the catalogue."""
    home = tmp_path / "home"
    sample = write_sample_home(home, SAMPLE_DAYS)
    rebuild_days(home, sample_range(home))
    equity = ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL")
    import_sample(home, sample)
    error = starved(tmp_path, home, bytes_max)
    assert re.match(r"(WarehouseError: cannot (write|publish) .* free disk space|LedgerError: ledger: )", error), error
    assert ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL") == equity
    assert problems(home) == []
    rebuild_days(home, sample_range(home))
    assert ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL") != equity
    assert problems(home) == []


def starved(tmp_path, home, bytes_max, portfolio=None, file=None):
    said = tmp_path / "said"
    child = start(starve, home, bytes_max, portfolio, file, said)
    child.join(120)
    assert child.exitcode == 0
    return said.read_text()
