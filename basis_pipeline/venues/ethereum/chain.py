"""One reading of the chain: a node, a block, one call, and the proof that the block still stands.

Requests of a reading: the newest block and the one to pin (side by side), then one ``eth_call`` for everything, then
the pinned number once more, whose hash must not have changed. A node that fails is left and the next one starts over at
a block of its own, so that no reading mixes two nodes. What a node must prove: its chain id once, the age of its newest
block every time, and in the call itself chain id, number and time of the block that answers.

Every run of a job is a new process, so a first reading takes no more rounds than another: the chain id and where the
contracts are is asked beside the block, and that they are what the registry says within the one call. Where anything
of that is odd, the contracts are looked up step by step, which also finds the words for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar, cast

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.observations import Block, Finding, MarketObservation, Verdict
from basis_pipeline.domain.tokens import Registry, Token, TokenKind
from basis_pipeline.logs import get_logger
from basis_pipeline.venues.ethereum import batch
from basis_pipeline.venues.ethereum.abi import Answer, Call
from basis_pipeline.venues.ethereum.contracts import (
    Contracts,
    checks,
    inspect,
    judge,
    looked_up,
    lookup,
    refuse_failed,
    reserves,
    tokens_on_chain,
)
from basis_pipeline.venues.ethereum.nodes import Node, NodeError, WrongChainError
from basis_pipeline.venues.ethereum.queues import Amounts, EtherFiQueue, LidoQueue

POOL_ADDRESSES_PROVIDER = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
MULTICALL = "0xcA11bde05977b3631167028862bE2a173976CA11"
READINGS_MAX = 3
"""How often a node is read anew when the chain changes under a reading."""
_CHECK = "check "

T = TypeVar("T")
_log = get_logger(__name__)


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
        clock: Clock,
        *,
        chain_id: int = 1,
        block: str | int = "finalized",
        pool_addresses_provider: str = POOL_ADDRESSES_PROVIDER,
        multicall: str = MULTICALL,
        request_timeout: timedelta = timedelta(seconds=10),
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
        self._also: dict[str, Call] = {}
        locked = [token for token in tokens_on_chain(registry) if token.kind is TokenKind.LOCKED]
        self._queues = [_queue(token) for token in locked]
        reserves(registry)

    def also_ask(self, calls: Mapping[str, Call]) -> None:
        """Make these calls too in every reading from now on; what they say is in its ``answers``, by these names."""
        self._also.update(calls)

    async def prepare(self) -> Contracts:
        """Look the contracts up and check them, unless that is done already.

        ``VenueConfigError`` names every address that is not what the registry says; ``VenueError`` means that no node
        could be asked.
        """
        if self._contracts is not None:
            return self._contracts
        return await self._on_some_node(self._prepared)

    async def _prepared(self, node: Node) -> Contracts:
        await self.verify_chain(node)
        block = await self.pin(node)
        return await self._inspected(node, block)

    async def snapshot(self, wallets: Collection[str]) -> Snapshot:
        """Market and wallets at one block. ``VenueError`` when no node could be read, with the reason for each."""
        return await self._on_some_node(lambda node: self._snapshot_of(node, wallets))

    async def market_at(self, node: Node, block: Block, contracts: Contracts | None = None) -> Snapshot:
        """The market alone at a past block of this node, by the contracts that it had there.

        ``contracts`` are tried first, else those of now, which stay known whatever is found. ``NodeError`` when the
        node cannot tell, ``VenueConfigError`` when the contracts of that time are not what the registry says.
        """
        tried = contracts or self._contracts
        taken = None if tried is None else await self._taken(node, block, (), tried)
        if taken is None:
            taken = await self._taken(node, block, (), await self._contracts_at(node, block))
        if taken is None or not await self._stands(node, block):
            raise node.error(f"the chain changed while block {block.number} was read")
        return taken

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
                return await work(node)
            except NodeError as failed:
                failures.append(failed)
                _log.warning("ethereum node passed over", reason=str(failed))
        reasons = "; ".join(str(failure) for failure in failures)
        if all(isinstance(failure, WrongChainError) for failure in failures):
            raise VenueConfigError(f"ethereum: {reasons}")
        raise VenueError(f"ethereum: no node could be read: {reasons}")

    async def _inspected(self, node: Node, block: Block) -> Contracts:
        self._contracts = await self._contracts_at(node, block)
        return self._contracts

    async def _contracts_at(self, node: Node, block: Block) -> Contracts:
        contracts, findings = await inspect(node, block, self.registry, self._provider, self.multicall)
        refuse_failed(findings)
        if contracts is None:
            raise VenueConfigError(f"ethereum: the contracts of {self._provider} were not found")
        return contracts

    async def _snapshot_of(self, node: Node, wallets: Collection[str]) -> Snapshot:
        block, expected = await self._begin(node)
        for attempt in range(READINGS_MAX):
            if attempt:
                block, expected = await self.pin(node), None
            try:
                taken = await self._at(node, block, wallets, expected)
            except NodeError:
                if await self._stands(node, block):
                    raise
                continue
            if taken is not None and await self._stands(node, block):
                return taken
        raise node.error(f"the chain changed under {READINGS_MAX} readings in a row")

    async def _begin(self, node: Node) -> tuple[Block, Contracts | None]:
        """The first round: is it the chain, which block to read, and where the contracts are to be expected."""
        chain, block, expected = await asyncio.gather(
            self.verify_chain(node), self.pin(node), self._expected(node), return_exceptions=True
        )
        for outcome in (chain, block, expected):
            if isinstance(outcome, BaseException):
                raise outcome
        return cast(Block, block), cast("Contracts | None", expected)

    async def _expected(self, node: Node) -> Contracts | None:
        """The contracts as of now, if they are not known; None where that cannot be told."""
        if self._contracts is not None:
            return None
        calls = lookup(self.registry, self._provider)
        try:
            return looked_up(await node.multicall(self.multicall, calls, self._tag))
        except NodeError:
            return None

    @property
    def _tag(self) -> str:
        return self._block if isinstance(self._block, str) else "latest"

    async def _stands(self, node: Node, block: Block) -> bool:
        return (await node.block(block.number)).hash == block.hash

    async def _at(
        self, node: Node, block: Block, wallets: Collection[str], expected: Contracts | None
    ) -> Snapshot | None:
        """The reading at this block; None when the contracts are to be looked up anew.

        ``expected`` are contracts that nobody has checked: they are, in the same call.
        """
        contracts = self._contracts or expected or await self._inspected(node, block)
        taken = await self._taken(node, block, wallets, contracts, check=contracts is expected)
        if taken is None and contracts is not expected:
            _log.warning("ethereum contracts changed", block=block.number)
        self._contracts = None if taken is None else taken.contracts
        return taken

    async def _taken(
        self, node: Node, block: Block, wallets: Collection[str], contracts: Contracts, *, check: bool = False
    ) -> Snapshot | None:
        """The reading at this block with these contracts; None when the market has others there.

        With ``check`` they are looked at in the same call, and None as well when they are not what the registry says.
        """
        known = batch.series(self.registry, contracts)
        calls = batch.header(contracts, self._provider, self.multicall)
        calls.update({name: one.call for name, one in known.items()})
        calls.update(self._also)
        for wallet in wallets:
            calls.update(batch.wallet_calls(wallet, self.registry, contracts, self.multicall))
        for queue in self._queues if wallets else ():
            calls.update(queue.calls(wallets))
        checking = checks(self.registry, contracts) if check else {}
        calls.update({f"{_CHECK}{name}": call for name, call in checking.items()})
        answers = await node.multicall(self.multicall, calls, block)
        batch.check_header(answers, node, block, self._chain_id)
        if check:
            contracts = contracts._replace(revision=answers["revision"].value or 0)
            checked = {name: answers.pop(f"{_CHECK}{name}") for name in checking}
            if any(finding.verdict is Verdict.FAILED for finding in judge(self.registry, contracts, checked)):
                return None
        if batch.moved(answers, contracts):
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
