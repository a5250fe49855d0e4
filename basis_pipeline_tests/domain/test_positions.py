from __future__ import annotations

from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.positions import Book
from basis_pipeline_tests.builders import at, book_of, deposit, perp, state, token, update, wallet
from basis_pipeline_tests.domain.strategies import TOKENS, amounts, prices, sizes, updates

ETH_PERP = ("binance", "ETHUSDT-PERP")


def opened(size: str = "-2", price: str = "3000") -> BalanceUpdate:
    return update("PERP_OPENED", perp("OPEN", size, fill_price=price))


def adjusted(size: str, **data: object) -> BalanceUpdate:
    return update("PERP_ADJUSTED", perp("ADJUST", size, **data), minute=5)


@given(st.lists(updates(), max_size=8))
def test_a_refused_update_changes_nothing_on_either_side(stream: list[BalanceUpdate]) -> None:
    book = Book()
    for each in stream:
        before = state(book)
        try:
            applied = book.apply(each)
        except BookError:
            assert state(book) == before
        else:
            assert len(applied.balances) == len(each.token_changes)
            assert len(applied.positions) == len(each.derivative_changes)
            assert all(
                balance >= 0 for (venue, _), balance in book.balances.items() if venue in ("wallet", "in_transit")
            )


def test_good_token_legs_are_not_applied_when_the_derivative_leg_is_bad() -> None:
    book = book_of(opened())
    before = state(book)
    with pytest.raises(BookError, match="which is open already"):
        book.apply(update("TRADE_EXECUTED", token("binance", "USDT", "-7.5"), perp("OPEN", "1", fill_price="3000")))
    assert state(book) == before


def test_a_good_derivative_leg_is_not_applied_when_a_token_leg_is_bad() -> None:
    book = Book()
    fee = token("binance", "USDT", "-7.5", new_balance="0")
    with pytest.raises(BookError, match="new_balance"):
        book.apply(update("TRADE_EXECUTED", fee, perp("OPEN", "1", fill_price="3000")))
    assert state(book) == {"balances": [], "positions": []}


@given(st.lists(amounts(), min_size=1, max_size=8))
def test_legs_apply_in_list_order_and_new_balance_is_that_after_its_own_leg(deltas: list[Decimal]) -> None:
    running = list(accumulate(deltas))
    legs = [
        token("okx", "USDT", str(delta), new_balance=str(balance))
        for delta, balance in zip(deltas, running, strict=True)
    ]
    applied = Book().apply(update("HOURLY_RECONCILIATION", *legs))
    assert list(applied.balances) == running


@given(st.lists(amounts(), min_size=1, max_size=6), st.data())
def test_one_wrong_new_balance_refuses_the_whole_update(deltas: list[Decimal], data: st.DataObject) -> None:
    wrong = data.draw(st.integers(0, len(deltas) - 1))
    legs = [
        token("okx", "USDT", str(delta), new_balance=str(balance + (Decimal("0.000001") if number == wrong else 0)))
        for number, (delta, balance) in enumerate(zip(deltas, accumulate(deltas), strict=True))
    ]
    book = Book()
    with pytest.raises(BookError, match=rf"token_changes\[{wrong}\]\.new_balance: okx USDT would be"):
        book.apply(update("HOURLY_RECONCILIATION", *legs))
    assert not book.balances


def test_a_wallet_may_dip_below_zero_between_the_legs_of_one_update() -> None:
    loop = update("ATOMIC_LEVERAGE_LOOP", wallet("ETH", "-5"), wallet("weETH", "5"), wallet("ETH", "5"))
    assert book_of(loop).balances == {("wallet", "weETH"): Decimal(5)}


@pytest.mark.parametrize("venue", ["wallet", "in_transit"])
def test_a_wallet_cannot_end_below_zero(venue: str) -> None:
    book = book_of(deposit("USDT", "10", venue=venue))
    with pytest.raises(BookError, match=rf"{venue} USDT would be -0.000001.*cannot go below zero .before: 10.*nothing"):
        book.apply(update("WITHDRAWAL", token(venue, "USDT", "-10.000001")))
    assert book.balances == {(venue, "USDT"): Decimal(10)}


