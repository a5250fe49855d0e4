from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from basis_pipeline.domain.changes import Action, BalanceUpdate, TokenChange, Trigger
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.observations import ObservedPosition, Reading
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reconciliation import (
    SUBSETS_MAX,
    UNEXPLAINED,
    Outcome,
    Rules,
    Tolerance,
    Tracked,
    adjustment,
    compare,
    explained,
    held,
    track,
)
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline_tests.builders import at, deposit, perp, token, update, wallet
from basis_pipeline_tests.domain.reconciling import (
    READ_AT,
    compared,
    outcomes,
    position,
    reading,
    tracked,
    unavailable,
)
from basis_pipeline_tests.domain.strategies import amounts, updates

BEFORE = READ_AT - 5
"""Five minutes before the reading: inside the settle window."""
PERP = "ETHUSDT-PERP"


def short(size: str = "-2", minute: float = 0, price: str = "3000") -> BalanceUpdate:
    return update("PERP_OPENED", perp("OPEN", size, fill_price=price), minute=minute)


class TestOutcomes:
    def test_equal_amounts_match_however_they_are_written(self) -> None:
        assert outcomes(
            tracked("binance", deposit("USDT", "100", venue="binance")), reading("binance", {"USDT": "1E2"})
        ) == {"USDT": Outcome.MATCHED}

    def test_the_union_is_compared_and_what_nobody_holds_is_no_key(self) -> None:
        ledger = tracked("wallet", deposit("USDT", "5"), deposit("ETH", "1"))
        assert outcomes(ledger, reading("wallet", {"ETH": "2", "weETH": "3", "KING": "0"})) == {
            "USDT": Outcome.MISSING,
            "ETH": Outcome.DRIFT,
            "weETH": Outcome.UNEXPECTED,
        }

    def test_other_venues_of_the_portfolio_are_not_this_accounts_business(self) -> None:
        ledger = tracked("okx", deposit("USDT", "5"), short(), deposit("ETH", "1", venue="bybit"))
        assert outcomes(ledger, reading("okx")) == {}

    def test_a_negative_exchange_balance_is_compared_like_any_other(self) -> None:
        ledger = tracked(
            "bybit", deposit("USDT", "5", venue="bybit"), update("WITHDRAWAL", token("bybit", "USDT", "-25"))
        )
        assert compared(ledger, reading("bybit", {"USDT": "-20"}))["USDT"].outcome is Outcome.MATCHED

    def test_sizes_and_entry_prices_are_keys_of_their_own(self) -> None:
        found = reading("binance", positions={PERP: position("-2.5", "3010"), "BTCUSDT-PERP": position("1")})
        assert outcomes(tracked("binance", short()), found) == {
            PERP: Outcome.DRIFT,
            f"{PERP}/entry_price": Outcome.DRIFT,
            "BTCUSDT-PERP": Outcome.UNEXPECTED,
        }

    def test_an_entry_price_is_compared_only_where_both_sides_have_one(self) -> None:
        assert outcomes(tracked("binance", short()), reading("binance", positions={PERP: position("-2", None)})) == {
            PERP: Outcome.MATCHED
        }
        assert outcomes(tracked("binance", short()), reading("binance")) == {PERP: Outcome.MISSING}

    def test_a_flat_row_is_no_position(self) -> None:
        flat = reading("binance", positions={PERP: position("0", "0")})
        assert outcomes(tracked("binance"), flat) == {}
        assert outcomes(tracked("binance", short()), flat) == {PERP: Outcome.MISSING}

    def test_an_asset_that_nobody_registered_is_unexpected_and_never_adjustable(self) -> None:
        row = compared(tracked("okx"), reading("okx", unmapped={"PEPE": "1e30", "DUST": "0"}))["UNMAPPED:PEPE"]
        assert (row.outcome, row.adjustable, row.actual) == (Outcome.UNEXPECTED, False, Decimal("1e30"))

    def test_an_unavailable_account_learns_nothing_and_adjusts_nothing(self) -> None:
        ledger = tracked("binance", deposit("USDT", "100", venue="binance"), short())
        rows = compared(ledger, unavailable("binance"))
        assert {row.outcome for row in rows.values()} == {Outcome.UNAVAILABLE}
        assert rows.keys() == {"USDT", PERP}
        assert all(row.actual is None and row.difference is None and not row.adjustable for row in rows.values())


