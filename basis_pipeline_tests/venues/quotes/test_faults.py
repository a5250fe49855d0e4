"""What cannot be trusted is not recorded; it is said, and everything else is still learned."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.observations import Verdict
from basis_pipeline_tests.rigs.exchanges import FAULTS, ExchangeVenues
from basis_pipeline_tests.venues.quotes.builders import NOW, check, mark, observe, spot

VENUES = ("binance", "bybit", "okx")
QUICK_FAULTS = sorted(set(FAULTS) - {"timeout", "bad_signature", "clock"})
PATHS = {
    "binance": ("/api/v3/ticker/24hr", "/fapi/v1/premiumIndex", "/api/v3/klines"),
    "bybit": ("/v5/market/tickers", "/v5/market/mark-price-kline", "/v5/market/kline"),
    "okx": ("/api/v5/market/ticker", "/api/v5/public/mark-price", "/api/v5/market/candles"),
}
"""The newest price, something about marks only, and closes."""


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("fault", QUICK_FAULTS)
def test_a_venue_that_answers_nothing_of_use_is_an_error_that_says_what_came_back(
    venues: ExchangeVenues, venue: str, fault: str
) -> None:
    venues.fail("*", fault)
    with pytest.raises(VenueError, match=rf"^{venue}: no series could be read: {venue} ETHUSDT spot: .*\(and 1 more\)"):
        observe(venues, spot(venue), mark(venue))


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("fault", QUICK_FAULTS)
def test_marks_that_fail_leave_the_prices(venues: ExchangeVenues, venue: str, fault: str) -> None:
    venues.fail(PATHS[venue][1], fault)
    heard = observe(venues, spot(venue), mark(venue))
    assert len(heard.values("spot")) == 3
    assert len(heard.values("perp")) < 3
    (problem,) = heard.problems
    assert problem.startswith(f"{venue} ETHUSDT perp")


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("fault", QUICK_FAULTS)
def test_closes_that_fail_leave_the_newest_value(venues: ExchangeVenues, venue: str, fault: str) -> None:
    venues.fail(PATHS[venue][2], fault)
    heard = observe(venues, spot(venue))
    assert [moment for _, moment in heard.values()] == [NOW]
    (problem,) = heard.problems
    assert problem.startswith(f"{venue} ETHUSDT spot, hourly closes: ")


def test_a_fault_that_passes_is_forgotten_with_the_next_look(venues: ExchangeVenues) -> None:
    venues.fail("/api/v3/klines", "503", times=1)
    assert observe(venues, spot("binance")).problems
    assert observe(venues, spot("binance")).problems == []


def _row(payload: Any) -> dict[str, Any]:
    """The one row of an answer about the newest value."""
    if "result" in payload:
        return payload["result"]["list"][0]  # type: ignore[no-any-return]
    return payload["data"][0] if "data" in payload else payload


def _candles(payload: Any) -> list[list[Any]]:
    if isinstance(payload, list):
        return payload
    return payload["result"]["list"] if "result" in payload else payload["data"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("bad", ["0", "-3000", "", "NaN", "Infinity", "1e30", "3,000", None, 3000, True, ["3000"], {}])
def test_a_price_that_is_none_is_refused_with_its_row(venues: ExchangeVenues, venue: str, bad: object) -> None:
    def change(payload: Any) -> Any:
        row = _row(payload)
        row["last" if "last" in row else "lastPrice"] = bad
        return payload

    venues.alter(PATHS[venue][0], change)
    with pytest.raises(VenueError, match=f"{venue} ETHUSDT spot: last"):
        observe(venues, spot(venue))


def test_a_number_that_the_venue_did_not_put_in_quotes_is_read_digit_for_digit(venues: ExchangeVenues) -> None:
    venues.alter("/api/v3/ticker/24hr", lambda payload: payload | {"lastPrice": 3000.1})
    assert observe(venues, spot("binance")).values()[-1] == ("3000.1", NOW)


@pytest.mark.parametrize("bad", ["", "soon", "-5", None, True, 1.5, 10**16, "1730457000.5"])
@pytest.mark.parametrize("venue", VENUES)
def test_a_time_that_is_none_is_refused(venues: ExchangeVenues, venue: str, bad: object) -> None:
    def change(payload: Any) -> Any:
        row = payload if venue == "bybit" else _row(payload)
        row[{"binance": "closeTime", "bybit": "time", "okx": "ts"}[venue]] = bad
        return payload

    venues.alter(PATHS[venue][0], change)
    with pytest.raises(VenueError, match="not milliseconds since 1970"):
        observe(venues, spot(venue))


@pytest.mark.parametrize("venue", VENUES)
def test_an_answer_about_something_else_is_refused(venues: ExchangeVenues, venue: str) -> None:
    def change(payload: Any) -> Any:
        _row(payload)["instId" if venue == "okx" else "symbol"] = "BTCUSDT"
        return payload

    venues.alter(PATHS[venue][0], change)
    with pytest.raises(VenueError, match="'BTCUSDT', but ETHUSDT was asked for"):
        observe(venues, spot(venue))


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda row: row.__setitem__(4, "0"), "close is 0, not positive"),
        (lambda row: row.__setitem__(4, None), "close is None, not the text of a number"),
        (lambda row: row.__setitem__(0, str(int(row[0]) + 1)), "not on the hour"),
        (lambda row: row.__setitem__(0, "yesterday"), "the start of a candle is 'yesterday'"),
        (lambda row: row.pop(), "a candle does not have"),
        (lambda row: row.append("1"), "a candle does not have"),
    ],
)
def test_one_malformed_candle_makes_all_closes_of_its_series_a_problem(
    venues: ExchangeVenues, venue: str, spoil: Callable[[list[Any]], None], complaint: str
) -> None:
    def change(payload: Any) -> Any:
        spoil(_candles(payload)[1])
        return payload

    venues.alter(PATHS[venue][2], change)
    heard = observe(venues, spot(venue))
    assert [moment for _, moment in heard.values()] == [NOW]
    assert complaint in heard.problems[0]


def test_a_candle_that_okx_has_not_confirmed_is_left_for_later(venues: ExchangeVenues) -> None:
    def change(payload: Any) -> Any:
        for row in payload["data"]:
            row[-1] = "0"
        return payload

    venues.alter("/api/v5/market/candles", change)
    assert [moment for _, moment in observe(venues, spot("okx")).values()] == [NOW]


def test_a_time_from_the_future_does_not_close_any_candle(venues: ExchangeVenues) -> None:
    tomorrow = round((NOW + timedelta(days=1)).timestamp() * 1000)
    venues.alter("/api/v3/ticker/24hr", lambda payload: payload | {"closeTime": tomorrow})
    heard = observe(venues, spot("binance"), mark("binance"))
    assert all(each.observed_at <= NOW or each.observed_at == NOW + timedelta(days=1) for each in heard.observed)
    alone = observe(venues, spot("binance"))
    assert [moment for _, moment in alone.values()] == [NOW + timedelta(days=1)]


@pytest.mark.parametrize("venue", VENUES)
def test_the_doctor_hears_how_many_series_answer_and_which_the_venue_does_not_list(
    venues: ExchangeVenues, venue: str
) -> None:
    (finding,) = check(venues, spot(venue), mark(venue), spot(venue, "DOGEUSDT", required=False))
    assert finding.verdict is Verdict.OK
    assert finding.subject == f"{venue} prices"
    assert finding.message == "2 series answer; it does not list DOGEUSDT spot, which other venues may"


def test_the_doctor_hears_of_what_fails_with_what_to_do(venues: ExchangeVenues) -> None:
    (finding,) = check(venues, spot("okx"), mark("okx", "DOGEUSDT"))
    assert (finding.verdict, bool(finding.remedy)) == (Verdict.FAILED, True)
    assert "DOGEUSDT perp: is not listed" in finding.message
    venues.fail("*", "503")
    (finding,) = check(venues, spot("okx"))
    assert (finding.verdict, bool(finding.remedy)) == (Verdict.FAILED, True)


@pytest.mark.parametrize("ahead_s", [-3600, -8, 8, 3600])
def test_the_doctor_hears_of_a_clock_that_is_off(venues: ExchangeVenues, ahead_s: int) -> None:
    (finding,) = check(venues, spot("bybit"), now=NOW + timedelta(seconds=ahead_s))
    assert finding.verdict is Verdict.WARNING
    assert f"clock is {ahead_s:+} s off the venue's" in finding.message
