from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta, timezone
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate, canonical_content, content_hash
from basis_pipeline.domain.errors import BasisError, UpdateError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Token, TokenKind
from basis_pipeline_tests.builders import START, payload, perp, token, update, wallet

GAS = payload("GAS_FEE_PAID", wallet("ETH", "-0.0035"), entry_id="gas-1")
OPENED = payload(
    "PERP_OPENED", perp("OPEN", "-8.562", entry_price="2920.00", notional_usd="25000.0"), entry_id="open-1"
)


def with_leg(**changed: object) -> dict[str, Any]:
    return {**GAS, "token_changes": [{**GAS["token_changes"][0], **changed}]}


def with_data(**changed: object) -> dict[str, Any]:
    leg = OPENED["derivative_changes"][0]
    return {**OPENED, "derivative_changes": [{**leg, "data": {**leg["data"], **changed}}]}


@pytest.mark.parametrize(
    "changes",
    [
        {
            "timestamp": pd.Timestamp("2024-05-12 00:00:00", tz="UTC"),
            "trigger": "GAS_FEE_PAID",
            "token_changes": [
                {
                    "venue": "WALLET",
                    "token": "ETH",
                    "delta": "-0.0035",
                    "new_balance": "49.9965",
                    "reason": "GAS_FEE_PAID",
                }
            ],
        },
        {
            "trigger": "COLLATERAL_SUPPLIED",
            "token_changes": [
                {"venue": "WALLET", "token": "weETH", "delta": "-100.0"},
                {"venue": "WALLET", "token": "aWeETH", "delta": "95.24", "reason": "AAVE_SUPPLY"},
            ],
        },
        {
            "trigger": "SPOT_TRADE",
            "token_changes": [
                {"venue": "binance", "token": "ETH_spot", "delta": "15.2"},
                {"venue": "binance", "token": "USDT", "delta": "-50035"},
            ],
        },
        {
            "trigger": "TRADE_EXECUTED",
            "token_changes": [{"venue": "binance", "token": "USDT", "delta": "-7.50", "reason": "PERP_EXECUTION_COST"}],
            "derivative_changes": [
                {
                    "venue": "binance",
                    "instrument": "ETHUSDT-PERP",
                    "action": "OPEN",
                    "data": {"size": "-8.562", "entry_price": "2920.00", "notional_usd": "25000.0"},
                }
            ],
        },
        {
            "trigger": "KING_UNWRAPPED",
            "token_changes": [
                {"venue": "WALLET", "token": "KING", "delta": "-100.0", "reason": "KING_UNWRAPPED"},
                {"venue": "WALLET", "token": "EIGEN", "delta": "50.0", "reason": "KING_UNWRAPPED"},
                {"venue": "WALLET", "token": "ETHFI", "delta": "50.0", "reason": "KING_UNWRAPPED"},
            ],
        },
        {"trigger": "DEPOSIT", "token_changes": [{"venue": "WALLET", "token": "ETH", "delta": "100.0"}]},
    ],
    ids=lambda changes: changes["trigger"],
)
def test_the_specification_s_payloads_are_accepted_once_they_have_id_and_time(changes: dict[str, Any]) -> None:
    accepted = parse_update({"id": "spec-1", "timestamp": "2024-05-12T00:00:00Z", **changes})
    assert accepted.trigger == changes["trigger"]
    assert {c.venue for c in accepted.token_changes} <= {"wallet", "binance"}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-inf", -0.0035, True, "abc", None, [], "1E+20", "1E-9999999999"])
def test_an_amount_that_is_not_exact_and_finite_is_refused_naming_its_place(value: object) -> None:
    with pytest.raises(UpdateError, match=r"token_changes\[0\]\.delta: "):
        parse_update(with_leg(delta=value))


@pytest.mark.parametrize(
    "field", ["size", "entry_price", "notional_usd", "fill_size", "fill_price", "fee", "realized_pnl"]
)
@pytest.mark.parametrize("value", ["NaN", 1.5, False, "1E+20", "1E-19"])
def test_a_bad_number_of_a_derivative_is_refused_naming_its_place(field: str, value: object) -> None:
    with pytest.raises(UpdateError, match=rf"derivative_changes\[0\]\.data\.{field}: "):
        parse_update(with_data(**{field: value}))


