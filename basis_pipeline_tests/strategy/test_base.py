"""What every strategy has from its base; and a strategy that is written just as the specification has it."""

from __future__ import annotations

import asyncio
from abc import ABC
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from basis_pipeline.domain.errors import ConfigError, InputError, LedgerMovedError
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Token, TokenKind
from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.basis import SpotAndShort
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline.strategy.leveraged_loop import EthLeveragedLoop
from basis_pipeline.strategy.market_neutral import UsdtMarketNeutral
from basis_pipeline.strategy.values import TargetPosition, balance, perp
from basis_pipeline_tests.strategy.fund import PaperFund, decided, targets

PRICES = {"USDT": "1", "ETH": "3000", "BTC": "60000", "aUSDT": "1.08", "aWeETH": "3150", "variableDebtWETH": "3120"}
CONFIG = {"share_class": "USDT", "asset": "ETH"}


class Specified(BaseStrategyManager):
    """Written to the specification's text and to nothing else."""

    def __init__(
        self, config: dict[str, Any], risk_monitor: Any, position_monitor: Any, equity_calculator: Any
    ) -> None:
        super().__init__(config, risk_monitor, position_monitor, equity_calculator)
        self.history: list[Decimal] = []

    def get_target_positions(self) -> list[TargetPosition]:
        return []

    async def describe(self) -> tuple[Decimal, dict[str, Decimal], dict[str, Decimal]]:
        self.history.append(await self.get_current_equity())
        return self.history[-1], await self.get_equity_by_venue(), await self.get_equity_by_asset()


class HalfInEther(BaseStrategyManager):
    """Half of the equity in ETH on an exchange, asked of the three methods one after the other."""

    async def get_target_positions(self) -> list[TargetPosition]:
        equity = await self.get_current_equity()
        assert sum((await self.get_equity_by_venue()).values()) == equity
        assert sum((await self.get_equity_by_asset()).values()) == equity
        prices = await self.get_prices(["ETH", "USDT"])
        return [balance("binance", "ETH", equity / 2 * prices["USDT"] / prices["ETH"])]


class Wanting(BaseStrategyManager):
    """Wants what its configuration says."""

    def get_target_positions(self) -> list[TargetPosition]:
        wanted: list[TargetPosition] = self.config["wanted"]
        return wanted


def plain_fund() -> PaperFund:
    """6,000 USDT in the wallet and 1 ETH of 3,000 on Binance: 9,000 USDT."""
    return PaperFund(PRICES, {("wallet", "USDT"): "6000", ("binance", "ETH"): "1"})


def test_a_strategy_written_to_the_specification_works() -> None:
    strategy = Specified({"share_class": "USDT", "asset": "ETH"}, None, plain_fund(), plain_fund().calculator)
    assert isinstance(strategy, ABC)
    assert (strategy.share_class, strategy.asset, strategy.risk_monitor) == ("USDT", "ETH", None)
    total, by_venue, by_asset = asyncio.run(strategy.describe())
    assert total == 9000
    assert by_venue == {"wallet": 6000, "binance": 3000}
    assert by_asset == {"USDT": 6000, "ETH": 3000}
    assert strategy.history == [9000]
    assert not decided(strategy).rebalance


def test_a_strategy_works_with_whatever_calculates_as_the_specification_says() -> None:
    class Calculator:
        price_provider = plain_fund().price_provider

        async def calculate_equity(self, share_class: str) -> Any:
            return SimpleNamespace(
                share_class=share_class,
                total_equity=Decimal(9000),
                equity_by_venue={"wallet": Decimal(9000)},
                equity_by_asset={"USDT": Decimal(9000)},
            )

    class Monitor:
        def get_snapshot(self) -> dict[str, Any]:
            return {
                "wallet": {"USDT": Decimal(6000)},
                "cex_accounts": {"binance": {}},
                "perp_positions": {"binance": {}},
            }

    strategy = HalfInEther(CONFIG, None, Monitor(), Calculator())
    decision = decided(strategy)
    assert targets(decision) == {("binance", "ETH"): Decimal("1.5")}
    assert (decision.standing.ledger_sequence, decision.standing.portfolio, decision.standing.as_of) == (
        None,
        None,
        None,
    )
    by_nav = UsdtLending({"share_class": "USDT", "asset": "USDT", "sized_by": "nav"}, None, Monitor(), Calculator())
    with pytest.raises(ConfigError, match="sized_by is nav, which the equity calculator does not tell"):
        decided(by_nav)


