"""USDT lent on Aave: all of the fund's equity, less a reserve."""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.numbers import ONE, divide, multiply, subtract
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.values import TargetPosition, balance

LENT = "aUSDT"
RESERVE = Decimal("0.02")


class UsdtLending(BaseStrategyManager):
    """``reserve`` (0.02) is the part of equity that stays liquid, for gas and redemptions."""

    def configure(self) -> None:
        """Read ``reserve``."""
        reading.choice(self.config, "share_class", ("USDT",))
        reading.choice(self.config, "asset", ("USDT",))
        self.reserve = reading.part(self.config, "reserve", RESERVE)

    async def get_target_positions(self) -> list[TargetPosition]:
        """Scaled aUSDT worth equity less the reserve; none while equity is not above zero."""
        prices = await self.get_prices(("USDT", LENT))
        lent = multiply(self.size_of(await self.get_fund()), subtract(ONE, self.reserve))
        return [balance(WALLET, LENT, divide(multiply(lent, prices["USDT"]), prices[LENT]))]
