"""Live projection: today has the hours that have passed and its latest instant, a past day its 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.quotes import AskableDay
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.publications import current_files
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.ledger.verification import verify
from basis_pipeline.steps.equity import EquityIncomplete, project_equity
from basis_pipeline.steps.market import project_prices
from basis_pipeline.steps.ports import DayRange, ListedMarket, MarketSource
from basis_pipeline.steps.positions import project_positions
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline.steps.staleness import stale_days
from basis_pipeline_tests.builders import perp, token, wallet
from basis_pipeline_tests.homes import ask
from basis_pipeline_tests.steps.builders import happened, hour
from basis_pipeline_tests.steps.live_builders import ETH, MARK, USDT, Live, live, seen

FIRST = DayRange(date(2024, 5, 12), date(2024, 5, 12))
BOTH = DayRange(FIRST.first, date(2024, 5, 13))
TABLES = ("wallet_balances", "equity_snapshots", "equity_positions", "prices")
PROJECTED = ("prices", "conversion_rates", "wallet_balances", "cex_balances", "perp_positions", *TABLES[1:3])


@pytest.fixture
def fund(tmp_path: Path) -> Iterator[Live]:
    """1,000 USDT and, from two o'clock, 2 ETH."""
    with live(tmp_path / "home", sqlite_url(tmp_path / "ledger.db")) as opened:
        opened.ledger.append("book", happened(2, "DEPOSIT", wallet("ETH", "2")))
        yield opened


def instants(fund: Live, table: str) -> list[float]:
    """Hours after the first midnight at which a table has rows."""
    found = ask(fund.home, f"SELECT DISTINCT as_of FROM {table} ORDER BY 1")
    return [(at - hour(0).replace(tzinfo=None)) / timedelta(hours=1) for (at,) in found]


def equity(fund: Live) -> dict[float, Decimal]:
    found = ask(fund.home, "SELECT as_of, total_equity FROM equity_snapshots ORDER BY 1")
    return {(at - hour(0).replace(tzinfo=None)) / timedelta(hours=1): value for at, value in found}


def test_the_current_day_has_the_hours_that_have_passed_and_one_latest_instant(fund: Live) -> None:
    fund.hours(0, 3)
    fund.record(seen(USDT, 3.25), seen(ETH, 3.3, "3500"))
    rebuild(fund.ports, BOTH)
    for table in TABLES:
        assert instants(fund, table) == [0, 1, 2, 3, 3.3]
    assert equity(fund) == {0: 1000, 1: 1000, 2: 1000 + 2 * 3002, 3: 1000 + 2 * 3003, 3.3: 1000 + 2 * 3500}
    assert stale_days(fund.ports, BOTH) == []
    assert not verify(fund.ledger.engine).problems


def test_the_latest_instant_gives_way_to_a_newer_one_and_in_the_end_to_the_full_hours(fund: Live) -> None:
    fund.hours(0, 22)
    fund.record(seen(ETH, 22.5, "3022"))
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [*range(23), 22.5]
    fund.record(seen(USDT, 23), seen(ETH, 23, "3023"), seen(ETH, 23.75, "3100"))
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [*range(24), 23.75]
    fund.record(seen(USDT, 24), seen(ETH, 24, "3024"))
    assert stale_days(fund.ports, BOTH) == list(BOTH)
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [*range(25)]
    assert instants(fund, "wallet_balances") == [*range(25)]
    assert stale_days(fund.ports, BOTH) == []


def test_a_day_is_due_with_every_new_hour_and_every_newer_instant_and_not_otherwise(fund: Live) -> None:
    fund.hours(0, 3)
    assert stale_days(fund.ports, BOTH) == list(BOTH)
    rebuild(fund.ports, BOTH)
    assert stale_days(fund.ports, BOTH) == []
    fund.record(seen(ETH, 3, "9999"))  # known already: the first value stays
    assert stale_days(fund.ports, BOTH) == []
    for at in (3.5, 3.6, 4):
        fund.record(seen(ETH, at, "3000"))
        assert FIRST.first in stale_days(fund.ports, BOTH)
        rebuild(fund.ports, BOTH)
        assert stale_days(fund.ports, BOTH) == []


def test_the_day_that_has_just_ended_is_due_even_if_nothing_more_was_heard_on_it(fund: Live) -> None:
    fund.hours(0, 23)
    fund.record(seen(ETH, 23.5, "3000"))
    rebuild(fund.ports, BOTH)
    fund.record(seen(ETH, 24, "3000"), seen(USDT, 24))
    assert FIRST.first in stale_days(fund.ports, BOTH)


