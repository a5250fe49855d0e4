"""Binance: spot, funding, cross margin, USDⓈ-M futures and portfolio margin.

Futures positions are in base units already. Only spot and cross margin list coins that are not held; elsewhere an
empty list is an empty part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.numbers import add, subtract
from basis_pipeline.venues.exchanges.payloads import (
    Ask,
    Holdings,
    PartReader,
    Row,
    amount,
    as_object,
    as_rows,
    malformed,
    number,
    observed,
    optional,
    owed,
    ratio,
    rows_of,
    text,
    together,
    total,
)

_LEGS = {"BOTH": "", "LONG": ":LONG", "SHORT": ":SHORT"}
_TRADING = (
    "enableSpotAndMarginTrading",
    "enableMargin",
    "enableFutures",
    "enableVanillaOptions",
    "enablePortfolioMarginTrading",
    "enableFixApiTrade",
)
_MOVING = ("enableWithdrawals", "enableInternalTransfer", "permitsUniversalTransfer")


async def read_spot(ask: Ask) -> Holdings:
    """Cash is free + locked. Every coin is listed, so an empty list is no answer."""
    answer = await ask("GET /api/v3/account", "privateGetAccount", {})
    held = Holdings(venue_time=answer.venue_time)
    for row in _listed(answer.payload, "balances"):
        held.add_coin(row, text(row, "asset"), total(row, "free", "locked"))
    return held


async def read_funding(ask: Ask) -> Holdings:
    """Cash is free + locked + freeze + withdrawing."""
    answer = await ask("POST /sapi/v1/asset/get-funding-asset", "sapiPostAssetGetFundingAsset", {})
    held = Holdings(venue_time=answer.venue_time)
    for row in as_rows(answer.payload):
        held.add_coin(row, text(row, "asset"), total(row, "free", "locked", "freeze", "withdrawing"))
    return held


async def read_cross_margin(ask: Ask) -> Holdings:
    """Cash is free + locked; borrowed and interest are owed."""
    answer = await ask("GET /sapi/v1/margin/account", "sapiGetMarginAccount", {})
    held = Holdings(venue_time=answer.venue_time)
    for row in _listed(answer.payload, "userAssets"):
        debt = add(owed(row, "borrowed"), owed(row, "interest"))
        held.add_coin(row, text(row, "asset"), subtract(total(row, "free", "locked"), debt), debt)
    return held


async def read_usdm_futures(ask: Ask) -> Holdings:
    """Cash is walletBalance, which holds no unrealised profit. Rows never updated hold no valid balance."""
    account, risk = await together(
        ask("GET /fapi/v3/account", "fapiPrivateV3GetAccount", {}),
        ask("GET /fapi/v3/positionRisk", "fapiPrivateV3GetPositionRisk", {}),
    )
    summary = as_object(account.payload)
    held = Holdings(venue_time=account.venue_time)
    held.margin_ratio = ratio(number(summary, "totalMaintMargin"), number(summary, "totalMarginBalance"))
    rows = rows_of(summary, "assets")
    if not rows and number(summary, "totalWalletBalance"):
        raise malformed(summary, "assets is empty but totalWalletBalance is not zero")
    for row in rows:
        if number(row, "updateTime"):
            held.add_coin(row, text(row, "asset"), amount(row, "walletBalance"))
    for row in as_rows(risk.payload):
        _add_position(held, row)
    return held


async def read_portfolio_margin(ask: Ask) -> Holdings:
    """Cash is totalWalletBalance less crossMarginBorrowed and crossMarginInterest."""
    balance, linear, inverse, account = await together(
        ask("GET /papi/v1/balance", "papiGetBalance", {}),
        ask("GET /papi/v1/um/positionRisk", "papiGetUmPositionRisk", {}),
        ask("GET /papi/v1/cm/positionRisk", "papiGetCmPositionRisk", {}),
        ask("GET /papi/v1/account", "papiGetAccount", {}),
    )
    summary = as_object(account.payload)
    held = Holdings(venue_time=account.venue_time)
    equity = number(summary, "accountEquity")
    held.margin_ratio = ratio(optional(summary, "accountMaintMargin"), equity)
    rows = as_rows(balance.payload)
    if not rows and equity:
        raise malformed(summary, "the list of balances is empty but accountEquity is not zero")
    for row in rows:
        debt = add(owed(row, "crossMarginBorrowed"), owed(row, "crossMarginInterest"))
        held.add_coin(row, text(row, "asset"), subtract(amount(row, "totalWalletBalance"), debt), debt)
    for row in (*as_rows(linear.payload), *as_rows(inverse.payload)):
        _add_position(held, row)
    return held


def _listed(payload: object, key: str) -> Sequence[Row]:
    rows = rows_of(payload, key)
    if not rows:
        raise VenueError(f"{key} is empty, where Binance lists every coin it knows")
    return rows


def _add_position(held: Holdings, row: Row) -> None:
    side = text(row, "positionSide")
    size = amount(row, "positionAmt")
    if side not in _LEGS:
        raise malformed(row, f"positionSide is {side!r}, not BOTH, LONG or SHORT")
    if (side == "LONG" and size < 0) or (side == "SHORT" and size > 0):
        raise malformed(row, f"positionAmt: {size} has the wrong sign for {side}")
    held.add_position(row, text(row, "symbol"), _LEGS[side], size, observed(row, size, "entryPrice", "notional"))


async def powers(ask: Ask) -> tuple[str, ...]:
    """What the key may do beyond reading, in the venue's words."""
    answer = await ask("GET /sapi/v1/account/apiRestrictions", "sapiGetAccountApiRestrictions", {})
    rights = as_object(answer.payload)
    if rights.get("enableReading") is not True:
        raise malformed(rights, "enableReading is not true: the key may not read")
    return tuple(name for name in (*_MOVING, *_TRADING) if rights.get(name) is True)


async def server_time(ask: Ask) -> Decimal:
    """The venue's clock in milliseconds."""
    return number(as_object((await ask("GET /api/v3/time", "publicGetTime", {})).payload), "serverTime")


PARTS: Mapping[str, PartReader] = {
    "spot": read_spot,
    "funding": read_funding,
    "cross_margin": read_cross_margin,
    "usdm_futures": read_usdm_futures,
    "portfolio_margin": read_portfolio_margin,
}
"""How each part is read."""
