"""Fixtures that several rooms share: the shared data and a real PostgreSQL.

What a machine lacks is skipped visibly, with what to do about it. Continuous integration forbids the skip
(``BASIS_REQUIRE_SHARED``, ``BASIS_REQUIRE_POSTGRES``), so that it cannot pass by not looking.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from sqlalchemy import URL

ROOT = Path(__file__).resolve().parent.parent
_database_numbers = count(1)


def pytest_configure() -> None:
    """Behind `nohup` or `&` Ctrl-C is ignored, also by every process that a test starts and wants to interrupt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _unavailable(reason: str, required_by: str) -> NoReturn:
    if os.environ.get(required_by):
        pytest.fail(f"{reason} ({required_by} is set)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory with the shared journals, market data and expected equity."""
    path = Path(os.environ.get("BASIS_SHARED") or ROOT.parent / "shared")
    if not (path / "journals").is_dir():
        _unavailable(f"shared data not found at {path}; set BASIS_SHARED", "BASIS_REQUIRE_SHARED")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a PostgreSQL server's own database: ``BASIS_TEST_POSTGRES``, or a server started for this session."""
    from sqlalchemy import make_url

    if given := os.environ.get("BASIS_TEST_POSTGRES"):
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    if importlib.util.find_spec("pgserver") is None:
        _unavailable(
            "no PostgreSQL: the pgserver wheel exists for Python 3.11 and 3.12 only; "
            "set BASIS_TEST_POSTGRES to the URL of a server",
            "BASIS_REQUIRE_POSTGRES",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, unset outside a login session
        import pgserver

    # Not below pytest's own temporary directory, whose mode keeps out the user that the server runs as.
    with tempfile.TemporaryDirectory(prefix="basis-postgres-") as directory:
        server = pgserver.get_server(directory, cleanup_mode="stop")
        try:
            yield make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        finally:
            server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """The SQLAlchemy URL of an empty PostgreSQL database, dropped after the test."""
    import sqlalchemy as sa

    name = f"basis_test_{os.getpid()}_{next(_database_numbers)}"
    engine = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    try:
        yield postgres_server.set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
