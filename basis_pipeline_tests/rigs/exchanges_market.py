"""Public market endpoints of the loopback exchanges, all from one table of prices."""

from __future__ import annotations

import time
from bisect import bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.tokens import EXCHANGES

QUOTES = ("USDT", "USDC", "USD")
CONTRACTS = {"BTC-USDT-SWAP": ("0.01", "1"), "ETH-USDT-SWAP": ("0.1", "1"), "ETH-USDC-SWAP": ("0.001", "1")}
_FIRST_PRICES = {"ETHUSDT": "3000", "BTCUSDT": "60000", "LTCUSDT": "70", "ETHUSDC": "3000", "USDCUSDT": "1"}
_YEARS_AGO_MS = 1_500_000_000_000


def split(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol such as ETHUSDT."""
    quote = next(quote for quote in QUOTES if symbol.endswith(quote) and symbol != quote)
    return symbol.removesuffix(quote), quote


def milliseconds(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


@dataclass
class Prices:
    """What everything costs over time, by venue, symbol and kind (spot, mark), and the sizes of OKX contracts."""

    clock: Callable[[], datetime]
    contracts: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(CONTRACTS))
    history: dict[tuple[str, str, str], list[tuple[int, Decimal]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for symbol, price in _FIRST_PRICES.items():
            self._insert(symbol, Decimal(price), Decimal(price), EXCHANGES, _YEARS_AGO_MS)

    def set(self, symbol: str, spot: Decimal, mark: Decimal, venue: str | None, at: datetime | None) -> None:
        """A price from a moment on (default: now)."""
        split(symbol)
        moment = milliseconds(self.clock() if at is None else at)
        self._insert(symbol, spot, mark, EXCHANGES if venue is None else (venue,), moment)

    def _insert(self, symbol: str, spot: Decimal, mark: Decimal, venues: tuple[str, ...], moment: int) -> None:
        for venue in venues:
            insort(self.history.setdefault((venue, symbol, "spot"), []), (moment, spot), key=lambda row: row[0])
            insort(self.history.setdefault((venue, symbol, "mark"), []), (moment, mark), key=lambda row: row[0])

    def symbols(self, venue: str) -> list[str]:
        """The symbols that a venue lists."""
        return sorted(symbol for where, symbol, kind in list(self.history) if where == venue and kind == "spot")

    def now(self) -> int:
        """The venues' own time in milliseconds."""
        return milliseconds(self.clock())

    def at(self, venue: str, symbol: str, kind: str, moment: int) -> Decimal:
        """The last price not later than the moment (before the first: the first)."""
        rows = self.history[venue, symbol, kind]
        return rows[max(0, bisect_right(rows, moment, key=lambda row: row[0]) - 1)][1]

    def candles(
        self, venue: str, symbol: str, kind: str, length: int, first: int | None, last: int | None, limit: int
    ) -> list[list[Any]]:
        """[start, open, high, low, close] of up to ``limit`` candles, oldest first: from ``first``, else the newest."""
        newest = self.now() if last is None else min(last, self.now())
        newest -= newest % length
        start = newest - (limit - 1) * length if first is None else -(-first // length) * length
        starts = range(start, newest + 1, length)[:limit]
        rows = self.history[venue, symbol, kind]
        found = []
        for begin in starts:
            end = min(begin + length - 1, self.now())
            inside = [price for moment, price in rows if begin <= moment <= end]
            opened, closed = self.at(venue, symbol, kind, begin), self.at(venue, symbol, kind, end)
            prices = [opened, closed, *inside]
            found.append([begin, str(opened), str(max(prices)), str(min(prices)), str(closed)])
        return found


Query = Mapping[str, Any]
Build = Callable[[Prices, Query, float], Any]

_LENGTHS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


def _length(text: str) -> int:
    """Milliseconds of 1m, 1H, 60 (Bybit: minutes), D."""
    lower = text.lower().removesuffix("utc")
    if lower.isdigit():
        return int(lower) * 60_000
    return int(lower[:-1] or 1) * _LENGTHS[lower[-1]]


def _real_ms(skew: float) -> int:
    return round((time.time() + skew) * 1000)


def _optional(query: Query, key: str) -> int | None:
    return int(query[key]) if query.get(key) not in {None, ""} else None


# Binance


def _binance_info(perpetual: bool) -> Build:
    def build(prices: Prices, query: Query, skew: float) -> Any:
        del query
        symbols = []
        for symbol in prices.symbols("binance"):
            base, quote = split(symbol)
            row = {
                "symbol": symbol,
                "status": "TRADING",
                "baseAsset": base,
                "quoteAsset": quote,
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": "0.001"},
                ],
            }
            if perpetual:
                row |= {
                    "pair": symbol,
                    "contractType": "PERPETUAL",
                    "deliveryDate": 4133404800000,
                    "onboardDate": 1569398400000,
                    "marginAsset": quote,
                    "pricePrecision": 2,
                    "quantityPrecision": 3,
                    "underlyingType": "COIN",
                }
            else:
                row |= {"isSpotTradingAllowed": True, "isMarginTradingAllowed": True, "permissions": ["SPOT", "MARGIN"]}
            symbols.append(row)
        return {"timezone": "UTC", "serverTime": _real_ms(skew), "rateLimits": [], "symbols": symbols}

    return build


def _binance_chosen(prices: Prices, query: Query) -> list[str]:
    if query.get("symbol"):
        return [str(query["symbol"])]
    wanted = query.get("symbols")
    return [symbol for symbol in prices.symbols("binance") if wanted is None or f'"{symbol}"' in wanted]


def _one_or_all(query: Query, rows: list[dict[str, Any]]) -> Any:
    return rows[0] if query.get("symbol") else rows


def _binance_price(kind: str) -> Build:
    def build(prices: Prices, query: Query, skew: float) -> Any:
        del skew
        now = prices.now()
        rows = [
            {"symbol": symbol, "price": str(prices.at("binance", symbol, kind, now)), "time": now}
            for symbol in _binance_chosen(prices, query)
        ]
        return _one_or_all(query, rows)

    return build


def _binance_day(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    now = prices.now()
    rows = []
    for symbol in _binance_chosen(prices, query):
        price = str(prices.at("binance", symbol, "spot", now))
        rows.append(
            {
                "symbol": symbol,
                "priceChange": "0",
                "priceChangePercent": "0",
                "weightedAvgPrice": price,
                "lastPrice": price,
                "bidPrice": price,
                "askPrice": price,
                "openPrice": price,
                "highPrice": price,
                "lowPrice": price,
                "volume": "1",
                "quoteVolume": price,
                "openTime": now - _LENGTHS["d"],
                "closeTime": now,
            }
        )
    return _one_or_all(query, rows)


def _binance_premium(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    now = prices.now()
    rows = [
        {
            "symbol": symbol,
            "markPrice": str(prices.at("binance", symbol, "mark", now)),
            "indexPrice": str(prices.at("binance", symbol, "spot", now)),
            "lastFundingRate": "0.00010000",
            "nextFundingTime": now - now % (8 * _LENGTHS["h"]) + 8 * _LENGTHS["h"],
            "interestRate": "0.00010000",
            "time": now,
        }
        for symbol in _binance_chosen(prices, query)
    ]
    return _one_or_all(query, rows)


def _binance_klines(kind: str) -> Build:
    def build(prices: Prices, query: Query, skew: float) -> Any:
        del skew
        length = _length(str(query["interval"]))
        candles = prices.candles(
            "binance",
            str(query["symbol"]),
            kind,
            length,
            _optional(query, "startTime"),
            _optional(query, "endTime"),
            int(query.get("limit", 500)),
        )
        return [[*candle, "1", candle[0] + length - 1, "1", 1, "1", "1", "0"] for candle in candles]

    return build


# Bybit


def _bybit(result: Any, moment: int) -> Any:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": moment}


def bybit_symbol(symbol: str) -> str:
    """Bybit's name of a linear perpetual: ETHUSDT, but ETHPERP for the one settled in USDC."""
    base, quote = split(symbol)
    return f"{base}PERP" if quote == "USDC" else symbol


def _bybit_instruments(prices: Prices, query: Query, skew: float) -> Any:
    category = query["category"]
    rows = []
    for symbol in prices.symbols("bybit") if category in {"spot", "linear"} else []:
        base, quote = split(symbol)
        row: dict[str, Any] = {
            "symbol": symbol if category == "spot" else bybit_symbol(symbol),
            "status": "Trading",
            "baseCoin": base,
            "quoteCoin": quote,
            "priceFilter": {"minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            "lotSizeFilter": {
                "basePrecision": "0.001",
                "quotePrecision": "0.01",
                "minOrderQty": "0.001",
                "maxOrderQty": "9000",
                "minOrderAmt": "1",
                "maxOrderAmt": "1000000",
                "qtyStep": "0.001",
            },
        }
        if category == "linear":
            row |= {
                "contractType": "LinearPerpetual",
                "settleCoin": quote,
                "launchTime": "1584230400000",
                "deliveryTime": "0",
                "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
            }
        rows.append(row)
    if query.get("symbol"):
        rows = [row for row in rows if row["symbol"] == query["symbol"]]
    return _bybit({"category": category, "list": rows, "nextPageCursor": ""}, _real_ms(skew))


def _bybit_listed(prices: Prices, query: Query) -> dict[str, str]:
    """The symbols of the rig by Bybit's name in the category asked for."""
    spot = query.get("category") == "spot"
    return {symbol if spot else bybit_symbol(symbol): symbol for symbol in prices.symbols("bybit")}


def _bybit_tickers(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    now = prices.now()
    rows = []
    for name, symbol in _bybit_listed(prices, query).items():
        if query.get("symbol") in {None, name}:
            price = str(prices.at("bybit", symbol, "spot", now))
            row = {
                "symbol": name,
                "lastPrice": price,
                "bid1Price": price,
                "bid1Size": "1",
                "ask1Price": price,
                "ask1Size": "1",
                "prevPrice24h": price,
                "price24hPcnt": "0",
                "highPrice24h": price,
                "lowPrice24h": price,
                "turnover24h": "1",
                "volume24h": "1",
            }
            if query.get("category") != "spot":
                row |= {
                    "markPrice": str(prices.at("bybit", symbol, "mark", now)),
                    "indexPrice": price,
                    "fundingRate": "0.0001",
                    "nextFundingTime": str(now - now % (8 * _LENGTHS["h"]) + 8 * _LENGTHS["h"]),
                }
            rows.append(row)
    return _bybit({"category": query.get("category"), "list": rows}, now)


def _bybit_klines(kind: str | None) -> Build:
    def build(prices: Prices, query: Query, skew: float) -> Any:
        del skew
        name = str(query["symbol"])
        candles = prices.candles(
            "bybit",
            _bybit_listed(prices, query)[name],
            kind or "spot",
            _length(str(query["interval"])),
            _optional(query, "start"),
            _optional(query, "end"),
            int(query.get("limit", 200)),
        )
        rows = [[str(candle[0]), *candle[1:], *(() if kind == "mark" else ("1", "1"))] for candle in reversed(candles)]
        return _bybit({"symbol": name, "category": query.get("category"), "list": rows}, prices.now())

    return build


# OKX


def _okx(data: Any) -> Any:
    return {"code": "0", "msg": "", "data": data}


def _okx_instruments(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    kind = query["instType"]
    rows = []
    for symbol in prices.symbols("okx") if kind in {"SPOT", "SWAP"} else []:
        base, quote = split(symbol)
        swap = kind == "SWAP"
        inst_id = f"{base}-{quote}-SWAP" if swap else f"{base}-{quote}"
        ct_val, ct_mult = prices.contracts.get(inst_id, ("1", "1")) if swap else ("", "")
        rows.append(
            {
                "instType": kind,
                "instId": inst_id,
                "instFamily": f"{base}-{quote}" if swap else "",
                "uly": f"{base}-{quote}" if swap else "",
                "baseCcy": "" if swap else base,
                "quoteCcy": "" if swap else quote,
                "settleCcy": quote if swap else "",
                "ctVal": ct_val,
                "ctMult": ct_mult,
                "ctValCcy": base if swap else "",
                "ctType": "linear" if swap else "",
                "optType": "",
                "stk": "",
                "listTime": "1611916828000",
                "expTime": "",
                "lever": "100",
                "tickSz": "0.01",
                "lotSz": "0.1",
                "minSz": "0.1",
                "alias": "",
                "category": "1",
                "state": "live",
            }
        )
    if query.get("instId"):
        rows = [row for row in rows if row["instId"] == query["instId"]]
    return _okx(rows)


def _okx_symbol(inst_id: str) -> str:
    base, quote, *_ = inst_id.split("-")
    return base + quote


def _okx_tickers(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    now = prices.now()
    if query.get("instId"):
        names = [str(query["instId"])]
    else:
        suffix = "-SWAP" if query.get("instType") == "SWAP" else ""
        names = ["-".join(split(symbol)) + suffix for symbol in prices.symbols("okx")]
    rows = []
    for name in names:
        price = str(prices.at("okx", _okx_symbol(name), "spot", now))
        rows.append(
            {
                "instType": "SWAP" if name.endswith("-SWAP") else "SPOT",
                "instId": name,
                "last": price,
                "askPx": price,
                "bidPx": price,
                "open24h": price,
                "high24h": price,
                "low24h": price,
                "vol24h": "1",
                "volCcy24h": "1",
                "ts": str(now),
            }
        )
    return _okx(rows)


def _okx_marks(prices: Prices, query: Query, skew: float) -> Any:
    del skew
    now = prices.now()
    names = (
        [str(query["instId"])]
        if query.get("instId")
        else ["-".join(split(symbol)) + "-SWAP" for symbol in prices.symbols("okx")]
    )
    return _okx(
        [
            {
                "instType": "SWAP",
                "instId": name,
                "markPx": str(prices.at("okx", _okx_symbol(name), "mark", now)),
                "ts": str(now),
            }
            for name in names
        ]
    )


def _okx_candles(kind: str) -> Build:
    def build(prices: Prices, query: Query, skew: float) -> Any:
        del skew
        length = _length(str(query["bar"]))
        limit = int(query.get("limit", 100))
        after, before = _optional(query, "after"), _optional(query, "before")
        # OKX counts back from `after` (older than) and stops at `before` (newer than).
        newest = prices.now() if after is None else after - 1
        candles = prices.candles("okx", _okx_symbol(str(query["instId"])), kind, length, None, newest, limit)
        rows = []
        for candle in reversed(candles):
            if before is None or candle[0] > before:
                confirmed = "1" if candle[0] + length <= prices.now() else "0"
                volume = () if kind == "mark" else ("1", "1", "1")
                rows.append([str(candle[0]), *candle[1:], *volume, confirmed])
        return _okx(rows)

    return build


PUBLIC: dict[tuple[str, str], Build] = {
    ("api.binance.com", "/api/v3/time"): lambda prices, query, skew: {"serverTime": _real_ms(skew)},
    ("fapi.binance.com", "/fapi/v1/time"): lambda prices, query, skew: {"serverTime": _real_ms(skew)},
    ("api.binance.com", "/api/v3/exchangeInfo"): _binance_info(False),
    ("fapi.binance.com", "/fapi/v1/exchangeInfo"): _binance_info(True),
    ("dapi.binance.com", "/dapi/v1/exchangeInfo"): lambda prices, query, skew: {"symbols": []},
    ("api.binance.com", "/api/v3/ticker/price"): _binance_price("spot"),
    ("fapi.binance.com", "/fapi/v1/ticker/price"): _binance_price("mark"),
    ("fapi.binance.com", "/fapi/v2/ticker/price"): _binance_price("mark"),
    ("api.binance.com", "/api/v3/ticker/24hr"): _binance_day,
    ("fapi.binance.com", "/fapi/v1/ticker/24hr"): _binance_day,
    ("fapi.binance.com", "/fapi/v1/premiumIndex"): _binance_premium,
    ("api.binance.com", "/api/v3/klines"): _binance_klines("spot"),
    ("fapi.binance.com", "/fapi/v1/klines"): _binance_klines("mark"),
    ("fapi.binance.com", "/fapi/v1/markPriceKlines"): _binance_klines("mark"),
    ("api.bybit.com", "/v5/market/time"): lambda prices, query, skew: _bybit(
        {"timeSecond": str(_real_ms(skew) // 1000), "timeNano": f"{_real_ms(skew)}000000"}, _real_ms(skew)
    ),
    ("api.bybit.com", "/v5/market/instruments-info"): _bybit_instruments,
    ("api.bybit.com", "/v5/market/tickers"): _bybit_tickers,
    ("api.bybit.com", "/v5/market/kline"): _bybit_klines(None),
    ("api.bybit.com", "/v5/market/mark-price-kline"): _bybit_klines("mark"),
    ("www.okx.com", "/api/v5/public/time"): lambda prices, query, skew: _okx([{"ts": str(_real_ms(skew))}]),
    ("www.okx.com", "/api/v5/public/instruments"): _okx_instruments,
    ("www.okx.com", "/api/v5/market/ticker"): _okx_tickers,
    ("www.okx.com", "/api/v5/market/tickers"): _okx_tickers,
    ("www.okx.com", "/api/v5/public/mark-price"): _okx_marks,
    ("www.okx.com", "/api/v5/market/candles"): _okx_candles("spot"),
    ("www.okx.com", "/api/v5/market/history-candles"): _okx_candles("spot"),
    ("www.okx.com", "/api/v5/market/mark-price-candles"): _okx_candles("mark"),
    ("www.okx.com", "/api/v5/market/history-mark-price-candles"): _okx_candles("mark"),
}
"""Public endpoints by host and path."""
