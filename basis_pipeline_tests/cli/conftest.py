"""Fixtures of the command line's tests: real homes in a temporary directory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from basis_pipeline_tests.cli.builders import JOURNAL, Basis, market_data, write_config, write_journal


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("BASIS_HOME", "BASIS_CONFIG", "BASIS_LOG", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    root, own = logging.getLogger(), logging.getLogger("basis_pipeline")
    handlers, level, own_level = root.handlers[:], root.level, own.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    own.setLevel(own_level)


@pytest.fixture
def empty_books(tmp_path: Path) -> Basis:
    """A home with market data and the portfolio `lending`, to which nothing has happened yet."""
    home = tmp_path / "data"
    write_config(home)
    market_data(home / "market")
    return Basis(home)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Three updates of `lending`: ETH arrives, USDT is lent, USDT moves to OKX."""
    return write_journal(tmp_path / "journal.jsonl", JOURNAL)


@pytest.fixture
def books(empty_books: Basis, journal: Path) -> Basis:
    """The same home with that journal in its ledger."""
    empty_books("import", journal)
    return empty_books
