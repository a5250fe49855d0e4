"""Conversion rates and oracle prices of the chain without wallets: the ``QuoteSource`` of Ethereum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from basis_pipeline.domain.observations import Finding, MarketObservation
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.venues.ethereum import doctor
from basis_pipeline.venues.ethereum.chain import MULTICALL, POOL_ADDRESSES_PROVIDER, Chain, utc_now


class ChainQuotes:
    """Aave's indices and oracle prices and the rates of staking tokens, all of one block.

    It reads the block that reconciliation reads, so that both know the same numbers. A chain has no history to catch up
    with here: what became known between two observations is not asked for.
    """

    name = "ethereum"

    def __init__(
        self,
        registry: Registry,
        rpc_urls: Sequence[str],
        chain_id: int = 1,
        block: str | int = "finalized",
        pool_addresses_provider: str = POOL_ADDRESSES_PROVIDER,
        multicall: str = MULTICALL,
        request_timeout: timedelta = timedelta(seconds=10),
        clock: Callable[[], datetime] = utc_now,
        head_age_max: timedelta = timedelta(minutes=5),
    ) -> None:
        self._problems: tuple[str, ...] = ()
        self.chain = Chain(
            registry,
            rpc_urls,
            chain_id,
            block,
            pool_addresses_provider,
            multicall,
            request_timeout,
            clock,
            head_age_max,
        )

    @property
    def problems(self) -> Sequence[str]:
        return self._problems

    async def observe(self, since: datetime) -> Sequence[MarketObservation]:
        """The values of the block that is read now, whenever ``since`` is. ``VenueError`` when no node can be read."""
        self._problems = ()
        snapshot = await self.chain.snapshot(())
        self._problems = snapshot.problems
        return snapshot.market

    async def check(self) -> Sequence[Finding]:
        return await doctor.check(self.chain, ())

    async def close(self) -> None:
        await self.chain.close()