class TestTolerance:
    def test_on_chain_one_wei_is_drift(self) -> None:
        ledger = tracked("wallet", deposit("ETH", "1"))
        assert outcomes(ledger, reading("wallet", {"ETH": "1.000000000000000001"})) == {"ETH": Outcome.DRIFT}

    @pytest.mark.parametrize(
        ("symbol", "held", "said", "outcome"),
        [
            ("USDT", "100.000001", "100", Outcome.WITHIN_TOLERANCE),
            ("USDT", "100.000002", "100", Outcome.DRIFT),
            ("USDT", "100.12345679", "100.12345678", Outcome.WITHIN_TOLERANCE),
            ("ETH", "1.00000001", "1", Outcome.WITHIN_TOLERANCE),
            ("ETH", "1.00000002", "1", Outcome.DRIFT),
            ("BTC", "0.00000001", "0", Outcome.WITHIN_TOLERANCE),
        ],
    )
    def test_on_an_exchange_one_unit_of_its_last_decimal_is_rounding(
        self, symbol: str, held: str, said: str, outcome: Outcome
    ) -> None:
        ledger = tracked("bybit", deposit(symbol, held, venue="bybit"))
        assert outcomes(ledger, reading("bybit", {symbol: said})) == {symbol: outcome}

    def test_a_size_has_none_and_an_entry_price_a_ten_thousandth(self) -> None:
        found = reading("binance", positions={PERP: position("-2.00000001", "3000.30")})
        assert outcomes(tracked("binance", short()), found) == {
            PERP: Outcome.DRIFT,
            f"{PERP}/entry_price": Outcome.WITHIN_TOLERANCE,
        }
        found = reading("binance", positions={PERP: position("-2", "3000.31")})
        assert outcomes(tracked("binance", short()), found)[f"{PERP}/entry_price"] is Outcome.DRIFT

    def test_the_key_goes_before_the_venue_and_the_larger_allowance_counts(self) -> None:
        rules = Rules(
            tolerances={
                "okx": Tolerance(absolute=Decimal("0.5")),
                "okx:USDT": Tolerance(Decimal(1), Decimal("0.1")),
                f"okx:{PERP}/entry_price": Tolerance(Decimal(50)),
            }
        )
        ledger = tracked("okx", deposit("USDT", "110", venue="okx"), deposit("ETH", "1", venue="okx"))
        rows = compared(ledger, reading("okx", {"USDT": "100", "ETH": "1.6"}), rules)
        assert (rows["USDT"].tolerance, rows["USDT"].outcome) == (10, Outcome.WITHIN_TOLERANCE)
        assert (rows["ETH"].tolerance, rows["ETH"].outcome) == (Decimal("0.5"), Outcome.DRIFT)


