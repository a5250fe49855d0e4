"""What was held at each hour: from the portfolio's start on, and once more where something has just ended."""

from __future__ import annotations

from decimal import Decimal

import pytest

from basis_pipeline.steps.ports import DayRange
from basis_pipeline_tests.builders import perp, token, wallet
from basis_pipeline_tests.homes import ask, copy_home, published, rebuild_days
from basis_pipeline_tests.steps.builders import DAYS, happened, hour, new_home, record


def rows(home, table, condition):
    """The rows of a table for a condition, each with the number of hours since the first midnight."""
    found = ask(home, f"SELECT * EXCLUDE portfolio FROM {table} WHERE {condition} ORDER BY ALL")
    return [((row[0] - hour(0).replace(tzinfo=None)).total_seconds() / 3600, *row[1:]) for row in found]


@pytest.mark.parametrize(("start", "first"), [(0, 0), (25, 25), (25.5, 26), (47.5, 48), (95.5, None)])
def test_a_portfolio_has_rows_from_the_first_hour_at_or_after_its_start(tmp_path, start, first):
    home = new_home(tmp_path, {"book": start, "old": 0})
    rebuild_days(home)
    hours = [] if first is None else list(range(first, 96))
    for table in ("wallet_balances", "equity_snapshots", "equity_positions"):
        assert [row[0] for row in rows(home, table, "portfolio = 'book'")] == hours
        assert len(rows(home, table, "portfolio = 'old'")) == 96
    assert ask(home, "SELECT count(*) FROM balance_changes WHERE portfolio = 'book'") == [(1,)]


def test_days_before_any_portfolio_are_published_empty(tmp_path):
    home = new_home(tmp_path, {"book": 60})
    rebuild_days(home, DAYS)
    assert len(published(home)) == 8 * len(DAYS)
    assert ask(home, "SELECT min(as_of) FROM equity_snapshots") == [(hour(60).replace(tzinfo=None),)]


@pytest.fixture
def ended(tmp_path):
    """A wallet token, an exchange balance and a perpetual that end within the second day's last hour."""
    home = new_home(tmp_path)
    record(
        home,
        happened(2, "DEPOSIT", wallet("ETH", "3")),
        happened(2, "VENUE_TRANSFER", wallet("USDT", "-100"), token("bybit", "USDT", "100")),
        happened(
            3.5, "PERP_OPENED", perp("OPEN", "-2", venue="bybit", fill_price="3000"), token("bybit", "USDT", "-1")
        ),
        happened(47.25, "WITHDRAWAL", wallet("ETH", "-3")),
        happened(47.5, "PERP_CLOSED", perp("CLOSE", venue="bybit"), token("bybit", "USDT", "2")),
        happened(47.75, "VENUE_TRANSFER", token("bybit", "USDT", "-101"), wallet("USDT", "101")),
    )
    rebuild_days(home)
    return home


def test_what_has_just_ended_shows_once_with_zero(ended):
    eth = [(n, "ETH", Decimal(3 if n < 48 else 0)) for n in range(2, 49)]
    assert rows(ended, "wallet_balances", "token = 'ETH'") == eth
    exchange = rows(ended, "cex_balances", "venue = 'bybit'")
    assert [row[0] for row in exchange] == list(range(2, 49))
    assert exchange[-1] == (48, "bybit", "USDT", Decimal(0))
    perps = rows(ended, "perp_positions", "true")
    assert [(row[0], row[3]) for row in perps] == [(n, Decimal(-2 if n < 48 else 0)) for n in range(4, 49)]
    assert perps[-1][1:3] == ("bybit", "ETHUSDT-PERP")
    assert perps[-1][4:] == (Decimal(3000), hour(3.5).replace(tzinfo=None), None)


def test_what_has_ended_has_no_line_of_equity(ended):
    assert rows(ended, "equity_positions", "token <> 'USDT' AND as_of >= '2024-05-14'") == []


def test_the_day_alone_knows_what_ended_the_day_before(ended, tmp_path):
    copy = copy_home(ended, tmp_path / "copy")
    whole = published(ended)
    third = list(DAYS)[2]
    for path in (copy / "warehouse").rglob(f"{third}-*"):
        path.unlink()
    rebuild_days(copy, DayRange(third, third))
    assert published(copy) == whole


def test_what_came_and_went_within_an_hour_never_shows(tmp_path):
    home = new_home(tmp_path)
    record(
        home,
        happened(2.1, "DEPOSIT", wallet("ETH", "3")),
        happened(2.2, "PERP_OPENED", perp("OPEN", "-2", venue="bybit", fill_price="3000")),
        happened(2.3, "PERP_CLOSED", perp("CLOSE", venue="bybit")),
        happened(2.4, "WITHDRAWAL", wallet("ETH", "-3")),
    )
    rebuild_days(home)
    assert rows(home, "wallet_balances", "token = 'ETH'") == []
    assert rows(home, "perp_positions", "true") == []
    assert ask(home, "SELECT count(*) FROM balance_changes") == [(5,)]


def test_what_ended_and_came_back_within_the_hour_is_no_end(tmp_path):
    home = new_home(tmp_path)
    record(
        home,
        happened(2, "DEPOSIT", wallet("ETH", "3")),
        happened(4.1, "WITHDRAWAL", wallet("ETH", "-3")),
        happened(4.2, "DEPOSIT", wallet("ETH", "5")),
        happened(6, "WITHDRAWAL", wallet("ETH", "-5")),
    )
    rebuild_days(home)
    assert [row[0::2] for row in rows(home, "wallet_balances", "token = 'ETH'")] == [
        *((n, Decimal(3)) for n in (2, 3, 4)),
        (5, Decimal(5)),
        (6, Decimal(0)),
    ]


def test_what_is_under_way_is_no_equity_but_is_in_nav(tmp_path):
    home = new_home(tmp_path)
    record(
        home,
        happened(2, "VENUE_TRANSFER", wallet("USDT", "-100"), token("in_transit", "USDT", "100")),
        happened(5, "VENUE_TRANSFER", token("in_transit", "USDT", "-100"), token("okx", "USDT", "99")),
    )
    rebuild_days(home)
    under_way = [(n, "in_transit", "USDT", Decimal(100 if n < 5 else 0)) for n in (2, 3, 4, 5)]
    assert rows(home, "cex_balances", "venue = 'in_transit'") == under_way
    totals = ask(home, "SELECT total_equity, in_transit, nav FROM equity_snapshots ORDER BY as_of LIMIT 7 OFFSET 1")
    assert totals == [(1000, 0, 1000), *[(900, 100, 1000)] * 3, *[(999, 0, 999)] * 3]


def test_an_exchange_balance_below_zero_is_a_debt(tmp_path):
    home = new_home(tmp_path)
    record(home, happened(2, "FUNDING_PAYMENT", token("binance", "USDT", "-40")))
    rebuild_days(home)
    assert ask(home, "SELECT DISTINCT balance FROM cex_balances") == [(Decimal(-40),)]
    assert ask(home, "SELECT assets, debts, total_equity FROM equity_latest") == [(1000, 40, 960)]
    assert ask(home, "SELECT DISTINCT side, amount, value FROM equity_positions WHERE venue = 'binance'") == [
        ("debt", 40, -40)
    ]
