"""A ledger with two portfolios for the tests of the steps."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline_tests.builders import START


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """``book`` starts with 1,000 USDT, ``other`` with 10 ETH."""
    with Ledger(sqlite_url(tmp_path / "ledger.db")) as opened:
        opened.register(Terms("book", "USDT", Decimal(1000), START))
        opened.register(Terms("other", "ETH", Decimal(10), START))
        yield opened