class TestInFlight:
    def test_a_young_update_that_the_venue_does_not_show_yet_explains_the_difference(self) -> None:
        ledger = tracked(
            "binance", deposit("USDT", "100", venue="binance"), deposit("USDT", "7", venue="binance", minute=BEFORE)
        )
        assert outcomes(ledger, reading("binance", {"USDT": "100"})) == {"USDT": Outcome.IN_FLIGHT}
        assert outcomes(ledger, reading("binance", {"USDT": "101"})) == {"USDT": Outcome.DRIFT}

    def test_an_update_older_than_the_settle_window_explains_nothing(self) -> None:
        old = deposit("USDT", "7", venue="binance", minute=READ_AT - 15.1)
        assert outcomes(tracked("binance", old), reading("binance")) == {"USDT": Outcome.MISSING}
        edge = deposit("USDT", "7", venue="binance", minute=READ_AT - 15)
        assert outcomes(tracked("binance", edge), reading("binance")) == {"USDT": Outcome.IN_FLIGHT}

    def test_what_the_ledger_learned_after_the_reading_may_show_in_it_already(self) -> None:
        ledger = tracked(
            "binance",
            deposit("USDT", "100", venue="binance"),
            update("WITHDRAWAL", token("binance", "USDT", "-30"), minute=READ_AT + 1),
        )
        assert compared(ledger, reading("binance", {"USDT": "100"}))["USDT"].outcome is Outcome.MATCHED
        assert compared(ledger, reading("binance", {"USDT": "70"}))["USDT"].outcome is Outcome.IN_FLIGHT

    def test_an_adjustment_waits_for_nothing_unless_it_describes_a_later_moment(self) -> None:
        def adjusted(minute: float) -> BalanceUpdate:
            return update("HOURLY_RECONCILIATION", token("binance", "USDT", "5"), minute=minute)

        base = deposit("USDT", "100", venue="binance")
        undone = outcomes(tracked("binance", base, adjusted(BEFORE)), reading("binance", {"USDT": "100"}))
        assert undone == {"USDT": Outcome.DRIFT}
        by_another = outcomes(tracked("binance", base, adjusted(READ_AT + 0.1)), reading("binance", {"USDT": "105"}))
        assert by_another == {"USDT": Outcome.IN_FLIGHT}

    def test_a_young_change_of_size_takes_its_entry_price_along(self) -> None:
        ledger = tracked(
            "binance", short(), update("PERP_ADJUSTED", perp("ADJUST", "-3", fill_price="3300"), minute=BEFORE)
        )
        assert outcomes(ledger, reading("binance", positions={PERP: position("-2", "3000")})) == {
            PERP: Outcome.IN_FLIGHT,
            f"{PERP}/entry_price": Outcome.IN_FLIGHT,
        }
        assert outcomes(ledger, reading("binance", positions={PERP: position("-3", "3000")})) == {
            PERP: Outcome.MATCHED,
            f"{PERP}/entry_price": Outcome.IN_FLIGHT,
        }

    def test_a_position_closed_a_moment_ago_may_still_be_open_at_the_venue(self) -> None:
        ledger = tracked("binance", short(), update("PERP_CLOSED", perp("CLOSE"), minute=BEFORE))
        assert outcomes(ledger, reading("binance", positions={PERP: position("-2")})) == {PERP: Outcome.IN_FLIGHT}

    def test_a_transfer_in_one_entry_may_take_as_long_as_transfers_may(self) -> None:
        transfer = update("VENUE_TRANSFER", wallet("USDT", "-50"), token("okx", "USDT", "50"), minute=READ_AT - 23 * 60)
        ledger = tracked("okx", deposit("USDT", "100"), transfer)
        assert outcomes(ledger, reading("okx")) == {"USDT": Outcome.IN_FLIGHT}
        hasty = Rules(transfer_window=timedelta(hours=1))
        ledger = tracked("okx", deposit("USDT", "100"), transfer, rules=hasty)
        assert outcomes(ledger, reading("okx")) == {"USDT": Outcome.MISSING}

    def test_what_was_sent_explains_as_much_more_at_any_receiver_and_no_less(self) -> None:
        sent = update(
            "VENUE_TRANSFER", wallet("USDT", "-50"), token("in_transit", "USDT", "50"), minute=READ_AT - 20 * 60
        )
        ledger = tracked("okx", deposit("USDT", "100"), deposit("USDT", "10", venue="okx"), sent)
        for said, outcome in (("59", "IN_FLIGHT"), ("60", "IN_FLIGHT"), ("60.1", "DRIFT"), ("9", "DRIFT")):
            assert outcomes(ledger, reading("okx", {"USDT": said})) == {"USDT": Outcome(outcome)}, said

    def test_what_was_sent_long_ago_or_has_arrived_explains_nothing(self) -> None:
        sent = update("VENUE_TRANSFER", wallet("USDT", "-50"), token("in_transit", "USDT", "50"), minute=BEFORE - 60)
        arrived = update(
            "VENUE_TRANSFER", token("in_transit", "USDT", "-50"), token("bybit", "USDT", "50"), minute=BEFORE
        )
        found = reading("okx", {"USDT": "50"})
        assert outcomes(tracked("okx", deposit("USDT", "100"), sent), found) == {"USDT": Outcome.IN_FLIGHT}
        assert outcomes(tracked("okx", deposit("USDT", "100"), sent, arrived), found) == {"USDT": Outcome.UNEXPECTED}
        quick = Rules(transfer_window=timedelta(minutes=30))
        ledger = tracked("okx", deposit("USDT", "100"), sent, rules=quick)
        assert outcomes(ledger, found, quick) == {"USDT": Outcome.UNEXPECTED}

    def test_only_what_was_sent_within_the_window_can_still_arrive(self) -> None:
        def sent(amount: str, minute: float) -> BalanceUpdate:
            return update(
                "VENUE_TRANSFER", wallet("USDT", f"-{amount}"), token("in_transit", "USDT", amount), minute=minute
            )

        ledger = tracked("okx", deposit("USDT", "100"), sent("40", 10), sent("10", BEFORE))
        assert outcomes(ledger, reading("okx", {"USDT": "10"})) == {"USDT": Outcome.IN_FLIGHT}
        assert outcomes(ledger, reading("okx", {"USDT": "11"})) == {"USDT": Outcome.UNEXPECTED}

    def test_what_arrived_elsewhere_after_the_reading_explains_nothing_here(self) -> None:
        sent = update("VENUE_TRANSFER", wallet("USDT", "-50"), token("in_transit", "USDT", "50"), minute=BEFORE)
        arrived = update(
            "VENUE_TRANSFER", token("in_transit", "USDT", "-50"), token("bybit", "USDT", "50"), minute=READ_AT + 1
        )
        ledger = tracked("okx", deposit("USDT", "100"), sent, arrived)
        assert outcomes(ledger, reading("okx", {"USDT": "50"})) == {"USDT": Outcome.UNEXPECTED}
        ledger = tracked("bybit", deposit("USDT", "100"), sent, arrived)
        assert outcomes(ledger, reading("bybit", {"USDT": "50"})) == {"USDT": Outcome.IN_FLIGHT}


