"""Answers recorded at the real venues are read as they were meant; ccxt's own parse of them is the second opinion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.observations import Reading
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import D, fund, read

pytestmark = pytest.mark.acceptance


def served(venues: ExchangeVenues, shared: Path, venue: str, method: str, path: str) -> dict[str, Any]:
    """Let the venue answer the path with the recording; the recorded case."""
    file = shared / "fixtures" / "ccxt" / f"{venue}.json"
    if not file.is_file():
        pytest.skip(f"{file} not found")
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    [case] = [case for case in cases if case["method"] == method and case["route"][2] == path]
    venues.answer(path, case["httpResponse"])
    return case


def amounts(reading: Reading) -> dict[str, str]:
    return {coin: str(amount) for coin, amount in {**reading.balances, **reading.unmapped}.items()}


def test_a_recorded_spot_account(venues: ExchangeVenues, shared: Path) -> None:
    fund(venues, "binance")
    served(venues, shared, "binance", "fetchBalance", "/api/v3/account")
    reading = read(venues, "binance", "spot")
    assert reading.error is None
    assert reading.balances == {"ETH": D("0.02229833")}
    assert reading.unmapped == {"LTC": D("0.919741")}


def test_a_recorded_futures_account(venues: ExchangeVenues, shared: Path) -> None:
    fund(venues, "binance")
    served(venues, shared, "binance", "fetchBalance", "/fapi/v3/account")
    case = served(venues, shared, "binance", "fetchPositions", "/fapi/v3/positionRisk")
    reading = read(venues, "binance", "usdm_futures")
    assert reading.error is None
    assert reading.balances == {"USDT": D("31.022612")}
    position = reading.positions["BTCUSDT-PERP"]
    [parsed] = case["parsedResponse"]
    assert (str(position.size), str(position.entry_price)) == (str(parsed["contracts"]), str(parsed["entryPrice"]))
    assert position.notional_usd == D("607.52416678")
    assert reading.health is not None
    assert reading.health.margin_ratio == 0


def test_a_recorded_unified_account(venues: ExchangeVenues, shared: Path) -> None:
    fund(venues, "bybit")
    case = served(venues, shared, "bybit", "fetchBalance", "/v5/account/wallet-balance")
    reading = read(venues, "bybit", "unified")
    assert reading.error is None
    assert amounts(reading) == {coin: str(amount) for coin, amount in case["parsedResponse"]["total"].items()}
    assert not reading.debts
    assert reading.venue_time is not None
    assert reading.venue_time.isoformat() == "2025-01-14T14:47:03.302000+00:00"


def test_a_recorded_trading_account(venues: ExchangeVenues, shared: Path) -> None:
    fund(venues, "okx")
    case = served(venues, shared, "okx", "fetchBalance", "/api/v5/account/balance")
    reading = read(venues, "okx", "trading")
    assert reading.error is None
    expected = {row["ccy"]: D(row["cashBal"]) for row in case["httpResponse"]["data"][0]["details"]}
    assert {**reading.balances, **reading.unmapped} == expected
    assert set(reading.balances) == {"BTC", "ETH", "USDT"}
    assert not reading.debts
    assert reading.health is not None
    assert reading.health.margin_ratio is not None
    assert D("0.00005") < reading.health.margin_ratio < D("0.0001")


def test_a_recorded_position_at_okx(venues: ExchangeVenues, shared: Path) -> None:
    fund(venues, "okx")
    case = served(venues, shared, "okx", "fetchPositions", "/api/v5/account/positions")
    [parsed] = case["parsedResponse"]
    venues.set_contract("LTC-USDT-SWAP", str(parsed["contractSize"]))
    reading = read(venues, "okx", "trading")
    assert reading.error is None
    [(name, position)] = reading.positions.items()
    assert name == "LTCUSDT-PERP:LONG"
    assert position.size == D(str(parsed["contracts"])) * D(str(parsed["contractSize"]))
    assert position.entry_price == D("68.24")
    assert position.notional_usd == D(case["httpResponse"]["data"][0]["notionalUsd"])
