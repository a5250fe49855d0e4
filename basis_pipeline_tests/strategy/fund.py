"""A fund on paper: what it holds can be set, its equity is calculated by the real calculator, and it can trade."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import CONTEXT, ZERO, divide, multiply, quantize_value
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, TokenKind, parse_instrument
from basis_pipeline.domain.valuation import describe_book
from basis_pipeline.monitors.equity_calculator import EquityCalculator
from basis_pipeline.monitors.venue_interfaces import LedgerInterfaces
from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.values import Decision, Deviation, PositionKind
from basis_pipeline_tests.builders import START

Place = tuple[str, str]


class FixedPrices:
    """The prices of ``prices``, and as mark of a perpetual the price of its base; counts how often it is asked."""

    def __init__(self, prices: Mapping[str, str | Decimal]) -> None:
        self.prices = {name: Decimal(price) for name, price in prices.items()}
        self.asked = 0

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        self.asked += 1
        return {asset: self.prices[asset] for asset in assets if asset in self.prices}

    async def get_marks(self, contracts: list[Place]) -> dict[Place, Decimal]:
        return {place: self.prices[parse_instrument(place[1]).base] for place in contracts}


class PaperFund:
    """Balances by (venue, token), and (size, entry price) of perpetuals by (venue, instrument)."""

    def __init__(
        self,
        prices: Mapping[str, str | Decimal],
        balances: Mapping[Place, str | Decimal],
        perps: Mapping[Place, tuple[str | Decimal, str | Decimal]] | None = None,
    ) -> None:
        self.price_provider = FixedPrices(prices)
        self.balances = {place: Decimal(amount) for place, amount in balances.items()}
        self.perps = {place: (Decimal(size), Decimal(entry)) for place, (size, entry) in (perps or {}).items()}
        self.sequence = 1
        self.calculator = EquityCalculator(
            LedgerInterfaces(lambda: (describe_book(self._book(), DEFAULT_REGISTRY), self.sequence), DEFAULT_REGISTRY),
            self.price_provider,
            clock=lambda: START,
        )

    def manage(self, strategy: type[BaseStrategyManager], **config: Any) -> Any:
        """The strategy over this fund, without a risk monitor."""
        return strategy(config, None, self, self.calculator)

    def get_snapshot(self) -> dict[str, Any]:
        def section(venue: str) -> dict[str, Decimal]:
            return {token: amount for (where, token), amount in self.balances.items() if where == venue}

        return {
            "portfolio": "paper",
            "ledger_sequence": self.sequence,
            "wallet": section("wallet"),
            "in_transit": section("in_transit"),
            "cex_accounts": {venue: section(venue) for venue in ("binance", "bybit", "okx")},
            "perp_positions": {
                venue: {name: {"size": size} for (where, name), (size, _) in self.perps.items() if where == venue}
                for venue in ("binance", "bybit", "okx")
            },
        }

    def execute(self, decision: Decision, money: Place) -> None:
        """Do exactly what the decision asks for, at the prices there are, without costs, paid from ``money``."""
        for one in decision.adjustments:
            place = one.venue, one.name
            if one.kind is PositionKind.PERP:
                size = CONTEXT.add(self.perps.pop(place, (ZERO, ZERO))[0], one.delta)
                if size:
                    self.perps[place] = size, self.price_provider.prices[parse_instrument(one.name).base]
            else:
                self.balances[place] = CONTEXT.add(self.balances.get(place, ZERO), one.delta)
                self._pay(one.name, one.delta, money)
        self.sequence += 1

    def _pay(self, token: str, amount: Decimal, money: Place) -> None:
        prices = self.price_provider.prices
        cost = quantize_value(divide(multiply(amount, prices[token]), prices[money[1]]))
        if DEFAULT_REGISTRY.token(token).kind is TokenKind.DEBT:
            cost = -cost
        self.balances[money] = CONTEXT.subtract(self.balances.get(money, ZERO), cost)

    def _book(self) -> Book:
        positions = {place: PerpPosition(size, entry, START, None) for place, (size, entry) in self.perps.items()}
        return Book({place: amount for place, amount in self.balances.items() if amount}, positions)


def decided(strategy: BaseStrategyManager) -> Decision:
    return asyncio.run(strategy.rebalance_decision())


def targets(decision: Decision) -> dict[Place, Decimal]:
    return {(one.target.venue, one.target.name): one.target.amount for one in decision.deviations}


def adjustments(decision: Decision) -> dict[Place, Decimal]:
    return {(one.venue, one.name): one.delta for one in decision.adjustments}


def deviation(decision: Decision, venue: str, name: str) -> Deviation:
    return next(one for one in decision.deviations if (one.target.venue, one.target.name) == (venue, name))
