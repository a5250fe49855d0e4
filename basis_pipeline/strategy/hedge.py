"""Perpetuals split over several exchanges: what basis and market-neutral strategies have in common."""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.numbers import ZERO, subtract
from basis_pipeline.domain.strategies import short_perpetual
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.holdings import Holdings
from basis_pipeline.strategy.sizing import split
from basis_pipeline.strategy.values import TargetPosition, perp

SIZE_STEP = Decimal("0.001")


class HedgedStrategyManager(BaseStrategyManager):
    """``allocation`` maps exchanges to weights; sizes are multiples of ``size_step`` (0.001 base units).

    The perpetual is ``instrument``, by default ``<asset>USDT-PERP``. Perpetuals of the asset under another name are
    not touched, but count in the delta.
    """

    def configure(self) -> None:
        """Read ``instrument``, ``size_step`` and ``allocation``."""
        reading.choice(self.config, "share_class", ("USDT",))
        self.instrument = self._instrument(self.config.get("instrument", f"{self.asset}USDT-PERP"))
        self.size_step = reading.step(self.config, "size_step", SIZE_STEP)
        self.allocation = reading.weights(self.config, "allocation")

    def hedges(self, holdings: Holdings, delta: Decimal) -> list[TargetPosition]:
        """Perpetuals that take a delta of the asset away, to within half a step; sizes by allocation.

        One that is open outside the allocation is to be closed.
        """
        open_elsewhere = {venue: ZERO for venue, instrument in holdings.perps if instrument == self.instrument}
        sizes = {**open_elsewhere, **split(subtract(ZERO, delta), self.allocation, self.size_step)}
        return [perp(venue, self.instrument, size) for venue, size in sizes.items()]

    def _instrument(self, name: object) -> str:
        try:
            return short_perpetual(name, self.asset, "strategy config: instrument")
        except InputError as error:
            raise ConfigError(str(error)) from None
