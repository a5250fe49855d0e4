"""What becomes current, what is removed, and which days are due."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import duckdb
import pytest

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.domain.positions import Book
from basis_pipeline.home import open_home
from basis_pipeline.ledger.checkpoints import INTERVAL
from basis_pipeline.steps.balance_changes import project_balance_changes
from basis_pipeline.steps.equity import project_equity
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.positions import project_positions
from basis_pipeline.steps.publishing import collect_garbage, ensure_catalogue
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline.steps.staleness import stale_days
from basis_pipeline.warehouse.catalogue import CATALOGUE_NAME
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import token, wallet
from basis_pipeline_tests.homes import ask, problems, published, rebuild_days, rebuild_stale
from basis_pipeline_tests.steps.builders import DAYS, HOURS, happened, hour, new_home, record

TOTALS = "SELECT DISTINCT total_equity FROM equity_snapshots ORDER BY 1"


@pytest.fixture
def home(tmp_path):
    """One portfolio of 1,000 USDT, rebuilt."""
    made = new_home(tmp_path)
    rebuild_days(made)
    return made


@pytest.mark.parametrize("step", [project_balance_changes, project_positions, project_equity])
def test_a_run_that_saw_an_older_ledger_never_replaces_the_newer_one(tmp_path, step: Callable[..., object]):
    home = new_home(tmp_path)
    with open_home(home) as opened:
        overtaken: list[dict[tuple[str, date], str]] = []

        def overtake(_step: str, _done: int, _total: int) -> None:
            if not overtaken:
                record(home, happened(1, "DEPOSIT", wallet("USDT", "7")))
                step(opened.ports(), DAYS)
                overtaken.append(published(home))

        step(replace(opened.ports(), progress=overtake), DAYS)
    assert published(home) == overtaken[0]
    assert len(overtaken[0]) % len(DAYS) == 0
    assert problems(home) == []
    with open_home(home) as opened:
        step(opened.ports(), DAYS)
    assert published(home) == overtaken[0]


def later(ports: Ports, by: timedelta) -> Ports:
    return replace(ports, clock=lambda: datetime.now(UTC) + by)


def files(home):
    return {path.relative_to(home / "warehouse").as_posix() for path in (home / "warehouse").rglob("*.parquet")}


def test_superseded_files_stay_for_the_grace_period_and_then_go(home):
    before, old = published(home), duckdb.connect(str(home / CATALOGUE_NAME), read_only=True)
    record(home, happened(1, "DEPOSIT", wallet("USDT", "7")))
    rebuild_days(home)
    superseded = set(before.values()) - set(published(home).values())
    assert superseded
    with old, open_home(home) as opened:
        assert collect_garbage(later(opened.ports(), timedelta(minutes=59))) == []
        assert old.execute(TOTALS).fetchall() == [(1000,)]
        assert superseded < files(home)
        assert set(collect_garbage(later(opened.ports(), timedelta(minutes=61)))) == superseded
        assert collect_garbage(later(opened.ports(), timedelta(minutes=61))) == []
    assert not superseded & files(home)
    assert problems(home) == []
    assert ask(home, TOTALS) == [(1000,), (1007,)]


def test_files_of_a_killed_run_go_after_the_grace_period_and_those_of_others_never(home):
    folder = home / "warehouse" / "prices"
    orphan, partial = folder / "2024-05-12-0123456789abcdef.parquet", folder / ".x.parquet.1-a.tmp"
    foreign = folder / "my notes.parquet"
    for path in (orphan, partial, foreign):
        path.write_bytes(b"x")
    with open_home(home) as opened:
        assert collect_garbage(opened.ports()) == []
        removed = collect_garbage(later(opened.ports(), timedelta(hours=2)))
    assert removed == sorted(f"prices/{path.name}" for path in (orphan, partial))
    assert [path.exists() for path in (orphan, partial, foreign)] == [False, False, True]


def test_rows_that_come_back_after_they_were_superseded_are_kept(home):
    """The same content has the same name: a file that is current again must not go with its former self."""
    before = published(home)
    record(home, happened(1, "DEPOSIT", wallet("USDT", "7"), entry_id="gift"))
    rebuild_days(home)
    with open_home(home) as opened:
        opened.ledger.reverse("book", "gift")
        rebuild(opened.ports(), DAYS)
        collect_garbage(later(opened.ports(), timedelta(hours=2)))
    assert published(home)["wallet_balances", DAYS.last] == before["wallet_balances", DAYS.last]
    assert problems(home) == []
    assert ask(home, TOTALS) == [(1000,)]


def test_a_home_that_was_moved_says_so_and_is_healed(home, tmp_path):
    moved = home.rename(tmp_path / "moved")
    with pytest.raises(WarehouseError, match=f"the home was moved from {home} to {moved}"):
        Reader.open(moved).rows(TOTALS)
    with open_home(moved) as opened:
        assert ensure_catalogue(opened.ports())
        assert not ensure_catalogue(opened.ports())
        assert stale_days(opened.ports(), DAYS) == []
    assert ask(moved, TOTALS) == [(1000,)]


def test_a_catalogue_that_was_deleted_or_damaged_is_built_again(home):
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"not a database")):
        damage(home / CATALOGUE_NAME)
        with open_home(home) as opened:
            assert ensure_catalogue(opened.ports())
        assert ask(home, TOTALS) == [(1000,)]


def test_a_deleted_day_file_makes_its_day_due_and_costs_nobody_else(home):
    gone = published(home)["equity_snapshots", date(2024, 5, 14)]
    (home / "warehouse" / gone).unlink()
    with open_home(home) as opened:
        (home / CATALOGUE_NAME).unlink()
        ensure_catalogue(opened.ports())
    assert ask(home, "SELECT count(*) FROM equity_snapshots") == [(HOURS - 24,)]
    assert rebuild_stale(home) == [date(2024, 5, 14)]
    assert published(home)["equity_snapshots", date(2024, 5, 14)] == gone


@pytest.mark.parametrize(
    ("at", "due"),
    [
        (24, [13, 14, 15]),
        (46.9, [13, 14, 15]),
        (47, [13, 14, 15]),
        (47.5, [13, 14, 15]),
        (48, [14, 15]),
        (95.5, [15]),
    ],
)
def test_an_entry_makes_its_own_day_due_and_every_day_with_an_hour_after_it(home, at, due):
    record(home, happened(at, "DEPOSIT", wallet("USDT", "7")))
    with open_home(home) as opened:
        assert [day.day for day in stale_days(opened.ports(), DAYS)] == due
    before = published(home)
    rebuild_stale(home)
    after = published(home)
    assert {day.day for table, day in after if after[table, day] != before[table, day]} == set(due)
    assert rebuild_stale(home) == []


def test_an_entry_in_the_last_half_hour_of_a_day_changes_only_its_legs_there(home):
    before = published(home)
    record(home, happened(47.5, "DEPOSIT", wallet("USDT", "7")))
    rebuild_stale(home)
    changed = {table for table, day in published(home) if published(home)[table, day] != before[table, day]}
    own = {t for t, day in before if day == date(2024, 5, 13) and published(home)[t, day] != before[t, day]}
    assert own == {"balance_changes"}
    assert changed == {"balance_changes", "wallet_balances", "equity_positions", "equity_snapshots"}


def test_a_new_portfolio_makes_the_days_since_its_start_due(home):
    config = home / "basis.yaml"
    start = hour(50).isoformat()
    second = f"  late: {{share_class: ETH, initial_capital: '5', start: '{start}'}}\n"
    config.write_text(config.read_text().replace("portfolios:\n", f"portfolios:\n{second}"))
    assert [day.day for day in rebuild_stale(home)] == [14, 15]
    assert ask(home, "SELECT count(*) FROM equity_snapshots WHERE portfolio = 'late'") == [(HOURS - 50,)]


@pytest.mark.parametrize("step", [project_balance_changes, project_positions, project_equity])
def test_the_last_day_replays_no_more_entries_after_a_long_history(tmp_path, monkeypatch, step):
    """Counted, not timed: what a day costs is its own entries and at most a checkpoint's distance."""
    replayed: list[None] = []
    original = Book.replay

    def counted(self, *arguments):
        replayed.append(None)
        return original(self, *arguments)

    home = new_home(tmp_path)
    with open_home(home) as opened:
        opened.ledger.append_many(
            "book",
            [happened(n * 70 / 4000, "FUNDING_PAYMENT", token("okx", "USDT", "0.01")) for n in range(4000)]
            + [happened(72.5 + n, "FUNDING_PAYMENT", token("okx", "USDT", "0.01")) for n in range(10)],
        )
        monkeypatch.setattr(Book, "replay", counted)
        step(opened.ports(), DayRange(DAYS.last, DAYS.last))
    assert 10 <= len(replayed) <= 10 + 2 * INTERVAL
