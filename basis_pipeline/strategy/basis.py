"""BTC or ETH held spot, and as much of it short in perpetuals: the fund earns the funding."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal
from typing import ClassVar

from basis_pipeline.domain.numbers import ZERO, add, divide, multiply, subtract
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.base import NAV
from basis_pipeline.strategy.hedge import HedgedStrategyManager
from basis_pipeline.strategy.sizing import whole_steps
from basis_pipeline.strategy.values import TargetPosition, balance

SPOT_SHARE = Decimal("0.5")
SPOT_VENUE = "binance"


class SpotAndShort(HedgedStrategyManager):
    """``spot_share`` (0.5) is the part of the capital held in the asset, bought and sold on ``spot_venue`` (binance).

    The rest is margin. What is held of the asset elsewhere, lent or owed, counts towards that part. Capital is the
    nav: total equity leaves out the loss of the shorts after a rise, and with it would ask to hold ever more.
    """

    SIZED_BY: ClassVar[str] = NAV

    def configure(self) -> None:
        """Read ``spot_share`` and ``spot_venue``, and what all hedges have."""
        reading.choice(self.config, "asset", ("BTC", "ETH"))
        super().configure()
        self.spot_share = reading.part(self.config, "spot_share", SPOT_SHARE)
        self.spot_venue = reading.exchange(self.config, "spot_venue", SPOT_VENUE)

    async def get_target_positions(self) -> list[TargetPosition]:
        """The spot balance, and shorts equal to all that is then held of the asset."""
        fund = await self.get_fund()
        holdings = fund.holdings
        tokens = holdings.tokens_of(self.asset, self.registry)
        prices = await self.get_prices({self.share_class, self.asset, *tokens})
        capital_usd = multiply(self.size_of(fund), prices[self.share_class])
        wanted = divide(multiply(capital_usd, self.spot_share), prices[self.asset])
        here = holdings.balances.get((self.spot_venue, self.asset), ZERO)
        elsewhere = subtract(holdings.spot_delta(self.asset, prices, self.registry), here)
        spot = max(whole_steps(subtract(wanted, elsewhere), self.size_step, ROUND_DOWN), ZERO)
        others = holdings.perp_delta(self.asset, except_for=self.instrument)
        return [
            balance(self.spot_venue, self.asset, spot),
            *self.hedges(holdings, add(add(spot, elsewhere), others)),
        ]
