"""Staked ETH as collateral of an ETH loan that is staked again, at a target LTV."""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.numbers import ONE, ZERO, divide, multiply, subtract
from basis_pipeline.domain.strategies import staked_collateral
from basis_pipeline.domain.tokens import WALLET, TokenKind
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.values import TargetPosition, balance

DEBT = "variableDebtWETH"
COLLATERAL = "aWeETH"
RESERVE = Decimal("0.05")


class EthLeveragedLoop(BaseStrategyManager):
    """``target_ltv`` is debt over collateral by value. The loop gets equity less ``reserve`` (0.05 of it).

    The reserve covers gas and whatever else the fund holds, other collateral included. ``collateral`` (aWeETH) is the
    aToken of a staked ETH. With equity E in the loop, collateral is E / (1 - LTV) and debt the LTV of that. Other
    tokens that are owed are part of that debt, because Aave liquidates by all of it.
    """

    def configure(self) -> None:
        """Read ``target_ltv``, ``reserve`` and ``collateral``."""
        reading.choice(self.config, "share_class", ("ETH",))
        reading.choice(self.config, "asset", ("ETH",))
        self.target_ltv = reading.part(self.config, "target_ltv")
        self.reserve = reading.part(self.config, "reserve", RESERVE)
        self.collateral = self._collateral(self.config.get("collateral", COLLATERAL))

    async def get_target_positions(self) -> list[TargetPosition]:
        """Scaled collateral and scaled debt; both zero while equity is not above zero, so that the loop unwinds."""
        fund = await self.get_fund()
        others = {
            token: owed
            for (_, token), owed in fund.holdings.balances.items()
            if token != DEBT and self.registry.token(token).kind is TokenKind.DEBT
        }
        prices = await self.get_prices({"ETH", self.collateral, DEBT, *others})
        capital = multiply(self.size_of(fund), subtract(ONE, self.reserve))
        collateral_usd = divide(multiply(capital, prices["ETH"]), subtract(ONE, self.target_ltv))
        debt_usd = multiply(collateral_usd, self.target_ltv)
        for token, owed in others.items():
            debt_usd = max(subtract(debt_usd, multiply(owed, prices[token])), ZERO)
        return [
            balance(WALLET, self.collateral, divide(collateral_usd, prices[self.collateral])),
            balance(WALLET, DEBT, divide(debt_usd, prices[DEBT])),
        ]

    def _collateral(self, name: object) -> str:
        try:
            return staked_collateral(name, self.registry, "strategy config: collateral")
        except InputError as error:
            raise ConfigError(str(error)) from None
