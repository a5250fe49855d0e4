"""The prices of now of one exchange, through unmodified ccxt against the loopback exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import TypeVar

import pytest

from basis_pipeline.domain.quotes import Quoted, SeriesValue, Unavailable
from basis_pipeline.venues.quotes import ExchangePrices, exchange_prices
from basis_pipeline_tests.rigs.exchanges import FAULTS, ExchangeVenues
from basis_pipeline_tests.venues.quotes.builders import NOW, at

T = TypeVar("T")
VENUES = ("binance", "bybit", "okx")
QUICK_FAULTS = sorted(set(FAULTS) - {"timeout", "bad_signature", "clock", "reset"})
"""A connection that is reset is tried once more, so that a single reset is no failure."""
MARK_PATHS = {
    "binance": "/fapi/v1/premiumIndex",
    "bybit": "/v5/market/tickers",
    "okx": "/api/v5/public/mark-price",
}
SPOT_PATHS = {"binance": "/api/v3/ticker/24hr", "bybit": "/v5/market/tickers", "okx": "/api/v5/market/ticker"}


def ask(
    venues: ExchangeVenues,
    venue: str,
    question: Callable[[ExchangePrices], Awaitable[T]],
    patience: timedelta = timedelta(seconds=10),
) -> T:
    async def asked() -> T:
        prices = exchange_prices(venue, venues.url, patience)
        try:
            return await question(prices)
        finally:
            await prices.close()
            await prices.close()

    return asyncio.run(asked())


def reason(told: object) -> str:
    assert isinstance(told, Unavailable)
    return told.describe()


@pytest.mark.parametrize("venue", VENUES)
def test_prices_are_in_usdt_with_the_venues_time_and_every_digit(venues: ExchangeVenues, venue: str) -> None:
    venues.set_price("ETHUSDT", "3020.123456789012345678", venue=venue, at=at(10, 29))
    found = ask(venues, venue, lambda prices: prices.get_prices(["ETH", "BTC"]))
    assert found == {
        "ETH": Quoted(Decimal("3020.123456789012345678"), "USDT", NOW),
        "BTC": Quoted(Decimal(60000), "USDT", NOW),
    }
    assert len(venues.requests) == 2


@pytest.mark.parametrize("venue", VENUES)
def test_marks_are_in_the_coin_that_the_contract_settles_in(venues: ExchangeVenues, venue: str) -> None:
    venues.set_price("ETHUSDT", "3000", mark="3000.20", venue=venue, at=at(3))
    venues.set_price("ETHUSDC", "3000", mark="3333", venue=venue, at=at(3))
    found = ask(venues, venue, lambda prices: prices.get_marks(["ETHUSDT-PERP", "ETHUSDC-PERP", "no contract"]))
    assert found == {
        "ETHUSDT-PERP": Quoted(Decimal("3000.20"), "USDT", NOW),
        "ETHUSDC-PERP": Quoted(Decimal(3333), "USDC", NOW),
    }


@pytest.mark.parametrize("venue", VENUES)
def test_single_series_are_told_by_their_names_and_those_of_others_left_out(venues: ExchangeVenues, venue: str) -> None:
    venues.set_price("ETHUSDT", "3000", mark="3001", venue=venue, at=at(3))
    names = [(venue, "ETHUSDT", "spot"), (venue, "ETHUSDT", "perp"), (venue, "ETHUSD", "oracle"), ("x", "A", "spot")]
    found = ask(venues, venue, lambda prices: prices.get_series(names))
    assert found == {names[0]: SeriesValue(Decimal(3000), NOW), names[1]: SeriesValue(Decimal(3001), NOW)}


@pytest.mark.parametrize("venue", VENUES)
def test_usdt_is_what_others_are_measured_in_and_is_not_asked_for(venues: ExchangeVenues, venue: str) -> None:
    assert ask(venues, venue, lambda prices: prices.get_prices(["USDT"])) == {}
    assert venues.requests == []


@pytest.mark.parametrize("venue", VENUES)
def test_a_coin_that_is_not_listed_spoils_no_other(venues: ExchangeVenues, venue: str) -> None:
    found = ask(venues, venue, lambda prices: prices.get_prices(["DOGE", "ETH"]))
    assert reason(found["DOGE"]) == "does not list DOGEUSDT spot"
    assert isinstance(found["ETH"], Quoted)


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("fault", QUICK_FAULTS)
def test_a_request_that_fails_spoils_no_other_and_says_what_came_back(
    venues: ExchangeVenues, venue: str, fault: str
) -> None:
    venues.fail(SPOT_PATHS[venue], fault, times=1)
    found = ask(venues, venue, lambda prices: prices.get_prices(["ETH", "BTC"]))
    (failed,) = (told for told in found.values() if isinstance(told, Unavailable))
    assert failed.describe().startswith(f"{failed.name}: ")
    assert len([told for told in found.values() if isinstance(told, Quoted)]) == 1


@pytest.mark.parametrize("venue", VENUES)
def test_a_request_that_hangs_is_given_up_and_spoils_no_other(venues: ExchangeVenues, venue: str) -> None:
    venues.fail(SPOT_PATHS[venue], "timeout", times=1)
    found = ask(venues, venue, lambda prices: prices.get_prices(["ETH", "BTC"]), timedelta(seconds=1))
    assert sorted(type(told).__name__ for told in found.values()) == ["Quoted", "Unavailable"]


def test_the_time_spent_in_the_queue_counts(venues: ExchangeVenues) -> None:
    coins = ["ETH", "BTC", "LTC", "USDC", "DOGE"]
    found = ask(venues, "okx", lambda prices: prices.get_prices(coins), timedelta(milliseconds=150))
    assert any("no answer within 0.15 s" in told.describe() for told in found.values() if isinstance(told, Unavailable))


@pytest.mark.parametrize("venue", VENUES)
@pytest.mark.parametrize("bad", ["0", "-1", "NaN", ""])
def test_a_mark_that_is_none_is_told_with_its_row(venues: ExchangeVenues, venue: str, bad: str) -> None:
    def change(payload: dict[str, object]) -> dict[str, object]:
        row: dict[str, object] = payload
        for holder in ("result", "list", "data"):
            inner = row.get(holder) if isinstance(row, dict) else None
            if isinstance(inner, list):
                row = inner[0]
            elif isinstance(inner, dict):
                row = inner
        row["markPx" if venue == "okx" else "markPrice"] = bad
        return payload

    venues.alter(MARK_PATHS[venue], change)
    found = ask(venues, venue, lambda prices: prices.get_marks(["ETHUSDT-PERP"]))
    assert f"is {bad}" in reason(found["ETHUSDT-PERP"]) or repr(bad) in reason(found["ETHUSDT-PERP"])
