"""materialize and rebuild."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from basis_pipeline_tests.cli.builders import (
    Basis,
    change,
    market_data,
    needs_dagster_runs,
    update,
    write_config,
    write_journal,
)

ALL_ROWS = "SELECT * FROM equity_positions ORDER BY ALL"


def warehouse(basis: Basis) -> list[dict[str, Any]]:
    return basis.rows("sql", ALL_ROWS)


def test_rebuild_covers_every_day_and_says_what_it_wrote(books: Basis) -> None:
    done = books("rebuild")
    assert "equity_snapshots: 48 rows" in done.stdout
    assert "2024-05-12 to 2024-05-13 (2 days) rebuilt in " in done.stdout


def test_rebuild_of_one_day_leaves_the_others_as_they_are(books: Basis) -> None:
    books("rebuild", "--from", "2024-05-13")
    assert books.rows("sql", "SELECT count(*) AS n FROM equity_snapshots") == [{"n": 24}]
    books("rebuild", "--to", "2024-05-12")
    assert books.rows("sql", "SELECT count(*) AS n FROM equity_snapshots") == [{"n": 48}]


def test_a_clean_rebuild_deletes_every_file_and_makes_the_same_rows(books: Basis) -> None:
    books("rebuild")
    before = warehouse(books)
    files = {path: path.stat().st_ino for path in books.home.glob("warehouse/*/2024*.parquet")}
    stray = next(iter(files)).with_name("2024-05-20-0123456789abcdef.parquet")
    stray.write_bytes(b"")
    books("rebuild", "--clean")
    assert warehouse(books) == before
    assert not stray.exists()
    assert "in order" in books("verify").stdout


def test_a_clean_rebuild_is_of_everything(books: Basis) -> None:
    assert "leave out --from" in books("rebuild", "--clean", "--from", "2024-05-12", code=2).output


def test_what_cannot_be_valued_is_listed_and_the_rest_is_published(books: Basis, tmp_path: Path) -> None:
    gift = update("gift", 26, "DEPOSIT", change("wallet", "EIGEN", "5"))
    books("import", write_journal(tmp_path / "gift.jsonl", [gift]))
    done = books("rebuild", code=3)
    assert "lending: EIGEN has no usable price from 2024-05-13T02:00:00Z" in done.stderr
    assert books.rows("sql", "SELECT max(as_of) AS t FROM equity_snapshots") == [{"t": "2024-05-12T23:00:00Z"}]


def test_days_the_wrong_way_round_are_refused(books: Basis) -> None:
    done = books("rebuild", "--from", "2024-05-13", "--to", "2024-05-12", code=1)
    assert "the last day 2024-05-12 is before the first day 2024-05-13" in done.stderr


@pytest.mark.parametrize("day", ["12.05.2024", "2024-13-01", "yesterday"])
def test_a_day_that_is_none_is_wrong_usage(books: Basis, day: str) -> None:
    assert "is not a day" in books("rebuild", "--from", day, code=2).output


def test_a_home_without_portfolios_says_so(tmp_path: Path) -> None:
    basis = Basis(tmp_path / "data")
    write_config(basis.home, [])
    market_data(basis.home / "market")
    assert "portfolios: none are configured" in basis("rebuild", code=1).stderr


@needs_dagster_runs
@pytest.mark.slow
class TestThroughDagster:
    def test_it_makes_the_rows_that_rebuild_makes(self, books: Basis) -> None:
        done = books("materialize")
        assert "2024-05-12 to 2024-05-13 (2 days) materialized in " in done.stdout
        through_dagster = warehouse(books)
        books("rebuild", "--clean")
        assert warehouse(books) == through_dagster
        assert len(through_dagster) > 48

    def test_stale_means_what_entries_touched_or_nobody_made(self, books: Basis, tmp_path: Path) -> None:
        assert "2024-05-12 to 2024-05-13 (2 days) materialized" in books("materialize", "--stale").stdout
        assert books("materialize", "--stale").stdout == "Every day is materialized and current.\n"
        late = update("late", 25, "DEPOSIT", change("wallet", "ETH", "1"))
        books("import", write_journal(tmp_path / "late.jsonl", [late]))
        assert "2024-05-13 to 2024-05-13 (1 day) materialized" in books("materialize", "--stale").stdout
        assert books("materialize", "--stale").stdout == "Every day is materialized and current.\n"

    def test_a_day_that_cannot_be_completed_is_told_and_ends_with_3(self, books: Basis, tmp_path: Path) -> None:
        gift = update("gift", 26, "DEPOSIT", change("wallet", "EIGEN", "5"))
        books("import", write_journal(tmp_path / "gift.jsonl", [gift]))
        done = books("materialize", code=3)
        assert "lending: EIGEN has no usable price from 2024-05-13T02:00:00Z" in done.stderr
        assert "not complete" in done.stdout