class TestAdjustment:
    def test_it_names_account_hour_and_readings_and_is_stamped_with_the_reading(self) -> None:
        ledger = tracked("binance", deposit("USDT", "100", venue="binance"))
        found = reading("binance", {"USDT": "90"})
        made = adjustment(
            ledger, found, ["USDT"], "recon:1", "RECONCILIATION_ADJUSTMENT readings 1, 2", DEFAULT_REGISTRY
        )
        assert made.update.trigger is Trigger.HOURLY_RECONCILIATION
        assert made.update.timestamp == found.as_of
        assert made.update.token_changes == (
            TokenChange(
                venue="binance", token="USDT", delta=Decimal(-10), reason="RECONCILIATION_ADJUSTMENT readings 1, 2"
            ),
        )
        assert made.keys == {"USDT"}

    def test_an_entry_of_perpetuals_alone_carries_its_reason_on_a_leg_of_zero(self) -> None:
        made = adjustment(
            tracked("binance"),
            reading("binance", positions={PERP: position("-2", "3000", "6000")}),
            [PERP],
            "recon:1",
            "why",
            DEFAULT_REGISTRY,
        )
        (leg,), (change,) = made.update.token_changes, made.update.derivative_changes
        assert (leg.token, leg.delta, leg.reason) == ("USDT", 0, "why")
        assert (change.action, change.data.size, change.data.entry_price) == (Action.OPEN, -2, 3000)
        assert change.data.notional_usd == 6000

    def test_a_position_without_a_price_is_left_out_unless_ours_goes_on(self) -> None:
        opened = reading("binance", positions={PERP: position("-2", None)})
        made = adjustment(tracked("binance"), opened, [PERP], "recon:1", "why", DEFAULT_REGISTRY)
        assert (made.keys, made.left_out) == (frozenset(), (f"{PERP}: binance tells no entry price",))
        crossed = reading("binance", positions={PERP: position("2", None)})
        assert not adjustment(tracked("binance", short()), crossed, [PERP], "recon:1", "why", DEFAULT_REGISTRY).keys
        more = reading("binance", positions={PERP: position("-5", None)})
        made = adjustment(tracked("binance", short()), more, [PERP], "recon:1", "why", DEFAULT_REGISTRY)
        (change,) = made.update.derivative_changes
        assert (change.action, change.data.size, change.data.entry_price) == (Action.ADJUST, -5, 3000)

    def test_an_entry_price_alone_leaves_the_size_as_it_is(self) -> None:
        found = reading("binance", positions={PERP: position("-9", "3100")})
        made = adjustment(
            tracked("binance", short()), found, [f"{PERP}/entry_price"], "recon:1", "why", DEFAULT_REGISTRY
        )
        (change,) = made.update.derivative_changes
        assert (change.data.size, change.data.entry_price) == (-2, 3100)
        assert made.keys == {f"{PERP}/entry_price"}


