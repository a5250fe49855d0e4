"""Real chains for the readers of Ethereum."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_fixtures import chain, ethereum_parts, market
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy, node_proxy

__all__ = ["chain", "ethereum_parts", "market", "node", "other_node"]


@pytest.fixture
def node(chain: AaveChain) -> Iterator[NodeProxy]:
    """The chain's node behind a proxy that can misbehave."""
    with node_proxy(chain.url) as proxy:
        yield proxy


@pytest.fixture
def other_node(chain: AaveChain) -> Iterator[NodeProxy]:
    """A second way to the same chain."""
    with node_proxy(chain.url) as proxy:
        yield proxy