def test_equity_in_another_share_class_is_not_decided_on() -> None:
    paper = plain_fund()
    told = asyncio.run(paper.calculator.calculate_equity("ETH"))
    with pytest.raises(InputError, match="equity: is in ETH, but the share class is USDT"):
        asyncio.run(paper.manage(HalfInEther, **CONFIG).rebalance_decision(told))


def test_the_base_itself_is_no_strategy() -> None:
    with pytest.raises(TypeError, match="abstract"):
        plain_fund().manage(BaseStrategyManager, **CONFIG)


def test_equity_is_calculated_once_for_a_decision_however_often_it_is_asked_for() -> None:
    paper = plain_fund()
    calculated = counting(paper)
    decision = decided(paper.manage(HalfInEther, **CONFIG))
    assert calculated == ["USDT"]
    assert decision.standing.total_equity == 9000
    assert targets(decision) == {("binance", "ETH"): Decimal("1.5")}
    asyncio.run(paper.manage(HalfInEther, **CONFIG).get_current_equity())
    assert calculated == ["USDT"] * 2


def test_equity_that_a_monitor_told_is_not_calculated_again_unless_the_ledger_has_grown_since() -> None:
    paper = plain_fund()
    told = asyncio.run(paper.calculator.calculate_equity("USDT"))
    calculated = counting(paper)
    strategy = paper.manage(HalfInEther, **CONFIG)
    decision = asyncio.run(strategy.rebalance_decision(told))
    assert (calculated, decision.standing.total_equity) == ([], 9000)
    paper.balances["wallet", "USDT"] += 3000
    paper.sequence += 1
    decision = asyncio.run(strategy.rebalance_decision(told))
    assert (calculated, decision.standing.total_equity) == (["USDT"], 12000)
    assert targets(decision) == {("binance", "ETH"): 2}


def counting(paper: PaperFund) -> list[str]:
    calculated: list[str] = []
    calculate = paper.calculator.calculate_equity

    async def calculate_and_count(share_class: str) -> Any:
        calculated.append(share_class)
        return await calculate(share_class)

    paper.calculator.calculate_equity = calculate_and_count  # type: ignore[method-assign]
    return calculated


def test_two_strategies_decide_at_the_same_time_each_on_its_own_fund() -> None:
    small, large = plain_fund(), PaperFund(PRICES, {("binance", "ETH"): "10"})

    async def both() -> list[Any]:
        managers = [paper.manage(HalfInEther, **CONFIG) for paper in (small, large)]
        return await asyncio.gather(*(each.rebalance_decision() for each in managers))

    assert [decision.standing.total_equity for decision in asyncio.run(both())] == [9000, 30000]


def test_a_strategy_that_looks_at_another_one_sees_the_equity_of_that() -> None:
    other = PaperFund(PRICES, {("binance", "ETH"): "10"}).manage(HalfInEther, **CONFIG)
    seen = []

    class Follower(BaseStrategyManager):
        async def get_target_positions(self) -> list[TargetPosition]:
            seen.extend([await self.get_current_equity(), await other.get_current_equity()])
            return []

    decided(plain_fund().manage(Follower, **CONFIG))
    assert seen == [9000, 30000]


def test_holdings_that_change_between_the_two_readings_are_read_again() -> None:
    paper = plain_fund()
    calculate = paper.calculator.calculate_equity
    entries = iter([1])

    async def calculate_while_the_ledger_grows(share_class: str) -> Any:
        for _ in entries:
            paper.balances["wallet", "USDT"] += 3000
            paper.sequence += 1
        return await calculate(share_class)

    paper.calculator.calculate_equity = calculate_while_the_ledger_grows  # type: ignore[method-assign]
    decision = decided(paper.manage(HalfInEther, **CONFIG))
    assert (decision.standing.ledger_sequence, decision.standing.total_equity) == (2, 12000)
    assert targets(decision) == {("binance", "ETH"): 2}


def test_equity_that_is_newer_than_the_holdings_is_not_calculated_again() -> None:
    paper = plain_fund()
    calculated = counting(paper)
    calculate = paper.calculator.calculate_equity

    async def calculate_after_the_ledger_grew(share_class: str) -> Any:
        paper.sequence += 1
        return await calculate(share_class)

    paper.calculator.calculate_equity = calculate_after_the_ledger_grew  # type: ignore[method-assign]
    assert decided(paper.manage(HalfInEther, **CONFIG)).standing.ledger_sequence == 2
    assert calculated == ["USDT"]


