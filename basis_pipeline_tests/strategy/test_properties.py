"""Whatever a fund holds: once a decision is done, the fund is where the strategy wants it, and it rests."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.numbers import CONTEXT, ZERO, divide, multiply, subtract
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.strategy.basis import SpotAndShort
from basis_pipeline.strategy.holdings import Holdings
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline.strategy.leveraged_loop import EthLeveragedLoop
from basis_pipeline.strategy.market_neutral import UsdtMarketNeutral
from basis_pipeline_tests.strategy.fund import PaperFund, decided

STEP = Decimal("0.001")
DUST = Decimal("0.00001")
"""More than what rounding to a token's decimals can be worth, in any of the tokens here."""

amounts = st.decimals("0", "100000", places=6)
parts = st.decimals("0", "0.9", places=3)
ratios = st.decimals("1", "1.5", places=18)
four_amounts = st.lists(amounts, min_size=4, max_size=4)
sizes = st.decimals("-50", "50", places=3)
allocations = st.dictionaries(
    st.sampled_from(("binance", "bybit", "okx")), st.decimals("0.01", "100", places=2), min_size=1
)


@st.composite
def prices(draw: st.DrawFn) -> dict[str, Decimal]:
    usdt = draw(st.decimals("0.9", "1.1", places=4))
    ether, bitcoin = draw(st.decimals("100", "10000", places=2)), draw(st.decimals("1000", "200000", places=2))
    of = {"USDT": usdt, "ETH": ether, "BTC": bitcoin}
    derived = {"aUSDT": "USDT", "aWeETH": "ETH", "variableDebtWETH": "ETH", "aBTC": "BTC", "variableDebtBTC": "BTC"}
    return {**of, **{token: CONTEXT.multiply(of[base], draw(ratios)) for token, base in derived.items()}}


def rests(fund: PaperFund, strategy: Any, allowed: Decimal) -> None:
    """The strategy has nothing to decide any more, and no position is off by more than ``allowed`` of its units."""
    decision = decided(strategy)
    assert not decision.rebalance, decision.reasons
    assert all(one.delta.copy_abs() <= allowed for one in decision.deviations), decision.deviations


@given(prices(), amounts, amounts, amounts, parts)
def test_lending(known: dict[str, Decimal], wallet: Decimal, binance: Decimal, lent: Decimal, reserve: Decimal) -> None:
    fund = PaperFund(known, {("wallet", "USDT"): wallet, ("binance", "USDT"): binance, ("wallet", "aUSDT"): lent})
    strategy = fund.manage(UsdtLending, share_class="USDT", asset="USDT", reserve=reserve)
    before = decided(strategy)
    if before.rebalance:
        fund.execute(before, ("wallet", "USDT"))
        rests(fund, strategy, DUST)
        equity = decided(strategy).standing.total_equity
        assert (equity - before.standing.total_equity).copy_abs() < DUST
        lent_value = multiply(fund.balances["wallet", "aUSDT"], divide(known["aUSDT"], known["USDT"]))
        assert (lent_value - multiply(equity, 1 - reserve)).copy_abs() < DUST


@given(prices(), amounts, amounts, st.decimals("0", "50000", places=6), parts, parts)
def test_a_leveraged_loop(
    known: dict[str, Decimal], ether: Decimal, collateral: Decimal, debt: Decimal, ltv: Decimal, reserve: Decimal
) -> None:
    fund = PaperFund(
        known,
        {("wallet", "ETH"): ether, ("wallet", "aWeETH"): collateral, ("wallet", "variableDebtWETH"): debt},
    )
    strategy = fund.manage(EthLeveragedLoop, share_class="ETH", asset="ETH", target_ltv=ltv, reserve=reserve)
    decision = decided(strategy)
    if decision.rebalance:
        fund.execute(decision, ("wallet", "ETH"))
        rests(fund, strategy, DUST)
        owed = multiply(fund.balances["wallet", "variableDebtWETH"], known["variableDebtWETH"])
        held = multiply(fund.balances["wallet", "aWeETH"], known["aWeETH"])
        assert (owed - multiply(held, ltv)).copy_abs() < known["ETH"] * DUST, "LTV"


@given(prices(), amounts, four_amounts, sizes, parts, allocations)
def test_basis(
    known: dict[str, Decimal],
    money: Decimal,
    bitcoin: list[Decimal],
    short: Decimal,
    share: Decimal,
    allocation: dict[str, Decimal],
) -> None:
    here, wallet, lent, owed = (multiply(each, Decimal("0.00001")) for each in bitcoin)
    places = {("binance", "BTC"): here, ("wallet", "BTC"): wallet, ("wallet", "aBTC"): lent}
    fund = PaperFund(
        known,
        {("binance", "USDT"): money, **places, ("wallet", "variableDebtBTC"): owed},
        {("okx", "BTCUSDT-PERP"): (short, known["BTC"])} if short else {},
    )
    strategy = fund.manage(SpotAndShort, share_class="USDT", asset="BTC", spot_share=share, allocation=allocation)
    decision = decided(strategy)
    if decision.rebalance:
        fund.execute(decision, ("binance", "USDT"))
        # What is bought may be one step less when a rounded payment leaves the fund a hair poorer.
        rests_within_steps(strategy)
        assert net_delta(fund, "BTC").copy_abs() <= STEP / 2


@given(
    prices(),
    st.lists(amounts, min_size=4, max_size=4),
    st.lists(st.decimals("-50", "50", places=3), min_size=3, max_size=3),
    allocations,
)
def test_market_neutral(
    known: dict[str, Decimal], ether: list[Decimal], shorts: list[Decimal], allocation: dict[str, Decimal]
) -> None:
    wallet, staked, owed, under_way = ether
    fund = PaperFund(
        known,
        {
            ("wallet", "ETH"): wallet,
            ("wallet", "aWeETH"): staked,
            ("wallet", "variableDebtWETH"): owed,
            ("in_transit", "ETH"): under_way,
        },
        {
            (venue, name): (size, known["ETH"])
            for venue, name, size in zip(
                ("binance", "okx", "bybit"), ("ETHUSDT-PERP", "ETHUSDT-PERP", "ETHUSDC-PERP"), shorts, strict=True
            )
            if size
        },
    )
    fund.price_provider.prices["USDC"] = Decimal(1)
    strategy = fund.manage(UsdtMarketNeutral, share_class="USDT", asset="ETH", allocation=allocation)
    decision = decided(strategy)
    assert all(one.target.amount % STEP == 0 for one in decision.deviations)
    if decision.rebalance:
        fund.execute(decision, ("binance", "USDT"))
        rests(fund, strategy, ZERO)
        assert net_delta(fund, "ETH").copy_abs() <= STEP / 2
    for one in decision.deviations:
        if one.target.venue not in allocation:
            assert one.target.amount == 0


def rests_within_steps(strategy: Any) -> None:
    assert all(one.delta.copy_abs() <= STEP for one in decided(strategy).deviations)


def net_delta(fund: PaperFund, asset: str) -> Decimal:
    holdings = Holdings.of(fund.get_snapshot())
    spot = holdings.spot_delta(asset, fund.price_provider.prices, DEFAULT_REGISTRY)
    return subtract(spot, -holdings.perp_delta(asset, except_for=""))
