"""One reading of the chain: a node, a block, one call, and the proof that the block still stands.

Requests of a reading: the newest block and the one to pin (side by side), then one ``eth_call`` for everything, then
the pinned number once more, whose hash must not have changed. A node that fails is left and the next one starts over at
a block of its own, so that no reading mixes two nodes. What a node must prove: its chain id once, the age of its newest
block every time, and in the call itself chain id, number and time of the block that answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.observations import Block, Finding, MarketObservation
from basis_pipeline.domain.tokens import Registry, Token, TokenKind
from basis_pipeline.logs import get_logger
from basis_pipeline.venues.ethereum import batch
from basis_pipeline.venues.ethereum.abi import Answer
from basis_pipeline.venues.ethereum.contracts import Contracts, inspect, refuse_failed, reserves, tokens_on_chain
from basis_pipeline.venues.ethereum.nodes import Node, NodeError, WrongChainError
from basis_pipeline.venues.ethereum.queues import Amounts, EtherFiQueue, LidoQueue

POOL_ADDRESSES_PROVIDER = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11"
READINGS_MAX = 3
"""How often a node is read anew when the chain changes under a reading."""

T = TypeVar("T")
_log = get_logger(__name__)


def utc_now() -> datetime:
    """The clock, where none is given."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Snapshot:
    """Everything read at one block of one node."""

    node: str
    block: Block
    contracts: Contracts
    answers: Mapping[str, Answer]
    exits: Mapping[str, Amounts]
    """By the token of a queue: what each wallet can claim there, or why that is not known."""
    market: tuple[MarketObservation, ...]
    problems: tuple[str, ...] = field(default=())
    """Market series that could not be learned."""


