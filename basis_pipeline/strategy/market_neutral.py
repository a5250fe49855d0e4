"""Staked ETH in a USDT fund, with perpetuals short as much ETH as it is long."""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.numbers import ZERO, add, multiply
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.hedge import HedgedStrategyManager
from basis_pipeline.strategy.rewards import UNWRAP_MULTIPLE, should_unwrap_king
from basis_pipeline.strategy.values import TargetPosition

KING = "KING"


class UsdtMarketNeutral(HedgedStrategyManager):
    """The hedge of what is staked: it follows the staked leg and does not size it.

    ``unwrap_gas_multiple`` (100) is how many times its gas KING must be worth to be unwrapped.
    """

    def configure(self) -> None:
        """Read ``unwrap_gas_multiple``, and what all hedges have."""
        reading.choice(self.config, "asset", ("ETH",))
        super().configure()
        self.unwrap_gas_multiple = reading.amount(self.config, "unwrap_gas_multiple", UNWRAP_MULTIPLE)

    async def get_target_positions(self) -> list[TargetPosition]:
        """Shorts equal to the net ETH delta: ETH held, staked and lent, less ETH owed, on every venue."""
        holdings = (await self.get_fund()).holdings
        prices = await self.get_prices({self.asset, *holdings.tokens_of(self.asset, self.registry)})
        spot = holdings.spot_delta(self.asset, prices, self.registry)
        return self.hedges(holdings, add(spot, holdings.perp_delta(self.asset, except_for=self.instrument)))

    async def should_unwrap_king(self, gas_eth: Decimal) -> bool:
        """Whether the KING in the wallet is worth unwrapping, which costs ``gas_eth`` of ETH."""
        held = (await self.get_fund()).holdings.balances.get((WALLET, KING), ZERO)
        if not held:
            return False
        prices = await self.get_prices((KING, "ETH"))
        return should_unwrap_king(
            multiply(held, prices[KING]), multiply(gas_eth, prices["ETH"]), self.unwrap_gas_multiple
        )
