"""Binance: spot prices of the spot market, marks of USDⓈ-M futures."""

from __future__ import annotations

from typing import Any

from basis_pipeline.venues.quotes.dialect import (
    SPOT,
    Candle,
    Dialect,
    Question,
    Told,
    candle,
    field,
    moment,
    price,
    rows,
    same,
)

_CANDLE_LENGTHS = (12, 12)


def _now(symbol: str, kind: str) -> Question:
    if kind == SPOT:
        return Question(f"GET /api/v3/ticker/24hr {symbol}", "publicGetTicker24hr", {"symbol": symbol})
    return Question(f"GET /fapi/v1/premiumIndex {symbol}", "fapiPublicGetPremiumIndex", {"symbol": symbol})


def _read_now(payload: Any, symbol: str) -> Told:
    same(payload, field(payload, "symbol"), symbol, "symbol")
    value, at = ("markPrice", "time") if "markPrice" in payload else ("lastPrice", "closeTime")
    return Told(price(payload, field(payload, value), value), moment(payload, field(payload, at), at))


def _candles(symbol: str, kind: str, number: int) -> Question:
    params = {"symbol": symbol, "interval": "1h", "limit": number}
    if kind == SPOT:
        return Question(f"GET /api/v3/klines {symbol}", "publicGetKlines", params)
    return Question(f"GET /fapi/v1/markPriceKlines {symbol}", "fapiPublicGetMarkPriceKlines", params)


def _read_candles(payload: Any) -> list[Candle]:
    return [candle(row, _CANDLE_LENGTHS) for row in rows(payload)]


BINANCE = Dialect(_now, _read_now, _candles, _read_candles)
