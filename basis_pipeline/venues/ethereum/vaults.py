"""Shares of a vault, KING, by what the vault itself says that one is redeemed for: never a ratio of our own."""

from __future__ import annotations

from basis_pipeline.domain.quotes import Basket, Unavailable
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.venues.ethereum.abi import Call
from basis_pipeline.venues.ethereum.batch import exact
from basis_pipeline.venues.ethereum.chain import Snapshot
from basis_pipeline.venues.ethereum.contracts import tokens_on_chain

SHARES = ("KING",)
_TOKENS_AMOUNTS_FEE = ("address[]", "uint256[]", "uint256")


def calls(registry: Registry) -> dict[str, Call]:
    """What is asked for each share that the registry has an address of: one whole share, its fee deducted."""
    return {
        token.symbol: Call(str(token.address), "previewRedeem(uint256)", (10**token.decimals,), _TOKENS_AMOUNTS_FEE)
        for token in tokens_on_chain(registry)
        if token.symbol in SHARES
    }


def name(share: str) -> str:
    """Under which the answer is found in a reading."""
    return f"vault:{share}"


def basket(share: str, registry: Registry, snapshot: Snapshot) -> Basket | Unavailable:
    """What one share is redeemed for, without the tokens of which that is nothing."""
    answer = snapshot.answers[name(share)]
    if answer.values is None:
        return Unavailable(share, (answer.problem,))
    addresses, units, _ = answer.values
    if len(addresses) != len(units) or len(set(addresses)) != len(addresses):
        return Unavailable(
            share, (f"{answer.call.signature} of {answer.call.target} does not tell one amount a token",)
        )
    by_address = {str(token.address).lower(): token for token in tokens_on_chain(registry)}
    held = {address.lower(): amount for address, amount in zip(addresses, units, strict=True) if amount}
    unknown = sorted(address for address in held if address not in by_address)
    if unknown:
        reason = f"its vault holds {', '.join(unknown)}, not registered; register it under `tokens:` in basis.yaml"
        return Unavailable(share, (reason,))
    tokens = {address: by_address[address] for address in held}
    return Basket(
        {tokens[address].symbol: exact(amount, tokens[address].decimals) for address, amount in held.items()},
        snapshot.block.time,
    )
