"""The equity specification implemented literally, to be measured against: nobody should use this.

An ``EquityCalculator`` called once an hour for each portfolio: it gathers pydantic positions from an interface per
venue, asks a price provider with a cache, and sums by venue and by asset. Interfaces and series are dictionaries in
memory, the handiest form there is, so that only the specification's own work is measured. Where it is wrong (prices
of derived tokens, the break after the first exchange, the currency) it follows the same rules as the product, so that
both come to the same equity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel

Balances = Mapping[tuple[str, str], Decimal]
Series = Mapping[str, Mapping[datetime, Decimal]]
"""Values by name and hour: prices by base token, indices and rates by their names."""

A_TOKENS = ("aWETH", "aUSDT", "aBTC", "awstETH", "aWeETH")
DEBT_TOKENS = ("variableDebtWETH", "variableDebtUSDT", "variableDebtBTC")
LST = {"lido": "wstETH", "etherfi": "weETH"}
CONVERSIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "aWETH": (("aave:WETH:liquidity",), "ETH"),
    "aUSDT": (("aave:USDT:liquidity",), "USDT"),
    "aBTC": (("aave:WBTC:liquidity",), "BTC"),
    "awstETH": (("aave:wstETH:liquidity", "lst:wstETH"), "ETH"),
    "aWeETH": (("aave:weETH:liquidity", "lst:weETH"), "ETH"),
    "variableDebtWETH": (("aave:WETH:debt",), "ETH"),
    "variableDebtUSDT": (("aave:USDT:debt",), "USDT"),
    "variableDebtBTC": (("aave:WBTC:debt",), "BTC"),
    "wstETH": (("lst:wstETH",), "ETH"),
    "weETH": (("lst:weETH",), "ETH"),
    "WETH": ((), "ETH"),
    "stETH": ((), "ETH"),
    "eETH": ((), "ETH"),
}
LOCKED = ("unstETH", "unweETH")
"""Waiting in a withdrawal queue: outside equity."""
SERIES = sorted({rate for rates, _ in CONVERSIONS.values() for rate in rates})
PRICED = ("ETH", "BTC", "USDT", "EIGEN", "ETHFI", "KING")
CACHE_TTL_S = 30.0


class AssetPosition(BaseModel):
    asset: str
    amount: Decimal
    venue: str
    locked: bool = False
    value_usd: Decimal | None = None


class DebtPosition(BaseModel):
    asset: str
    amount: Decimal
    venue: str
    value_usd: Decimal | None = None


class EquitySnapshot(BaseModel):
    timestamp: float
    share_class: str
    total_equity: Decimal
    assets: list[AssetPosition]
    debts: list[DebtPosition]
    equity_by_venue: dict[str, Decimal]
    equity_by_asset: dict[str, Decimal]


class Clock:
    """The simulated time, shared by everything."""

    def __init__(self) -> None:
        self.now = datetime.min.replace(tzinfo=UTC)


class AaveInterface:
    def __init__(self, balances: Balances) -> None:
        self.balances = balances

    async def get_a_tokens(self) -> dict[str, Decimal]:
        return {t: self.balances["wallet", t] for t in A_TOKENS if ("wallet", t) in self.balances}

    async def get_debt_tokens(self) -> dict[str, Decimal]:
        return {t: self.balances["wallet", t] for t in DEBT_TOKENS if ("wallet", t) in self.balances}


class StakingInterface:
    def __init__(self, balances: Balances, token: str) -> None:
        self.balances = balances
        self.token = token

    async def get_lst_balance(self) -> Decimal:
        return self.balances.get(("wallet", self.token), Decimal(0))

    def get_lst_token(self) -> str:
        return self.token


class ExchangeInterface:
    def __init__(self, balances: Balances, venue: str, series: Series, clock: Clock) -> None:
        self.balances = balances
        self.venue = venue
        self.series = series
        self.clock = clock

    async def get_spot_balances(self) -> dict[str, Decimal]:
        return {token: amount for (venue, token), amount in self.balances.items() if venue == self.venue}

    async def get_margin_info(self) -> dict[str, Any]:
        return {
            "borrowings": {t: -a for (v, t), a in self.balances.items() if v == self.venue and a < 0},
            "borrowed_amount": 0,
        }

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        prices = {}
        for asset in assets:
            rates, base = CONVERSIONS.get(asset, ((), asset))
            if base not in self.series:
                continue
            price = self.series[base][self.clock.now]
            for rate in rates:
                price = price * self.series[rate][self.clock.now]
            prices[asset] = price
        return prices


class WalletInterface:
    def __init__(self, balances: Balances) -> None:
        self.balances = balances

    async def get_balances(self) -> dict[str, Decimal]:
        placed = {*A_TOKENS, *DEBT_TOKENS, *LST.values(), *LOCKED}
        return {t: amount for (venue, t), amount in self.balances.items() if venue == "wallet" and t not in placed}


class PriceProvider:
    def __init__(self, venue_interfaces: dict[str, Any], clock: Clock) -> None:
        self.venue_interfaces = venue_interfaces
        self.clock = clock
        self.price_cache: dict[str, tuple[Decimal, float]] = {}

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        prices = {}
        current_time = self.clock.now.timestamp()
        for asset in assets:
            if asset in self.price_cache:
                cached_price, timestamp = self.price_cache[asset]
                if current_time - timestamp < CACHE_TTL_S:
                    prices[asset] = cached_price
        missing = [asset for asset in assets if asset not in prices]
        if missing:
            new_prices = await self._fetch_prices(missing)
            prices.update(new_prices)
            for asset, price in new_prices.items():
                self.price_cache[asset] = (price, current_time)
        return prices

    async def _fetch_prices(self, assets: list[str]) -> dict[str, Decimal]:
        prices: dict[str, Decimal] = {}
        for venue_name in ("binance", "bybit", "okx"):
            missing = [asset for asset in assets if asset not in prices]
            if missing and venue_name in self.venue_interfaces:
                prices.update(await self.venue_interfaces[venue_name].get_prices(missing))
        return prices


class EquityCalculator:
    def __init__(self, venue_interfaces: dict[str, Any], price_provider: PriceProvider) -> None:
        self.venue_interfaces = venue_interfaces
        self.price_provider = price_provider
        self.share_class = ""

    async def calculate_equity(self, share_class: str) -> EquitySnapshot:
        self.share_class = share_class
        assets, debts = await self._gather_all_positions()
        await self._calculate_values(assets, debts)
        by_venue = self._calculate_equity_by_venue(assets, debts)
        by_asset = self._calculate_equity_by_asset(assets, debts)
        total = sum((p.value_usd for p in assets), Decimal(0)) - sum((p.value_usd for p in debts), Decimal(0))
        return EquitySnapshot(
            timestamp=asyncio.get_running_loop().time(),
            share_class=share_class,
            total_equity=total,
            assets=assets,
            debts=debts,
            equity_by_venue=by_venue,
            equity_by_asset=by_asset,
        )

    async def _gather_all_positions(self) -> tuple[list[AssetPosition], list[DebtPosition]]:
        assets: list[AssetPosition] = []
        debts: list[DebtPosition] = []
        for venue_name, venue_interface in self.venue_interfaces.items():
            venue_assets, venue_debts = await self._get_venue_positions(venue_name, venue_interface)
            assets.extend(venue_assets)
            debts.extend(venue_debts)
        return assets, debts

    async def _get_venue_positions(self, name: str, venue: Any) -> tuple[list[AssetPosition], list[DebtPosition]]:
        if name in ("aave", "lido", "etherfi"):
            return await self._get_defi_positions(name, venue)
        if name in ("binance", "bybit", "okx"):
            return await self._get_cex_positions(name, venue)
        return await self._get_wallet_positions(venue), []

    async def _get_defi_positions(self, name: str, venue: Any) -> tuple[list[AssetPosition], list[DebtPosition]]:
        assets = []
        debts = []
        if name == "aave":
            for token, amount in (await venue.get_a_tokens()).items():
                assets.append(AssetPosition(asset=token, amount=amount, venue=name, locked=False))
            for token, amount in (await venue.get_debt_tokens()).items():
                debts.append(DebtPosition(asset=token, amount=amount, venue=name))
        else:
            balance = await venue.get_lst_balance()
            if balance > 0:
                assets.append(AssetPosition(asset=venue.get_lst_token(), amount=balance, venue=name, locked=False))
        return assets, debts

    async def _get_cex_positions(self, name: str, venue: Any) -> tuple[list[AssetPosition], list[DebtPosition]]:
        assets = []
        debts = []
        for asset, amount in (await venue.get_spot_balances()).items():
            if amount > 0:
                assets.append(AssetPosition(asset=asset, amount=amount, venue=name, locked=False))
        for asset, amount in (await venue.get_margin_info())["borrowings"].items():
            debts.append(DebtPosition(asset=asset, amount=amount, venue=name))
        return assets, debts

    async def _get_wallet_positions(self, venue: Any) -> list[AssetPosition]:
        assets = []
        for asset, amount in (await venue.get_balances()).items():
            if amount > 0:
                assets.append(AssetPosition(asset=asset, amount=amount, venue="alchemy", locked=False))
        return assets

    async def _calculate_values(self, assets: list[AssetPosition], debts: list[DebtPosition]) -> None:
        positions: list[Any] = [*assets, *debts]
        all_assets = {position.asset for position in positions} | {self.share_class}
        prices = await self.price_provider.get_prices(list(all_assets))
        for position in positions:
            if position.asset in prices:
                position.value_usd = position.amount * prices[position.asset] / prices[self.share_class]

    def _calculate_equity_by_venue(self, assets: list[Any], debts: list[Any]) -> dict[str, Decimal]:
        equity_by_venue = {}
        for venue in {position.venue for position in assets + debts}:
            venue_assets = sum((p.value_usd for p in assets if p.venue == venue), Decimal(0))
            venue_debts = sum((p.value_usd for p in debts if p.venue == venue), Decimal(0))
            equity_by_venue[venue] = venue_assets - venue_debts
        return equity_by_venue

    def _calculate_equity_by_asset(self, assets: list[Any], debts: list[Any]) -> dict[str, Decimal]:
        equity_by_asset = {}
        for asset in {position.asset for position in assets + debts}:
            asset_assets = sum((p.value_usd for p in assets if p.asset == asset), Decimal(0))
            asset_debts = sum((p.value_usd for p in debts if p.asset == asset), Decimal(0))
            equity_by_asset[asset] = asset_assets - asset_debts
        return equity_by_asset


def build(balances: Balances, series: Series, clock: Clock) -> EquityCalculator:
    """A calculator over one portfolio's balances."""
    venues: dict[str, Any] = {"aave": AaveInterface(balances)}
    venues.update({name: StakingInterface(balances, token) for name, token in LST.items()})
    venues.update({n: ExchangeInterface(balances, n, series, clock) for n in ("binance", "bybit", "okx")})
    venues["alchemy"] = WalletInterface(balances)
    return EquityCalculator(venues, PriceProvider(venues, clock))
