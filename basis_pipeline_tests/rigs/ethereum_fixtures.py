"""The test chain as pytest fixtures, for every room that needs one.

A machine without npm skips visibly; ``BASIS_REQUIRE_RIGS`` turns the skip into a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from basis_pipeline_tests.rigs.ethereum import VERSIONS, AaveChain, RigUnavailable, aave_chain
from basis_pipeline_tests.rigs.ethereum_build import parts

START = datetime(2025, 3, 1, tzinfo=UTC)
"""Where the chains of the fixtures begin."""


@pytest.fixture(scope="session")
def ethereum_parts() -> None:
    """Everything that a chain is built from is there."""
    try:
        parts()
    except RigUnavailable as lacking:
        if os.environ.get("BASIS_REQUIRE_RIGS"):
            pytest.fail(f"{lacking} (BASIS_REQUIRE_RIGS is set)", pytrace=False)
        pytest.skip(str(lacking))


@pytest.fixture
def chain(ethereum_parts: None) -> Iterator[AaveChain]:
    """A fresh chain with the newer market."""
    with aave_chain("v3.6", start=START) as running:
        yield running


@pytest.fixture(params=VERSIONS)
def market(request: pytest.FixtureRequest, ethereum_parts: None) -> Iterator[AaveChain]:
    """A fresh chain with each of the markets."""
    with aave_chain(request.param, start=START) as running:
        yield running
