from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from basis_pipeline.domain.errors import LedgerError
from basis_pipeline.ledger.database import SCHEMA_REVISION, open_engine, prepare, sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.schema import metadata
from basis_pipeline_tests.ledger.builders import FUND, deposits, ids, terms


def test_the_migrations_lead_to_the_declared_schema(ledger_url: str) -> None:
    with Ledger(ledger_url) as ledger, ledger.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == SCHEMA_REVISION


def test_opening_again_changes_nothing(ledger: Ledger, ledger_url: str) -> None:
    ledger.append_many(FUND, deposits(2))
    prepare(ledger.engine)
    with Ledger(ledger_url) as again:
        assert ids(again) == ids(ledger)


def test_a_ledger_of_a_newer_version_is_refused_with_what_to_do(ledger: Ledger, ledger_url: str) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match="schema 9999 was written by a newer version of basis-pipeline; upgrade"):
        Ledger(ledger_url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "is not a database URL"),
        ("mysql://localhost/x", "mysql is not supported; use SQLite or PostgreSQL"),
        ("sqlite:////no/such/directory/ledger.db", "cannot be used"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_opened_is_an_error_without_its_password(url: str, why: str) -> None:
    with pytest.raises(LedgerError, match=why) as refused:
        Ledger(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(LedgerError, match="ledger: "):
        Ledger(sqlite_url(tmp_path / "ledger.db"))


def test_sqlite_keeps_a_write_ahead_log_and_syncs_every_commit(tmp_path: Path) -> None:
    engine = open_engine(sqlite_url(tmp_path / "ledger.db"))
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        foreign_keys = connection.exec_driver_sql("PRAGMA foreign_keys").scalar()
    engine.dispose()
    assert (found, foreign_keys) == (["wal", 2], 1)


def test_a_path_with_odd_characters_is_a_path(tmp_path: Path) -> None:
    directory = tmp_path / "a b%20?#é&;"
    directory.mkdir()
    with Ledger(sqlite_url(directory / "ledger.db")) as ledger:
        ledger.register(terms())
    assert (directory / "ledger.db").is_file()
