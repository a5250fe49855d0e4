"""equity, positions, sql."""

from __future__ import annotations

import csv
import io
import json
import shutil
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline_tests.cli.builders import Basis, market_data, write_config

LAST_HOUR = "2024-05-13T23:00:00Z"


@pytest.fixture
def published(books: Basis) -> Basis:
    books("rebuild")
    return books


def test_equity_is_the_newest_hour_exact_in_json(published: Basis) -> None:
    [row] = published.rows("equity")
    held = Decimal(948900) + Decimal("1.1") * 1000 + Decimal("49999.5") + 2 * Decimal(3047)
    assert (row["portfolio"], row["share_class"], row["as_of"]) == ("lending", "USDT", LAST_HOUR)
    assert Decimal(row["total_equity"]) == Decimal(row["nav"]) == held
    assert row["debts"] == "0"


def test_equity_at_an_instant_is_the_newest_hour_up_to_it(published: Basis) -> None:
    [row] = published.rows("equity", "--at", "2024-05-12T09:59:59Z")
    assert (row["as_of"], Decimal(row["nav"])) == ("2024-05-12T09:00:00Z", Decimal(1000000))


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("venue", {"aave": "1100", "okx": "49999.5", "wallet": "954994"}),
        ("asset", {"aUSDT": "1100", "USDT": "998899.5", "ETH": "6094"}),
        ("underlying", {"USDT": "999999.5", "ETH": "6094"}),
    ],
)
def test_a_breakdown_adds_up_to_total_equity(published: Basis, by: str, expected: dict[str, str]) -> None:
    rows = published.rows("equity", "--by", by)
    name = "token" if by == "asset" else by
    assert {row[name]: row["value"] for row in rows} == expected
    [total] = published.rows("equity")
    assert sum(Decimal(row["value"]) for row in rows) == Decimal(total["total_equity"])
    values = [abs(Decimal(row["value"])) for row in rows]
    assert values == sorted(values, reverse=True)


def test_a_table_is_rounded_and_leaves_out_what_is_nothing(published: Basis) -> None:
    head, _, row = published("equity").stdout.splitlines()
    assert head.split() == [
        "portfolio",
        "share_class",
        "as_of",
        "total_equity",
        "assets",
        "debts",
        "unrealized_pnl",
        "nav",
    ]
    assert row.split()[3:] == ["1,006,093.50", "1,006,093.50", "0.00", "0.00", "1,006,093.50"]


def test_csv_has_every_digit(published: Basis) -> None:
    published("record", "GAS_FEE_PAID", "wallet:ETH=-0.000000000000000001")
    read = list(csv.DictReader(io.StringIO(published("positions", "-f", "csv").stdout)))
    assert {row["name"]: row["amount"] for row in read if row["venue"] == "wallet"}["ETH"] == "1.999999999999999999"


def test_books_that_were_never_materialized_say_so(books: Basis) -> None:
    done = books("equity", "--format", "json")
    assert json.loads(done.stdout) == []
    assert "run `basis materialize`" in done.stderr


def test_an_unknown_portfolio_is_refused_with_those_there_are(published: Basis) -> None:
    for command in ("equity", "positions"):
        assert "is not in the ledger; it holds lending" in published(command, "-p", "nonsense", code=1).stderr


def test_positions_need_nothing_materialized_and_may_be_of_any_time(books: Basis) -> None:
    rows = books.rows("positions", "--at", "2024-05-12T10:00:00Z")
    assert {(row["as_of"], row["name"], row["amount"]) for row in rows} == {
        ("2024-05-12T10:00:00Z", "USDT", "1000000"),
        ("2024-05-12T10:00:00Z", "ETH", "2"),
    }


def test_positions_show_all_portfolios_or_one(books: Basis) -> None:
    write_config(books.home, ["lending", "staking"])
    assert {row["portfolio"] for row in books.rows("positions")} == {"lending", "staking"}
    assert {row["portfolio"] for row in books.rows("positions", "-p", "staking")} == {"staking"}


def test_a_home_that_was_moved_answers_at_its_new_place(published: Basis, tmp_path: Path) -> None:
    moved = Basis(tmp_path / "elsewhere")
    shutil.move(published.home, moved.home)
    assert moved.rows("equity")[0]["as_of"] == LAST_HOUR
    assert moved.rows("sql", "SELECT count(*) AS n FROM equity_snapshots") == [{"n": 48}]


def test_sql_keeps_decimals_exact_and_times_in_utc(published: Basis) -> None:
    query = "SELECT as_of, sum(value) AS total, 0.5::DOUBLE AS half, NULL AS none FROM equity_positions GROUP BY as_of"
    [row] = published.rows("sql", f"{query} ORDER BY as_of DESC LIMIT 1")
    assert row == {"as_of": LAST_HOUR, "total": "1006093.5", "half": 0.5, "none": None}


def test_sql_reads_a_query_from_standard_input_and_prints_any_number_of_rows(published: Basis) -> None:
    lines = published("sql", "SELECT unnest(range(12000)) AS n", "-f", "csv").stdout.splitlines()
    assert (lines[0], lines[1], lines[-1], len(lines)) == ("n", "0", "11999", 12001)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("DROP VIEW prices", "nothing is changed here (found: DROP)"),
        ("COPY prices TO 'x.csv'", "nothing is changed here (found: COPY)"),
        ("SELECT 1; SELECT 2", "one query is answered at a time"),
        ("", "found: nothing"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nonsense", "nonsense does not exist"),
    ],
)
def test_sql_refuses_with_a_message(published: Basis, query: str, message: str) -> None:
    assert message in published("sql", query, code=1).stderr


def test_a_home_without_market_data_names_the_setting(tmp_path: Path) -> None:
    basis = Basis(tmp_path / "data")
    write_config(basis.home, market_data=None)
    assert "market_data: is missing" in basis("equity", code=1).stderr
    assert basis.rows("positions")[0]["amount"] == "1000000"
    assert "in order" in basis("verify").stdout
    market_data(basis.home / "market")
