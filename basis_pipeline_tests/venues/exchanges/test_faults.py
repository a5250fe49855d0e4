"""Whatever goes wrong at a venue makes the account UNAVAILABLE with a reason; nothing is ever read as zero."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest

from basis_pipeline.domain.observations import Reading, ReadingStatus
from basis_pipeline.venues.exchanges import Credentials
from basis_pipeline_tests.rigs.exchanges import FAULTS, Answer, ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import (
    KEY,
    MAIN_PART,
    PASSPHRASE,
    SECRET,
    fund,
    read,
    reader,
)
from basis_pipeline_tests.venues.exchanges.test_accounts import okx_balance, okx_position

PATHS = {
    "binance": {
        "spot": ["/api/v3/account"],
        "funding": ["/sapi/v1/asset/get-funding-asset"],
        "cross_margin": ["/sapi/v1/margin/account"],
        "usdm_futures": ["/fapi/v3/account", "/fapi/v3/positionRisk"],
        "portfolio_margin": [
            "/papi/v1/balance",
            "/papi/v1/account",
            "/papi/v1/um/positionRisk",
            "/papi/v1/cm/positionRisk",
        ],
    },
    "bybit": {
        "unified": ["/v5/account/wallet-balance", "/v5/position/list"],
        "funding": ["/v5/asset/transfer/query-account-coins-balance"],
    },
    "okx": {
        "trading": ["/api/v5/account/balance", "/api/v5/account/positions", "/api/v5/public/instruments"],
        "funding": ["/api/v5/asset/balances"],
    },
}
PLACES = [
    pytest.param(venue, part, path, id=f"{venue}{path}")
    for venue, parts in PATHS.items()
    for part, paths in parts.items()
    for path in paths
]
LISTS = {"/sapi/v1/asset/get-funding-asset", "/fapi/v3/positionRisk", "/papi/v1/balance"}
LISTS |= {"/papi/v1/um/positionRisk", "/papi/v1/cm/positionRisk"}


def assert_unavailable(reading: Reading, *words: str) -> None:
    assert reading.status is ReadingStatus.UNAVAILABLE
    assert reading.balances == reading.positions == reading.debts == reading.unmapped == {}
    assert reading.error
    for word in words:
        assert word in reading.error
    for secret in (KEY, SECRET, PASSPHRASE):
        assert secret not in reading.error + reading.raw


def held(venues: ExchangeVenues, venue: str, part: str) -> None:
    account = fund(venues, venue)
    account.set_balance(part, "USDT", "100")
    account.set_position("ETHUSDT-PERP", "1", "3000")


@pytest.mark.parametrize(("venue", "part", "path"), PLACES)
def test_every_fault_makes_the_account_unavailable(venues: ExchangeVenues, venue: str, part: str, path: str) -> None:
    held(venues, venue, part)

    async def faults() -> None:
        for fault in sorted(set(FAULTS) - {"timeout"}):
            if fault == "list" and path in LISTS - {"/papi/v1/balance"}:
                continue  # a part of which only what is held is listed, and nothing is
            venues.heal()
            venues.fail(path, fault)
            made = reader(venues, venue, part)
            try:
                [reading] = await made.read()
                assert_unavailable(reading, venue, part)
                venues.heal()
                [reading] = await made.read()
                assert reading.available, f"after {fault}: {reading.error}"
            finally:
                await made.close()

    asyncio.run(faults())


@pytest.mark.parametrize("venue", list(PATHS))
def test_one_part_that_fails_makes_the_whole_account_unavailable(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "5")
    venues.fail(PATHS[venue][MAIN_PART[venue]][0], "503")
    reading = read(venues, venue)
    assert_unavailable(reading, MAIN_PART[venue])
    assert "funding" not in (reading.error or "")


@pytest.mark.parametrize("venue", list(PATHS))
def test_a_venue_that_does_not_answer_is_given_up_on(venues: ExchangeVenues, venue: str) -> None:
    held(venues, venue, "funding")
    venues.fail("*", "timeout")

    async def run() -> Reading:
        made = reader(venues, venue, "funding")
        made.connections[0].exchange.timeout = 150
        try:
            return (await made.read())[0]
        finally:
            await made.close()

    before = time.monotonic()
    assert_unavailable(asyncio.run(run()), "no answer in time")
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        ("429", "asked too often"),
        ("418", "stop asking until the ban ends"),
        ("clock", "synchronise"),
        ("bad_signature", "check the key"),
        ("reset", "cannot be reached"),
        ("html", "text that is not JSON"),
    ],
)
def test_the_error_says_what_was_asked_and_what_to_do(venues: ExchangeVenues, fault: str, advice: str) -> None:
    held(venues, "binance", "spot")
    venues.fail("/api/v3/account", fault)
    assert_unavailable(read(venues, "binance", "spot"), "GET /api/v3/account", advice)


@pytest.mark.parametrize(
    ("venue", "credentials"),
    [
        ("binance", Credentials("other-key-9999", SECRET)),
        ("binance", Credentials(KEY, "wrong-secret-8888")),
        ("bybit", Credentials(KEY, "wrong-secret-8888")),
        ("okx", Credentials(KEY, "wrong-secret-8888", PASSPHRASE)),
        ("okx", Credentials(KEY, SECRET, "wrong-phrase-7777")),
    ],
)
def test_a_key_the_venue_refuses_is_told(venues: ExchangeVenues, venue: str, credentials: Credentials) -> None:
    fund(venues, venue)

    async def run() -> Reading:
        made = reader(venues, venue, "funding", credentials=credentials)
        try:
            return (await made.read())[0]
        finally:
            await made.close()

    reading = asyncio.run(run())
    assert_unavailable(reading, "key")
    assert credentials.secret not in (reading.error or "") + reading.raw


ROW = {"asset": "USDT", "free": "1", "locked": "0"}
WRONG_NUMBERS: list[Any] = ["", None, "abc", "NaN", "Infinity", True, [], {}, "1e400", "1.0000000000000000001", "١x"]


@pytest.mark.parametrize("value", WRONG_NUMBERS, ids=repr)
def test_one_wrong_number_is_an_error_with_its_row(venues: ExchangeVenues, value: Any) -> None:
    fund(venues, "binance")
    bad = {"asset": "ETH", "free": value, "locked": "0.5"}
    venues.answer("/api/v3/account", {"accountType": "SPOT", "balances": [ROW, bad]})
    assert_unavailable(read(venues, "binance", "spot"), "free", '"asset": "ETH"', '"locked": "0.5"')


def test_a_number_without_quotes_loses_no_digit(venues: ExchangeVenues) -> None:
    fund(venues, "binance")
    body = '{"balances":[{"asset":"ETH","free":0.123456789012345678,"locked": 1}]}'
    venues.fail("/api/v3/account", Answer(200, body))
    assert str(read(venues, "binance", "spot").balances["ETH"]) == "1.123456789012345678"


BINANCE_POSITION = {
    "symbol": "ETHUSDT",
    "positionSide": "BOTH",
    "positionAmt": "1",
    "entryPrice": "3000",
    "notional": "3",
}
BYBIT_POSITION = {
    "symbol": "ETHUSDT",
    "positionIdx": 0,
    "side": "Buy",
    "size": "1",
    "avgPrice": "3",
    "positionValue": "3",
}


@pytest.mark.parametrize(
    ("venue", "part", "path", "payload", "problem"),
    [
        ("binance", "spot", "/api/v3/account", {"balances": []}, "every coin"),
        ("binance", "spot", "/api/v3/account", {"accountType": "SPOT"}, "balances is missing"),
        ("binance", "spot", "/api/v3/account", {"balances": None}, "balances"),
        ("binance", "spot", "/api/v3/account", {"balances": [ROW, ROW]}, "USDT is listed twice"),
        ("binance", "spot", "/api/v3/account", {"balances": [ROW, "x"]}, "not an object"),
        ("binance", "spot", "/api/v3/account", {"balances": [{**ROW, "asset": ""}]}, "asset"),
        ("binance", "spot", "/api/v3/account", {"balances": [{"asset": "ETH", "free": "1"}]}, "locked is missing"),
        ("binance", "cross_margin", "/sapi/v1/margin/account", {"userAssets": []}, "every coin"),
        (
            "binance",
            "cross_margin",
            "/sapi/v1/margin/account",
            {"userAssets": [{**ROW, "borrowed": "-1", "interest": "0"}]},
            "borrowed: -1 is negative",
        ),
        (
            "binance",
            "usdm_futures",
            "/fapi/v3/account",
            {"totalMaintMargin": "0", "totalMarginBalance": "5", "totalWalletBalance": "5", "assets": []},
            "totalWalletBalance is not zero",
        ),
        ("binance", "usdm_futures", "/fapi/v3/positionRisk", [{**BINANCE_POSITION, "positionSide": "UP"}], "UP"),
        ("binance", "usdm_futures", "/fapi/v3/positionRisk", [{**BINANCE_POSITION, "positionSide": "SHORT"}], "sign"),
        ("binance", "usdm_futures", "/fapi/v3/positionRisk", [BINANCE_POSITION] * 2, "listed twice"),
        ("binance", "usdm_futures", "/fapi/v3/positionRisk", [{**BINANCE_POSITION, "entryPrice": "-3"}], "entryPrice"),
        ("bybit", "unified", "/v5/account/wallet-balance", {"retCode": 0, "result": None}, "null"),
        ("bybit", "unified", "/v5/account/wallet-balance", {"retCode": 0, "result": {"list": []}}, "0 rows"),
        ("bybit", "unified", "/v5/account/wallet-balance", {"retCode": 0}, "result is missing"),
        (
            "bybit",
            "unified",
            "/v5/account/wallet-balance",
            {"retCode": 0, "result": {"list": [{"accountType": "CONTRACT", "coin": []}]}},
            "not UNIFIED",
        ),
        (
            "bybit",
            "unified",
            "/v5/account/wallet-balance",
            {"retCode": 0, "result": {"list": [{"accountType": "UNIFIED", "totalWalletBalance": "7", "coin": []}]}},
            "totalWalletBalance is not zero",
        ),
        (
            "bybit",
            "funding",
            "/v5/asset/transfer/query-account-coins-balance",
            {"retCode": 0, "result": {"balance": None}},
            "null",
        ),
        (
            "bybit",
            "unified",
            "/v5/position/list",
            {"retCode": 0, "result": {"list": [{**BYBIT_POSITION, "side": ""}]}},
            "side",
        ),
        (
            "bybit",
            "unified",
            "/v5/position/list",
            {"retCode": 0, "result": {"list": [{**BYBIT_POSITION, "positionIdx": 3}]}},
            "positionIdx",
        ),
        (
            "bybit",
            "unified",
            "/v5/position/list",
            {"retCode": 0, "result": {"list": [{**BYBIT_POSITION, "size": "-1"}]}},
            "size: -1 is negative",
        ),
        (
            "bybit",
            "unified",
            "/v5/position/list",
            {"retCode": 0, "result": {"list": [], "nextPageCursor": "x"}},
            "advance",
        ),
        ("okx", "trading", "/api/v5/account/balance", {"code": "0", "data": None}, "null"),
        ("okx", "trading", "/api/v5/account/balance", {"code": "0", "data": []}, "0 rows"),
        ("okx", "trading", "/api/v5/account/balance", okx_balance(), "totalEq is not zero"),
        ("okx", "trading", "/api/v5/account/balance", okx_balance({"ccy": "ETH", "cashBal": ""}), "unknown"),
        (
            "okx",
            "trading",
            "/api/v5/account/balance",
            okx_balance({"ccy": "ETH", "cashBal": "5", "eq": "4", "upl": "0", "liab": "2", "interest": "0"}),
            "what is owed is unclear",
        ),
        (
            "okx",
            "trading",
            "/api/v5/account/balance",
            okx_balance({"ccy": "ETH", "cashBal": "5", "eq": "", "upl": "0", "liab": "2", "interest": "0"}),
            "eq is empty",
        ),
        ("okx", "funding", "/api/v5/asset/balances", {"code": "0", "data": None}, "null"),
        (
            "okx",
            "trading",
            "/api/v5/account/positions",
            {"code": "0", "data": [okx_position("ETH-USDT-SWAP", "1", posSide="up")]},
            "posSide",
        ),
        (
            "okx",
            "trading",
            "/api/v5/account/positions",
            {"code": "0", "data": [okx_position("ETH-USDT-SWAP", "-1", posSide="long")]},
            "negative",
        ),
        (
            "okx",
            "trading",
            "/api/v5/account/positions",
            {"code": "0", "data": [okx_position("ETH-USDT-SWAP", "1")] * 2},
            "listed twice",
        ),
        (
            "bybit",
            "unified",
            "/v5/position/list",
            {"retCode": 0, "result": {"list": [], "category": "option"}},
            "the answer is of another category",
        ),
        (
            "okx",
            "trading",
            "/api/v5/account/positions",
            {"code": "0", "data": [okx_position("NEW-USDT-SWAP", "1")]},
            "size of a contract of NEW-USDT-SWAP is unknown",
        ),
        (
            "okx",
            "trading",
            "/api/v5/account/positions",
            {"code": "0", "data": [okx_position("ETH-USDT-SWAP", "")]},
            "pos is",
        ),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(
    venues: ExchangeVenues, venue: str, part: str, path: str, payload: Any, problem: str
) -> None:
    held(venues, venue, part)
    venues.answer(path, payload)
    assert_unavailable(read(venues, venue, part), problem)


@pytest.mark.parametrize("deep", ["[" * 5000 + "]" * 5000, '{"balances":' + "[" * 400 + "]" * 400 + "}"])
def test_an_answer_nested_too_deep_is_refused(venues: ExchangeVenues, deep: str) -> None:
    fund(venues, "binance")
    venues.fail("/api/v3/account", Answer(200, deep))
    assert_unavailable(read(venues, "binance", "spot"), "spot")


def test_a_name_that_cannot_be_shown_is_refused(venues: ExchangeVenues) -> None:
    fund(venues, "binance")
    venues.answer("/api/v3/account", {"balances": [{**ROW, "asset": "E\ud800TH"}]})
    reading = read(venues, "binance", "spot")
    assert_unavailable(reading, "not a name")
    assert reading.error is not None
    (reading.error + reading.raw).encode()


def test_bybits_loan_that_is_not_told_is_refused(venues: ExchangeVenues) -> None:
    fund(venues, "bybit")
    coin = {"coin": "ETH", "walletBalance": "3", "borrowAmount": "1"}
    summary = {"accountType": "UNIFIED", "totalWalletBalance": "3", "coin": [coin]}
    venues.answer("/v5/account/wallet-balance", {"retCode": 0, "result": {"list": [summary]}})
    assert_unavailable(read(venues, "bybit", "unified"), "spotBorrow is missing")


def test_the_parts_are_read_at_once(venues: ExchangeVenues) -> None:
    fund(venues, "binance")
    venues.latency = 0.3

    async def run() -> timedelta:
        made = reader(venues, "binance")
        try:
            [reading] = await made.read()
            assert reading.available
            return reading.observed_at - reading.started_at
        finally:
            await made.close()

    assert asyncio.run(run()) < timedelta(seconds=0.6)
