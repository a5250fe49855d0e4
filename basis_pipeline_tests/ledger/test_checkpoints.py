from __future__ import annotations

from datetime import datetime

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError, LateEntryError
from basis_pipeline.domain.positions import Applied, Book
from basis_pipeline.ledger import checkpoints
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.schema import checkpoints as table
from basis_pipeline_tests.builders import at, deposit, state, update, wallet
from basis_pipeline_tests.ledger.builders import FUND, deposits, fresh_portfolio, replayed, stored
from basis_pipeline_tests.ledger.strategies import MINUTES, journals

LEDGER = settings.get_profile("ledger")


def checkpoint_times(ledger: Ledger, portfolio: str = FUND) -> list[datetime]:
    with ledger.engine.connect() as connection:
        query = sa.select(table.c.as_of).where(table.c.portfolio == portfolio).order_by(table.c.as_of)
        return list(connection.execute(query).scalars())


@settings(LEDGER)
@given(st.lists(st.one_of(journals(5), st.integers(0, MINUTES)), min_size=1, max_size=8), st.randoms())
def test_the_book_at_any_time_is_that_of_a_full_replay_whatever_came_late(
    ledger: Ledger, dense_checkpoints: int, doings: list[list[BalanceUpdate] | int], random: object
) -> None:
    """Appends in any order and reads, which leave checkpoints behind, in turn."""
    portfolio = fresh_portfolio(ledger)
    for doing in doings:
        if isinstance(doing, int):
            found = ledger.snapshot().book_at(portfolio, at(doing))
            here = [e for e in stored(ledger, portfolio) if e.update.timestamp <= at(doing)]
            assert state(found.book) == state(replayed(here))
            assert found.sequence == max(e.sequence for e in here)
            continue
        random.shuffle(doing)  # type: ignore[attr-defined]
        for each in doing:
            try:
                ledger.append(portfolio, each)
            except (BookError, LateEntryError):
                continue
    entries = stored(ledger, portfolio)
    for as_of in checkpoint_times(ledger, portfolio):
        kept = checkpoints.newest(ledger.engine, portfolio, as_of, len(entries))
        here = [e for e in entries if e.update.timestamp <= as_of]
        assert kept is not None
        assert state(kept.book) == state(replayed(here))
        assert kept.sequence == max(e.sequence for e in here)


def test_a_late_entry_drops_the_checkpoints_from_its_own_time_on(ledger: Ledger, dense_checkpoints: int) -> None:
    ledger.append_many(FUND, deposits(20))
    times = checkpoint_times(ledger)
    assert len(times) > 4
    ledger.append(FUND, update("DEPOSIT", wallet("USDT", "1"), minute=(times[2] - at(0)).total_seconds() / 60))
    assert checkpoint_times(ledger) == times[:2]


def test_a_refused_late_entry_drops_no_checkpoint(ledger: Ledger, dense_checkpoints: int) -> None:
    ledger.append_many(FUND, deposits(20))
    times = checkpoint_times(ledger)
    with pytest.raises(BookError):
        ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-5000"), minute=2))
    assert checkpoint_times(ledger) == times


def test_a_reader_with_an_older_snapshot_leaves_no_checkpoint_that_misses_a_late_entry(
    ledger: Ledger, dense_checkpoints: int
) -> None:
    for each in deposits(20):
        ledger.append(FUND, each)
    older = ledger.snapshot()
    ledger.append(FUND, deposit("ETH", "5", minute=2.5))
    assert ("wallet", "ETH") not in older.book_at(FUND, at(30)).book.balances
    assert checkpoint_times(ledger) == []
    assert ledger.snapshot().book_at(FUND, at(30)).book.balances[("wallet", "ETH")] == 5
    assert checkpoint_times(ledger)
    assert ("wallet", "ETH") not in older.book_at(FUND, at(30)).book.balances


def test_a_checkpoint_never_splits_entries_of_one_time(ledger: Ledger, dense_checkpoints: int) -> None:
    ledger.append_many(FUND, [deposit("USDT", "1", minute=5) for _ in range(9)])
    ledger.append_many(FUND, [deposit("USDT", "1", minute=6) for _ in range(9)])
    ledger.append(FUND, deposit("USDT", "1", minute=7))
    assert ledger.snapshot().book_at(FUND, at(5)).book.balances[("wallet", "USDT")] == 1009
    assert ledger.snapshot().book_at(FUND, at(7)).book.balances[("wallet", "USDT")] == 1019
    assert set(checkpoint_times(ledger)) <= {at(5), at(6)}


@pytest.mark.parametrize("one_by_one", [False, True])
def test_reading_the_state_replays_no_more_after_a_long_history_than_after_a_short_one(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, one_by_one: bool
) -> None:
    monkeypatch.setattr(checkpoints, "INTERVAL", 16)
    replays = 0
    replay = Book.replay

    def counted(self: Book, *arguments: object) -> Applied:
        nonlocal replays
        replays += 1
        return replay(self, *arguments)  # type: ignore[arg-type]

    for size in (40, 400):
        portfolio = fresh_portfolio(ledger)
        if one_by_one:
            for each in deposits(size // 4):
                ledger.append(portfolio, each)
        ledger.append_many(portfolio, deposits(size))
        ledger.snapshot().book_at(portfolio, at(size))  # the first reader leaves what later ones start from
        monkeypatch.setattr(Book, "replay", counted)
        for minute in (3, size // 2, size - 1, size, 10 * size):
            replays = 0
            assert ledger.snapshot().book_at(portfolio, at(minute)).sequence == min(minute, size) + 1
            assert replays <= 2 * 16
        monkeypatch.setattr(Book, "replay", replay)
