"""kill -9 at any instant: nothing acknowledged is lost, nothing is there twice or in half, running again finishes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from basis_pipeline.home import open_home
from basis_pipeline.ledger import publications
from basis_pipeline.steps.publishing import ensure_catalogue
from basis_pipeline.steps.rebuild import STEPS
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME
from basis_pipeline_tests.builders import START, payload, token, update
from basis_pipeline_tests.homes import (
    ask,
    copy_home,
    entries,
    heads,
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
from basis_pipeline_tests.integration.children import EVERY_PORTFOLIO_DAY, acknowledged, import_files, rebuild, start

pytestmark = [pytest.mark.integration, pytest.mark.slow]

IMPORT_KILLS = 26
REBUILD_KILLS = 24
MATERIALIZE_KILLS = 3
JOURNALS = 10
UPDATES_EACH = 200
SAMPLE_DAYS = 8
RUNS_PER_HOME = 14
PORTFOLIO = "book"
TABLES_OF = {
    "project_balance_changes": ("balance_changes",),
    "project_positions": ("wallet_balances", "cex_balances", "perp_positions"),
    "project_prices": ("prices",),
    "project_conversion_rates": ("conversion_rates",),
    "project_equity": ("equity_positions", "equity_snapshots"),
}


@pytest.fixture(scope="module", autouse=True)
def warm_server() -> None:
    """Starting the server of the children is no part of what is measured."""
    start(os.getpid).join()


def wait_or_kill(child, seconds: float) -> bool:
    """Whether the child had to be killed; one that ended must have ended well."""
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
    child.join()
    assert child.exitcode in (0, -signal.SIGKILL)
    return child.exitcode != 0


def seconds_of(child) -> float:
    since = time.monotonic()
    assert not wait_or_kill(child, 120)
    return time.monotonic() - since


def test_an_import_killed_at_any_instant_keeps_what_it_acknowledged_and_can_be_finished(tmp_path):
    files = [
        write_journal(tmp_path / f"{part}.jsonl", (funding(part * UPDATES_EACH + n) for n in range(UPDATES_EACH)))
        for part in range(JOURNALS)
    ]
    whole = [(1, f"initial-capital:{PORTFOLIO}")]
    whole += [(n + 2, f"funding-{n}") for n in range(JOURNALS * UPDATES_EACH)]

    def new_home(number: int) -> tuple[Path, Path]:
        home = write_home(tmp_path / f"home{number}", tmp_path, {PORTFOLIO: terms("USDT", 1000, START)})
        return home, tmp_path / f"done{number}"

    home, done = new_home(0)
    measured = seconds_of(start(import_files, home, PORTFOLIO, files, done))
    assert entries(home, PORTFOLIO) == whole

    moment, kills, finished = random.Random(1), 0, 0
    home, done = new_home(1)
    while kills < IMPORT_KILLS or not finished:
        killed = wait_or_kill(start(import_files, home, PORTFOLIO, files, done), moment.uniform(0, 0.9 * measured))
        kills += killed
        assert problems(home) == []
        found = entries(home, PORTFOLIO)
        assert found == whole[: len(found)]
        assert len(found) >= 1 + UPDATES_EACH * len(set(acknowledged(done)))
        if not killed:
            assert found == whole
            finished += 1
            home, done = new_home(1 + finished)


def funding(number: int):
    return payload(
        "FUNDING_PAYMENT", token("binance", "USDT", "0.01"), minute=number / 60, entry_id=f"funding-{number}"
    )


@pytest.fixture(scope="module")
def sample_home(tmp_path_factory) -> Path:
    """Two weeks of the synthetic portfolios in the ledger, nothing materialized."""
    home = tmp_path_factory.mktemp("sample") / "home"
    import_sample(home, write_sample_home(home, SAMPLE_DAYS))
    return home


def test_a_rebuild_killed_at_any_instant_shows_whole_days_and_can_be_finished(sample_home, tmp_path):
    uninterrupted = copy_home(sample_home, tmp_path / "uninterrupted")
    days = sample_range(uninterrupted)
    measured = seconds_of(start(rebuild, uninterrupted, tmp_path / "uninterrupted_done"))
    assert acknowledged(tmp_path / "uninterrupted_done") == [step.__name__ for step in STEPS] == list(TABLES_OF)

    moment, kills, run = random.Random(2), 0, 0
    home = copy_home(sample_home, tmp_path / "home0")
    while kills < REBUILD_KILLS:
        run += 1
        late_entry(home, run, moment)
        wanted, done = heads(home), tmp_path / f"done{run}"
        kills += wait_or_kill(start(rebuild, home, done), moment.uniform(0, measured))
        assert_whole_days(home)
        assert problems(home) == []
        acknowledged_tables = {table for step in acknowledged(done) for table in TABLES_OF[step]}
        with open_home(home) as opened:
            current = publications.current_files(opened.ledger.engine).files
            ensure_catalogue(opened.ports())
        kept = [p for p in current if p.table in acknowledged_tables]
        assert len(kept) == len(acknowledged_tables) * len(days)
        assert all(p.heads == wanted for p in kept if p.table not in ("prices", "conversion_rates"))
        assert_whole_days(home)
        if run % RUNS_PER_HOME == 0:
            rebuild_days(home, days)
            copy = copy_home(sample_home, tmp_path / f"same{run}")
            replay_late_entries(home, copy)
            rebuild_days(copy, days)
            assert _but_recorded_at(published(home)) == _but_recorded_at(published(copy))
            home = copy_home(sample_home, tmp_path / f"home{run}")


def late_entry(home: Path, number: int, moment: random.Random) -> None:
    """Change every hour from somewhere in the first days on, so that a rebuild has something to write."""
    with open_home(home) as opened:
        snapshot = opened.ledger.snapshot()
        portfolio = moment.choice(sorted(snapshot.portfolios))
        begin = snapshot.state(portfolio).start
        opened.ledger.append(
            portfolio,
            update(
                "DEPOSIT",
                token("wallet", "USDT", "0.01"),
                entry_id=f"late-{number}",
                timestamp=(begin + timedelta(hours=moment.randrange(48))).isoformat(),
            ),
        )


def replay_late_entries(source: Path, target: Path) -> None:
    with open_home(source) as opened, open_home(target) as other:
        snapshot = opened.ledger.snapshot()
        for portfolio in snapshot.portfolios:
            found = sorted(snapshot.entries(portfolio, None, None), key=lambda entry: entry.sequence)
            other.ledger.append_many(portfolio, [entry.update for entry in found])


def assert_whole_days(home: Path) -> None:
    """A plain client sees each portfolio-day with all its hours, or not at all; and no half of two tables."""
    if not (home / CATALOGUE_NAME).exists():
        return
    rows = ask(home, EVERY_PORTFOLIO_DAY)
    assert {(hours, agreeing) for _, _, hours, agreeing, _, _ in rows} <= {(24, 24)}
    assert len(rows) in (0, 3 * SAMPLE_DAYS)


def _but_recorded_at(files):
    """The files of every table but ``balance_changes``, which tells when the ledger learned of each entry."""
    return {key: file for key, file in files.items() if key[0] != "balance_changes"}


def test_a_dagster_backfill_killed_at_any_instant_can_be_finished(sample_home, tmp_path):
    home = copy_home(sample_home, tmp_path / "home")
    rebuilt = copy_home(sample_home, tmp_path / "rebuilt")
    days = sample_range(rebuilt)
    rebuild_days(rebuilt, days)
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home)]
    backfill = [*command, "materialize", "--from", str(days.first), "--to", str(days.first + timedelta(days=2))]
    moment = random.Random(3)
    kills = 0
    while kills < MATERIALIZE_KILLS:
        with (tmp_path / "output").open("w") as output:
            child = subprocess.Popen(backfill, stdout=output, stderr=output, start_new_session=True)
            try:
                child.wait(timeout=moment.uniform(2, 6))
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                kills += 1
            child.wait()
        assert child.returncode in (0, -signal.SIGKILL), (tmp_path / "output").read_text()
        assert problems(home) == []
        late_entry(home, kills, random.Random(kills))
    done = subprocess.run(backfill, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert problems(home) == []
    replay_late_entries(home, rebuilt)
    rebuild_days(rebuilt, days)
    ours = _but_recorded_at(published(home))
    assert len(ours) == 7 * 3
    assert ours == {key: file for key, file in published(rebuilt).items() if key in ours}