def test_an_entry_shows_at_the_latest_instant_and_makes_the_day_due(fund: Live) -> None:
    fund.hours(0, 23)
    fund.record(seen(ETH, 23.75, "3000"), seen(USDT, 23.7))
    rebuild(fund.ports, FIRST)
    fund.ledger.append("book", happened(23.4, "DEPOSIT", wallet("USDT", "50")))
    assert stale_days(fund.ports, FIRST) == list(FIRST)
    rebuild(fund.ports, FIRST)
    assert stale_days(fund.ports, FIRST) == []
    assert equity(fund)[23.75] - equity(fund)[23] == 2 * (3000 - 3023) + 50
    fund.ledger.append("book", happened(23.9, "DEPOSIT", wallet("USDT", "7")))  # after the latest instant
    assert stale_days(fund.ports, FIRST) == list(FIRST)
    rebuild(fund.ports, FIRST)
    assert stale_days(fund.ports, FIRST) == []
    assert equity(fund)[23.75] == 1000 + 50 + 2 * 3000


def test_what_ended_since_the_last_hour_shows_once_at_the_latest_instant(fund: Live) -> None:
    fund.hours(0, 3)
    fund.ledger.append("book", happened(3.2, "WITHDRAWAL", wallet("ETH", "-2")))
    fund.record(seen(ETH, 3.5, "3000"))
    rebuild(fund.ports, FIRST)
    rows = ask(fund.home, "SELECT balance FROM wallet_balances WHERE token = 'ETH' ORDER BY as_of")
    assert rows == [(Decimal(2),), (Decimal(2),), (Decimal(0),)]


def test_before_anything_was_recorded_there_are_no_rows_and_no_error(fund: Live) -> None:
    rebuild(fund.ports, BOTH)
    assert ask(fund.home, "SELECT count(*) FROM equity_snapshots") == [(0,)]
    assert ask(fund.home, "SELECT count(*) FROM balance_changes") == [(2,)]
    assert stale_days(fund.ports, BOTH) == []
    # Two days of candles come with the first recording, but nobody knew then what USDT was worth.
    fund.record(*(seen(ETH, at, "3000", fetched=25.5) for at in range(-22, 26)), seen(USDT, 25.4, fetched=25.5))
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [25.4]
    fund.record(seen(ETH, 26, "3000"), seen(USDT, 25.9))
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [26]


def test_a_portfolio_that_starts_after_the_latest_instant_has_no_rows_yet(fund: Live) -> None:
    fund.ledger.register(Terms("later", "USDT", Decimal(5), hour(3.9)))
    fund.hours(0, 3)
    fund.record(seen(ETH, 3.5, "3000"))
    rebuild(fund.ports, BOTH)
    assert ask(fund.home, "SELECT DISTINCT portfolio FROM equity_snapshots") == [("book",)]
    fund.record(seen(ETH, 3.95, "3000"))
    rebuild(fund.ports, BOTH)
    assert ask(fund.home, "SELECT as_of FROM equity_snapshots WHERE portfolio = 'later'") == [
        (hour(3.95).replace(tzinfo=None),)
    ]


def test_marks_value_a_perpetual_at_the_latest_instant_too(fund: Live) -> None:
    fund.hours(0, 3, USDT, ETH, MARK)
    fund.ledger.append("book", happened(1.5, "VENUE_TRANSFER", wallet("USDT", "-100"), token("binance", "USDT", "100")))
    fund.ledger.append("book", happened(2.5, "PERP_OPENED", perp("OPEN", "-2", fill_price="3003")))
    fund.record(seen(MARK, 3.5, "2990"))
    rebuild(fund.ports, FIRST)
    rows = ask(fund.home, "SELECT unrealized_pnl FROM equity_snapshots ORDER BY as_of DESC LIMIT 2")
    assert rows == [(Decimal(26),), (Decimal(0),)]


def test_a_hole_leaves_out_the_whole_day_and_is_mended_by_the_candle_that_comes_late(fund: Live) -> None:
    fund.hours(0, 26, USDT)
    fund.hours(0, 5)
    fund.hours(9, 26, ETH)
    with pytest.raises(EquityIncomplete) as raised:
        rebuild(fund.ports, BOTH)
    assert [gap.instant for gap in raised.value.gaps] == [hour(8)]
    assert set(raised.value.failed_days) == {FIRST.first}
    assert stale_days(fund.ports, BOTH) == [FIRST.first]
    fund.record(seen(ETH, 8, "3100", fetched=26.5))
    rebuild(fund.ports, BOTH)
    assert instants(fund, "equity_snapshots") == [*range(27)]
    assert equity(fund)[8] == 1000 + 2 * 3100


