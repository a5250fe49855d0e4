"""The loopback exchanges at a simulated time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, exchange_venues
from basis_pipeline_tests.venues.quotes.builders import NOW


@pytest.fixture
def venues() -> Iterator[ExchangeVenues]:
    """Binance, Bybit and OKX at half past ten."""
    with exchange_venues(lambda: NOW) as running:
        yield running
