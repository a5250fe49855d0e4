from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError, LateEntryError, LedgerError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.ledger import checkpoints
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import at, deposit, perp, state, token, update, wallet
from basis_pipeline_tests.ledger.builders import FUND, append_what_fits, fresh_portfolio, problems, stored, terms
from basis_pipeline_tests.ledger.strategies import MINUTES, journals

LEDGER = settings.get_profile("ledger")
ETH_PERP = ("binance", "ETHUSDT-PERP")
OPEN = update("PERP_OPENED", perp("OPEN", "-2", fill_price="3000"), minute=10, entry_id="open")
MORE = update("PERP_ADJUSTED", perp("ADJUST", "-4", fill_price="3100"), minute=20, entry_id="more")
CLOSE = update("PERP_CLOSED", perp("CLOSE"), token("binance", "USDT", "9"), minute=30, entry_id="close")


def state_at(ledger: Ledger, minute: float, portfolio: str = FUND) -> dict[str, object]:
    return state(ledger.snapshot().book_at(portfolio, at(minute)).book)


def test_a_reversed_entry_has_no_effect_at_any_time_and_stays_on_record(ledger: Ledger) -> None:
    before = [state_at(ledger, minute) for minute in (1, 5, 9)]
    ledger.append(FUND, update("DEPOSIT", wallet("USDT", "5", new_balance="1005"), minute=5, entry_id="mistake"))
    ledger.append(FUND, deposit("ETH", "0", minute=8))
    receipt = ledger.reverse(FUND, "mistake")
    assert (receipt.entry_id, receipt.duplicate) == ("reversal:mistake", False)
    assert [state_at(ledger, minute) for minute in (1, 5, 9)] == before
    assert stored(ledger)[-1].update.reverses == "mistake"
    assert "mistake" in [entry.update.id for entry in stored(ledger)]
    assert problems(ledger) == []


def test_reversing_twice_is_harmless(ledger: Ledger) -> None:
    ledger.append(FUND, deposit("USDT", "5", minute=5).model_copy(update={"id": "mistake"}))
    first = ledger.reverse(FUND, "mistake")
    assert ledger.reverse(FUND, "mistake") == first._replace(duplicate=True)
    assert state_at(ledger, 9) == state_at(ledger, 0)
    assert len(stored(ledger)) == 3


@pytest.mark.parametrize(
    ("entry", "then", "position"),
    [
        ([OPEN], "open", None),
        ([OPEN, MORE], "more", Decimal(-2)),
        ([OPEN, MORE, CLOSE], "close", Decimal(-4)),
    ],
)
def test_a_perp_entry_is_taken_back_to_the_position_before_it(
    ledger: Ledger, entry: list[BalanceUpdate], then: str, position: Decimal | None
) -> None:
    ledger.append_many(FUND, entry)
    before = stored(ledger)[-2].update.timestamp
    as_before = ledger.snapshot().book_at(FUND, before).book
    ledger.reverse(FUND, then)
    book = ledger.snapshot().book_at(FUND, at(60)).book
    assert state(book) == state(as_before)
    assert (book.positions[ETH_PERP].size if position else book.positions) == (position or {})
    assert ledger.reverse(FUND, then).duplicate
    assert problems(ledger) == []


def test_a_checkpoint_at_the_very_time_of_an_entry_does_not_hide_what_was_before_it(
    ledger: Ledger, dense_checkpoints: int
) -> None:
    fillers = [deposit("ETH", "1", minute=10) for _ in range(4)]
    ledger.append_many(FUND, [OPEN, *fillers, deposit("ETH", "1", minute=15), MORE])
    as_before = state_at(ledger, 15)
    assert checkpoints.newest(ledger.engine, FUND, at(10), 99).as_of == at(10)  # type: ignore[union-attr]
    ledger.append(FUND, update("TRADE_EXECUTED", perp("CLOSE"), perp("OPEN", "1", fill_price="1"), minute=20))
    with pytest.raises(LateEntryError, match="would make the later entry more"):
        ledger.reverse(FUND, "open")
    assert state_at(ledger, 15) == as_before


def test_an_entry_that_later_ones_rest_on_cannot_be_reversed_before_them(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, MORE, CLOSE])
    before = stored(ledger)
    with pytest.raises(LateEntryError, match="would make the later entry more"):
        ledger.reverse(FUND, "open")
    assert stored(ledger) == before


def test_a_deposit_that_was_spent_cannot_be_reversed_naming_what_spent_it(ledger: Ledger) -> None:
    ledger.append(FUND, deposit("ETH", "5", minute=5).model_copy(update={"id": "deposit"}))
    ledger.append(FUND, update("WITHDRAWAL", wallet("ETH", "-5"), minute=9, entry_id="spent"))
    with pytest.raises(LateEntryError, match="would leave wallet ETH at -5 after the later entry spent"):
        ledger.reverse(FUND, "deposit")


def test_a_late_entry_can_be_reversed(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, CLOSE])
    without = [state_at(ledger, minute) for minute in (15, 25, 60)]
    ledger.append(FUND, MORE)
    ledger.reverse(FUND, "more")
    assert [state_at(ledger, minute) for minute in (15, 25, 60)] == without