class Chain:
    """A chain through one or several nodes, with the contracts and tokens that are read of it.

    ``block`` is ``finalized``, ``safe`` or a number of blocks behind the newest. A node whose newest block is older
    than ``head_age_max`` is passed over. ``VenueConfigError`` at once for addresses or URLs that cannot be right.
    """

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
        if not rpc_urls:
            raise VenueConfigError(
                "ethereum.rpc_urls: no node is given; set BASIS_ETHEREUM__RPC_URLS to one or more URLs"
            )
        if block not in ("finalized", "safe") and not (isinstance(block, int) and block >= 0):
            raise VenueConfigError(f"ethereum.block: {block!r} is none of finalized, safe, or a number of blocks")
        self.registry = registry
        self.clock = clock
        self.nodes = [Node(url, n, len(rpc_urls), request_timeout) for n, url in enumerate(rpc_urls, 1)]
        self.multicall = multicall
        self._chain_id = chain_id
        self._block = block
        self._provider = pool_addresses_provider
        self._head_age_max = head_age_max
        self._contracts: Contracts | None = None
        locked = [token for token in tokens_on_chain(registry) if token.kind is TokenKind.LOCKED]
        self._queues = [_queue(token) for token in locked]
        reserves(registry)

    async def prepare(self) -> Contracts:
        """Look the contracts up and check them, unless that is done already.

        ``VenueConfigError`` names every address that is not what the registry says; ``VenueError`` means that no node
        could be asked.
        """
        if self._contracts is not None:
            return self._contracts
        return await self._on_some_node(self._prepared)

    async def _prepared(self, node: Node) -> Contracts:
        block = await self.pin(node)
        return await self._inspected(node, block)

    async def snapshot(self, wallets: Collection[str]) -> Snapshot:
        """Market and wallets at one block. ``VenueError`` when no node could be read, with the reason for each."""
        return await self._on_some_node(lambda node: self._snapshot_of(node, wallets))

    async def close(self) -> None:
        """Let go of every connection; safe to call twice."""
        for node in self.nodes:
            await node.close()

    async def findings(self, node: Node, block: Block) -> list[Finding]:
        """What the contracts and tokens are found to be, for people."""
        _, findings = await inspect(node, block, self.registry, self._provider, self.multicall)
        return findings

    async def verify_chain(self, node: Node) -> None:
        """``WrongChainError`` when the node belongs to another chain."""
        if not node.chain_checked:
            found = await node.chain_id()
            if found != self._chain_id:
                raise WrongChainError(f"{node.label}: is on chain {found}, not {self._chain_id} (ethereum.chain_id)")
            node.chain_checked = True

    async def pin(self, node: Node) -> Block:
        """The block to read at; ``NodeError`` when the node lags."""
        if isinstance(self._block, int):
            head = await node.block("latest")
            self._refuse_late(node, head)
            return head if self._block == 0 else await node.block(max(0, head.number - self._block))
        head, pinned = await asyncio.gather(node.block("latest"), node.block(self._block))
        self._refuse_late(node, head)
        return pinned

    def _refuse_late(self, node: Node, head: Block) -> None:
        age = self.clock() - head.time
        if age > self._head_age_max:
            raise node.error(f"its newest block {head.number} is {age} old, more than {self._head_age_max}: it lags")

    async def _on_some_node(self, work: Callable[[Node], Awaitable[T]]) -> T:
        failures: list[NodeError] = []
        for node in self.nodes:
            try:
                await self.verify_chain(node)
                return await work(node)
            except NodeError as failed:
                failures.append(failed)
                _log.warning("ethereum node passed over", reason=str(failed))
        reasons = "; ".join(str(failure) for failure in failures)
        if all(isinstance(failure, WrongChainError) for failure in failures):
            raise VenueConfigError(f"ethereum: {reasons}")
        raise VenueError(f"ethereum: no node could be read: {reasons}")

    async def _inspected(self, node: Node, block: Block) -> Contracts:
        contracts, findings = await inspect(node, block, self.registry, self._provider, self.multicall)
        refuse_failed(findings)
        if contracts is None:
            raise VenueConfigError(f"ethereum: the contracts of {self._provider} were not found")
        self._contracts = contracts
        return contracts

    async def _snapshot_of(self, node: Node, wallets: Collection[str]) -> Snapshot:
        for _ in range(READINGS_MAX):
            block = await self.pin(node)
            try:
                taken = await self._at(node, block, wallets)
            except NodeError:
                if await self._stands(node, block):
                    raise
                continue
            if taken is not None and await self._stands(node, block):
                return taken
        raise node.error(f"the chain changed under {READINGS_MAX} readings in a row")

    async def _stands(self, node: Node, block: Block) -> bool:
        return (await node.block(block.number)).hash == block.hash

    async def _at(self, node: Node, block: Block, wallets: Collection[str]) -> Snapshot | None:
        """The reading at this block; None when the market has new contracts, which are looked up anew."""
        contracts = self._contracts or await self._inspected(node, block)
        known = batch.series(self.registry, contracts)
        calls = batch.header(contracts, self._provider, self.multicall)
        calls.update({name: one.call for name, one in known.items()})
        for wallet in wallets:
            calls.update(batch.wallet_calls(wallet, self.registry, contracts, self.multicall))
        for queue in self._queues if wallets else ():
            calls.update(queue.calls(wallets))
        answers = await node.multicall(self.multicall, calls, block)
        batch.check_header(answers, node, block, self._chain_id)
        if batch.moved(answers, contracts):
            _log.warning("ethereum contracts changed", block=block.number)
            self._contracts = None
            return None
        exits: dict[str, Amounts] = {}
        for queue in self._queues if wallets else ():
            exits[queue.token.symbol], more = await queue.amounts(wallets, answers, node, self.multicall, block)
            answers.update(more)
        market, problems = batch.market(known, answers, block, self.clock())
        for problem in problems:
            _log.warning("ethereum market series not read", reason=problem)
        return Snapshot(node.label, block, contracts, answers, exits, market, tuple(problems))


def _queue(token: Token) -> LidoQueue | EtherFiQueue:
    match token.protocol:
        case "lido":
            return LidoQueue(token)
        case "etherfi":
            return EtherFiQueue(token)
    raise VenueConfigError(
        f"tokens.{token.symbol}: the exit queue at {token.address} cannot be read; only those of lido and etherfi can"
    )


def claims(snapshot: Snapshot, wallet: str) -> tuple[dict[str, Decimal], list[str]]:
    """What the wallet can claim from each queue, zeros left out, and a line for each queue that did not tell."""
    held: dict[str, Decimal] = {}
    problems: list[str] = []
    for token, amounts in snapshot.exits.items():
        amount = amounts[wallet]
        if isinstance(amount, str):
            problems.append(f"{token}: {amount}")
        elif amount:
            held[token] = amount
    return held, problems