@pytest.mark.parametrize("price", ["0", "-1", "-0"])
@pytest.mark.parametrize("field", ["entry_price", "fill_price"])
def test_a_price_is_above_zero(field: str, price: str) -> None:
    with pytest.raises(UpdateError, match="must be above zero"):
        parse_update(with_data(**{field: price}))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"venue": "kraken"}, "'kraken' is not a venue"),
        ({"token": "DOGE"}, "'DOGE' is not a registered token"),
        ({"colour": "red"}, r"token_changes\[0\]\.colour: unknown field \(value 'red'\)"),
        ({"reason": "x" * 501}, "longer than 500"),
        ({"reason": "a\x00b"}, "holds a NUL"),
        ({"reason": 7}, "is not text"),
        ({"new_balance": "NaN"}, r"token_changes\[0\]\.new_balance: 'NaN' is not a finite number"),
    ],
)
def test_a_bad_leg_is_refused_saying_what_is_wrong(changed: dict[str, object], why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        parse_update(with_leg(**changed))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"id": ""}, "id: is empty"),
        ({"id": "  "}, "id: is empty"),
        ({"id": "x" * 201}, "longer than 200"),
        ({"id": 5}, "id: 5 is not text"),
        ({"id": "\ud83d"}, "half a surrogate pair"),
        ({"timestamp": "2024-05-12T01:00:00"}, "has no time zone"),
        ({"timestamp": 1715475600}, "is not a time"),
        ({"trigger": "GAS"}, "'GAS' is not a trigger"),
        ({"trigger": None}, "None is not a trigger"),
        ({"colour": "red"}, "colour: unknown field"),
        ({"token_changes": "abc"}, "token_changes: "),
        ({"token_changes": [5]}, r"token_changes\[0\]: "),
        ({"token_changes": None}, "token_changes: "),
        ({"derivative_changes": {}}, "derivative_changes: "),
    ],
)
def test_a_bad_field_of_the_update_is_refused_naming_it(changed: dict[str, object], why: str) -> None:
    with pytest.raises(UpdateError, match=why):
        parse_update({**GAS, **changed})


@pytest.mark.parametrize("field", ["id", "timestamp", "trigger"])
def test_a_file_must_give_id_timestamp_and_trigger(field: str) -> None:
    with pytest.raises(UpdateError, match=f"^{field}: is missing$"):
        parse_update({name: value for name, value in GAS.items() if name != field})


def test_every_bad_field_is_named_at_once() -> None:
    with pytest.raises(UpdateError) as refused:
        parse_update({**with_leg(venue="kraken", token="DOGE", delta="NaN"), "trigger": "GAS"})
    for part in ("venue", "token", "delta", "trigger"):
        assert part in str(refused.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=6,
    ),
    st.sampled_from(["id", "timestamp", "trigger", "token_changes", "derivative_changes", "reverses", None]),
)
def test_rubbish_never_escapes_as_anything_but_our_own_error(rubbish: Any, field: str | None) -> None:
    with suppress(BasisError):
        parse_update(rubbish if field is None else {**GAS, field: rubbish})


@pytest.mark.parametrize(
    ("venue", "symbol", "delta"),
    [
        ("wallet", "USDT", "1.0000001"),
        ("wallet", "BTC", "0.000000001"),
        ("wallet", "ETH", "0.0000000000000000001"),
        ("binance", "USDT", "0.0000000000000000001"),
        ("wallet", "USDT", "1." + "0" * 80 + "1"),
    ],
)
def test_more_digits_than_the_token_has_are_refused(venue: str, symbol: str, delta: str) -> None:
    with pytest.raises(UpdateError, match=r"more (than 18 )?decimal places"):
        update("DEPOSIT", token(venue, symbol, delta))


@pytest.mark.parametrize(
    ("venue", "delta"), [("wallet", "1.000000"), ("wallet", "1.0000000000"), ("okx", "1.123456789012345678")]
)
def test_trailing_zeros_are_no_digits_and_exchanges_keep_eighteen(venue: str, delta: str) -> None:
    assert update("DEPOSIT", token(venue, "USDT", delta)).token_changes[0].delta == Decimal(delta)


def test_new_balance_too_has_at_most_the_token_s_digits() -> None:
    with pytest.raises(UpdateError, match=r"token_changes\[0\]\.new_balance"):
        update("DEPOSIT", wallet("USDT", "1", new_balance="1.0000001"))


@pytest.mark.parametrize("delta", ["0E-9999999999", "0E+9999", "-0", "1." + "0" * 2000])
def test_odd_spellings_of_plain_numbers_do_not_reach_the_database(delta: str) -> None:
    number = update("DEPOSIT", wallet("ETH", delta)).token_changes[0].delta
    assert number == Decimal(delta)
    assert -18 <= int(number.as_tuple().exponent) <= 0


@pytest.mark.parametrize(
    ("symbol", "venue"),
    [("aUSDT", "binance"), ("variableDebtUSDT", "okx"), ("unstETH", "bybit"), ("variableDebtUSDT", "in_transit")],
)
def test_what_exists_only_on_chain_is_refused_elsewhere(symbol: str, venue: str) -> None:
    with pytest.raises(UpdateError, match=symbol):
        update("HOURLY_RECONCILIATION", token(venue, symbol, "1"))


@pytest.mark.parametrize(("on", "size"), [("ETHUSDT-PERP:LONG", "-1"), ("ETHUSDT-PERP:SHORT", "1")])
def test_a_hedge_leg_has_the_sign_of_its_side(on: str, size: str) -> None:
    with pytest.raises(UpdateError, match="wrong sign"):
        update("PERP_OPENED", perp("OPEN", size, on=on, fill_price="3000"))


