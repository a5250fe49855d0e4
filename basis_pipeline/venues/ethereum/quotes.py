"""Conversion rates and oracle prices of the chain without wallets: the ``QuoteSource`` of Ethereum."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.instants import HOUR, iso
from basis_pipeline.domain.observations import Finding, MarketObservation
from basis_pipeline.venues.ethereum import batch, doctor
from basis_pipeline.venues.ethereum.chain import Chain, Snapshot
from basis_pipeline.venues.ethereum.contracts import Contracts
from basis_pipeline.venues.ethereum.nodes import Node, NodeError, RefusedError
from basis_pipeline.venues.ethereum.search import BlockSearch


class ChainQuotes:
    """Aave's indices and oracle prices and the rates of staking tokens, all of one block.

    It reads the block that reconciliation reads, so that both know the same numbers. Past hours are read at the block
    that was the newest then, each with a call of its own, so only those that are asked for. Closing it closes
    ``chain``.
    """

    name = "ethereum"
    venues = batch.VENUES

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._problems: list[str] = []

    @property
    def problems(self) -> Sequence[str]:
        """What the last ``observe`` and the ``at_hours`` since then could not learn, a line each."""
        return tuple(self._problems)

    async def observe(self, since: datetime) -> Sequence[MarketObservation]:
        """The values of the block that is read now, whenever ``since`` is. ``VenueError`` when no node can be read."""
        self._problems = []
        snapshot = await self.chain.snapshot(())
        self._problems += snapshot.problems
        return snapshot.market

    async def at_hours(self, hours: Sequence[datetime]) -> AsyncIterator[Sequence[MarketObservation]]:
        """The values of the last block up to each of these hours, the newest hour first, stamped with its time.

        Newest first because a node that keeps state for some time only can tell of the last hours. What it cannot tell
        the next node is asked; every node is given up at the first hour that it cannot tell. Left out are hours after
        the block that is read now, and those in which the chain had no block. ``VenueError`` when hours are left.
        """
        left = sorted(hours, reverse=True)
        failures: list[NodeError] = []
        for node in self.chain.nodes:
            try:
                await self.chain.verify_chain(node)
                newest = await self.chain.pin(node)
                search, contracts = BlockSearch(node, newest), None
                while left:
                    snapshot = None
                    if left[0] <= newest.time:
                        snapshot = await self._at_hour(node, search, left[0], contracts)
                    del left[0]
                    if snapshot is not None:
                        contracts = snapshot.contracts
                        yield snapshot.market
                return
            except NodeError as failed:
                failures.append(failed)
        reasons = "; ".join(str(failure) for failure in failures)
        raise VenueError(f"ethereum: {len(left)} missed hours up to {iso(left[0])} are not filled in: {reasons}")

    async def _at_hour(
        self, node: Node, search: BlockSearch, hour: datetime, contracts: Contracts | None
    ) -> Snapshot | None:
        block = await search.last_at(hour)
        if block is None or block.time <= hour - HOUR:
            return None
        try:
            snapshot = await self.chain.market_at(node, block, contracts)
        except RefusedError as refused:
            raise NodeError(
                f"{refused} (block {block.number}, {iso(block.time)}); if the node keeps no state of that time, "
                "use an archive node to fill in missed hours"
            ) from None
        except VenueConfigError as other:
            self._problems.append(f"{iso(hour)} is not filled in: {other}")
            return None
        self._problems += [line for line in snapshot.problems if line not in self._problems]
        return snapshot

    async def check(self) -> Sequence[Finding]:
        return await doctor.check(self.chain, ())

    async def close(self) -> None:
        await self.chain.close()