class TestExplained:
    @given(st.lists(amounts(), min_size=1, max_size=SUBSETS_MAX), st.data())
    def test_every_combination_of_few_changes_is_found(self, recent: list[Decimal], data: st.DataObject) -> None:
        chosen = data.draw(st.sets(st.sampled_from(range(len(recent))), min_size=1))
        assert explained(sum((recent[n] for n in chosen), Decimal(0)), recent)

    @given(st.lists(amounts("-9", "9", 0), max_size=7), amounts("-99", "99", 0))
    def test_nothing_else_is(self, recent: list[Decimal], difference: Decimal) -> None:
        assume(difference)
        sums = {sum(chosen) for size in range(len(recent) + 1) for chosen in combinations(recent, size)}
        assert explained(difference, recent) == (difference in sums)

    @given(st.lists(amounts(), min_size=SUBSETS_MAX + 1, max_size=200), st.data())
    def test_of_many_changes_those_that_follow_each_other_are(self, recent: list[Decimal], data: st.DataObject) -> None:
        first = data.draw(st.integers(0, len(recent) - 1))
        end = data.draw(st.integers(first + 1, len(recent)))
        assert explained(sum(recent[first:end], Decimal(0)), recent)

    def test_of_many_changes_not_any_combination_is(self) -> None:
        recent = [Decimal(2) ** n for n in range(20)]
        assert explained(Decimal(2 + 4 + 8), recent)
        assert not explained(Decimal(2 + 8), recent)
        assert explained(Decimal("16.5"), recent, Decimal("0.5"))
        assert not explained(Decimal("16.6"), recent, Decimal("0.5"))


accepted = st.lists(updates(), max_size=6)


@st.composite
def observed(draw: st.DrawFn, venue: str) -> Reading:
    tokens = ("ETH", "USDT", "weETH", "EIGEN", "KING")
    held = draw(st.dictionaries(st.sampled_from(tokens), amounts("0" if venue == "wallet" else "-1000000")))
    positions = {}
    if venue != "wallet":
        for name in draw(st.sets(st.sampled_from((PERP, "BTCUSDT-PERP", f"{PERP}:SHORT")))):
            size = draw(amounts("-1000", "1000", 8))
            price = draw(amounts("0.01", "100000", 8))
            positions[name] = ObservedPosition(-abs(size) if name.endswith("SHORT") else size, price)
    return reading(venue, held, positions=positions, unmapped=draw(st.sampled_from(({}, {"PEPE": "3"}))))


def book_after(history: list[BalanceUpdate]) -> tuple[Book, list[BalanceUpdate]]:
    """The book after those of the updates that it takes, a minute apart, all long before the reading."""
    book, taken = Book(), []
    for number, each in enumerate(history):
        moved = each.model_copy(update={"timestamp": at(number), "trigger": Trigger.DEPOSIT})
        try:
            book.apply(moved)
        except BookError:
            continue
        taken.append(moved)
    return book, taken


def state_of(found: Tracked) -> set[str]:
    return {*found.balances, *found.positions}


