"""Opening the ledger's database: SQLite by default, PostgreSQL by URL, with the schema brought up to date.

SQLite runs in WAL mode with full sync: readers never wait for the writer, a commit that returned survives power
loss, and a write transaction takes its lock at the start (BEGIN IMMEDIATE), so two processes queue instead of failing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from basis_pipeline.domain.errors import LedgerBusyError, LedgerError

DATABASE_FAILURES: tuple[type[Exception], ...] = (SQLAlchemyError, sqlite3.Error)
"""What a database raises; for those whose database is not the ledger, as Dagster's."""
BUSY_TIMEOUT_MS = 60_000
SCHEMA_REVISION = "0003"
_SET_UP_LOCK = 0x62617369
"""Key of PostgreSQL's advisory lock that lets one process set something up at a time ("basi")."""


def sqlite_url(path: Path) -> str:
    """The URL of a SQLite ledger file."""
    # Quoted: the URL would end at a '?', and "%20" be read as a space, so that the ledger would be another file.
    return sa.URL.create("sqlite", database=str(path)).render_as_string()


def open_engine(url: str) -> Engine:
    """An engine for the ledger's URL; no connection is made yet.

    A bare ``postgresql://`` is read as psycopg 3, the driver the product installs.
    """
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise LedgerError("ledger.url: is not a database URL; use sqlite:///FILE or postgresql+psycopg://...") from None
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise LedgerError(f"ledger.url: {parsed.get_backend_name()} is not supported; use SQLite or PostgreSQL")
    # A server or a firewall between ends connections that were idle: asked first, they are replaced and fail nobody.
    engine = sa.create_engine(parsed, pool_pre_ping=parsed.get_backend_name() == "postgresql")
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we emit BEGIN ourselves
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    # On the driver's connection: a statement through SQLAlchemy would cost more than SQLite's own work here.
    driver: Any = connection.connection.driver_connection
    if not options.get("writing", False):
        driver.execute("BEGIN")
    elif options.get("wait", True):
        driver.execute("BEGIN IMMEDIATE")
    else:
        driver.execute("PRAGMA busy_timeout=0")
        try:
            driver.execute("BEGIN IMMEDIATE")
        finally:
            driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")


@contextmanager
def writing(engine: Engine, *, wait: bool = True) -> Iterator[Connection]:
    """A write transaction: committed and durable when the block ends, rolled back whole when it raises.

    Without ``wait``, ``LedgerBusyError`` at once where SQLite has another writer; PostgreSQL is waited for.
    """
    with translated(), engine.connect().execution_options(writing=True, wait=wait) as connection, connection.begin():
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction with one consistent view; it never blocks a writer."""
    with translated(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Database failures as ``LedgerError`` with what to do, without the statement's parameters."""
    try:
        yield
    except (OperationalError, sqlite3.OperationalError) as error:  # the latter from BEGIN, which we emit ourselves
        reason = str(getattr(error, "orig", error))
        if "full" in reason or "No space" in reason:
            raise LedgerError(
                f"ledger: the disk is full ({reason}); nothing was written. Free space and run again"
            ) from error
        if "locked" in reason:
            raise LedgerBusyError(
                f"ledger: another process held the database too long ({reason}); run again"
            ) from error
        raise LedgerError(
            f"ledger: the database cannot be used ({reason}); check that it is there, writable and its disk not full"
        ) from error
    except (DBAPIError, sqlite3.Error) as error:
        raise LedgerError(f"ledger: the database refused the operation ({getattr(error, 'orig', error)})") from error
    except SQLAlchemyError as error:
        raise LedgerError(f"ledger: {error}") from error


def wait_for_others(connection: Connection) -> None:
    """Until the transaction ends, no other one sets up what does not exist yet. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SET_UP_LOCK})


def prepare(engine: Engine) -> None:
    """Create the schema or migrate it; refuse a database written by a newer version of the product."""
    with reading(engine) as connection:
        revision = _revision(connection)
    if revision != SCHEMA_REVISION:
        migrate(engine, revision)


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def migrate(engine: Engine, revision: str | None) -> None:
    """Run the migrations from ``revision`` on, in one transaction."""
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise LedgerError(
            f"ledger: schema {revision} was written by a newer version of basis-pipeline; "
            "upgrade the product to open this ledger"
        )
    with writing(engine) as connection:
        wait_for_others(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
