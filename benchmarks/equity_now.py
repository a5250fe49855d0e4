"""Equity now: 25 positions with warm prices, against the specification implemented literally.

Both sides ask the same venues in memory, which have the specification's methods and answer at once. Each has its own
price provider with every price in its cache. The reference stays in USD, as specified, which spares it a conversion;
it rounds nothing and knows neither perpetuals nor failures of venues. Both take turns, block by block. Without a bound
the same is measured over a ledger, which is asked for what is new each time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.market.provider import PriceProvider
from basis_pipeline.monitors.equity_calculator import EquityCalculator
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from benchmarks import reference
from benchmarks.data import Data
from benchmarks.measure import Figure

RATIO_MAX = 1.0
BLOCK = 50
TOLERANCE = Decimal("1e-12")
NOW = datetime(2024, 5, 12, 1, tzinfo=UTC)
SHARE_CLASS = "USDT"

PRICES = {
    "ETH": "2927.413376500000000000",
    "BTC": "60801.125",
    "USDT": "0.99934512",
    "EIGEN": "3.1402",
    "ETHFI": "3.9871",
    "KING": "55.770301",
}
RATES = {
    "aave:WETH:liquidity": "1.021234567890123456789012345",
    "aave:USDT:liquidity": "1.083456789012345678901234567",
    "aave:WBTC:liquidity": "1.000123456789012345678901234",
    "aave:wstETH:liquidity": "1.000056789012345678901234567",
    "aave:weETH:liquidity": "1.000000012345678901234567890",
    "aave:WETH:debt": "1.031234567890123456789012345",
    "aave:USDT:debt": "1.103456789012345678901234567",
    "aave:WBTC:debt": "1.001123456789012345678901234",
    "lst:wstETH": "1.163456789012345678",
    "lst:weETH": "1.037654321012345678",
}
HELD = {
    "wallet": {
        "aWETH": "95.238095238095238095",
        "aUSDT": "250000.123456",
        "aBTC": "1.50000001",
        "awstETH": "12.000000000000000001",
        "aWeETH": "88.123456789012345678",
        "variableDebtWETH": "61.234567890123456789",
        "variableDebtUSDT": "40000.654321",
        "variableDebtBTC": "0.25000003",
        "wstETH": "7.777777777777777777",
        "weETH": "9.123456789012345678",
        "ETH": "1.987654321098765432",
        "USDT": "12345.678901",
        "KING": "14.123456789012345678",
    },
    "binance": {"USDT": "50000.12345678", "ETH": "3.25", "BTC": "0.75", "EIGEN": "-12.5"},
    "bybit": {"USDT": "40000.1234", "ETH": "2.5", "BTC": "0.5", "ETHFI": "-10"},
    "okx": {"USDT": "30000.7654321", "ETH": "1.75", "BTC": "0.25", "EIGEN": "-7.25"},
}
"""25 balances, of which the negative ones are borrowed."""


class InUsd(reference.EquityCalculator):
    """The reference without the currency of the share class: values are in USD, as the specification has them."""

    async def _calculate_values(
        self, assets: list[reference.AssetPosition], debts: list[reference.DebtPosition]
    ) -> None:
        positions: list[Any] = [*assets, *debts]
        all_assets = {position.asset for position in positions}
        prices = await self.price_provider.get_prices(list(all_assets))
        for position in positions:
            if position.asset in prices:
                position.value_usd = position.amount * prices[position.asset]


class Quotes:
    """A source of prices and rates for the product's provider."""

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        return {asset: Decimal(PRICES[asset]) for asset in assets}

    async def get_rates(self, names: list[str]) -> dict[str, Decimal]:
        return {name: Decimal(RATES[name]) for name in names}


def balances() -> reference.Balances:
    return {(venue, token): Decimal(held) for venue, tokens in HELD.items() for token, held in tokens.items()}


def literal() -> InUsd:
    """The reference with its venues."""
    clock = reference.Clock()
    clock.now = NOW
    series: reference.Series = {name: {NOW: Decimal(value)} for name, value in {**PRICES, **RATES}.items()}
    built = reference.build(balances(), series, clock)
    return InUsd(built.venue_interfaces, built.price_provider)


def product(venues: Mapping[str, Any]) -> EquityCalculator:
    """Ours over any venues; its prices stay in the cache for as long as a measurement takes."""
    quotes = Quotes()
    prices = PriceProvider({"binance": quotes, "wallet": quotes}, band=None, ttl=timedelta(days=1))
    return EquityCalculator(venues, prices)


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    blocks = 20 if quick else 200
    yield asyncio.run(_against_the_reference(blocks))
    yield asyncio.run(_over_a_ledger(data, folder, blocks))


async def _against_the_reference(blocks: int) -> Figure:
    theirs = literal()
    ours = product(theirs.venue_interfaces)
    await _check(ours, theirs)
    pairs = [(await _block(ours), await _block(theirs)) for _ in range(blocks)]
    ratio = median(a / b for a, b in pairs)
    ours_us, theirs_us = (median(side) * 1e6 for side in zip(*pairs, strict=True))
    detail = f"ours {ours_us:.0f} µs, reference {theirs_us:.0f} µs; medians of {blocks} blocks of {BLOCK}"
    return Figure("calculate_equity, 25 positions, over the reference", ratio, "×", detail, at_most=RATIO_MAX)


async def _check(ours: EquityCalculator, theirs: InUsd) -> None:
    """Both have every position and come to the same equity."""
    found, expected = await ours.calculate_equity(SHARE_CLASS), await theirs.calculate_equity(SHARE_CLASS)
    counts = {len(found.assets) + len(found.debts), len(expected.assets) + len(expected.debts)}
    total = expected.total_equity / Decimal(PRICES[SHARE_CLASS])
    if counts != {25} or abs(found.total_equity - total) > TOLERANCE * abs(total):
        raise ValueError(f"{counts} positions come to {found.total_equity} and {total}: their speed means nothing")


async def _over_a_ledger(data: Data, folder: Path, blocks: int) -> Figure:
    with data.ledger(folder / "ledger.db") as ledger:
        data.import_all(ledger)
        names = ledger.snapshot().portfolios
        portfolio = max(names, key=lambda name: names[name].head.sequence)
        ours = product(ledger_interfaces(ledger, portfolio, DEFAULT_REGISTRY))
        ours.price_provider = Anything()
        await ours.calculate_equity(SHARE_CLASS)
        took = [await _block(ours, 10) for _ in range(blocks)]
    return Figure(
        "over a ledger of all entries", median(took) * 1e6, "µs", f"{portfolio}, asked for what is new each time"
    )


class Anything:
    """Some price of everything."""

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        return dict.fromkeys(assets, Decimal("1.5"))

    async def get_marks(self, contracts: list[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        return dict.fromkeys(contracts, Decimal("1.5"))


async def _block(calculator: EquityCalculator | InUsd, times: int = BLOCK) -> float:
    """Seconds for one calculation."""
    began = perf_counter()
    for _ in range(times):
        await calculator.calculate_equity(SHARE_CLASS)
    return (perf_counter() - began) / times