@given(accepted, st.sampled_from(("wallet", "binance", "okx")), st.data())
def test_every_key_of_either_side_has_exactly_one_outcome(
    history: list[BalanceUpdate], venue: str, data: st.DataObject
) -> None:
    found = data.draw(observed(venue))
    ledger = track(Book(), book_after(history)[1], venue, found.as_of, Rules())
    rows = compared(ledger, found)
    held = {key for key, amount in found.balances.items() if amount} | {k for k, p in found.positions.items() if p.size}
    assert {key for key in rows if not key.endswith("/entry_price")} - {"UNMAPPED:PEPE"} == state_of(ledger) | held
    assert ("UNMAPPED:PEPE" in rows) == bool(found.unmapped)
    for row in rows.values():
        assert row.actual is not None
        assert (row.outcome is Outcome.MATCHED) == (row.actual == row.tracked)
        assert (row.outcome is Outcome.UNEXPECTED) <= (row.tracked == 0)
        assert (row.outcome is Outcome.MISSING) <= (row.actual == 0)


@given(accepted, st.sampled_from(("wallet", "binance", "okx")), st.data())
def test_after_the_adjustment_everything_but_the_unmapped_matches(
    history: list[BalanceUpdate], venue: str, data: st.DataObject
) -> None:
    found = data.draw(observed(venue))
    book, taken = book_after(history)
    ledger = track(Book(), taken, venue, found.as_of, Rules())
    keys = [row.key for row in compared(ledger, found).values() if row.adjustable]
    made = adjustment(ledger, found, keys, "recon:1", "why", DEFAULT_REGISTRY)
    assert made.keys >= set(keys)
    assert made.left_out == ()
    book.apply(made.update)
    after = track(Book(), [*taken, made.update], venue, found.as_of, Rules())
    assert after.balances == {t: b for (v, t), b in book.balances.items() if v == venue}
    rows = compared(after, found)
    assert {row.key for row in rows.values() if row.outcome in UNEXPLAINED} == {
        k for k in rows if k.startswith("UNMAPPED")
    }
    for key in keys:
        assert key not in rows or rows[key].outcome is Outcome.MATCHED


@given(accepted, st.sampled_from(("wallet", "binance")))
def test_nothing_of_an_unavailable_account_is_ever_adjustable(history: list[BalanceUpdate], venue: str) -> None:
    ledger = track(Book(), book_after(history)[1], venue, at(READ_AT), Rules())
    rows = compare(ledger, unavailable(venue), Rules(), DEFAULT_REGISTRY)
    assert {row.key for row in rows} == state_of(ledger)
    assert not any(row.adjustable for row in rows)


class TestWithoutHistory:
    @given(
        stream=st.lists(st.tuples(updates(), st.integers(-40, 5)), max_size=6),
        venue=st.sampled_from(["wallet", "binance", "okx"]),
        off=st.sampled_from(["0", "0.00000001", "5"]),
    )
    def test_where_nothing_needs_explaining_history_says_the_same(
        self, stream: list[tuple[BalanceUpdate, int]], venue: str, off: str
    ) -> None:
        book, accepted = Book(), []
        for each, minute in sorted(stream, key=lambda pair: pair[1]):
            placed = each.model_copy(update={"timestamp": at(READ_AT + minute)})
            with suppress(BookError):
                book.apply(placed)
                accepted.append(placed)
        as_of = Book()
        for each in accepted:
            if each.timestamp <= at(READ_AT):
                as_of.replay(each.token_changes, each.derivative_changes, each.timestamp)
        said = {token: amount for (place, token), amount in as_of.balances.items() if place == venue}
        positions = {
            name: position(str(p.size), str(p.entry_price))
            for (at_, name), p in as_of.positions.items()
            if at_ == venue
        }
        said["USDT"] = said.get("USDT", Decimal(0)) + Decimal(off)
        found = reading(venue, said, positions=positions)
        short_cut = compare(held(as_of, venue, at(READ_AT)), found, Rules(), DEFAULT_REGISTRY)
        in_full = compare(track(Book(), accepted, venue, at(READ_AT), Rules()), found, Rules(), DEFAULT_REGISTRY)
        if any(row.adjustable for row in short_cut):
            assert [row.key for row in short_cut] == [row.key for row in in_full]
        else:
            assert short_cut == in_full
