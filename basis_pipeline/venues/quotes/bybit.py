"""Bybit: spot prices of the spot market, marks of linear perpetuals."""

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

_CANDLE_LENGTHS = (7, 5)
"""Marks have no volume and no turnover."""


def _name(symbol: str, kind: str) -> str:
    """Perpetuals that settle in USDC are called ETHPERP."""
    return symbol if kind == SPOT or not symbol.endswith("USDC") else symbol.removesuffix("USDC") + "PERP"


def _category(kind: str) -> str:
    return "spot" if kind == SPOT else "linear"


def _now(symbol: str, kind: str) -> Question:
    name, category = _name(symbol, kind), _category(kind)
    params = {"category": category, "symbol": name}
    return Question(f"GET /v5/market/tickers {category} {name}", "publicGetV5MarketTickers", params)


def _read_now(payload: Any, symbol: str) -> Told:
    result = field(payload, "result")
    kind = SPOT if field(result, "category") == "spot" else "perp"
    row = rows(field(result, "list"))[0]
    same(row, field(row, "symbol"), _name(symbol, kind), "symbol")
    name = "lastPrice" if kind == SPOT else "markPrice"
    return Told(price(row, field(row, name), name), moment(payload, field(payload, "time"), "time"))


def _candles(symbol: str, kind: str, number: int) -> Question:
    name, category = _name(symbol, kind), _category(kind)
    params = {"category": category, "symbol": name, "interval": "60", "limit": number}
    if kind == SPOT:
        return Question(f"GET /v5/market/kline {category} {name}", "publicGetV5MarketKline", params)
    return Question(f"GET /v5/market/mark-price-kline {name}", "publicGetV5MarketMarkPriceKline", params)


def _read_candles(payload: Any) -> list[Candle]:
    return [candle(row, _CANDLE_LENGTHS) for row in rows(field(field(payload, "result"), "list"))]


BYBIT = Dialect(_now, _read_now, _candles, _read_candles)