def test_a_ledger_that_grows_for_a_while_is_decided_on_when_it_rests() -> None:
    paper = plain_fund()
    calculate = paper.calculator.calculate_equity
    entries = iter(range(10))

    async def calculate_while_the_ledger_grows(share_class: str) -> Any:
        paper.sequence += next(entries, None) is not None
        equity = await calculate(share_class)
        paper.sequence += next(entries, None) is not None
        return equity

    paper.calculator.calculate_equity = calculate_while_the_ledger_grows  # type: ignore[method-assign]
    assert decided(paper.manage(HalfInEther, **CONFIG)).standing.ledger_sequence == 11


def test_holdings_and_equity_that_never_meet_are_refused() -> None:
    paper, ahead = plain_fund(), plain_fund()
    ahead.sequence = 9
    strategy = HalfInEther(CONFIG, None, paper, ahead.calculator)
    with pytest.raises(LedgerMovedError, match=r"ledger entry 1, equity that of 9, .* one portfolio and one clock"):
        decided(strategy)


def test_deviations_are_had_without_a_decision() -> None:
    (found,) = asyncio.run(plain_fund().manage(HalfInEther, **CONFIG).get_deviations())
    assert (found.held, found.target.amount, found.delta, found.price_usd) == (1, Decimal("1.5"), Decimal("0.5"), 3000)


def test_prices_are_asked_only_for_what_is_off_target() -> None:
    paper = plain_fund()
    wanted = [balance("binance", "ETH", Decimal(1)), perp("okx", "KINGUSDT-PERP", Decimal(0))]
    decision = decided(paper.manage(Wanting, wanted=wanted, **CONFIG))
    assert not decision.rebalance
    assert paper.price_provider.asked == 1, "by the calculator, and not again"


def test_a_price_is_asked_for_once_in_a_decision_however_often_it_is_needed() -> None:
    paper = plain_fund()
    strategy = paper.manage(HalfInEther, **CONFIG)
    assert decided(strategy).deviations[0].price_usd == 3000
    assert paper.price_provider.asked == 2, "once by the calculator, once for the targets, and not again for values"
    paper.price_provider.prices["ETH"] = Decimal(12000)
    assert decided(strategy).deviations[0].price_usd == 12000


def test_a_target_by_alias_finds_what_is_held() -> None:
    paper = PaperFund({**PRICES, "aWETH": "3000"}, {("wallet", "aWETH"): "2"})
    (found,) = asyncio.run(
        paper.manage(Wanting, wanted=[balance("alchemy", "aETH", Decimal(2))], **CONFIG).get_deviations()
    )
    assert (found.target.name, found.delta) == ("aWETH", 0)


def test_what_is_no_target_is_refused() -> None:
    with pytest.raises(InputError, match=r"\('wallet', 'ETH', 1\) is no TargetPosition"):
        decided(plain_fund().manage(Wanting, wanted=[("wallet", "ETH", 1)], **CONFIG))


def test_targets_that_were_not_returned_are_asked_for() -> None:
    with pytest.raises(InputError, match="gave None; return a list of targets, empty if nothing is wanted"):
        decided(plain_fund().manage(Wanting, wanted=None, **CONFIG))


def test_a_token_of_the_users_own_needs_its_registry() -> None:
    registry = DEFAULT_REGISTRY.extended([Token("rETH", TokenKind.LST, 18, "ETH", "lst:rETH", "rocketpool")])
    paper = PaperFund({**PRICES, "rETH": "3300"}, {("wallet", "USDT"): "6600"})
    wanted = [balance("wallet", "rETH", Decimal(1))]
    assert decided(paper.manage(Wanting, wanted=wanted, registry=registry, **CONFIG)).rebalance
    with pytest.raises(InputError, match=r"rETH.* is not a registered token"):
        decided(paper.manage(Wanting, wanted=wanted, **CONFIG))


LENDING = {"share_class": "USDT", "asset": "USDT"}
LOOP = {"share_class": "ETH", "asset": "ETH", "target_ltv": "0.8"}
HEDGED = {"share_class": "USDT", "asset": "ETH", "allocation": {"okx": "1"}}


