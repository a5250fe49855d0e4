"""`basis watch`: equity now, what changes of it, and what drift is worth."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from basis_pipeline.cli import exits
from basis_pipeline_tests.cli.builders import ROOT, Basis, environment, write_config
from basis_pipeline_tests.homes import ask, terms
from basis_pipeline_tests.live_homes import ACCOUNT, CAPITAL, PART, PORTFOLIO, LiveHome, hours_ago, live_home

USDT_AT_A_DOLLAR = {"routes": {"USDT": ["binance:USDTUSD:spot"], "ETH": ["binance:ETHUSDT:spot"]}}


@contextmanager
def watching(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``basis watch`` as a process, which is interrupted at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "basis_pipeline", "--home", str(home), "watch", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        assert process.returncode == exits.INTERRUPTED
        assert "interrupted" in said
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def test_once_is_the_equity_that_is_published_for_the_last_hour(books: Basis) -> None:
    books("rebuild")
    columns = "total_equity, assets, debts, unrealized_pnl, in_transit, locked, nav, ledger_sequence"
    [published] = ask(books.home, f"SELECT share_class, {columns} FROM equity_latest")
    [row] = books.rows("watch", "--once")
    assert (row["portfolio"], row["as_of"]) == ("lending", "2024-05-13T23:00:00Z")
    assert row["share_class"] == published[0]
    found = [row[name] for name in columns.split(", ")]
    assert [Decimal(value) for value in found] == list(published[1:])
    [printed] = csv.DictReader(io.StringIO(books("watch", "--once", "--format", "csv").stdout))
    assert printed == {name: str(value) for name, value in row.items()}
    assert "1,006,093.50" in books("watch", "--once").stdout


def test_once_shows_what_can_be_valued_and_says_what_cannot(books: Basis) -> None:
    write_config(books.home, ("lending", "staking"))
    books("record", "DEPOSIT", "wallet:EIGEN=5", "--at", "2024-05-12T12:00:00Z", "--portfolio", "lending")
    done = books("watch", "--once", "--format", "csv", code=exits.ERROR)
    assert [row["portfolio"] for row in csv.DictReader(io.StringIO(done.stdout))] == ["staking"]
    assert "lending: no price of EIGEN at 2024-05-13T23:00:00Z" in done.stderr
    alone = books("watch", "--once", "--portfolio", "lending", code=exits.ERROR)
    assert alone.stdout == ""


def test_following_tells_a_change_at_once_and_what_is_too_small_only_if_asked_to(books: Basis) -> None:
    with watching(books.home) as enough, watching(books.home, "--all", "--format", "json") as every:
        assert line(enough) == "2024-05-13T23:00:00Z lending 1,006,093.50 USDT nav 1,006,093.50 #4"
        assert json.loads(line(every))["ledger_sequence"] == 4
        books("record", "DEPOSIT", "wallet:USDT=7", "--at", "2024-05-13T12:00:00Z")
        assert json.loads(line(every))["total_equity"] == "1006100.5"
        books("record", "DEPOSIT", "wallet:USDT=3000", "--at", "2024-05-13T12:00:00Z")
        assert line(enough) == "2024-05-13T23:00:00Z lending 1,009,100.50 USDT (+3,007.00) nav 1,009,100.50 #6"


def test_following_goes_on_when_equity_cannot_be_told(books: Basis) -> None:
    with watching(books.home, "--interval", "1h", "--format", "csv") as process:
        assert process.stderr is not None
        assert line(process).startswith("portfolio,share_class,as_of,total_equity")
        assert line(process).startswith("lending,USDT,2024-05-13T23:00:00Z,1006093.5,")
        books("record", "DEPOSIT", "wallet:EIGEN=5", "--at", "2024-05-13T12:00:00Z", "--id", "unpriced")
        said = (text for text in process.stderr if "EIGEN" in text)
        assert next(said).startswith("lending: no price of EIGEN at 2024-05-13T23:00:00Z")
        books("reverse", "unpriced")
        books("record", "WITHDRAWAL", "wallet:USDT=-2000", "--at", "2024-05-13T12:00:00Z")
        assert line(process).startswith("lending,USDT,2024-05-13T23:00:00Z,1004093.5,")


def test_following_ends_when_nobody_reads_any_more(books: Basis) -> None:
    with watching_pipe(books.home) as process:
        assert process.stdout is not None
        process.stdout.close()
        books("record", "DEPOSIT", "wallet:USDT=70000", "--at", "2024-05-13T12:00:00Z")
        assert process.wait(timeout=20) == exits.READER_GONE


@contextmanager
def watching_pipe(home: Path) -> Iterator[subprocess.Popen[str]]:
    """``basis watch`` whose first line was read."""
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home), "watch"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
    try:
        assert line(process)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("text", ["soon", "0s", "-1s"])
def test_an_interval_that_is_none_is_refused(books: Basis, text: str) -> None:
    said = books("watch", "--interval", text, code=exits.USAGE).output
    assert "duration" in said or "longer than zero" in said


def test_a_backtest_has_no_venues_to_compare_with(books: Basis) -> None:
    assert "venues need `mode: live`" in books("watch", "--drift", code=exits.ERROR).stderr


@pytest.fixture
def fund(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Basis, LiveHome]]:
    """A live home on one exchange, whose USDT is priced by a route of its own."""
    with live_home(tmp_path / "home", monkeypatch, prices=USDT_AT_A_DOLLAR) as home:
        home.venues.set_price("USDTUSD", "0.999")
        yield Basis(home.path), home


def test_live_equity_is_valued_at_the_prices_of_now(fund: tuple[Basis, LiveHome]) -> None:
    basis, _ = fund
    [row] = basis.rows("watch", "--once")
    assert (row["total_equity"], row["nav"], row["ledger_sequence"]) == ("10000", "10000", 2)


def test_no_drift_is_said_and_ends_well(fund: tuple[Basis, LiveHome]) -> None:
    basis, _ = fund
    done = basis("watch", "--drift")
    assert done.stdout == ""
    assert f"{PORTFOLIO}: drift is worth 0.00 of 10,000.00 USDT" in done.stderr
    assert basis.rows("watch", "--drift") == []


def test_drift_is_told_by_venue_and_asset_with_its_value(fund: tuple[Basis, LiveHome]) -> None:
    basis, home = fund
    home.account.add(PART, "USDT", "-12.34")
    home.account.set_balance(PART, "ETH", "0.5")
    done = basis("watch", "--drift", "--format", "json", code=exits.FINDINGS)
    ether, tether = json.loads(done.stdout)
    assert (ether["venue"], ether["asset"], ether["tracked"], ether["actual"]) == ("binance", "ETH", "0", "0.5")
    assert ether["value"] == "1500"
    assert (tether["asset"], tether["value"]) == ("USDT", "-12.34")
    assert f"{PORTFOLIO}: drift is worth 1,487.66 of 10,000.00 USDT" in done.stderr


def test_a_perpetual_that_is_not_in_the_ledger_is_drift_even_if_it_is_worth_nothing_yet(
    fund: tuple[Basis, LiveHome],
) -> None:
    basis, home = fund
    home.account.set_position("ETHUSDT-PERP", "-1.5", "3000")
    [row] = json.loads(basis("watch", "--drift", "--format", "json", code=exits.FINDINGS).stdout)
    assert (row["asset"], row["tracked"], row["actual"], row["value"]) == ("ETHUSDT-PERP", "0", "-1.5", "0")


def test_an_account_that_cannot_be_read_is_no_drift(fund: tuple[Basis, LiveHome]) -> None:
    basis, home = fund
    home.venues.fail("/fapi/v3/account", "500")
    said = basis("watch", "--drift", code=exits.ERROR)
    assert f"binance: {ACCOUNT}: " in said.stderr
    assert said.stdout == ""


def test_one_portfolio_that_cannot_be_compared_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unread = {"portfolio": "second", "venue": "binance", "parts": [PART]}
    share = terms("USDT", CAPITAL, hours_ago(3))
    with live_home(tmp_path / "home", monkeypatch, prices=USDT_AT_A_DOLLAR) as home:
        home.venues.set_price("USDTUSD", "0.999")
        settings = yaml.safe_load((home.path / "basis.yaml").read_text(encoding="utf-8"))
        settings["portfolios"]["paper"] = share
        (home.path / "basis.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        basis = Basis(home.path)
        assert "paper: has no accounts to read" in basis("watch", "--drift").stderr
        assert "accounts: paper has none" in basis("watch", "--drift", "--portfolio", "paper", code=exits.ERROR).stderr

        settings["portfolios"]["second"] = share
        settings["accounts"]["second_binance"] = unread
        (home.path / "basis.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        home.account.add(PART, "USDT", "-12.34")
        done = basis("watch", "--drift", "--format", "json", code=exits.ERROR)
        assert [(row["portfolio"], row["value"]) for row in json.loads(done.stdout)] == [(PORTFOLIO, "-12.34")]
        assert "second: binance: second_binance: " in done.stderr
        assert basis("watch", "--drift", "--format", "json", "--portfolio", "second", code=exits.ERROR).stdout == ""


def test_without_portfolios_there_is_nothing_to_watch(tmp_path: Path) -> None:
    write_config(tmp_path, portfolios=())
    basis = Basis(tmp_path)
    assert basis.rows("watch", "--once") == []
    assert "has none yet; add one under `portfolios:`" in basis("watch", code=exits.ERROR).stderr
