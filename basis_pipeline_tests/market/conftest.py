"""Fixtures of the market tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import Routing
from basis_pipeline_tests.market.builders import NO_RESERVES, PRICE_NAMES, RESERVE_NAMES, Build, Price, Reserve, write


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """A history over files in the test's own directory."""

    def make(
        price_rows: Iterable[Price],
        reserve_rows: Iterable[Reserve] = NO_RESERVES,
        routing: Routing | None = None,
        suffix: str = ".parquet",
    ) -> MarketHistory:
        write(tmp_path, "prices", PRICE_NAMES, list(price_rows), suffix)
        write(tmp_path, "aave_reserve_hourly", RESERVE_NAMES, list(reserve_rows), suffix)
        return MarketHistory(tmp_path, routing)

    return make