@pytest.mark.parametrize(
    ("strategy", "config", "complaint"),
    [
        (Specified, {"asset": "ETH"}, "share_class is missing"),
        (Specified, {"share_class": "USDT"}, "asset is missing"),
        (Specified, {**CONFIG, "share_class": "DAI"}, "share_class is 'DAI'; this strategy takes USDT or ETH"),
        (
            Specified,
            {**CONFIG, "position_deviation_threshold": "2"},
            "_threshold is 2; .* 0.02 for 2 %",
        ),
        (
            Specified,
            {**CONFIG, "position_deviation_threshold": "-1"},
            "_threshold is -1; .* negative",
        ),
        (Specified, {**CONFIG, "position_deviation_threshold": 0.02}, "0.02 is a float"),
        (Specified, {**CONFIG, "minimum_deviation_usd": "much"}, "minimum_deviation_usd: 'much' is not a number"),
        (Specified, {**CONFIG, "sized_by": "hope"}, "sized_by is 'hope'; this strategy takes total_equity or nav"),
        (UsdtLending, {**LENDING, "share_class": "ETH"}, "share_class is 'ETH'; this strategy takes USDT"),
        (UsdtLending, {**LENDING, "asset": "ETH"}, "asset is 'ETH'; this strategy takes USDT"),
        (UsdtLending, {**LENDING, "reserve": "1"}, "reserve is 1; give a part of one"),
        (EthLeveragedLoop, {**LOOP, "target_ltv": None}, "target_ltv is missing"),
        (EthLeveragedLoop, {**LOOP, "target_ltv": "1"}, "target_ltv is 1; give a part of one"),
        (EthLeveragedLoop, {**LOOP, "share_class": "USDT"}, "share_class is 'USDT'; this strategy takes ETH"),
        (EthLeveragedLoop, {**LOOP, "collateral": "weETH"}, "collateral: weETH is no aToken of a staked ETH"),
        (EthLeveragedLoop, {**LOOP, "collateral": "aUSDT"}, "collateral: aUSDT is no aToken of a staked ETH"),
        (EthLeveragedLoop, {**LOOP, "collateral": "moon"}, "collateral: 'moon' is not a registered token"),
        (SpotAndShort, {**HEDGED, "asset": "KING"}, "asset is 'KING'; this strategy takes BTC or ETH"),
        (SpotAndShort, {**HEDGED, "spot_venue": "wallet"}, "spot_venue has 'wallet'; give one of binance"),
        (SpotAndShort, {**HEDGED, "spot_share": "-0.5"}, "spot_share is -0.5; it cannot be negative"),
        (UsdtMarketNeutral, {**HEDGED, "asset": "BTC"}, "asset is 'BTC'; this strategy takes ETH"),
        (UsdtMarketNeutral, {**HEDGED, "share_class": "ETH"}, "share_class is 'ETH'; this strategy takes USDT"),
        (UsdtMarketNeutral, {**HEDGED, "allocation": None}, "allocation is missing"),
        (UsdtMarketNeutral, {**HEDGED, "allocation": {}}, "allocation is {}; give exchanges with their weights"),
        (UsdtMarketNeutral, {**HEDGED, "allocation": {"moon": "1"}}, "allocation has 'moon'; give one of binance"),
        (UsdtMarketNeutral, {**HEDGED, "allocation": {"okx": "0"}}, "allocation.okx is 0; give a weight above zero"),
        (UsdtMarketNeutral, {**HEDGED, "allocation": {"okx": "1", "OKX": "1"}}, "allocation has okx twice"),
        (UsdtMarketNeutral, {**HEDGED, "size_step": "0"}, "size_step is 0; give the smallest size"),
        (
            UsdtMarketNeutral,
            {**HEDGED, "instrument": "BTCUSDT-PERP"},
            "instrument: BTCUSDT-PERP cannot be short in ETH; give a perpetual of ETH",
        ),
        (UsdtMarketNeutral, {**HEDGED, "instrument": "ETHUSDT-PERP:LONG"}, "ETHUSDT-PERP:LONG cannot be short"),
        (UsdtMarketNeutral, {**HEDGED, "instrument": "ETH"}, "instrument: 'ETH' is not a linear perpetual"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused_by_its_key(
    strategy: Callable[..., BaseStrategyManager], config: dict[str, Any], complaint: str
) -> None:
    paper = plain_fund()
    with pytest.raises(ConfigError, match=complaint):
        strategy(config, None, paper, paper.calculator)
