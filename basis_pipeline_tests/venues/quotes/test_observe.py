"""Prices and marks of the public endpoints, through unmodified ccxt against the loopback exchanges."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.venues.quotes.bybit import BYBIT
from basis_pipeline.venues.quotes.dialect import Told
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues
from basis_pipeline_tests.venues.quotes.builders import NOW, at, mark, observe, spot

VENUES = ("binance", "bybit", "okx")


@pytest.mark.parametrize("venue", VENUES)
def test_the_newest_value_has_the_venues_time_and_closed_hours_have_the_end_of_their_hour(
    venues: ExchangeVenues, venue: str
) -> None:
    venues.set_price("ETHUSDT", "3000.10", mark="3000.20", venue=venue, at=at(8, 59))
    venues.set_price("ETHUSDT", "3010.1000", mark="3010.20", venue=venue, at=at(9, 59, 59))
    venues.set_price("ETHUSDT", "3020.123456789012345678", mark="3021", venue=venue, at=at(10, 29))
    heard = observe(venues, spot(venue), mark(venue), since=at(9, 30))
    assert heard.values("spot") == [("3000.10", at(9)), ("3010.1000", at(10)), ("3020.123456789012345678", NOW)]
    assert heard.values("perp") == [("3000.20", at(9)), ("3010.20", at(10)), ("3021", NOW)]
    assert heard.problems == []
    assert all(each.venue == venue and each.fetched_at == NOW for each in heard.observed)


@pytest.mark.parametrize("venue", VENUES)
def test_hours_that_were_missed_are_filled_in_from_the_hour_of_since_on(venues: ExchangeVenues, venue: str) -> None:
    heard = observe(venues, spot(venue), since=NOW - timedelta(hours=48))
    assert [moment for _, moment in heard.values()][:-1] == [at(10) - timedelta(hours=n) for n in range(48, -1, -1)]


@pytest.mark.parametrize("venue", VENUES)
def test_at_most_three_days_are_filled_in(venues: ExchangeVenues, venue: str) -> None:
    heard = observe(venues, spot(venue), since=NOW - timedelta(days=365))
    assert len(heard.values()) == 72


@pytest.mark.parametrize("venue", VENUES)
def test_the_venues_clock_decides_which_candle_is_closed_and_not_ours(venues: ExchangeVenues, venue: str) -> None:
    """Ours is ahead: a candle that still moves must not be recorded as closed, because the first value stays."""
    heard = observe(venues, spot(venue), now=NOW + timedelta(hours=3))
    assert [moment for _, moment in heard.values()] == [at(9), at(10), NOW]


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(("second", "closed"), [(1, False), (2, True)])
def test_a_candle_that_ended_a_moment_ago_waits_until_its_last_trade_is_in_it(
    venues: ExchangeVenues, venue: str, second: int, closed: bool
) -> None:
    venues.prices.clock = lambda: at(10, 0, second)
    heard = observe(venues, spot(venue), now=at(10, 0, second))
    assert (at(10) in [moment for _, moment in heard.values()]) is closed


@pytest.mark.parametrize("venue", VENUES)
def test_two_requests_a_series_and_no_list_of_markets(venues: ExchangeVenues, venue: str) -> None:
    observe(venues, spot(venue), mark(venue), spot(venue, "BTCUSDT"))
    assert len(venues.requests) == 6
    assert not [request for request in venues.requests if "nstrument" in request.path or "nfo" in request.path]


def test_perpetuals_that_settle_in_usdc_are_asked_by_the_venues_own_names(venues: ExchangeVenues) -> None:
    for venue in VENUES:
        venues.set_price("ETHUSDC", "3000", mark="3333", venue=venue, at=at(3))
        assert observe(venues, mark(venue, "ETHUSDC")).values("perp", "ETHUSDC")[-1] == ("3333", NOW)
    asked = {request.query for request in venues.requests if "mark" in request.path or "tickers" in request.path}
    assert any("symbol=ETHPERP" in query for query in asked)
    assert any("instId=ETH-USDC-SWAP" in query for query in asked)


def test_a_series_is_recorded_under_the_name_by_which_the_routing_knows_it(venues: ExchangeVenues) -> None:
    venues.set_price("WSTETHUSDT", "3500", venue="binance", at=at(3))
    heard = observe(venues, spot("binance", "wstETHUSDT"))
    assert heard.values(symbol="wstETHUSDT")[-1] == ("3500", NOW)


def test_only_the_series_of_its_own_venue_are_asked(venues: ExchangeVenues) -> None:
    heard = observe(venues, spot("okx"), spot("binance"), mark("bybit"))
    assert {each.venue for each in heard.observed} == {"okx"}


@pytest.mark.parametrize("venue", VENUES)
def test_what_a_venue_does_not_list_is_asked_once_and_no_problem_unless_something_needs_it(
    venues: ExchangeVenues, venue: str
) -> None:
    assert observe(venues, spot(venue, "DOGEUSDT", required=False)) == ([], [])
    assert len(venues.requests) == 1
    heard = observe(venues, spot(venue), mark(venue, "DOGEUSDT"))
    assert {each.symbol for each in heard.observed} == {"ETHUSDT"}
    (problem,) = heard.problems
    assert problem.startswith(f"{venue} DOGEUSDT perp: is not listed (")


def test_a_price_recorded_at_binance_is_read_with_the_time_the_venue_gave_it(
    venues: ExchangeVenues, shared: Path
) -> None:
    case = _recorded(shared, "binance")
    venues.answer("/api/v3/ticker/24hr", case["httpResponse"])
    told = observe(venues, spot("binance", "BTCUSDT"), since=NOW).observed[0]
    expected = case["parsedResponse"]
    assert told.value == Decimal(case["httpResponse"]["lastPrice"]) == Decimal(str(expected["last"]))
    assert told.observed_at.timestamp() * 1000 == expected["timestamp"]


def test_a_mark_recorded_at_bybit_is_read_with_the_time_the_venue_gave_it(venues: ExchangeVenues, shared: Path) -> None:
    case = _recorded(shared, "bybit")
    payload = case["httpResponse"] | {"retCode": 0}
    venues.answer("/v5/market/tickers", payload)
    told = observe(venues, mark("bybit", "BTCUSDT"), since=NOW).observed[0]
    assert told == MarketObservation("bybit", "BTCUSDT", "perp", Decimal("51444.40"), told.observed_at, NOW)
    assert told.observed_at.timestamp() * 1000 == int(payload["time"])
    assert BYBIT.read_now(payload, "BTCUSDT") == Told(told.value, told.observed_at)


def _recorded(shared: Path, venue: str) -> dict[str, dict[str, object]]:
    cases = json.loads((shared / "fixtures" / "ccxt" / f"{venue}.json").read_text())["cases"]
    return next(case for case in cases if case["method"] == "fetchTicker")
