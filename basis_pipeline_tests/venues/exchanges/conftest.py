"""The loopback exchanges, fresh for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, exchange_venues


@pytest.fixture
def venues() -> Iterator[ExchangeVenues]:
    """Binance, Bybit and OKX on loopback."""
    with exchange_venues() as running:
        yield running
