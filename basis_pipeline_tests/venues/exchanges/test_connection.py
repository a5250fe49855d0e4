"""ccxt is opened without markets, through a gateway if there is one, and closed for good."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.errors import VenueConfigError
from basis_pipeline.domain.observations import Account
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES
from basis_pipeline.venues.exchanges import Credentials, close_exchange, exchange_reader, open_exchange
from basis_pipeline.venues.exchanges.connection import _http_date
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import CREDENTIALS, D, fund, read, reader
from basis_pipeline_tests.venues.exchanges.test_accounts import okx_position


def strings(urls: Any) -> list[str]:
    if isinstance(urls, dict):
        return [text for value in urls.values() for text in strings(value)]
    return [urls] if isinstance(urls, str) else []


@pytest.mark.parametrize("venue", EXCHANGES)
def test_a_gateway_takes_every_request_of_that_exchange_and_of_no_other(venue: str) -> None:
    routed = open_exchange(venue, CREDENTIALS, "http://127.0.0.1:9/relay/")
    direct = open_exchange(venue)
    urls = strings(routed.urls["api"])
    assert urls
    assert [url for url in urls if not url.startswith("http://127.0.0.1:9/relay/") or "{" in url] == []
    assert not [url for url in strings(direct.urls["api"]) if "127.0.0.1" in url]
    assert direct.enableRateLimit
    assert direct.number is str


@pytest.mark.parametrize(
    ("venue", "credentials", "gateway", "word"),
    [
        ("kraken", CREDENTIALS, None, "kraken"),
        ("binance", Credentials("", "x"), None, "empty"),
        ("okx", Credentials("x", "y"), None, "passphrase"),
        ("bybit", CREDENTIALS, "127.0.0.1:80", "gateway"),
        ("bybit", CREDENTIALS, "ftp://127.0.0.1", "gateway"),
    ],
)
def test_what_cannot_be_opened_is_refused(venue: str, credentials: Credentials, gateway: str | None, word: str) -> None:
    with pytest.raises(VenueConfigError, match=word):
        open_exchange(venue, credentials, gateway)


@pytest.mark.parametrize(
    ("venue", "parts"),
    [("binance", ()), ("binance", ("unified",)), ("okx", ("funding", "funding")), ("wallet", ("spot",))],
)
def test_parts_a_venue_does_not_have_are_refused(venue: str, parts: tuple[str, ...]) -> None:
    account = Account("default", "main", venue)
    with pytest.raises(VenueConfigError, match=r"parts|not an exchange"):
        exchange_reader(account, parts, CREDENTIALS, DEFAULT_REGISTRY, None, lambda: datetime.now(UTC))


@pytest.mark.parametrize("venue", EXCHANGES)
def test_public_endpoints_need_no_key_and_numbers_stay_text(venues: ExchangeVenues, venue: str) -> None:
    types = ["spot", "swap"] if venue == "okx" else ["spot", "linear"]
    venues.set_price("ETHUSDT", "3000.123456789012345678", mark="3001.5")

    async def prices() -> tuple[str, str]:
        exchange = open_exchange(venue, None, venues.url, options={"fetchMarkets": {"types": types}})
        exchange.has["fetchCurrencies"] = False
        try:
            ticker = await exchange.fetch_ticker("ETH/USDT")
            candles = await exchange.fetch_ohlcv("ETH/USDT:USDT", "1h", limit=2, params={"price": "mark"})
            return ticker["last"], candles[-1][4]
        finally:
            await close_exchange(exchange)

    assert asyncio.run(prices()) == ("3000.123456789012345678", "3001.5")


@pytest.mark.parametrize("venue", EXCHANGES)
def test_closing_twice_and_without_having_read_is_safe(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)

    async def run() -> None:
        unused = reader(venues, venue)
        await unused.close()
        used = reader(venues, venue)
        await used.read()
        await used.close()
        await used.close()
        [reading] = await used.read()
        assert not reading.available

    asyncio.run(run())


@pytest.mark.parametrize("venue", EXCHANGES)
def test_no_markets_are_loaded_to_read_an_account(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "1")
    assert read(venues, venue).available
    assert len(venues.requests) == {"binance": 5, "bybit": 5, "okx": 3}[venue]


def test_contract_sizes_are_asked_for_once_a_day_and_when_one_is_new(venues: ExchangeVenues, tmp_path: Path) -> None:
    fund(venues, "okx").set_position("ETHUSDT-PERP", "1", "3000")
    cache, path = tmp_path / "cache" / "okx.json", "/api/v5/public/instruments"
    read(venues, "okx", "trading", markets_cache=cache)
    assert read(venues, "okx", "trading", markets_cache=cache).positions["ETHUSDT-PERP"].size == D(1)
    assert venues.count(path) == 1

    venues.set_price("NEWUSDT", "5")
    venues.set_contract("NEW-USDT-SWAP", "100")
    rows = [okx_position("NEW-USDT-SWAP", "2"), okx_position("ETH-USDT-SWAP", "2")]
    venues.answer("/api/v5/account/positions", {"code": "0", "msg": "", "data": rows})
    sizes = {name: p.size for name, p in read(venues, "okx", "trading", markets_cache=cache).positions.items()}
    assert sizes == {"NEWUSDT-PERP": D(200), "ETHUSDT-PERP": D("0.2")}
    assert venues.count(path) == 2

    kept = json.loads(cache.read_text(encoding="utf-8"))["sizes"]
    yesterday = (datetime.now(UTC) - timedelta(days=1, minutes=1)).isoformat()
    for old in (
        "{",
        "[]",
        '{"fetched_at": "now"}',
        json.dumps({"fetched_at": yesterday, "sizes": {"ETH-USDT-SWAP": "7"}}),
    ):
        cache.write_text(old, encoding="utf-8")
        assert read(venues, "okx", "trading", markets_cache=cache).positions["ETHUSDT-PERP"].size == D("0.2")
    assert venues.count(path) == 6
    assert json.loads(cache.read_text(encoding="utf-8"))["sizes"] == kept


def test_a_cache_that_cannot_be_written_does_not_fail_a_reading(venues: ExchangeVenues, tmp_path: Path) -> None:
    fund(venues, "okx").set_position("ETHUSDT-PERP", "1", "3000")
    (tmp_path / "file").touch()
    assert read(venues, "okx", "trading", markets_cache=tmp_path / "file" / "okx.json").available


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Date": "Sat, 21 Nov 2026 03:18:38 GMT"}, datetime(2026, 11, 21, 3, 18, 38, tzinfo=UTC)),
        ({"date": "Sat, 21 Nov 2026 03:18:38 -0000"}, datetime(2026, 11, 21, 3, 18, 38, tzinfo=UTC)),
        ({"Date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_the_venues_time_is_the_date_header_if_it_is_one(headers: dict[str, str], expected: datetime | None) -> None:
    assert _http_date(headers) == expected
