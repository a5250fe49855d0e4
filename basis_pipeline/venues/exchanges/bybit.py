"""Bybit: the unified account and the funding account.

Linear positions are asked by settlement coin, because Bybit answers for one at a time; inverse ones are asked too, so
that none is overlooked. Contracts of linear perpetuals are in base units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.numbers import ZERO, subtract
from basis_pipeline.venues.exchanges.connection import Answer
from basis_pipeline.venues.exchanges.payloads import (
    Ask,
    Holdings,
    PartReader,
    Row,
    amount,
    as_object,
    malformed,
    number,
    observed,
    optional,
    owed,
    ratio,
    rows_of,
    single_row,
    text,
    together,
    venue_moment,
)

_PAGES_MAX = 50
_PAGE_ROWS = "200"
_USDC_PERPETUAL = re.compile(r"([A-Z0-9]+)PERP")
_LEGS = {0: "", 1: ":LONG", 2: ":SHORT"}
_SIDES = {"Buy": 1, "Sell": -1}
_SETTLEMENTS: tuple[dict[str, str], ...] = (
    {"category": "linear", "settleCoin": "USDT"},
    {"category": "linear", "settleCoin": "USDC"},
    {"category": "inverse"},
)


async def read_unified(ask: Ask) -> Holdings:
    """Cash is walletBalance less spotBorrow; a negative walletBalance is borrowed for derivatives.

    Interest that has accrued but is not charged yet is in neither, nor in Bybit's own equity.
    """
    wallet, *positions = await together(
        ask("GET /v5/account/wallet-balance", "privateGetV5AccountWalletBalance", {"accountType": "UNIFIED"}),
        *(_positions(ask, settlement) for settlement in _SETTLEMENTS),
    )
    summary = single_row(_result(wallet), "list")
    if text(summary, "accountType") != "UNIFIED":
        raise malformed(summary, "accountType is not UNIFIED; upgrade the account to a unified one")
    held = Holdings(venue_time=_time(wallet))
    held.margin_ratio = ratio(optional(summary, "totalMaintenanceMargin"), optional(summary, "totalMarginBalance"))
    coins = rows_of(summary, "coin")
    if not coins and number(summary, "totalWalletBalance"):
        raise malformed(summary, "coin is empty but totalWalletBalance is not zero")
    for row in coins:
        debt = _spot_borrow(row)
        held.add_coin(row, text(row, "coin"), subtract(amount(row, "walletBalance"), debt), debt)
    for settlement, rows in zip(_SETTLEMENTS, positions, strict=True):
        for row in rows:
            _add_position(held, row, settlement.get("settleCoin"))
    return held


async def read_funding(ask: Ask) -> Holdings:
    """Cash is walletBalance."""
    answer = await ask(
        "GET /v5/asset/transfer/query-account-coins-balance",
        "privateGetV5AssetTransferQueryAccountCoinsBalance",
        {"accountType": "FUND"},
    )
    held = Holdings(venue_time=_time(answer))
    for row in rows_of(_result(answer), "balance"):
        held.add_coin(row, text(row, "coin"), amount(row, "walletBalance"))
    return held


def _result(answer: Answer) -> Row:
    payload = as_object(answer.payload)
    if number(payload, "retCode"):
        raise malformed(payload, "retCode is not 0")
    if "result" not in payload:
        raise malformed(payload, "result is missing")
    return as_object(payload["result"])


def _time(answer: Answer) -> datetime | None:
    return venue_moment(as_object(answer.payload), "time") or answer.venue_time


def _spot_borrow(row: Row) -> Decimal:
    """``spotBorrow``; answers from before it existed have only ``borrowAmount``, clear as long as it is zero."""
    if "spotBorrow" in row:
        return owed(row, "spotBorrow")
    if owed(row, "borrowAmount"):
        raise malformed(row, "borrowAmount is not zero but spotBorrow is missing, so what is owed is unknown")
    return ZERO


async def _positions(ask: Ask, settlement: Mapping[str, str]) -> list[Row]:
    what = "GET /v5/position/list " + " ".join(settlement.values())
    found: list[Row] = []
    cursor = ""
    for _ in range(_PAGES_MAX):
        params = {**settlement, "limit": _PAGE_ROWS, **({"cursor": cursor} if cursor else {})}
        result = _result(await ask(what, "privateGetV5PositionList", params))
        if result.get("category", settlement["category"]) != settlement["category"]:
            raise malformed(result, f"{what}: the answer is of another category")
        found.extend(rows_of(result, "list"))
        following = result.get("nextPageCursor") or ""
        if not following:
            return found
        if following == cursor:
            raise VenueError(f"{what}: the cursor does not advance")
        cursor = following
    raise VenueError(f"{what}: more than {_PAGES_MAX} pages")


def _add_position(held: Holdings, row: Row, settle_coin: str | None) -> None:
    symbol = text(row, "symbol")
    contracts = amount(row, "size")
    leg = _LEGS.get(int(number(row, "positionIdx")))
    if leg is None:
        raise malformed(row, "positionIdx is not 0, 1 or 2")
    if contracts < 0:
        raise malformed(row, f"size: {contracts} is negative; the side tells the sign")
    if not contracts:
        return
    side = text(row, "side")
    if side not in _SIDES or (leg == ":LONG" and side == "Sell") or (leg == ":SHORT" and side == "Buy"):
        raise malformed(row, f"side is {side!r}, which is none or not the side of its leg")
    size = contracts * _SIDES[side]
    position = observed(row, size, "avgPrice", "positionValue")
    match = _USDC_PERPETUAL.fullmatch(symbol) if settle_coin == "USDC" else None
    held.add_position(row, f"{match[1]}USDC" if match else symbol, leg, size, position)


async def powers(ask: Ask) -> tuple[str, ...]:
    """What the key may do beyond reading, in the venue's words."""
    result = _result(await ask("GET /v5/user/query-api", "privateGetV5UserQueryApi", {}))
    if number(result, "readOnly") == 1:
        return ()
    permissions = as_object(result.get("permissions"))
    return tuple(name for names in permissions.values() if isinstance(names, list) for name in map(str, names)) or (
        "readOnly is 0",
    )


async def server_time(ask: Ask) -> Decimal:
    """The venue's clock in milliseconds."""
    return number(as_object((await ask("GET /v5/market/time", "publicGetV5MarketTime", {})).payload), "time")


PARTS: Mapping[str, PartReader] = {"unified": read_unified, "funding": read_funding}
"""How each part is read."""
