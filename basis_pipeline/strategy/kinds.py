"""The strategies by the name of their kind, as a configuration gives it."""

from __future__ import annotations

from collections.abc import Mapping

from basis_pipeline.strategy.base import BaseStrategyManager
from basis_pipeline.strategy.basis import SpotAndShort
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline.strategy.leveraged_loop import EthLeveragedLoop
from basis_pipeline.strategy.market_neutral import UsdtMarketNeutral

KINDS: Mapping[str, type[BaseStrategyManager]] = {
    "usdt_lending": UsdtLending,
    "eth_leveraged_loop": EthLeveragedLoop,
    "basis": SpotAndShort,
    "usdt_market_neutral": UsdtMarketNeutral,
}
