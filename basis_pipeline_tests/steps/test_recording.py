"""Recording the market: every source for itself, what is learned kept at once, what is missed asked again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.domain.quotes import Quote
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.market_observations import between
from basis_pipeline.market.routing import Routing
from basis_pipeline.steps.recording import RecordingReport, SourceReport, record_market, wanted_now
from basis_pipeline.venues.quotes import exchange_quotes
from basis_pipeline_tests.builders import perp, token, wallet
from basis_pipeline_tests.rigs.exchanges import exchange_venues
from basis_pipeline_tests.steps.builders import happened, hour
from basis_pipeline_tests.steps.live_builders import ETH, USDT, Live, Scripted, live, seen


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def fund(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Live]:
    """On SQLite and on PostgreSQL, at ten o'clock."""
    sqlite = request.param == "sqlite"
    url: str = sqlite_url(tmp_path / "ledger.db") if sqlite else request.getfixturevalue("postgres_url")
    with live(tmp_path / "home", url) as opened:
        opened.now = 10
        yield opened


def run(
    fund: Live, *sources: Scripted, extra: Sequence[MarketObservation] = (), deadline: float = 30
) -> RecordingReport:
    return asyncio.run(record_market(fund.ports, sources, extra=extra, deadline=timedelta(seconds=deadline)))


def recorded(fund: Live) -> list[MarketObservation]:
    return between(fund.ledger.engine, hour(-99), hour(99))


def test_what_each_source_says_is_recorded_and_told_apart(fund: Live) -> None:
    fund.record(seen(ETH, 9, "2999"))
    report = run(
        fund,
        Scripted("binance", [seen(ETH, 9, "1"), seen(ETH, 10, "3000")], problems=["binance EIGENUSDT spot: gone"]),
        Scripted("ethereum", [seen(USDT, 9.8, "0.999")]),
        extra=[seen("lido wstETHETH oracle", 9.8, "1.17")],
    )
    assert report.sources == (
        SourceReport("binance", 2, 1, ("binance EIGENUSDT spot: gone",)),
        SourceReport("ethereum", 1, 1),
        SourceReport("readings", 1, 1),
    )
    assert (report.learned, report.new, report.problems) == (4, 3, ("binance EIGENUSDT spot: gone",))
    assert len(recorded(fund)) == 4


def test_a_source_that_fails_or_hangs_holds_up_no_other(fund: Live) -> None:
    began = time.monotonic()
    report = run(
        fund,
        Scripted("bybit", failure=VenueError("bybit: no series could be read")),
        Scripted("okx", [seen(ETH, 9)], waits_for=timedelta(hours=1)),
        Scripted("ethereum", failure=ConnectionResetError("connection reset")),
        Scripted("binance", [seen(ETH, 10, "3000")]),
        deadline=0.2,
    )
    assert time.monotonic() - began < 10
    assert report.problems == (
        "bybit: no series could be read",
        "okx: did not answer within 0.2 s",
        "connection reset",
    )
    assert recorded(fund) == [seen(ETH, 10, "3000")]


def test_a_defect_in_a_source_is_not_taken_for_a_silent_market(fund: Live) -> None:
    with pytest.raises(ZeroDivisionError):
        run(fund, Scripted("bybit", failure=ZeroDivisionError()))


def test_what_cannot_be_a_price_is_a_problem_and_the_rest_is_kept(fund: Live) -> None:
    from_later = seen(USDT, 10.5, fetched=10)
    report = run(fund, Scripted("binance", [seen(ETH, 9, "0"), seen(ETH, 10, "3000"), from_later]))
    assert [line.split(":")[0] for line in report.problems] == [ETH, USDT]
    assert recorded(fund) == [seen(ETH, 10, "3000")]


def test_a_source_is_asked_from_where_the_first_of_its_series_fell_silent(fund: Live) -> None:
    fund.record(seen(ETH, 9.5), seen("binance BTCUSDT spot", 7), seen("okx ETHUSDT spot", 10))
    sources = [Scripted("binance"), Scripted("okx"), Scripted("bybit")]
    run(fund, *sources)
    assert [source.asked_since for source in sources] == [[hour(7)], [hour(10)], [hour(10 - 48)]]


def test_the_close_of_an_hour_that_is_missing_is_asked_for_though_the_newest_value_came(fund: Live) -> None:
    fund.record(seen(ETH, 7), seen(ETH, 7.5), seen(ETH, 8.5), seen(ETH, 9), seen(ETH, 9.5), seen(ETH, 10))
    source = Scripted("binance")
    run(fund, source)
    assert hour(7.5) < source.asked_since[0] < hour(8)


def test_what_fell_silent_two_days_ago_is_not_asked_for_any_more(fund: Live) -> None:
    fund.record(seen(ETH, 9.5), seen("binance LUNAUSDT spot", -39))
    source = Scripted("binance")
    run(fund, source)
    assert source.asked_since == [hour(9.5)]


def test_no_sources_at_all_is_an_empty_report(fund: Live) -> None:
    assert run(fund) == RecordingReport(())


def test_marks_are_wanted_of_what_is_held_and_of_what_was_closed_within_two_days(fund: Live) -> None:
    def marks() -> set[tuple[str, str]]:
        found = wanted_now(fund.ports, Routing())
        return {(each.venue, each.symbol) for series in found.values() for each in series if each.kind == "perp"}

    assert marks() == set()
    fund.ledger.append("book", happened(1, "VENUE_TRANSFER", wallet("USDT", "-100"), token("okx", "USDT", "100")))
    opening = perp("OPEN", "-1", venue="okx", on="ETHUSDT-PERP:SHORT", fill_price="3000")
    fund.ledger.append("book", happened(2, "PERP_OPENED", opening))
    assert marks() == {("okx", "ETHUSDT")}
    closing = perp("CLOSE", venue="okx", on="ETHUSDT-PERP:SHORT")
    fund.ledger.append("book", happened(9, "PERP_CLOSED", closing))
    assert marks() == {("okx", "ETHUSDT")}
    fund.now = 9 + 48.1
    assert marks() == set()


def test_hours_that_the_pipeline_slept_through_are_filled_in_from_the_exchange(fund: Live) -> None:
    def price(at: float) -> object:
        answer = fund.ports.market.window(hour(at), hour(at)).price("ETH", hour(at))
        return int(answer.price) if isinstance(answer, Quote) else None

    with exchange_venues(lambda: hour(fund.now)) as venues:
        for at in range(4, 20):
            venues.set_price("ETHUSDT", str(3000 + at), at=hour(at - 0.5))
        fund.hours(4, 20, USDT)
        for fund.now in (6.25, 15.5):
            asyncio.run(_ask_exchanges(fund, venues.url))
            if fund.now == 6.25:
                assert [price(at) for at in (5, 6, 6.25, 8, 9)] == [3005, 3006, 3006, 3006, None]
    assert [price(at) for at in (5, 6, 7, 8, 12, 15, 15.5)] == [3005, 3006, 3007, 3008, 3012, 3015, 3016]


async def _ask_exchanges(fund: Live, gateway: str) -> None:
    wanted = wanted_now(fund.ports, Routing())
    sources = [exchange_quotes(venue, series, gateway, lambda: hour(fund.now)) for venue, series in wanted.items()]
    try:
        report = await record_market(fund.ports, sources)
    finally:
        for source in sources:
            await source.close()
    assert report.problems == ()
    assert [source.name for source in report.sources] == ["binance", "bybit", "okx"]