def test_an_exchange_balance_may_go_below_zero_because_that_is_borrowing() -> None:
    book = book_of(update("FUNDING_PAYMENT", token("bybit", "USDT", "-7.5")))
    assert book.balances == {("bybit", "USDT"): Decimal("-7.5")}


def test_a_wallet_can_be_emptied_and_then_holds_nothing() -> None:
    book = book_of(deposit("USDT", "10"), update("WITHDRAWAL", wallet("USDT", "-10.000000")))
    assert book.balances == {}


def test_a_balance_too_large_to_store_is_refused_and_the_book_stays_readable() -> None:
    most = deposit("USDT", "99999999999999999999")
    book = book_of(most)
    with pytest.raises(BookError, match="at most 20 digits before the decimal point"):
        book.apply(deposit("USDT", "1"))
    assert state(Book.from_json(book.to_json())) == state(book)


@given(amounts("0.000001"), amounts("0", "1"), st.sampled_from(["binance", "in_transit"]))
def test_a_transfer_conserves_its_token_less_the_fee(sent: Decimal, kept: Decimal, to: str) -> None:
    received = (sent * kept).quantize(Decimal("0.000001"), rounding="ROUND_DOWN")
    book = book_of(deposit("USDT", str(sent)))
    before = sum(book.balances.values())
    book.apply(update("VENUE_TRANSFER", wallet("USDT", str(-sent)), token(to, "USDT", str(received))))
    assert before - sum(book.balances.values()) == sent - received
    assert ("wallet", "USDT") not in book.balances


@given(st.lists(updates(), max_size=8))
def test_every_token_s_balances_add_up_to_the_sum_of_its_accepted_deltas(stream: list[BalanceUpdate]) -> None:
    book = Book()
    expected = dict.fromkeys(TOKENS, Decimal(0))
    for each in stream:
        try:
            book.apply(each)
        except BookError:
            continue
        for change in each.token_changes:
            expected[change.token] += change.delta
    held = dict.fromkeys(TOKENS, Decimal(0))
    for (_, symbol), balance in book.balances.items():
        held[symbol] += balance
    assert held == expected


def test_scaled_balances_stay_constant_between_user_actions() -> None:
    supplied = update("COLLATERAL_SUPPLIED", wallet("weETH", "-100"), wallet("aWeETH", "95.238095238095238095"))
    book = book_of(deposit("weETH", "100"), deposit("ETH", "1"), supplied)
    for hour in range(1, 25):
        book.apply(update("GAS_FEE_PAID", wallet("ETH", "-0.001"), minute=60 * hour))
    assert book.balances[("wallet", "aWeETH")] == Decimal("95.238095238095238095")


@given(sizes.filter(bool), prices, st.lists(st.tuples(sizes.filter(bool), prices), max_size=8))
def test_the_average_entry_price_follows_the_rules_in_exact_fractions(
    size: Decimal, price: Decimal, trades: list[tuple[Decimal, Decimal]]
) -> None:
    book = book_of(opened(str(size), str(price)))
    held, entry = Fraction(size), Fraction(price)
    for next_size, fill in trades:
        book.apply(adjusted(str(next_size), fill_price=str(fill)))
        new, at_price = Fraction(next_size), Fraction(fill)
        if (new > 0) != (held > 0):
            entry = at_price
        elif abs(new) > abs(held):
            entry = (held * entry + (new - held) * at_price) / new
        held = new
        position = book.positions[ETH_PERP]
        assert position.size == next_size
        assert abs(Fraction(position.entry_price) - entry) <= Fraction(1, 2 * 10**18)
        entry = Fraction(position.entry_price)


