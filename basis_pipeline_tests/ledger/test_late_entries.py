from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError, LateEntryError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import JOURNALS, at, deposit, journal, perp, state, token, update, wallet
from basis_pipeline_tests.ledger.builders import (
    FUND,
    append_what_fits,
    fresh_portfolio,
    ids,
    problems,
    replayed,
    stored,
    terms,
)
from basis_pipeline_tests.ledger.strategies import MINUTES, journals

LEDGER = settings.get_profile("ledger")


def withdrawal(amount: str, minute: float, entry_id: str | None = None) -> BalanceUpdate:
    return update("WITHDRAWAL", wallet("USDT", f"-{amount}"), minute=minute, entry_id=entry_id)


@settings(LEDGER)
@given(journals(), st.data())
def test_any_accepted_order_of_arrival_gives_the_book_of_the_order_in_time(
    ledger: Ledger, dense_checkpoints: int, stream: list[BalanceUpdate], data: st.DataObject
) -> None:
    shuffled, in_order = fresh_portfolio(ledger), fresh_portfolio(ledger)
    append_what_fits(ledger, shuffled, data.draw(st.permutations(stream)))
    entries = stored(ledger, shuffled)
    by_time = sorted(entries, key=lambda entry: (entry.update.timestamp, entry.sequence))
    ledger.append_many(in_order, [entry.update for entry in by_time[1:]])
    snapshot = ledger.snapshot()
    for minute in range(MINUTES + 1):
        here = [entry for entry in entries if entry.update.timestamp <= at(minute)]
        found = snapshot.book_at(shuffled, at(minute))
        assert state(found.book) == state(snapshot.book_at(in_order, at(minute)).book) == state(replayed(here))
        assert found.sequence == max(entry.sequence for entry in here)


@settings(LEDGER)
@given(journals(), st.data())
def test_one_batch_out_of_order_is_taken_as_the_same_entries_one_by_one(
    ledger: Ledger, stream: list[BalanceUpdate], data: st.DataObject
) -> None:
    singly, together = fresh_portfolio(ledger), fresh_portfolio(ledger)
    accepted = append_what_fits(ledger, singly, data.draw(st.permutations(stream)))
    ledger.append_many(together, accepted)
    for minute in (0, MINUTES // 2, MINUTES):
        books = [ledger.snapshot().book_at(name, at(minute)) for name in (singly, together)]
        assert state(books[0].book) == state(books[1].book)
        assert books[0].sequence == books[1].sequence


def test_a_late_entry_restates_the_time_from_its_own_on(ledger: Ledger) -> None:
    ledger.append_many(FUND, [deposit("USDT", "10", minute=10), deposit("USDT", "10", minute=30)])
    before = ledger.snapshot()
    ledger.append(FUND, deposit("USDT", "5", minute=20))
    after = ledger.snapshot()
    for minute, was, now in ((19, 1010, 1010), (20, 1010, 1015), (30, 1020, 1025)):
        assert before.book_at(FUND, at(minute)).book.balances[("wallet", "USDT")] == was
        assert after.book_at(FUND, at(minute)).book.balances[("wallet", "USDT")] == now
    assert after.state(FUND).restatements == before.state(FUND).restatements + 1


def test_entries_at_one_time_keep_the_order_of_their_sequence(ledger: Ledger) -> None:
    ledger.append(FUND, deposit("USDT", "10", minute=20))
    ledger.append(FUND, withdrawal("1000", 10))
    ledger.append(FUND, deposit("USDT", "7", minute=10))
    ledger.append(FUND, withdrawal("7", 10))
    with pytest.raises(BookError, match="would be -1"):
        ledger.append(FUND, withdrawal("1", 10))
    assert ledger.snapshot().book_at(FUND, at(10)).book.balances == {}
    found = [entry.sequence for entry in ledger.snapshot().entries(FUND, None, None)]
    assert found == [1, 3, 4, 5, 2]


def test_a_late_entry_is_checked_against_the_balance_at_its_own_time(ledger: Ledger) -> None:
    ledger.append(FUND, deposit("USDT", "5000", minute=60))
    with pytest.raises(BookError, match="wallet USDT would be -1000") as refused:
        ledger.append(FUND, withdrawal("2000", 30))
    assert not isinstance(refused.value, LateEntryError)


def test_a_late_entry_s_new_balance_is_that_at_its_own_time(ledger: Ledger) -> None:
    ledger.append(FUND, deposit("USDT", "5000", minute=60))
    ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-400", new_balance="600"), minute=30))
    with pytest.raises(BookError, match="would be 500, not 5500"):
        ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-100", new_balance="5500"), minute=31))


def test_a_late_entry_that_overdraws_a_later_one_is_refused_naming_that_one(ledger: Ledger) -> None:
    ledger.append(FUND, withdrawal("900", 60, "rent"))
    ledger.append(FUND, deposit("USDT", "900", minute=90))
    before = stored(ledger), ledger.snapshot().heads()
    with pytest.raises(
        LateEntryError, match=r"late .2024-05-12T01:30:00Z. would leave wallet USDT at -100 .* entry rent"
    ):
        ledger.append(FUND, withdrawal("200", 30, "late"))
    assert (stored(ledger), ledger.snapshot().heads()) == before
    ledger.append(FUND, withdrawal("100", 30))
    assert problems(ledger) == []


def test_a_late_entry_may_overdraw_an_exchange_later_because_that_is_borrowing(ledger: Ledger) -> None:
    ledger.append(FUND, update("FUNDING_PAYMENT", token("okx", "USDT", "5"), minute=60))
    ledger.append(FUND, update("FUNDING_PAYMENT", token("okx", "USDT", "-50"), minute=30))
    assert ledger.snapshot().book_at(FUND, at(60)).book.balances[("okx", "USDT")] == -45


def test_a_late_entry_that_makes_a_later_balance_too_large_to_store_is_refused(ledger: Ledger) -> None:
    most = "99999999999999998999"
    ledger.append(FUND, deposit("USDT", most, minute=60))
    with pytest.raises(LateEntryError, match="at most 20 digits"):
        ledger.append(FUND, deposit("USDT", "1", minute=30))


OPEN = update("PERP_OPENED", perp("OPEN", "-2", fill_price="3000"), minute=30, entry_id="open")
CLOSE = update("PERP_CLOSED", perp("CLOSE"), minute=60, entry_id="close")


@pytest.mark.parametrize(
    ("late", "why"),
    [
        (update("PERP_OPENED", perp("OPEN", "1", fill_price="1"), minute=20), "later entry open .*open already"),
        (update("PERP_CLOSED", perp("CLOSE"), minute=45), "later entry close .*not open"),
        (update("PERP_ADJUSTED", perp("ADJUST", "1", fill_price="1"), minute=20), "which is not open; use OPEN first"),
        (update("PERP_OPENED", perp("OPEN", "1", fill_price="1"), minute=45), "open already"),
        (update("PERP_CLOSED", perp("CLOSE"), minute=90), "not open; use OPEN first"),
    ],
)
def test_a_late_perp_change_that_contradicts_what_came_later_is_refused(
    ledger: Ledger, late: BalanceUpdate, why: str
) -> None:
    ledger.append_many(FUND, [OPEN, CLOSE])
    with pytest.raises((LateEntryError, BookError), match=why):
        ledger.append(FUND, late)
    assert len(stored(ledger)) == 3


def test_a_late_position_before_and_a_late_adjustment_within_are_taken(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, CLOSE])
    earlier = [
        update("PERP_OPENED", perp("OPEN", "5", fill_price="2900"), minute=10),
        update("PERP_ADJUSTED", perp("ADJUST", "-4", fill_price="3100"), minute=45),
    ]
    with pytest.raises(LateEntryError):
        ledger.append(FUND, earlier[0])
    ledger.append(FUND, earlier[1])
    position = ledger.snapshot().book_at(FUND, at(50)).book.positions[("binance", "ETHUSDT-PERP")]
    assert position.entry_price == Decimal(3050)
    assert ledger.snapshot().book_at(FUND, at(60)).book.positions == {}