@pytest.mark.parametrize(("minute", "as_of"), [(25, 40), (20, None)])
def test_a_position_that_changed_again_is_not_taken_back_over_that_change(
    ledger: Ledger, minute: float, as_of: float | None
) -> None:
    again = update("PERP_ADJUSTED", perp("ADJUST", "-7", fill_price="3200"), minute=minute, entry_id="again")
    ledger.append_many(FUND, [OPEN, MORE, again])
    before = stored(ledger)
    with pytest.raises(BookError, match=r"more: binance ETHUSDT-PERP was changed again by .*reverse the later"):
        ledger.reverse(FUND, "more", None if as_of is None else at(as_of))
    assert stored(ledger) == before
    ledger.reverse(FUND, "again")
    ledger.reverse(FUND, "more", at(minute))
    assert ledger.snapshot().book_at(FUND, at(60)).book.positions[ETH_PERP].size == -2


def test_a_position_that_a_later_reversal_set_is_reversed_as_of_that_reversal(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, MORE, CLOSE])
    ledger.reverse(FUND, "close")
    with pytest.raises(BookError, match="more: its position was set again by reversal:close at 2024-05-12T01:30:00Z"):
        ledger.reverse(FUND, "more")
    ledger.reverse(FUND, "more", at(30))
    ledger.reverse(FUND, "open", at(30))
    assert state_at(ledger, 60) == state_at(ledger, 0)


def test_a_reversal_can_be_dated_later_but_not_before_what_it_reverses(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, MORE])
    with pytest.raises(LedgerError, match="more: happened at 2024-05-12T01:20:00Z and cannot be reversed as of"):
        ledger.reverse(FUND, "more", at(19))
    ledger.reverse(FUND, "more", at(40))
    sizes = [ledger.snapshot().book_at(FUND, at(minute)).book.positions[ETH_PERP].size for minute in (39, 40)]
    assert sizes == [-4, -2]
    assert ledger.reverse(FUND, "more").duplicate


def test_reversing_again_after_a_late_entry_is_still_a_duplicate(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, MORE])
    first = ledger.reverse(FUND, "more")
    ledger.append(FUND, update("PERP_ADJUSTED", perp("ADJUST", "-3", fill_price="3050"), minute=15))
    assert ledger.reverse(FUND, "more") == first._replace(duplicate=True)


@settings(LEDGER)
@given(journals(), st.data())
def test_what_can_be_reversed_leaves_the_balances_of_a_ledger_without_it(
    ledger: Ledger, stream: list[BalanceUpdate], data: st.DataObject
) -> None:
    portfolio, without = fresh_portfolio(ledger), fresh_portfolio(ledger)
    ledger.append_many(portfolio, stream)
    if not stream:
        return
    mistake = data.draw(st.sampled_from(stream))
    try:
        ledger.reverse(portfolio, mistake.id)
    except (BookError, LateEntryError):
        return
    rest = [each for each in stream if each.id != mistake.id]
    if len(append_what_fits(ledger, without, rest)) < len(rest):
        return  # a reversal at the end of its minute may be possible where leaving the entry out is not
    for minute in (0, MINUTES // 2, MINUTES):
        assert state_at(ledger, minute, portfolio)["balances"] == state_at(ledger, minute, without)["balances"]


@pytest.mark.parametrize(
    ("entry_id", "why"),
    [
        ("initial-capital:fund", "cannot be reversed; record a WITHDRAWAL"),
        ("nobody", "'nobody' is not an entry of fund"),
    ],
)
def test_what_cannot_be_reversed_says_so(ledger: Ledger, entry_id: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why):
        ledger.reverse(FUND, entry_id)


def test_a_reversal_cannot_be_reversed(ledger: Ledger) -> None:
    ledger.append(FUND, OPEN)
    ledger.reverse(FUND, "open")
    with pytest.raises(BookError, match="is itself the reversal of open"):
        ledger.reverse(FUND, "reversal:open")


def exported(ledger: Ledger, portfolio: str = FUND) -> list[BalanceUpdate]:
    """Every entry but the capital as a file would bring it back."""
    return [
        parse_update({**entry.update.model_dump(mode="python"), "trigger": entry.update.trigger.value})
        for entry in stored(ledger, portfolio)[1:]
    ]


def test_exported_reversals_are_accepted_by_another_ledger_one_by_one_and_together(ledger: Ledger) -> None:
    ledger.append_many(FUND, [OPEN, MORE, CLOSE])
    for entry_id in ("close", "more"):
        ledger.reverse(FUND, entry_id, at(30))
    lines = exported(ledger)
    for portfolio in ("singly", "together"):
        ledger.register(terms(portfolio))
    for line in lines:
        ledger.append("singly", line)
    ledger.append_many("together", lines)
    assert state_at(ledger, 60, "singly") == state_at(ledger, 60, "together") == state_at(ledger, 60)
    assert all(receipt.duplicate for receipt in ledger.append_many(FUND, lines))


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "my-own-reversal"},
        {"reverses": "more"},
        {"reverses": "nobody"},
        {"trigger": "PERP_OPENED"},
        {"token_changes": [token("binance", "USDT", "-900")]},
        {"token_changes": []},
        {"derivative_changes": []},
        {"derivative_changes": [perp("CLOSE")]},
    ],
    ids=str,
)
def test_a_forged_reversal_is_refused_and_changes_nothing(ledger: Ledger, changed: dict[str, object]) -> None:
    ledger.append_many(FUND, [OPEN, MORE, CLOSE])
    ledger.register(terms("source"))
    ledger.append_many("source", [OPEN, MORE, CLOSE])
    ledger.reverse("source", "close")
    genuine = exported(ledger, "source")[-1]
    forged = parse_update({**genuine.model_dump(mode="python"), "trigger": genuine.trigger.value, **changed})
    before = stored(ledger)
    with pytest.raises((BookError, LedgerError)):
        ledger.append(FUND, forged)
    assert stored(ledger) == before
    ledger.append(FUND, genuine)
