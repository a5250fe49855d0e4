"""Accounts of the loopback exchanges: what they hold, as each venue's signed endpoints tell it, and its signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from basis_pipeline_tests.rigs.exchanges_market import Prices, bybit_symbol

PARTS = {
    "binance": ("spot", "funding", "cross_margin", "usdm_futures", "portfolio_margin"),
    "bybit": ("unified", "funding"),
    "okx": ("trading", "funding"),
}
_INSTRUMENT = re.compile(r"([A-Z0-9]+?)(USDT|USDC|USD)-PERP(?::(LONG|SHORT))?")
_NOTHING = Decimal(0)


class Position(NamedTuple):
    """A perpetual: signed base units (contracts for an inverse one) and the average entry price."""

    size: Decimal
    entry_price: Decimal
    base: str
    quote: str
    leg: str


def text(number: Decimal) -> str:
    """A number as venues write it: no exponent."""
    return format(number, "f")


@dataclass
class ScriptedAccount:
    """One exchange account; ``cash`` is what is there before debts are taken off, by (part, coin)."""

    venue: str
    key: str = field(repr=False)
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)
    prices: Prices = field(repr=False)
    permissions: set[str] = field(default_factory=lambda: {"read"})
    cash: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    debts: dict[tuple[str, str], tuple[Decimal, Decimal]] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def _part(self, part: str) -> str:
        if part not in PARTS[self.venue]:
            raise ValueError(f"{part!r} is no part of {self.venue}; there are {', '.join(PARTS[self.venue])}")
        return part

    def set_balance(self, part: str, coin: str, amount: str | Decimal) -> None:
        """So much cash of a coin, borrowed cash included."""
        self.cash[self._part(part), coin] = Decimal(amount)

    def add(self, part: str, coin: str, delta: str | Decimal) -> None:
        """So much more (or less) cash."""
        self.set_balance(part, coin, self.cash.get((part, coin), _NOTHING) + Decimal(delta))

    def set_borrowed(self, part: str, coin: str, amount: str | Decimal, interest: str | Decimal = "0") -> None:
        """So much is owed of a coin; the cash does not change by it."""
        self.debts[self._part(part), coin] = (Decimal(amount), Decimal(interest))

    def set_position(self, instrument: str, size: str | Decimal, entry_price: str | Decimal = "0") -> None:
        """A position in signed base units, by its canonical name; size 0 is a flat row."""
        match = _INSTRUMENT.fullmatch(instrument)
        if match is None:
            raise ValueError(f"{instrument!r} is no instrument; write ETHUSDT-PERP, ETHUSDT-PERP:LONG or BTCUSD-PERP")
        base, quote, leg = match.groups()
        self.positions[instrument] = Position(Decimal(size), Decimal(entry_price), base, quote, leg or "")

    def close_position(self, instrument: str) -> None:
        """No row for it any more."""
        self.positions.pop(instrument, None)

    def coins(self, part: str) -> list[str]:
        """The coins of a part with cash or debt."""
        return sorted({coin for where, coin in [*self.cash, *self.debts] if where == part})

    def held(self, part: str, coin: str) -> tuple[Decimal, Decimal, Decimal]:
        """Cash, borrowed, interest."""
        return (self.cash.get((part, coin), _NOTHING), *self.debts.get((part, coin), (_NOTHING, _NOTHING)))

    def mark(self, position: Position) -> Decimal:
        """The mark of a position, its entry price where the rig has no price."""
        symbol = position.base + position.quote
        if (self.venue, symbol, "mark") not in self.prices.history:
            return position.entry_price
        return self.prices.at(self.venue, symbol, "mark", self.prices.now())

    def pnl(self, position: Position) -> Decimal:
        """Unrealised profit of a linear position in its quote currency."""
        return (self.mark(position) - position.entry_price) * position.size

    def open_positions(self, *quotes: str) -> list[Position]:
        """The positions quoted in one of these currencies, flat ones included."""
        return [position for position in list(self.positions.values()) if position.quote in quotes]


# Signatures


class Signed(NamedTuple):
    """What a signature covers."""

    venue: str
    method: str
    path: str
    query: str
    body: str
    headers: Mapping[str, str]


def signature_problem(
    signed: Signed, accounts: Mapping[tuple[str, str], ScriptedAccount], skew: float
) -> tuple[ScriptedAccount | None, str | None]:
    """The account whose key signed the request, and what is wrong with it: key, passphrase, bad_signature or clock."""
    headers = {name.lower(): value for name, value in signed.headers.items()}
    check = {"binance": _binance_problem, "bybit": _bybit_problem, "okx": _okx_problem}[signed.venue]
    name = {"binance": "x-mbx-apikey", "bybit": "x-bapi-api-key", "okx": "ok-access-key"}[signed.venue]
    account = accounts.get((signed.venue, headers.get(name, "")))
    if account is None:
        return None, "key"
    return account, check(signed, headers, account, time.time() * 1000 + skew * 1000)


def _digest(account: ScriptedAccount, message: str) -> bytes:
    return hmac.new(account.secret.encode(), message.encode(), hashlib.sha256).digest()


def _binance_problem(signed: Signed, headers: Mapping[str, str], account: ScriptedAccount, now: float) -> str | None:
    del headers
    sent = signed.query if signed.method == "GET" else signed.body
    message, _, signature = sent.rpartition("&signature=")
    if not hmac.compare_digest(_digest(account, message).hex(), signature):
        return "bad_signature"
    fields = parse_qs(message)
    if "timestamp" not in fields:
        return "clock"
    age = now - float(fields["timestamp"][0])
    return None if -1000 <= age <= float(fields.get("recvWindow", ["5000"])[0]) else "clock"


def _bybit_problem(signed: Signed, headers: Mapping[str, str], account: ScriptedAccount, now: float) -> str | None:
    stamp, window = headers.get("x-bapi-timestamp", "0"), headers.get("x-bapi-recv-window", "5000")
    message = stamp + account.key + window + (signed.query if signed.method == "GET" else signed.body)
    if not hmac.compare_digest(_digest(account, message).hex(), headers.get("x-bapi-sign", "")):
        return "bad_signature"
    return None if -1000 <= now - float(stamp) <= float(window) else "clock"


def _okx_problem(signed: Signed, headers: Mapping[str, str], account: ScriptedAccount, now: float) -> str | None:
    stamp = headers.get("ok-access-timestamp", "")
    request = signed.path + (f"?{signed.query}" if signed.query else "")
    message = stamp + signed.method + request + signed.body
    if headers.get("ok-access-passphrase") != account.passphrase:
        return "passphrase"
    if base64.b64encode(_digest(account, message)).decode() != headers.get("ok-access-sign"):
        return "bad_signature"
    try:
        moment = datetime.fromisoformat(stamp).timestamp() * 1000
    except ValueError:
        return "clock"
    return None if abs(now - moment) <= 30_000 else "clock"


_REFUSALS: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {
    ("binance", "key"): (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}),
    ("binance", "bad_signature"): (400, {"code": -1022, "msg": "Signature for this request is not valid."}),
    ("binance", "clock"): (400, {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}),
    ("bybit", "key"): (200, {"retCode": 10003, "retMsg": "API key is invalid.", "result": {}, "time": 0}),
    ("bybit", "bad_signature"): (200, {"retCode": 10004, "retMsg": "error sign!", "result": {}, "time": 0}),
    ("bybit", "clock"): (200, {"retCode": 10002, "retMsg": "invalid request, please check your server timestamp"}),
    ("okx", "key"): (401, {"code": "50111", "data": [], "msg": "Invalid OK-ACCESS-KEY"}),
    ("okx", "passphrase"): (
        401,
        {"code": "50105", "data": [], "msg": "Request header OK-ACCESS-PASSPHRASE incorrect."},
    ),
    ("okx", "bad_signature"): (401, {"code": "50113", "data": [], "msg": "Invalid Sign"}),
    ("binance", "symbol"): (400, {"code": -1121, "msg": "Invalid symbol."}),
    ("bybit", "symbol"): (200, {"retCode": 10001, "retMsg": "Not supported symbols", "result": {}, "time": 0}),
    ("okx", "symbol"): (200, {"code": "51001", "data": [], "msg": "Instrument ID doesn't exist."}),
    ("binance", "429"): (429, {"code": -1003, "msg": "Too many requests."}),
    ("binance", "418"): (418, {"code": -1003, "msg": "Way too many requests; IP banned until 1736866023302."}),
    ("bybit", "429"): (429, {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": 0}),
    ("bybit", "418"): (403, {"retCode": 10018, "retMsg": "Exceeded the IP Rate Limit.", "result": {}, "time": 0}),
    ("okx", "429"): (429, {"code": "50011", "data": [], "msg": "Too Many Requests"}),
    ("okx", "418"): (429, {"code": "50061", "data": [], "msg": "Sub-account rate limit exceeded"}),
    ("okx", "clock"): (401, {"code": "50102", "data": [], "msg": "Timestamp request expired"}),
}


def refusal(venue: str, reason: str) -> tuple[int, str]:
    """HTTP status and body with which a venue refuses a request."""
    status, body = _REFUSALS[venue, reason]
    return status, json.dumps(body, separators=(",", ":"))


# Binance

_LISTED = ("BTC", "ETH", "USDT", "USDC", "BNB", "LTC")


def _binance_spot(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    coins = set(account.coins("spot"))
    if query.get("omitZeroBalances") != "true":
        coins |= set(_LISTED)
    return {
        "makerCommission": 10,
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "updateTime": account.prices.now(),
        "accountType": "SPOT",
        "balances": [
            {"asset": coin, "free": text(account.held("spot", coin)[0]), "locked": "0.00000000"}
            for coin in sorted(coins)
        ],
        "permissions": ["SPOT"],
        "uid": 354937868,
    }


def _binance_funding(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    return [
        {
            "asset": coin,
            "free": text(account.held("funding", coin)[0]),
            "locked": "0",
            "freeze": "0",
            "withdrawing": "0",
            "btcValuation": "0",
        }
        for coin in account.coins("funding")
        if account.held("funding", coin)[0]
    ]


def _binance_margin(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    assets = []
    for coin in sorted({*_LISTED, *account.coins("cross_margin")}):
        cash, borrowed, interest = account.held("cross_margin", coin)
        assets.append(
            {
                "asset": coin,
                "free": text(cash),
                "locked": "0",
                "borrowed": text(borrowed),
                "interest": text(interest),
                "netAsset": text(cash - borrowed - interest),
            }
        )
    return {
        "borrowEnabled": True,
        "marginLevel": "999.00000000",
        "collateralMarginLevel": "999.00000000",
        "totalAssetOfBtc": "1.0",
        "totalLiabilityOfBtc": "0.1",
        "totalNetAssetOfBtc": "0.9",
        "tradeEnabled": True,
        "accountType": "MARGIN_1",
        "userAssets": assets,
    }


def _binance_futures(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    pnl = {quote: sum(map(account.pnl, account.open_positions(quote)), _NOTHING) for quote in ("USDT", "USDC")}
    assets = [
        {
            "asset": coin,
            "walletBalance": text(account.held("usdm_futures", coin)[0]),
            "unrealizedProfit": text(pnl.get(coin, _NOTHING)),
            "marginBalance": text(account.held("usdm_futures", coin)[0] + pnl.get(coin, _NOTHING)),
            "maintMargin": "0",
            "availableBalance": text(account.held("usdm_futures", coin)[0]),
            "updateTime": account.prices.now(),
        }
        for coin in account.coins("usdm_futures")
    ]
    wallet = account.held("usdm_futures", "USDT")[0]
    maintenance = sum((abs(p.size) * account.mark(p) for p in account.open_positions("USDT")), _NOTHING) / 200
    return {
        "totalInitialMargin": "0",
        "totalMaintMargin": text(maintenance),
        "totalWalletBalance": text(wallet),
        "totalUnrealizedProfit": text(pnl["USDT"]),
        "totalMarginBalance": text(wallet + pnl["USDT"]),
        "availableBalance": text(wallet),
        "assets": assets,
        "positions": [],
    }


def _binance_risk(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    return [
        {
            "symbol": position.base + position.quote,
            "positionSide": position.leg or "BOTH",
            "positionAmt": text(position.size),
            "entryPrice": text(position.entry_price),
            "breakEvenPrice": text(position.entry_price),
            "markPrice": text(account.mark(position)),
            "unRealizedProfit": text(account.pnl(position)),
            "liquidationPrice": "0",
            "isolatedMargin": "0",
            "notional": text(position.size * account.mark(position)),
            "marginAsset": position.quote,
            "updateTime": account.prices.now() if position.size else 0,
        }
        for position in account.open_positions("USDT", "USDC")
    ]


def _binance_portfolio(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    rows = []
    for coin in account.coins("portfolio_margin"):
        cash, borrowed, interest = account.held("portfolio_margin", coin)
        rows.append(
            {
                "asset": coin,
                "totalWalletBalance": text(cash),
                "crossMarginAsset": text(cash),
                "crossMarginBorrowed": text(borrowed),
                "crossMarginFree": text(cash),
                "crossMarginInterest": text(interest),
                "crossMarginLocked": "0",
                "umWalletBalance": "0",
                "umUnrealizedPNL": "0",
                "cmWalletBalance": "0",
                "cmUnrealizedPNL": "0",
                "updateTime": account.prices.now(),
                "negativeBalance": "0",
            }
        )
    return rows


def _binance_portfolio_account(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    equity = sum((account.held("portfolio_margin", coin)[0] for coin in ("USDT", "USDC")), _NOTHING)
    return {
        "uniMMR": "5167.92171923",
        "accountEquity": text(equity),
        "actualEquity": text(equity),
        "accountInitialMargin": "0",
        "accountMaintMargin": text(equity / 100),
        "accountStatus": "NORMAL",
        "updateTime": account.prices.now(),
    }


def _binance_inverse(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    return [
        {
            "symbol": f"{position.base}USD_PERP",
            "positionSide": position.leg or "BOTH",
            "positionAmt": text(position.size),
            "entryPrice": text(position.entry_price),
            "markPrice": text(position.entry_price),
            "unRealizedProfit": "0",
            "updateTime": account.prices.now(),
        }
        for position in account.open_positions("USD")
    ]


def _binance_restrictions(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    trade = "trade" in account.permissions
    return {
        "ipRestrict": True,
        "createTime": 1698645219000,
        "enableReading": "read" in account.permissions,
        "enableWithdrawals": "withdraw" in account.permissions,
        "enableInternalTransfer": "withdraw" in account.permissions,
        "enableMargin": trade,
        "enableFutures": trade,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
        "enableSpotAndMarginTrading": trade,
        "enablePortfolioMarginTrading": False,
    }


# Bybit


def _bybit(account: ScriptedAccount, result: Any) -> Any:
    return {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": account.prices.now()}


def _bybit_wallet(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    if query.get("accountType") != "UNIFIED":
        return {"retCode": 10001, "retMsg": "accountType only support UNIFIED.", "result": {}, "time": 0}
    coins, total = [], _NOTHING
    for coin in account.coins("unified"):
        cash, borrowed, interest = account.held("unified", coin)
        pnl = sum(map(account.pnl, account.open_positions(coin)), _NOTHING)
        total += cash if coin in {"USDT", "USDC"} else _NOTHING
        coins.append(
            {
                "coin": coin,
                "equity": text(cash - borrowed + pnl),
                "usdValue": "0",
                "walletBalance": text(cash),
                "borrowAmount": text(borrowed),
                "spotBorrow": text(borrowed),
                "accruedInterest": text(interest),
                "unrealisedPnl": text(pnl),
                "cumRealisedPnl": "0",
                "locked": "0",
                "bonus": "0",
                "availableToWithdraw": "",
                "marginCollateral": True,
                "collateralSwitch": True,
            }
        )
    held = account.open_positions("USDT", "USDC")
    summary = {
        "accountType": "UNIFIED",
        "accountLTV": "0",
        "accountIMRate": "0",
        "accountMMRate": "0",
        "totalEquity": text(total),
        "totalWalletBalance": text(total),
        "totalMarginBalance": text(total),
        "totalAvailableBalance": text(total),
        "totalPerpUPL": "0",
        "totalInitialMargin": "0",
        "totalMaintenanceMargin": text(sum((abs(p.size) * account.mark(p) for p in held), _NOTHING) / 200),
        "coin": coins,
    }
    return _bybit(account, {"list": [summary]})


def _bybit_funding(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    if query.get("accountType") != "FUND":
        return {"retCode": 10001, "retMsg": "accountType is not FUND on this rig", "result": {}, "time": 0}
    balance = [
        {
            "coin": coin,
            "transferBalance": text(account.held("funding", coin)[0]),
            "walletBalance": text(account.held("funding", coin)[0]),
            "bonus": "",
        }
        for coin in account.coins("funding")
    ]
    return _bybit(account, {"memberId": "1631385", "accountType": "FUND", "balance": balance})


def _bybit_positions(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    inverse = query.get("category") == "inverse"
    if not inverse and query.get("settleCoin") not in {"USDT", "USDC"}:
        return {"retCode": 10001, "retMsg": "symbol or settleCoin is needed", "result": {}, "time": 0}
    rows = []
    for position in account.open_positions("USD" if inverse else str(query["settleCoin"])):
        symbol = position.base + position.quote
        rows.append(
            {
                "positionIdx": {"": 0, "LONG": 1, "SHORT": 2}[position.leg],
                "symbol": symbol if inverse else bybit_symbol(symbol),
                "side": "Buy" if position.size > 0 else "Sell" if position.size < 0 else "",
                "size": text(abs(position.size)),
                "avgPrice": text(position.entry_price),
                "positionValue": text(abs(position.size) * position.entry_price),
                "markPrice": text(account.mark(position)),
                "unrealisedPnl": text(_NOTHING if inverse else account.pnl(position)),
                "leverage": "10",
                "liqPrice": "",
                "positionStatus": "Normal",
                "updatedTime": str(account.prices.now()),
            }
        )
    start, limit = int(query.get("cursor") or 0), int(query.get("limit", 20))
    following = str(start + limit) if start + limit < len(rows) else ""
    page = {"list": rows[start : start + limit], "nextPageCursor": following, "category": query.get("category")}
    return _bybit(account, page)


def _bybit_key(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    trade = "trade" in account.permissions
    permissions = {
        "ContractTrade": ["Order", "Position"] if trade else [],
        "Spot": ["SpotTrade"] if trade else [],
        "Wallet": ["AccountTransfer", "Withdraw"] if "withdraw" in account.permissions else [],
        "Options": [],
        "Derivatives": [],
    }
    return _bybit(
        account,
        {
            "id": "13770661",
            "note": "books",
            "apiKey": account.key,
            "readOnly": 0 if {"trade", "withdraw"} & account.permissions else 1,
            "secret": "",
            "permissions": permissions,
            "ips": ["*"],
            "uta": 1,
            "expiredAt": "2027-05-15T03:21:05Z",
        },
    )


# OKX


def _okx(data: Any) -> Any:
    return {"code": "0", "data": data, "msg": ""}


def _okx_balance(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    now = str(account.prices.now())
    details, total = [], _NOTHING
    for coin in account.coins("trading"):
        cash, borrowed, interest = account.held("trading", coin)
        net = cash - borrowed - interest
        pnl = sum(map(account.pnl, account.open_positions(coin)), _NOTHING)
        total += net + pnl if coin in {"USDT", "USDC"} else _NOTHING
        details.append(
            {
                "ccy": coin,
                "cashBal": text(net),
                "eq": text(net + pnl),
                "upl": text(pnl),
                "liab": text(borrowed),
                "crossLiab": text(borrowed),
                "isoLiab": "0",
                "interest": text(interest),
                "uplLiab": "0",
                "isoEq": "0",
                "isoUpl": "0",
                "stgyEq": "0",
                "spotCopyTradingEq": "0",
                "smtSyncEq": "0",
                "availBal": text(max(net, _NOTHING)),
                "frozenBal": "0",
                "mgnRatio": "",
                "mmr": "",
                "rewardBal": "",
                "uTime": now,
            }
        )
    held = account.open_positions("USDT", "USDC")
    summary = {
        "adjEq": text(total),
        "totalEq": text(total),
        "isoEq": "0",
        "mmr": text(sum((abs(p.size) * account.mark(p) for p in held), _NOTHING) / 200),
        "imr": "0",
        "mgnRatio": "",
        "upl": "0",
        "uTime": now,
        "details": details,
    }
    return _okx([summary])


def _okx_funding(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    rows = []
    for coin in account.coins("funding"):
        amount = text(account.held("funding", coin)[0])
        rows.append({"ccy": coin, "bal": amount, "availBal": amount, "frozenBal": "0"})
    return _okx(rows)


def _okx_positions(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    rows = []
    for number, position in enumerate(account.open_positions("USDT", "USDC", "USD"), 1):
        inst_id = f"{position.base}-{position.quote}-SWAP"
        ct_val, ct_mult = account.prices.contracts.get(inst_id, ("1", "1"))
        contracts = position.size if position.quote == "USD" else position.size / (Decimal(ct_val) * Decimal(ct_mult))
        rows.append(
            {
                "instId": inst_id,
                "instType": "SWAP",
                "mgnMode": "cross",
                "posId": str(653944598162657280 + number),
                "posSide": position.leg.lower() or "net",
                "pos": text(abs(contracts) if position.leg else contracts),
                "avgPx": text(position.entry_price) if position.size else "",
                "markPx": text(account.mark(position)),
                "upl": text(account.pnl(position)),
                "notionalUsd": text(abs(position.size) * account.mark(position)),
                "ccy": position.quote,
                "lever": "3",
                "uTime": str(account.prices.now()),
            }
        )
    return _okx(rows)


def _okx_config(account: ScriptedAccount, query: Mapping[str, Any]) -> Any:
    del query
    names = {"read": "read_only", "trade": "trade", "withdraw": "withdraw"}
    permissions = ",".join(names[name] for name in sorted(account.permissions))
    return _okx([{"uid": "44705892343619584", "acctLv": "2", "posMode": "net_mode", "perm": permissions, "label": "b"}])


Build = Callable[[ScriptedAccount, Mapping[str, Any]], Any]

_BINANCE, _FUTURES, _PORTFOLIO = "api.binance.com", "fapi.binance.com", "papi.binance.com"
_BYBIT, _OKX = "api.bybit.com", "www.okx.com"

SIGNED: dict[tuple[str, str, str], Build] = {
    ("GET", _BINANCE, "/api/v3/account"): _binance_spot,
    ("POST", _BINANCE, "/sapi/v1/asset/get-funding-asset"): _binance_funding,
    ("GET", _BINANCE, "/sapi/v1/margin/account"): _binance_margin,
    ("GET", _BINANCE, "/sapi/v1/account/apiRestrictions"): _binance_restrictions,
    ("GET", _FUTURES, "/fapi/v3/account"): _binance_futures,
    ("GET", _FUTURES, "/fapi/v3/positionRisk"): _binance_risk,
    ("GET", _PORTFOLIO, "/papi/v1/balance"): _binance_portfolio,
    ("GET", _PORTFOLIO, "/papi/v1/account"): _binance_portfolio_account,
    ("GET", _PORTFOLIO, "/papi/v1/um/positionRisk"): _binance_risk,
    ("GET", _PORTFOLIO, "/papi/v1/cm/positionRisk"): _binance_inverse,
    ("GET", _BYBIT, "/v5/account/wallet-balance"): _bybit_wallet,
    ("GET", _BYBIT, "/v5/asset/transfer/query-account-coins-balance"): _bybit_funding,
    ("GET", _BYBIT, "/v5/position/list"): _bybit_positions,
    ("GET", _BYBIT, "/v5/user/query-api"): _bybit_key,
    ("GET", _OKX, "/api/v5/account/balance"): _okx_balance,
    ("GET", _OKX, "/api/v5/asset/balances"): _okx_funding,
    ("GET", _OKX, "/api/v5/account/positions"): _okx_positions,
    ("GET", _OKX, "/api/v5/account/config"): _okx_config,
}
"""Signed endpoints by method, host and path."""