def test_a_late_reduction_that_turns_a_later_one_into_an_increase_without_price_is_refused(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, update("PERP_ADJUSTED", perp("ADJUST", "-1"), minute=60, entry_id="trim")])
    with pytest.raises(LateEntryError, match=r"later entry trim .*needs entry_price or fill_price"):
        ledger.append(FUND, update("PERP_ADJUSTED", perp("ADJUST", "-0.5"), minute=45))


def test_a_writer_that_holds_the_book_learns_of_another_one_s_late_entry(ledger: Ledger, ledger_url: str) -> None:
    ledger.append_many(FUND, [OPEN, update("PERP_ADJUSTED", perp("ADJUST", "-4", fill_price="3000"), minute=50)])
    with Ledger(ledger_url) as other:
        other.append(FUND, update("PERP_ADJUSTED", perp("ADJUST", "-3", fill_price="3000"), minute=40))
    # From -4 this is a reduction, which needs no price; from the late -3 it would be an increase.
    ledger.append(FUND, update("PERP_ADJUSTED", perp("ADJUST", "-3.5"), minute=60))
    assert state(ledger.snapshot().book_at(FUND, at(60)).book) == state(replayed(stored(ledger)))


@pytest.mark.acceptance
def test_a_journal_with_every_tenth_entry_late_ends_in_the_same_book(ledger: Ledger, shared: Path) -> None:
    name = "eth_leveraged_loop"
    ledger.register(terms(name, JOURNALS[name]))
    updates = []
    for line in journal(shared, name):
        for leg in line["token_changes"]:
            del leg["new_balance"]
        updates.append(parse_update(line))
    late = [each for each in updates[::10] if each.trigger in ("GAS_FEE_PAID", "HOURLY_RECONCILIATION")]
    assert len(late) > 20
    held_back = {each.id for each in late}
    ledger.append_many(name, [each for each in updates if each.id not in held_back])
    ledger.append_many(name, late[1::2])
    for each in late[::2]:
        ledger.append(name, each)
    whole = fresh_portfolio(ledger)
    ledger.register(terms(f"{whole}-eth", "ETH"))
    ledger.append_many(f"{whole}-eth", updates)
    snapshot = ledger.snapshot()
    for instant in (updates[100].timestamp, updates[400].timestamp, updates[-1].timestamp):
        assert state(snapshot.book_at(name, instant).book) == state(snapshot.book_at(f"{whole}-eth", instant).book)
    assert len(ids(ledger, name)) == len(updates) + 1
    assert problems(ledger) == []
