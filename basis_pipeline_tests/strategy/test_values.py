"""Targets and holdings become a decision."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError, UnknownNameError
from basis_pipeline.domain.numbers import CONTEXT
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.strategy.values import (
    Decision,
    Deviation,
    PositionKind,
    Standing,
    TargetPosition,
    balance,
    decide,
    perp,
    settled,
)

THRESHOLD = Decimal("0.02")
NOW = datetime(2024, 5, 12, 13, tzinfo=UTC)
STANDING = Standing("lending", "USDT", NOW, 7, Decimal("1000.50"))
amounts = st.decimals("-1000000", "1000000", places=18)
prices = st.decimals("0.01", "100000", places=8)


def deviation(wanted: str | Decimal, held: str | Decimal, name: str = "aUSDT", price: str | Decimal = "1") -> Deviation:
    return Deviation(balance("BINANCE", name, Decimal(wanted)), Decimal(held), Decimal(price))


def decision_of(*found: Deviation, threshold: Decimal = THRESHOLD, minimum_usd: Decimal = Decimal(0)) -> Decision:
    return decide(found, threshold, minimum_usd, STANDING)


@st.composite
def several(draw: st.DrawFn) -> list[Deviation]:
    names = draw(st.lists(st.sampled_from(("aUSDT", "aWETH", "ETH", "BTC")), unique=True, min_size=1))
    return [deviation(draw(amounts), draw(amounts), name, draw(prices)) for name in names]


def test_a_position_off_by_just_the_threshold_is_left_alone() -> None:
    assert not decision_of(deviation("100", "98")).rebalance


def test_a_position_off_by_more_is_brought_onto_its_target() -> None:
    decision = decision_of(deviation("100", "97.999999999999999999"))
    assert decision.rebalance
    assert [(one.kind, one.venue, one.name, one.delta) for one in decision.adjustments] == [
        ("balance", "binance", "aUSDT", Decimal("2.000000000000000001"))
    ]
    assert decision.standing is STANDING


def test_a_reason_says_what_is_held_and_wanted_how_far_that_is_and_what_it_is_worth() -> None:
    assert decision_of(deviation("100000", "95000", price="1.0834")).reasons == (
        "aUSDT on binance: 95000 held, 100000 wanted, 5 % off, above 2 % (worth 5,417.00 USD)",
    )


def test_a_reason_is_rounded_for_reading_but_never_to_nothing() -> None:
    decision = decision_of(deviation("0.000000000000000003", "1.234567890123456789"))
    assert decision.reasons[0].startswith("aUSDT on binance: 1.23456789 held, 0.000000000000000003 wanted, 100 % off")


def test_a_position_on_the_wrong_side_is_off_by_all_of_it_twice() -> None:
    assert deviation("-1", "1").relative == 2


def test_what_is_to_be_closed_is_off_by_all_of_it() -> None:
    assert deviation("0", "3").relative == 1


def test_nothing_wanted_and_nothing_held_is_on_target() -> None:
    assert deviation("0", "0").relative == 0
    assert not decision_of(deviation("0", "0"), threshold=Decimal(0)).rebalance


def test_dust_is_no_reason_however_far_off_it_is() -> None:
    assert not decision_of(deviation("0", "0.001", price="3000"), minimum_usd=Decimal(10)).rebalance
    assert decision_of(deviation("0", "0.001", price="10000"), minimum_usd=Decimal(10)).rebalance


def test_once_there_is_a_reason_the_other_positions_are_brought_onto_target_too() -> None:
    decision = decision_of(deviation("100", "99", "aUSDT"), deviation("50", "40", "aWETH"))
    assert [reason.split()[0] for reason in decision.reasons] == ["aWETH"]
    assert [one.name for one in decision.adjustments] == ["aUSDT", "aWETH"]


def test_two_targets_for_one_position_are_refused() -> None:
    with pytest.raises(InputError, match="aUSDT on binance is given twice"):
        decision_of(deviation("1", "1"), deviation("2", "1"))


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "1e30"])
def test_an_amount_that_cannot_be_is_refused(amount: str) -> None:
    with pytest.raises(InputError, match="target aUSDT on binance"):
        balance("binance", "aUSDT", Decimal(amount))


def test_a_float_is_refused() -> None:
    with pytest.raises(InputError, match=r"target aUSDT on wallet: 1\.5 is a float"):
        balance("wallet", "aUSDT", 1.5)  # type: ignore[arg-type]


def test_a_kind_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(InputError, match="kind 'option' is not one; give balance or perp"):
        TargetPosition("option", "okx", "ETH", Decimal(1))  # type: ignore[arg-type]
    assert TargetPosition("perp", "OKX", "ETHUSDT-PERP", Decimal(1)).kind is PositionKind.PERP  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "name", "amount"),
    [
        (balance("alchemy", "aETH", Decimal("1.5")), "aWETH", "1.5"),
        (balance("wallet", "aUSDT", Decimal("907407.4074079")), "aUSDT", "907407.407407"),
        (balance("wallet", "WBTC", Decimal("0.123456789")), "BTC", "0.12345678"),
        (balance("binance", "USDT", Decimal("-0.1234567890123456789")), "USDT", "-0.123456789012345678"),
        (perp("okx", "ETH-USDT-SWAP", Decimal("-1.2345678901234567899")), "ETHUSDT-PERP", "-1.234567890123456789"),
    ],
)
def test_a_target_is_settled_to_what_the_ledger_can_hold(given: TargetPosition, name: str, amount: str) -> None:
    found = settled(given, DEFAULT_REGISTRY)
    assert (found.name, found.amount) == (name, Decimal(amount))
    assert settled(found, DEFAULT_REGISTRY) == found


def test_a_target_of_an_unknown_token_or_perpetual_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"target aUSDTT on wallet: .* did you mean aUSDT"):
        settled(balance("wallet", "aUSDTT", Decimal(1)), DEFAULT_REGISTRY)
    with pytest.raises(UnknownNameError, match="target ETH on okx"):
        settled(perp("okx", "ETH", Decimal(1)), DEFAULT_REGISTRY)


def test_a_wallet_balance_below_zero_is_refused_as_a_target() -> None:
    with pytest.raises(InputError, match="target variableDebtWETH on wallet: -1 is below zero"):
        settled(balance("wallet", "variableDebtWETH", Decimal(-1)), DEFAULT_REGISTRY)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (perp("wallet", "ETHUSDT-PERP", Decimal(1)), "on wallet: there are no perpetuals; give one of binance"),
        (perp("in_transit", "ETHUSDT-PERP", Decimal(0)), "on in_transit: there are no perpetuals"),
        (perp("okx", "ETHUSDT-PERP:LONG", Decimal(-1)), "-1 has the wrong sign for a LONG leg"),
        (perp("okx", "ETHUSDT-PERP:SHORT", Decimal(1)), "1 has the wrong sign for a SHORT leg"),
        (balance("in_transit", "ETH", Decimal(1)), "ETH on in_transit: .* give where it should arrive"),
        (balance("binance", "aUSDT", Decimal(1)), "aUSDT exists only on chain; give wallet"),
        (balance("okx", "variableDebtWETH", Decimal(1)), "variableDebtWETH exists only on chain"),
        (balance("bybit", "unstETH", Decimal(1)), "unstETH exists only on chain"),
    ],
)
def test_a_target_that_the_ledger_would_refuse_is_refused(given: TargetPosition, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        settled(given, DEFAULT_REGISTRY)


def test_a_decision_cannot_be_changed() -> None:
    decision = decision_of(deviation("100", "50"))
    with pytest.raises(FrozenInstanceError):
        decision.reasons = ()  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        decision.adjustments[0].delta = Decimal(0)  # type: ignore[misc]


def test_a_decision_as_json_has_every_digit_as_text() -> None:
    decision = decision_of(deviation("3", "1E+1", price="1.25"))
    assert json.loads(json.dumps(decision.to_json())) == {
        "portfolio": "lending",
        "share_class": "USDT",
        "as_of": "2024-05-12T13:00:00Z",
        "ledger_sequence": 7,
        "total_equity": "1000.5",
        "threshold": "0.02",
        "rebalance": True,
        "reasons": ["aUSDT on binance: 10 held, 3 wanted, 70 % off, above 2 % (worth 8.75 USD)"],
        "adjustments": [{"kind": "balance", "venue": "binance", "name": "aUSDT", "delta": "-7"}],
        "deviations": [
            {
                "kind": "balance",
                "venue": "binance",
                "name": "aUSDT",
                "held": "10",
                "target": "3",
                "delta": "-7",
                "relative": "0.7",
                "value_usd": "8.75",
            }
        ],
    }


@given(several())
def test_executing_a_decision_removes_every_deviation(found: list[Deviation]) -> None:
    decision = decision_of(*found)
    deltas = {one.name: one.delta for one in decision.adjustments}
    after = [
        Deviation(one.target, CONTEXT.add(one.held, deltas.get(one.target.name, Decimal(0))), one.price_usd)
        for one in found
    ]
    if decision.rebalance:
        assert all(one.delta == 0 for one in after)
        assert not decision_of(*after, threshold=Decimal(0)).rebalance
    else:
        assert not decision.adjustments


@given(several(), st.integers(0, 100))
def test_the_order_of_targets_does_not_matter(found: list[Deviation], seed: int) -> None:
    shuffled = list(found)
    Random(seed).shuffle(shuffled)
    assert decision_of(*shuffled) == decision_of(*found)


@given(several(), st.integers(1, 6))
def test_a_fund_of_another_size_decides_the_same(found: list[Deviation], power: int) -> None:
    larger = [
        deviation(one.target.amount.scaleb(power, CONTEXT), one.held.scaleb(power, CONTEXT), one.target.name)
        for one in found
    ]
    names = [reason.split()[0] for reason in decision_of(*found).reasons]
    assert [reason.split()[0] for reason in decision_of(*larger).reasons] == names


@given(amounts, st.decimals("-0.02", "0.02", places=6))
def test_within_the_threshold_nothing_is_decided(wanted: Decimal, part: Decimal) -> None:
    held = CONTEXT.subtract(wanted, CONTEXT.multiply(wanted, part))
    assert not decision_of(deviation(wanted, held)).rebalance