def test_a_reduction_keeps_entry_price_and_time() -> None:
    book = book_of(opened("-8", "3000"), adjusted("-3", fill_price="2500"))
    assert book.positions[ETH_PERP][:3] == (Decimal(-3), Decimal(3000), at(0))


def test_an_increase_averages_by_size() -> None:
    book = book_of(opened("-1", "3000"), adjusted("-3", fill_price="3300"))
    assert book.positions[ETH_PERP].entry_price == Decimal(3200)


def test_crossing_zero_starts_anew_at_the_fill_price() -> None:
    book = book_of(opened("-1", "3000"), adjusted("2", fill_price="3300"))
    assert book.positions[ETH_PERP][:3] == (Decimal(2), Decimal(3300), at(5))


def test_the_venue_s_own_entry_price_and_time_are_taken_as_they_stand() -> None:
    told = adjusted("-3", fill_price="9999", entry_price="3123.45", entry_timestamp=at(-60), notional_usd="7")
    position = book_of(opened("-1", "3000"), told).positions[ETH_PERP]
    assert position == (Decimal(-3), Decimal("3123.45"), at(-60), Decimal(7))


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ([opened(), opened()], "OPEN of binance ETHUSDT-PERP, which is open already .size -2.; use ADJUST"),
        ([adjusted("1", fill_price="1")], "ADJUST of binance ETHUSDT-PERP, which is not open; use OPEN first"),
        ([update("PERP_CLOSED", perp("CLOSE"))], "CLOSE of binance ETHUSDT-PERP, which is not open"),
        ([opened(), update("PERP_CLOSED", perp("CLOSE", "-1"))], "-1 after a CLOSE"),
        ([opened(), adjusted("0", fill_price="1")], "0 is not a position; use CLOSE"),
        ([opened(), adjusted("-3")], "needs entry_price or fill_price"),
        ([opened(), adjusted("3")], "needs entry_price or fill_price"),
        ([update("PERP_OPENED", perp("OPEN", "1"))], "OPEN of binance ETHUSDT-PERP needs entry_price or fill_price"),
        ([update("PERP_OPENED", perp("OPEN", "0", fill_price="1"))], "0 is not a position"),
        ([update("PERP_OPENED", perp("OPEN", fill_price="1"))], "OPEN needs the resulting signed size"),
    ],
)
def test_a_derivative_change_that_cannot_be_is_refused(stream: list[BalanceUpdate], why: str) -> None:
    book = book_of(*stream[:-1])
    before = state(book)
    with pytest.raises(BookError, match=why):
        book.apply(stream[-1])
    assert state(book) == before


def test_hedge_legs_and_exchanges_are_positions_of_their_own() -> None:
    legs = [
        perp("OPEN", "1", on="ETHUSDT-PERP:LONG", fill_price="3000"),
        perp("OPEN", "-2", on="ETHUSDT-PERP:SHORT", fill_price="3000"),
        perp("OPEN", "-2", venue="okx", fill_price="3000"),
    ]
    assert len(book_of(update("PERP_OPENED", *legs)).positions) == 3


def test_one_update_can_close_and_open_again() -> None:
    again = update("TRADE_EXECUTED", perp("CLOSE"), perp("OPEN", "5", fill_price="3100"), minute=9)
    applied = book_of(opened()).apply(again)
    assert applied.positions == (None, (Decimal(5), Decimal(3100), at(9), None))


@given(st.lists(updates(), max_size=8))
def test_a_book_read_back_from_a_checkpoint_is_the_same_book(stream: list[BalanceUpdate]) -> None:
    book = Book()
    for each in stream:
        with suppress(BookError):
            book.apply(each)
    again = Book.from_json(book.to_json())
    assert (again.balances, again.positions) == (book.balances, book.positions)


def test_a_copy_does_not_follow_the_original() -> None:
    book = book_of(deposit("USDT", "1"))
    copy = book.copy()
    book.apply(deposit("USDT", "1"))
    assert copy.balances == {("wallet", "USDT"): Decimal(1)}