def _record_hourly(fund: Live, hours: set[int]) -> None:
    """Record hour by hour as the schedule does and rebuild at these hours."""
    for at in range(26):
        fund.record(seen(USDT, at - 0.2, "0.999", fetched=at), seen(ETH, at, str(3000 + at)), seen(ETH, at + 0.01, "7"))
        if at in hours:
            rebuild(fund.ports, BOTH)


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def test_a_day_is_the_same_to_the_byte_whenever_it_is_materialized_and_on_either_database(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    """Every few hours, now and then, once at the end: what was published of the first day ends as the same files."""
    files = []
    for number, hours in enumerate([{*range(0, 25, 4), 25}, {3, 17, 25}, {25}]):
        last = database == "postgresql" and number == 2
        url = request.getfixturevalue("postgres_url") if last else sqlite_url(tmp_path / f"ledger-{number}.db")
        with live(tmp_path / str(number), url) as fund:
            fund.ledger.append("book", happened(2, "DEPOSIT", wallet("ETH", "2")))
            _record_hourly(fund, hours)
            assert stale_days(fund.ports, BOTH) == []
            found = fund.published(FIRST)
            # `recorded_at` of the entries is the time of the test itself.
            files.append({key: file for key, file in found.items() if key[0] != "balance_changes"})
    assert files[0] == files[1] == files[2]
    assert {table for table, _ in files[0]} == set(PROJECTED)


def test_what_is_missing_up_to_the_latest_instant_is_told_in_one_line(fund: Live) -> None:
    fund.hours(0, 6, USDT)
    fund.hours(0, 2)
    fund.record(seen(USDT, 6.5))
    with pytest.raises(EquityIncomplete, match=r"from 2024-05-12T05:00:00Z to 2024-05-12T06:30:00Z \(3 instants\)"):
        project_equity(fund.ports, FIRST)


class _Meanwhile:
    """A market while whose window is being read something is recorded and projected by somebody else."""

    def __init__(self, market: MarketSource, meanwhile: Callable[[], object]) -> None:
        self._market = market
        self._meanwhile: Callable[[], object] | None = meanwhile

    def window(self, first: datetime, last: datetime) -> ListedMarket:
        found = self._market.window(first, last)
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            meanwhile()
        return found

    def days(self, first: date, last: date) -> dict[date, AskableDay]:
        return dict(self._market.days(first, last))


@pytest.mark.parametrize("step", [project_prices, project_equity])
def test_a_run_that_saw_less_of_the_market_never_replaces_one_that_saw_more(
    fund: Live, step: Callable[..., object]
) -> None:
    fund.hours(0, 3)
    fund.record(seen(ETH, 3.5, "3000"))
    newer: dict[tuple[str, str], str] = {}

    def overtake() -> None:
        fund.record(seen(ETH, 3.6, "3001"))
        step(fund.ports, FIRST)
        newer.update(fund.published(FIRST))

    step(replace(fund.ports, market=_Meanwhile(fund.ports.market, overtake)), FIRST)
    assert newer
    assert fund.published(FIRST) == newer


def test_what_is_recorded_while_a_step_runs_makes_its_day_due_again(fund: Live) -> None:
    fund.hours(0, 3)
    rebuild(fund.ports, FIRST)
    market = _Meanwhile(fund.ports.market, lambda: fund.record(seen(ETH, 2.5, "1")))
    fund.record(seen(ETH, 3.1, "3000"))
    project_equity(replace(fund.ports, market=market), FIRST)
    assert stale_days(fund.ports, FIRST) == list(FIRST)


def test_positions_and_equity_of_a_run_say_what_market_they_were_built_from(fund: Live) -> None:
    fund.hours(0, 3)
    project_positions(fund.ports, BOTH)
    marks = {(file.table, file.day): file.market for file in current_files(fund.ledger.engine).files}
    assert {mark.last if mark else None for (_, day), mark in marks.items() if day == FIRST.first} == {
        "2024-05-12T03:00:00Z"
    }
    assert {mark.facts if mark else None for mark in marks.values()} == {8}
