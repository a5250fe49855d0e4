"""Readers of a test chain, opened and closed around one question."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from basis_pipeline.domain.observations import Account, Reading
from basis_pipeline.venues.ethereum.chain import Chain
from basis_pipeline.venues.ethereum.quotes import ChainQuotes
from basis_pipeline.venues.ethereum.reader import EthereumReader
from basis_pipeline_tests.rigs.ethereum import AaveChain

T = TypeVar("T")


def account(name: str) -> Account:
    """A wallet's account in a portfolio of its own."""
    return Account(name, f"{name}_wallet", "wallet")


def options(chain: AaveChain, *urls: str, **changes: Any) -> dict[str, Any]:
    """How a reader reads the newest block of the chain, by its own node unless others are given."""
    return {
        "registry": chain.registry,
        "rpc_urls": urls or (chain.url,),
        "chain_id": chain.chain_id,
        "block": 0,
        "pool_addresses_provider": chain.addresses["provider"],
        "clock": lambda: chain.now,
        **changes,
    }


def ask(
    chain: AaveChain,
    *urls: str,
    question: Callable[[EthereumReader], Awaitable[T]],
    wallets: Sequence[str] = ("alice",),
    **changes: Any,
) -> T:
    """The answer of a reader of these wallets."""

    async def asked() -> T:
        addresses = {account(name): chain.wallet(name) for name in wallets}
        reader = EthereumReader(addresses, Chain(**options(chain, *urls, **changes)))
        try:
            return await question(reader)
        finally:
            await reader.close()
            await reader.close()

    return asyncio.run(asked())


def read(chain: AaveChain, *urls: str, **changes: Any) -> Reading:
    """What a fresh reader reads of alice's wallet."""
    (reading,) = ask(chain, *urls, question=lambda reader: reader.read(), **changes)
    return reading


def ask_quotes(chain: AaveChain, question: Callable[[ChainQuotes], Awaitable[T]], *urls: str, **changes: Any) -> T:
    """The answer of a source of the chain's quotes."""

    async def asked() -> T:
        quotes = ChainQuotes(Chain(**options(chain, *urls, **changes)))
        try:
            return await question(quotes)
        finally:
            await quotes.close()

    return asyncio.run(asked())