@pytest.mark.parametrize("venue", ["wallet", "in_transit"])
def test_only_exchanges_have_perpetuals(venue: str) -> None:
    with pytest.raises(UpdateError, match="has no perpetuals; use one of binance, bybit, okx"):
        update("PERP_OPENED", perp("OPEN", "1", venue=venue, fill_price="3000"))


def test_a_user_s_atoken_is_supplied_like_any_other() -> None:
    registry = DEFAULT_REGISTRY.extended(
        [
            Token("USDC", TokenKind.BASE, 6),
            Token("aUSDC", TokenKind.ATOKEN, 6, "USDC", "aave:USDC:liquidity", "aave"),
        ]
    )
    supplied = update("COLLATERAL_SUPPLIED", wallet("USDC", "-100"), wallet("aUSDC", "95.24"), registry=registry)
    assert [c.token for c in supplied.token_changes] == ["USDC", "aUSDC"]
    with pytest.raises(UpdateError, match="'USDC' is not a registered token"):
        update("COLLATERAL_SUPPLIED", wallet("USDC", "-100"), wallet("aUSDC", "95.24"))


SAME = payload(
    "TRADE_EXECUTED",
    token("binance", "ETH", "1.5", reason="FEE"),
    perp("ADJUST", "2.5", entry_price="3000", entry_timestamp="2024-05-12T00:00:00Z"),
    entry_id="same",
)


def changed(**top: object) -> BalanceUpdate:
    return parse_update({**SAME, **top})


@pytest.mark.parametrize(
    "same",
    [
        changed(token_changes=[token("binance", "ETH", "1.50", reason="FEE")]),
        changed(token_changes=[token("binance", "ETH", "15E-1", reason="FEE")]),
        changed(token_changes=[token("Binance", "ETH_spot", Decimal("1.500"), reason="FEE")]),
        changed(token_changes=[token("binance", "ETH", "1.5", reason="FEE", new_balance="1.5")]),
        changed(timestamp=START.astimezone(timezone(timedelta(hours=9)))),
        changed(
            derivative_changes=[
                perp(
                    "ADJUST", "2.50", on="ETH/USDT:USDT", entry_price="3000.0", entry_timestamp="2024-05-12T02:00+02:00"
                )
            ]
        ),
    ],
)
def test_two_spellings_of_one_update_have_one_content_hash(same: BalanceUpdate) -> None:
    assert content_hash(same) == content_hash(parse_update(SAME))


@pytest.mark.parametrize(
    "other",
    [
        changed(id="other"),
        changed(timestamp="2024-05-12T01:00:00.000001Z"),
        changed(trigger="PERP_ADJUSTED"),
        changed(token_changes=[]),
        changed(token_changes=[token("okx", "ETH", "1.5", reason="FEE")]),
        changed(token_changes=[token("binance", "BTC", "1.5", reason="FEE")]),
        changed(token_changes=[token("binance", "ETH", "1.51", reason="FEE")]),
        changed(token_changes=[token("binance", "ETH", "1.5")]),
        changed(reverses="x"),
        *(
            changed(derivative_changes=[perp("ADJUST", **{**SAME["derivative_changes"][0]["data"], **different})])
            for different in (
                {"size": "2.51"},
                {"entry_price": "3001"},
                {"entry_timestamp": None},
                {"notional_usd": "1"},
                {"fill_size": "1"},
                {"fill_price": "1"},
                {"fee": "1"},
                {"realized_pnl": "1"},
            )
        ),
        changed(derivative_changes=[{**SAME["derivative_changes"][0], "venue": "okx"}]),
        changed(derivative_changes=[{**SAME["derivative_changes"][0], "instrument": "BTCUSDT-PERP"}]),
    ],
)
def test_every_field_but_new_balance_counts_in_the_content_hash(other: BalanceUpdate) -> None:
    assert content_hash(other) != content_hash(parse_update(SAME))


def test_the_order_of_legs_is_content() -> None:
    legs = [wallet("USDT", "1"), wallet("ETH", "1")]
    one = update("HOURLY_RECONCILIATION", *legs, entry_id="x")
    other = update("HOURLY_RECONCILIATION", *reversed(legs), entry_id="x")
    assert content_hash(one) != content_hash(other)


def test_canonical_content_is_json_that_cannot_run_into_a_neighbouring_field() -> None:
    tricky = update("GAS_FEE_PAID", wallet("ETH", "-1", reason='"],["wallet"'), entry_id='a","b')
    content = json.loads(canonical_content(tricky))
    assert content[0] == 'a","b'
    assert content[3] == [["wallet", "ETH", "-1", '"],["wallet"']]


def test_an_update_cannot_be_changed_after_it_was_validated() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse_update(GAS).token_changes[0].delta = Decimal(1)
