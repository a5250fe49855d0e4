"""Wallets on Ethereum through web3: one pinned block, one call for everything that is read of it.

``nodes`` speaks JSON-RPC and keeps URLs secret, ``abi`` encodes calls and Multicall3, ``contracts`` finds Aave's
contracts and checks what the registry says of them, ``batch`` says what is read and what the answers mean, ``queues``
knows the exit queues of Lido and EtherFi, ``feeds`` Chainlink's, ``vaults`` what a share of one is redeemed for,
``search`` finds the block of a past moment, ``chain`` puts a reading together, ``reader``, ``quotes`` and ``prices``
are what others use: wallets, market data to be recorded, and the prices of now.
"""

import sys

_recursion_limit = sys.getrecursionlimit()

import web3  # noqa: E402, F401

# A package below web3 raises the limit to 100,000 when it is imported: deeper than the stack, so that an answer with
# brackets without end would end the process instead of being refused.
sys.setrecursionlimit(_recursion_limit)
