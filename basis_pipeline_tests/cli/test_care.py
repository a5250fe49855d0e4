"""verify and backup."""

from __future__ import annotations

import json
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from basis_pipeline_tests.cli.builders import Basis, funding, market_data, write_config, write_journal


@pytest.fixture
def published(books: Basis) -> Basis:
    books("rebuild")
    return books


def change_ledger(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "ledger.db")) as connection, connection:
        connection.execute(statement)


def test_books_in_order_are_told_with_their_size(published: Basis) -> None:
    assert published("verify").stdout.splitlines() == ["ledger: 4 entries, in order", "warehouse: 16 files, in order"]


def test_a_changed_entry_is_named(published: Basis) -> None:
    change_ledger(published.home, "UPDATE entries SET reverses = 'x' WHERE entry_id = 'lend-1'")
    done = published("verify", code=3)
    assert "ledger: lending entry 3 (lend-1): its content was changed after it was recorded" in done.stdout


def test_a_changed_a_missing_and_an_unshown_file_are_named(published: Basis) -> None:
    changed, missing = sorted((published.home / "warehouse" / "equity_snapshots").glob("2024*.parquet"))
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    missing.unlink()
    (published.home / "basis.duckdb").unlink()
    lines = published("verify", code=3).stdout.splitlines()
    assert f"warehouse: equity_snapshots/{changed.name}: its content is not the one that was published" in lines
    assert f"warehouse: equity_snapshots/{missing.name}: missing" in lines
    assert "catalogue: basis.duckdb does not show what is published; any command that reads mends it" in lines
    published("rebuild")
    published("verify")


def test_a_deleted_warehouse_is_told_without_filling_pages(published: Basis) -> None:
    for file in published.home.glob("warehouse/*/2024*.parquet"):
        file.unlink()
    assert "warehouse: 16 files damaged; `basis rebuild` writes them anew" in published("verify", code=3).stdout


def test_of_many_problems_the_first_are_listed_and_the_rest_counted(books: Basis, tmp_path: Path) -> None:
    books("import", write_journal(tmp_path / "many.jsonl", funding(60)))
    change_ledger(books.home, "UPDATE entries SET reverses = 'x'")
    lines = books("verify", code=3).stdout.splitlines()
    assert lines[0] == "ledger: 64 entries, 64 problems"
    assert lines[-1] == "... and 14 problems more of this kind"


def test_for_machines_every_problem_is_a_row(books: Basis, tmp_path: Path) -> None:
    in_order = books("verify", "--format", "json")
    assert json.loads(in_order.stdout) == []
    assert "ledger: 4 entries, in order" in in_order.stderr
    books("import", write_journal(tmp_path / "many.jsonl", funding(60)))
    change_ledger(books.home, "UPDATE entries SET reverses = 'x'")
    rows = json.loads(books("verify", "--format", "json", code=3).stdout)
    changed = "lending entry 3 (lend-1): its content was changed after it was recorded"
    assert len(rows) == 64
    assert {"area": "ledger", "problem": changed} in rows
    lines = books("verify", "--format", "csv", code=3).stdout.splitlines()
    assert (lines[0], len(lines)) == ("area,problem", 65)


def test_market_data_is_looked_through_when_asked(published: Basis) -> None:
    market_data(published.home / "market", hours=3)
    assert "market data: " in published("verify", "--market").stdout


def test_a_backup_restores_to_the_same_books(published: Basis, tmp_path: Path) -> None:
    archive = tmp_path / "books.tar.gz"
    assert "4 entries of 1 portfolio," in published("backup", archive).stdout
    with tarfile.open(archive) as packed:
        assert packed.getnames() == ["ledger.db", "basis.yaml"]
        packed.extractall(tmp_path / "restored", filter="data")
    restored = Basis(tmp_path / "restored")
    market_data(restored.home / "market")
    restored("rebuild")
    restored("verify")
    assert restored.rows("positions") == published.rows("positions")
    assert restored.rows("equity") == published.rows("equity")
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_a_backup_never_overwrites(books: Basis, tmp_path: Path) -> None:
    archive = tmp_path / "books.tar.gz"
    archive.write_text("precious")
    assert "exists already" in books("backup", archive, code=1).stderr
    assert archive.read_text() == "precious"


def test_a_backup_of_a_broken_ledger_is_not_kept(books: Basis, tmp_path: Path) -> None:
    change_ledger(books.home, "UPDATE entries SET reverses = 'x' WHERE entry_id = 'lend-1'")
    done = books("backup", tmp_path / "books.tar.gz", code=1)
    assert "no backup was kept" in done.stderr
    assert "lend-1" in done.stderr
    assert [path.name for path in tmp_path.iterdir() if "books" in path.name] == []


def test_a_backup_into_no_directory_is_one_line(books: Basis, tmp_path: Path) -> None:
    done = books("backup", tmp_path / "none" / "books.tar.gz", code=1)
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.integration
def test_a_ledger_in_postgresql_is_copied_by_its_own_tool_and_no_password_is_shown(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sqlalchemy as sa

    url = sa.make_url(postgres_url).set(password="hush")
    monkeypatch.setenv("BASIS_LEDGER__URL", url.render_as_string(hide_password=False))
    basis = Basis(tmp_path / "data")
    write_config(basis.home)
    done = basis("backup", tmp_path / "books.dump", code=1)
    assert "pg_dump --host=" in done.stderr
    assert f"--file={tmp_path / 'books.dump'} {url.database}" in done.stderr
    assert "hush" not in done.output
