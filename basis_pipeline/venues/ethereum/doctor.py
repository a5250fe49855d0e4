"""What `basis doctor` says of the chain: every node, every contract and token, rounding and rates."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

from basis_pipeline.domain.errors import VenueConfigError, VenueError
from basis_pipeline.domain.observations import Block, Finding, Verdict
from basis_pipeline.domain.tokens import TokenKind
from basis_pipeline.venues.ethereum import batch
from basis_pipeline.venues.ethereum.abi import Answer, Call
from basis_pipeline.venues.ethereum.chain import Chain, Snapshot
from basis_pipeline.venues.ethereum.contracts import reserve_of, tokens_on_chain
from basis_pipeline.venues.ethereum.nodes import NoContractError, Node, NodeError, WrongChainError
from basis_pipeline.venues.ethereum.rounding import rounding_difference

_OTHER_NODE = "check the URL and the provider, or put another node first in ethereum.rpc_urls"


async def check(chain: Chain, wallets: Collection[str]) -> list[Finding]:
    """Nodes first; contracts, tokens and a trial reading by the first node that is in order."""
    findings: list[Finding] = []
    good: tuple[Node, Block] | None = None
    for node in chain.nodes:
        finding, block = await _node(chain, node)
        findings.append(finding)
        if good is None and block is not None:
            good = node, block
    if good is None:
        return findings
    try:
        contracts = await chain.findings(*good)
        findings += contracts
        if not any(finding.verdict is Verdict.FAILED for finding in contracts):
            findings += await _trial(chain, wallets)
    except (VenueError, VenueConfigError) as failed:
        findings.append(Finding("ethereum reading", Verdict.FAILED, str(failed), _OTHER_NODE))
    return findings


async def _node(chain: Chain, node: Node) -> tuple[Finding, Block | None]:
    subject = f"ethereum {node.label}"
    try:
        await chain.verify_chain(node)
        block = await chain.pin(node)
        head = await node.block("latest")
        with suppress(NoContractError):  # the contracts' own findings say so
            await node.multicall(chain.multicall, {"number": Call(chain.multicall, "getBlockNumber()")}, block)
    except WrongChainError as wrong:
        remedy = "remove the node from ethereum.rpc_urls, or correct ethereum.chain_id"
        return Finding(subject, Verdict.FAILED, str(wrong), remedy), None
    except NodeError as failed:
        return Finding(subject, Verdict.FAILED, str(failed), _OTHER_NODE), None
    age = max(0, int((chain.clock() - head.time).total_seconds()))
    message = f"newest block {head.number} is {age} s old, reads at {block.number}, whose state it has"
    return Finding(subject, Verdict.OK, message), block


async def _trial(chain: Chain, wallets: Collection[str]) -> list[Finding]:
    snapshot = await chain.snapshot(wallets)
    findings = [
        Finding("ethereum market", Verdict.WARNING, problem, "its series is missing until the contract answers again")
        for problem in snapshot.problems
    ]
    findings.append(Finding("ethereum market", Verdict.OK, f"{len(snapshot.market)} series at one block"))
    for wallet in wallets:
        for owed in batch.claimable_rewards(wallet, chain.registry, snapshot.answers):
            message = f"{owed} can be claimed at Aave; it is in the books once it is claimed"
            findings.append(Finding(f"rewards of {wallet}", Verdict.OK, message))
    node = next(node for node in chain.nodes if node.label == snapshot.node)
    calls = _rounding_calls(chain, snapshot, wallets)
    answers = await node.multicall(chain.multicall, calls, snapshot.block) if calls else {}
    off = list(_misrounded(chain, wallets, snapshot.contracts.revision, answers))
    remedy = "amounts would be off by these units: this revision of the pool may be newer than the product"
    findings += [Finding("aave rounding", Verdict.WARNING, line, remedy) for line in off]
    if calls and not off:
        revision = snapshot.contracts.revision
        message = f"scaled × index is balanceOf to the wei at revision {revision}"
        findings.append(Finding("aave rounding", Verdict.OK, message))
    return findings


def _rounding_calls(chain: Chain, snapshot: Snapshot, wallets: Collection[str]) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for token in tokens_on_chain(chain.registry):
        if token.kind not in (TokenKind.ATOKEN, TokenKind.DEBT):
            continue
        side = "Income" if token.kind is TokenKind.ATOKEN else "VariableDebt"
        asset = (reserve_of(chain.registry, token).address,)
        calls[token.symbol] = Call(snapshot.contracts.pool, f"getReserveNormalized{side}(address)", asset)
        for wallet in wallets:
            for function in ("scaledBalanceOf", "balanceOf"):
                call = Call(str(token.address), f"{function}(address)", (wallet,))
                calls[f"{token.symbol}:{wallet}:{function}"] = call
    return calls if wallets else {}


def _misrounded(chain: Chain, wallets: Collection[str], revision: int, answers: Mapping[str, Answer]) -> Iterator[str]:
    for token in tokens_on_chain(chain.registry):
        if token.symbol not in answers:
            continue
        index = answers[token.symbol].value
        for wallet in wallets:
            scaled, balance = (answers[f"{token.symbol}:{wallet}:{f}"].value for f in ("scaledBalanceOf", "balanceOf"))
            if None in (index, scaled, balance):
                yield f"{token.symbol} of {wallet} could not be checked"
            elif difference := rounding_difference(token.kind, scaled, index, balance, revision):
                yield f"{token.symbol} of {wallet}: balanceOf is {difference} units beside scaled × index"
