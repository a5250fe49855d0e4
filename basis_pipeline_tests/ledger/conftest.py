"""Fixtures of the ledger tests: every test that takes ``ledger_url`` runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from basis_pipeline.ledger import checkpoints
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import at
from basis_pipeline_tests.domain.conftest import IN_CI
from basis_pipeline_tests.ledger.builders import FUND, terms

# Each example writes to a real database; all examples of a test share it, each in a portfolio of its own.
settings.register_profile(
    "ledger",
    deadline=None,
    derandomize=IN_CI,
    print_blob=True,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Clock:
    """A clock that moves on by a second whenever it is read."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.db")
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """A ledger in which the portfolio ``fund`` starts with 1,000 USDT in the wallet."""
    with Ledger(ledger_url, clock=Clock(at(1_000_000))) as opened:
        opened.register(terms(FUND))
        yield opened


@pytest.fixture
def dense_checkpoints(monkeypatch: pytest.MonkeyPatch) -> int:
    """Checkpoints after so few entries that small histories have many of them."""
    monkeypatch.setattr(checkpoints, "INTERVAL", 3)
    return 3
