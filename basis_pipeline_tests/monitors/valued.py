"""What equity calculators are asked about in tests: prices of a fixed market, plain venues, readings of a book."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import ONE, multiply
from basis_pipeline.domain.observations import Account, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.quotes import Market, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES, Registry
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline_tests.builders import START, FixedMarket

MARKET = FixedMarket(
    prices={"ETH": "2900.123456789012345678", "USDT": "0.9993", "BTC": "61000.5", "EIGEN": "3.1", "KING": "55.77"},
    marks={(venue, "ETHUSDT-PERP"): "2901.37" for venue in EXCHANGES},
    rates={
        "aave:WETH:liquidity": "1.021234567890123456789012345",
        "aave:weETH:liquidity": "1.000000000001",
        "aave:USDT:liquidity": "1.1",
        "aave:WETH:debt": "1.031234567890123456789012345",
        "lst:weETH": "1.037654321",
        "lst:wstETH": "1.163",
    },
)


class MarketPrices:
    """A price provider that answers from a market as of an instant, and remembers what it was asked."""

    def __init__(self, market: Market, at: datetime = START, registry: Registry = DEFAULT_REGISTRY) -> None:
        self.market = market
        self.at = at
        self.registry = registry
        self.asked: list[str] = []

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        self.asked += assets
        found = {asset: self._price(asset) for asset in assets}
        return {asset: price for asset, price in found.items() if price is not None}

    async def get_marks(self, contracts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        marks = {contract: self.market.mark(*contract, self.at) for contract in contracts}
        return {name: mark.price for name, mark in marks.items() if not isinstance(mark, Unavailable)}

    def _price(self, asset: str) -> Decimal | None:
        valuation = self.registry.valuation(asset)
        unit = ONE
        for name in valuation.rate_names:
            rate = self.market.rate(name, self.at)
            if isinstance(rate, Unavailable):
                return None
            unit = multiply(unit, rate.rate)
        quote = self.market.price(valuation.base, self.at)
        return None if isinstance(quote, Unavailable) else multiply(unit, quote.price_usd)


class Specified:
    """A venue with the specification's methods and nothing else; ``fails`` is raised by all of them."""

    def __init__(self, *, fails: Exception | None = None, lst: str = "weETH", **answers: Any) -> None:
        self.fails = fails
        self.lst = lst
        self.answers = answers

    async def _answer(self, name: str, otherwise: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return self.answers.get(name, otherwise)

    async def get_a_tokens(self) -> Any:
        return await self._answer("a_tokens", {})

    async def get_debt_tokens(self) -> Any:
        return await self._answer("debt_tokens", {})

    async def get_lst_balance(self) -> Any:
        return await self._answer("lst_balance", Decimal(0))

    def get_lst_token(self) -> str:
        return self.lst

    async def get_spot_balances(self) -> Any:
        return await self._answer("spot", {})

    async def get_margin_info(self) -> Any:
        return await self._answer("margin", {})

    async def get_balances(self) -> Any:
        return await self._answer("balances", {})


def calculate(interfaces: Mapping[str, Any], share_class: str = "USDT", market: Market = MARKET) -> EquitySnapshot:
    calculator = EquityCalculator(interfaces, MarketPrices(market), clock=lambda: START)
    return asyncio.run(calculator.calculate_equity(share_class))


def readings_of(book: Book, portfolio: str = "fund") -> list[Reading]:
    """What venues would say that hold just what the book says."""
    readings = []
    for venue in ("wallet", *EXCHANGES):
        account = Account(portfolio, f"{portfolio}-{venue}", venue)
        positions = {
            name: ObservedPosition(position.size, position.entry_price)
            for (where, name), position in book.positions.items()
            if where == venue
        }
        balances = {token: balance for (where, token), balance in book.balances.items() if where == venue}
        readings.append(Reading(account, ReadingStatus.AVAILABLE, START, START, balances, positions))
    return readings
