"""OKX: spot prices of the spot market, marks of perpetual swaps."""

from __future__ import annotations

from typing import Any

from basis_pipeline.domain.errors import VenueError
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
)

_QUOTES = ("USDT", "USDC", "USD", "ETH", "BTC")
_CANDLE_LENGTHS = (9, 6)
"""Marks have no volumes."""


def _name(symbol: str, kind: str) -> str:
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return f"{symbol.removesuffix(quote)}-{quote}" + ("" if kind == SPOT else "-SWAP")
    raise VenueError(f"{symbol} ends in none of {', '.join(_QUOTES)}, so that OKX's name for it is not known")


def _now(symbol: str, kind: str) -> Question:
    name = _name(symbol, kind)
    if kind == SPOT:
        return Question(f"GET /api/v5/market/ticker {name}", "publicGetMarketTicker", {"instId": name})
    params = {"instType": "SWAP", "instId": name}
    return Question(f"GET /api/v5/public/mark-price {name}", "publicGetPublicMarkPrice", params)


def _read_now(payload: Any, symbol: str) -> Told:
    row = rows(field(payload, "data"))[0]
    name = field(row, "instId")
    if name not in {_name(symbol, SPOT), _name(symbol, "perp")}:
        raise VenueError(f"instId is {name!r:.40}, but {symbol} was asked for")
    value = "markPx" if "markPx" in row else "last"
    return Told(price(row, field(row, value), value), moment(row, field(row, "ts"), "ts"))


def _candles(symbol: str, kind: str, number: int) -> Question:
    name = _name(symbol, kind)
    params = {"instId": name, "bar": "1H", "limit": number}
    if kind == SPOT:
        return Question(f"GET /api/v5/market/candles {name}", "publicGetMarketCandles", params)
    return Question(f"GET /api/v5/market/mark-price-candles {name}", "publicGetMarketMarkPriceCandles", params)


def _read_candles(payload: Any) -> list[Candle]:
    found = rows(field(payload, "data"))
    return [candle(row, _CANDLE_LENGTHS, isinstance(row, list) and row[-1:] == ["1"]) for row in found]


OKX = Dialect(_now, _read_now, _candles, _read_candles)
