"""Each strategy on books made by hand; the numbers are worked out in the comments."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from basis_pipeline.domain.errors import MissingPriceError
from basis_pipeline.strategy.basis import SpotAndShort
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline.strategy.leveraged_loop import EthLeveragedLoop
from basis_pipeline.strategy.market_neutral import UsdtMarketNeutral
from basis_pipeline_tests.strategy.fund import PaperFund, adjustments, decided, deviation, targets

PRICES = {
    "USDT": "0.9995",
    "ETH": "3000",
    "BTC": "60000",
    "aUSDT": "1.07946",  # index 1.08 x 0.9995
    "aWeETH": "3150",  # index x rate 1.05
    "awstETH": "3500",
    "variableDebtWETH": "3120",  # index 1.04
    "variableDebtUSDT": "1.1",
    "aBTC": "60600",  # index 1.01
    "variableDebtBTC": "61200",  # index 1.02
    "KING": "12",
}
PAR = {**PRICES, "USDT": "1", "aUSDT": "1.08"}
THREE = {"binance": "40", "bybit": "30", "okx": "30"}
ETH_PERP, BTC_PERP = "ETHUSDT-PERP", "BTCUSDT-PERP"


def lending(fund: PaperFund, **more: Any) -> Any:
    return fund.manage(UsdtLending, share_class="USDT", asset="USDT", **more)


def loop(fund: PaperFund, **more: Any) -> Any:
    return fund.manage(EthLeveragedLoop, **{"share_class": "ETH", "asset": "ETH", "target_ltv": "0.8", **more})


def basis(fund: PaperFund, **more: Any) -> Any:
    config = {"share_class": "USDT", "asset": "BTC", "allocation": THREE, **more}
    return fund.manage(SpotAndShort, **config)


def neutral(fund: PaperFund, **more: Any) -> Any:
    return fund.manage(UsdtMarketNeutral, share_class="USDT", asset="ETH", allocation=THREE, **more)


def test_usdt_lending_lends_equity_less_the_reserve_in_scaled_units() -> None:
    # 800,000 scaled x 1.08 = 864,000 lent, and 100,000 + 36,000 liquid: 1,000,000 USDT, whatever a USDT is worth.
    fund = PaperFund(
        PRICES, {("wallet", "aUSDT"): "800000", ("wallet", "USDT"): "100000", ("binance", "USDT"): "36000"}
    )
    decision = decided(lending(fund))
    assert decision.standing.total_equity == 1_000_000
    # 98 % of it: 980,000 / 1.08 = 907,407.407407 (4074...), 11.84 % of which is missing: worth 116,000 USDT.
    assert targets(decision) == {("wallet", "aUSDT"): Decimal("907407.407407")}
    assert adjustments(decision) == {("wallet", "aUSDT"): Decimal("107407.407407")}
    assert decision.reasons == (
        "aUSDT on wallet: 800000 held, 907407.407407 wanted, 11.84 % off, above 2 % (worth 115,942.00 USD)",
    )


def test_usdt_lending_leaves_alone_what_is_within_the_threshold() -> None:
    # 892,592.592592 x 1.08 = 964,000 of 1,000,000: 1.63 % short of 980,000.
    fund = PaperFund(PAR, {("wallet", "aUSDT"): "892592.592592", ("wallet", "USDT"): "36000"})
    decision = decided(lending(fund))
    assert not decision.rebalance
    assert decision.adjustments == ()
    assert decided(lending(fund, position_deviation_threshold="0.016")).rebalance


def test_a_transfer_under_way_does_not_shrink_what_is_sized_by_nav() -> None:
    # 98 % of 1,000,000 is lent, and 100,000 more is on its way: total equity leaves it out, nav does not.
    fund = PaperFund(PAR, {("wallet", "aUSDT"): "907407.407407", ("in_transit", "USDT"): "20000"})
    by_equity, by_nav = decided(lending(fund)), decided(lending(fund, sized_by="nav"))
    # 98 % of 980,000 (less 44e-8 of the cut): 960,400 / 1.08; of 1,000,000: what is held.
    assert targets(by_equity) == {("wallet", "aUSDT"): Decimal("889259.259258")}
    assert targets(by_nav) == {("wallet", "aUSDT"): Decimal("907407.407407")}


def test_a_loop_borrows_up_to_its_ltv_in_scaled_units() -> None:
    # 1,000 ETH less 7 %: 930 in the loop. Collateral 930 / (1 - 0.8) = 4,650 ETH = 13,950,000 USD, / 3,150 a unit.
    # Debt 0.8 x 4,650 = 3,720 ETH = 11,160,000 USD, / 3,120 a unit.
    decision = decided(loop(PaperFund(PAR, {("wallet", "ETH"): "1000"}), reserve="0.07"))
    assert adjustments(decision) == {
        ("wallet", "aWeETH"): Decimal("4428.571428571428571428"),
        ("wallet", "variableDebtWETH"): Decimal("3576.923076923076923076"),
    }


def test_a_loop_that_drifted_from_its_ltv_is_brought_back() -> None:
    # Collateral 1,000 x 1.05 = 1,050 ETH, debt 800 x 1.04 = 832 ETH: LTV 79.2 %, equity 218 + 12 = 230 ETH.
    fund = PaperFund(
        PAR, {("wallet", "aWeETH"): "1000", ("wallet", "variableDebtWETH"): "800", ("wallet", "ETH"): "12"}
    )
    # 95 % of 230 = 218.5: collateral 218.5 / 0.2 = 1,092.5 ETH = 1,040.476... units; debt 874 ETH = 840.384... units.
    decision = decided(loop(fund))
    assert targets(decision) == {
        ("wallet", "aWeETH"): Decimal("1040.476190476190476190"),
        ("wallet", "variableDebtWETH"): Decimal("840.384615384615384615"),
    }
    assert [reason.split()[0] for reason in decision.reasons] == ["aWeETH", "variableDebtWETH"]


def test_a_loop_owes_less_ether_where_it_owes_something_else() -> None:
    # Collateral 1,050 ETH, debt 624 ETH and 300,000 x 1.1 = 330,000 USD = 110 ETH, 30,000 USD = 10 ETH in the wallet.
    fund = PaperFund(
        PAR,
        {
            ("wallet", "aWeETH"): "1000",
            ("wallet", "variableDebtWETH"): "600",
            ("wallet", "variableDebtUSDT"): "300000",
            ("wallet", "USDT"): "30000",
        },
    )
    # 95 % of 326 = 309.7: collateral 1,548.5 ETH; debt 1,238.8 ETH, of which 110 are USDT: 1,128.8 / 1.04.
    assert targets(decided(loop(fund))) == {
        ("wallet", "aWeETH"): Decimal("1474.761904761904761904"),
        ("wallet", "variableDebtWETH"): Decimal("1085.384615384615384615"),
    }
    # 5,500,000 x 1.1 = 6,050,000 USD is more than all of it may be.
    fund.balances |= {("wallet", "variableDebtUSDT"): Decimal(5_500_000), ("wallet", "USDT"): Decimal(5_750_000)}
    assert targets(decided(loop(fund)))["wallet", "variableDebtWETH"] == 0


def test_a_loop_without_equity_is_unwound() -> None:
    # 100 x 1.05 = 105 ETH of collateral, 101 x 1.04 = 105.04 ETH of debt.
    fund = PaperFund(PAR, {("wallet", "aWeETH"): "100", ("wallet", "variableDebtWETH"): "101"})
    decision = decided(loop(fund))
    assert decision.standing.total_equity == Decimal("-0.04")
    assert adjustments(decision) == {("wallet", "aWeETH"): -100, ("wallet", "variableDebtWETH"): -101}


def test_a_loop_may_have_another_collateral() -> None:
    # 95 % of 100 ETH at LTV 0.5: 190 ETH of collateral, at 3,500 a unit; 95 ETH of debt.
    decision = decided(loop(PaperFund(PAR, {("wallet", "ETH"): "100"}), target_ltv="0.5", collateral="awstETH"))
    assert targets(decision) == {
        ("wallet", "awstETH"): Decimal("162.857142857142857142"),
        ("wallet", "variableDebtWETH"): Decimal("91.346153846153846153"),
    }


def test_basis_buys_half_of_the_capital_and_is_short_as_much() -> None:
    # 500,000 / 60,000 = 8.3333..., 8.333 in whole steps. Split 40:30:30 that is 3.3332, 2.4999 and 2.4999:
    # 3.333, 2.499 and 2.499 in whole steps, and the two that are left go to the larger remainders.
    decision = decided(basis(PaperFund(PAR, {("binance", "USDT"): "1000000"})))
    assert adjustments(decision) == {
        ("binance", "BTC"): Decimal("8.333"),
        ("binance", BTC_PERP): Decimal("-3.333"),
        ("bybit", BTC_PERP): Decimal("-2.500"),
        ("okx", BTC_PERP): Decimal("-2.500"),
    }


def test_basis_is_sized_by_nav_because_total_equity_leaves_out_what_the_shorts_lost() -> None:
    # 8 BTC rose from 60,000 to 90,000: worth 720,000 beside 520,000 cash. The shorts lost 240,000.
    fund = PaperFund(
        {**PAR, "BTC": "90000"},
        {("binance", "BTC"): "8", ("binance", "USDT"): "520000"},
        {("binance", BTC_PERP): ("-8", "60000")},
    )
    # 500,000 / 90,000 = 5.555...; by total equity 620,000 / 90,000 = 6.888...
    assert targets(decided(basis(fund)))["binance", "BTC"] == Decimal("5.555")
    assert targets(decided(basis(fund, sized_by="total_equity")))["binance", "BTC"] == Decimal("6.888")


def test_basis_counts_what_is_lent_owed_and_elsewhere() -> None:
    # Lent 1 x 1.01, owed 0.25 x 1.02, in the wallet 0.25: 1.01 - 0.255 + 0.25 = 1.005 BTC.
    fund = PaperFund(
        PAR,
        {
            ("binance", "USDT"): "939700",
            ("wallet", "aBTC"): "1",
            ("wallet", "variableDebtBTC"): "0.25",
            ("wallet", "BTC"): "0.25",
        },
    )
    # 939,700 + 60,300 = 1,000,000: 8.3333 BTC, so 7.3283 to buy; short 7.328 + 1.005 = 8.333.
    found = targets(decided(basis(fund, allocation={"okx": 1})))
    assert found == {("binance", "BTC"): Decimal("7.328"), ("okx", BTC_PERP): Decimal("-8.333")}


def test_basis_is_short_less_where_a_perpetual_of_another_name_is_short_already() -> None:
    # 8.333 BTC as above; 1.5 of it is hedged by a hedge-mode leg.
    leg = {("okx", f"{BTC_PERP}:SHORT"): ("-1.5", "60000")}
    fund = PaperFund(PAR, {("binance", "USDT"): "1000000"}, leg)
    found = targets(decided(basis(fund, allocation={"bybit": 1})))
    assert found == {("binance", "BTC"): Decimal("8.333"), ("bybit", BTC_PERP): Decimal("-6.833")}


def test_basis_works_for_eth_on_another_exchange_and_in_other_steps() -> None:
    # A quarter of 1,000,000 at 3,000: 83.33 in steps of 0.01.
    fund = PaperFund(PAR, {("bybit", "USDT"): "1000000"})
    config = {"asset": "ETH", "spot_share": "0.25", "spot_venue": "ByBit", "size_step": "0.01"}
    assert targets(decided(basis(fund, allocation={"Bybit": 2}, **config))) == {
        ("bybit", "ETH"): Decimal("83.33"),
        ("bybit", ETH_PERP): Decimal("-83.33"),
    }


def test_a_hedge_outside_the_allocation_is_closed_and_one_of_another_name_counts() -> None:
    # 10 ETH, of which a hedge-mode leg on bybit takes 4: 6 are left for the allocation. The 2 on okx are to go.
    fund = PaperFund(
        PAR,
        {("wallet", "ETH"): "10"},
        {("okx", ETH_PERP): ("-2", "3000"), ("bybit", f"{ETH_PERP}:SHORT"): ("-4", "3000")},
    )
    strategy = fund.manage(UsdtMarketNeutral, share_class="USDT", asset="ETH", allocation={"binance": "1"})
    assert targets(decided(strategy)) == {("binance", ETH_PERP): -6, ("okx", ETH_PERP): 0}


def market_neutral_fund() -> PaperFund:
    """420 ETH staked, 260 owed, 2.5 in the wallet and 0.5 on its way: 163 ETH long."""
    return PaperFund(
        PAR,
        {
            ("wallet", "aWeETH"): "400",
            ("wallet", "variableDebtWETH"): "250",
            ("wallet", "ETH"): "2.5",
            ("in_transit", "ETH"): "0.5",
            ("wallet", "KING"): "50",
            ("binance", "USDT"): "300000",
        },
        {
            ("binance", ETH_PERP): ("-65", "2900"),
            ("bybit", ETH_PERP): ("-48.5", "2900"),
            ("okx", ETH_PERP): ("-48", "3000"),
        },
    )


def test_a_market_neutral_fund_is_short_its_net_delta_split_by_allocation() -> None:
    decision = decided(neutral(market_neutral_fund()))
    assert targets(decision) == {
        ("binance", ETH_PERP): Decimal("-65.2"),
        ("bybit", ETH_PERP): Decimal("-48.9"),
        ("okx", ETH_PERP): Decimal("-48.9"),
    }
    # 48 of 48.9 is 1.84 % off, the others less.
    assert not decision.rebalance


def test_when_one_hedge_is_too_far_off_all_are_adjusted() -> None:
    fund = market_neutral_fund()
    fund.perps["okx", ETH_PERP] = Decimal(-47), Decimal(3000)
    decision = decided(neutral(fund))
    # 1.9 of 48.9 is 3.89 %, worth 5,700 USD.
    assert decision.reasons == (
        "ETHUSDT-PERP on okx: -47 held, -48.9 wanted, 3.89 % off, above 2 % (worth 5,700.00 USD)",
    )
    assert adjustments(decision) == {
        ("binance", ETH_PERP): Decimal("-0.2"),
        ("bybit", ETH_PERP): Decimal("-0.4"),
        ("okx", ETH_PERP): Decimal("-1.9"),
    }
    assert deviation(decision, "okx", ETH_PERP).delta == Decimal("-1.9")


def test_king_is_unwrapped_at_a_hundred_times_its_gas() -> None:
    # 50 KING at 12 USD: 600 USD. 0.002 ETH of gas are 6 USD.
    strategy = neutral(market_neutral_fund())
    assert asyncio.run(strategy.should_unwrap_king(Decimal("0.002")))
    assert not asyncio.run(strategy.should_unwrap_king(Decimal("0.0021")))
    assert asyncio.run(neutral(market_neutral_fund(), unwrap_gas_multiple=50).should_unwrap_king(Decimal("0.004")))


def test_no_king_is_not_unwrapped_and_needs_no_price() -> None:
    fund = market_neutral_fund()
    del fund.balances["wallet", "KING"], fund.price_provider.prices["KING"]
    assert not asyncio.run(neutral(fund).should_unwrap_king(Decimal(0)))


def test_an_empty_fund_wants_nothing_and_has_nothing_to_do() -> None:
    for strategy in (lending, loop, basis, neutral):
        decision = decided(strategy(PaperFund(PAR, {})))
        assert not decision.rebalance
        assert set(targets(decision).values()) == {0}


def test_a_price_that_is_missing_for_a_target_is_named() -> None:
    without = {name: price for name, price in PAR.items() if name != "aWeETH"}
    with pytest.raises(MissingPriceError, match="no price above zero for aWeETH"):
        decided(loop(PaperFund(without, {("wallet", "ETH"): "10"})))
    with pytest.raises(MissingPriceError, match="no price above zero for aWeETH"):
        decided(loop(PaperFund({**PAR, "aWeETH": "0"}, {("wallet", "ETH"): "10"})))
