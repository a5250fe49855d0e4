"""OKX: the trading account and the funding account.

OKX writes '' for what it does not know or what the account's mode does not have; it never means zero. Contracts have
sizes (``contracts``), and one perpetual may be held in cross and isolated margin at once: both are one position here.

Whether ``cashBal`` is what is left after debts depends on how the debt arose, and the answer itself tells: equity
``eq`` is net of debts and also made of cash, unrealised profit ``upl`` and what bots, copies and isolated margin hold
(``isoEq``, ``stgyEq``, ...). So the cash net of debts is ``eq`` less those, and must be either ``cashBal`` (auto-borrow
lets it go negative) or ``cashBal`` less ``liab`` and ``interest``. An account that owes and where neither fits is not
understood, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import NamedTuple

from basis_pipeline.domain.numbers import ONE, ZERO, add, divide, multiply, subtract
from basis_pipeline.domain.observations import ObservedPosition
from basis_pipeline.venues.exchanges.connection import Answer
from basis_pipeline.venues.exchanges.contracts import Contracts, looks_linear
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
)

_LEGS = {"net": "", "long": ":LONG", "short": ":SHORT"}
_NOT_CASH = ("upl", "isoEq", "stgyEq", "spotCopyTradingEq", "smtSyncEq")
_IDENTITY_TOLERANCE = Decimal("1e-8")
"""Relative: OKX computes with doubles, so its own sums are off in the 16th digit."""


async def read_trading(ask: Ask, contracts: Contracts) -> Holdings:
    """Cash is cashBal, net of debts; liab and interest are owed."""
    balance, positions = await together(
        ask("GET /api/v5/account/balance", "privateGetAccountBalance", {}),
        _read_positions(ask, contracts),
    )
    summary = single_row(_checked(balance), "data")
    held = Holdings(venue_time=balance.venue_time)
    held.margin_ratio = ratio(optional(summary, "mmr"), optional(summary, "adjEq"))
    details = rows_of(summary, "details")
    if not details and number(summary, "totalEq"):
        raise malformed(summary, "details is empty but totalEq is not zero")
    for row in details:
        net, debt = _cash(row)
        held.add_coin(row, text(row, "ccy"), net, debt)
    _add_positions(held, positions)
    return held


async def read_funding(ask: Ask) -> Holdings:
    """Cash is bal."""
    answer = await ask("GET /api/v5/asset/balances", "privateGetAssetBalances", {})
    held = Holdings(venue_time=answer.venue_time)
    for row in rows_of(_checked(answer), "data"):
        held.add_coin(row, text(row, "ccy"), amount(row, "bal"))
    return held


def _checked(answer: Answer) -> Row:
    payload = as_object(answer.payload)
    if number(payload, "code"):
        raise malformed(payload, "code is not 0")
    return payload


def _cash(row: Row) -> tuple[Decimal, Decimal]:
    """Cash net of debts, and the debts (see the module's documentation)."""
    cash = amount(row, "cashBal")
    told = {key: owed(row, key) for key in ("liab", "interest") if row.get(key) not in {None, ""}}
    liability, interest = told.get("liab", ZERO), told.get("interest", ZERO)
    debt = add(liability, interest)
    if not debt and (len(told) == 2 or optional(row, "eq") is None):
        return cash, debt
    if debt and len(told) < 2:
        raise malformed(row, "liab or interest is empty where the other is not zero, so what is owed is unknown")
    expected = number(row, "eq")
    for key in _NOT_CASH:
        expected = subtract(expected, (number(row, key) if key == "upl" and debt else optional(row, key)) or ZERO)
    allowed = multiply(_IDENTITY_TOLERANCE, max(abs(cash), abs(number(row, "eq")), debt))
    if not debt:
        if subtract(cash, expected) > allowed:
            raise malformed(row, "liab and interest are empty, but eq is less than cashBal: what is owed is unknown")
        return cash, debt
    candidates = [subtract(cash, part) for part in (ZERO, interest, liability, debt)]
    net = min(candidates, key=lambda candidate: abs(subtract(candidate, expected)))
    if abs(subtract(net, expected)) > allowed:
        raise malformed(
            row, "liab is not zero, and eq fits neither cashBal nor cashBal less liab: what is owed is unclear"
        )
    return net, debt


class _Position(NamedTuple):
    row: Row
    symbol: str
    leg: str
    margin_mode: str
    observed: ObservedPosition


async def _read_positions(ask: Ask, contracts: Contracts) -> list[_Position]:
    payload = _checked(await ask("GET /api/v5/account/positions", "privateGetAccountPositions", {}))
    rows = [row for row in rows_of(payload, "data") if number(row, "pos")]
    swaps = {text(row, "instId") for row in rows if text(row, "instType") == "SWAP"}
    sizes = await contracts.sizes(ask, swaps)
    return [_position(row, sizes) for row in rows]


def _position(row: Row, sizes: Mapping[str, Decimal]) -> _Position:
    inst_id, kind, side = text(row, "instId"), text(row, "instType"), text(row, "posSide")
    count = amount(row, "pos")
    if side not in _LEGS:
        raise malformed(row, f"posSide is {side!r}, not net, long or short")
    if side != "net" and count < 0:
        raise malformed(row, f"pos: {count} is negative; the side tells the sign")
    signed = -count if side == "short" else count
    symbol = inst_id if kind in {"SWAP", "FUTURES", "OPTION"} else f"{kind}:{inst_id}"
    if kind == "SWAP" and looks_linear(inst_id) and inst_id not in sizes:
        raise malformed(row, f"the size of a contract of {inst_id} is unknown")
    # An instrument that is not linear is reported as one we do not know, in contracts.
    size = multiply(signed, sizes.get(inst_id, ONE))
    position = observed(row, size, "avgPx", "notionalUsd")
    return _Position(row, symbol, _LEGS[side], str(row.get("mgnMode", "")), position)


def _add_positions(held: Holdings, positions: list[_Position]) -> None:
    merged: dict[tuple[str, str], _Position] = {}
    for position in positions:
        key = (position.symbol, position.leg)
        other = merged.get(key)
        if other is not None and other.margin_mode == position.margin_mode:
            raise malformed(position.row, f"{position.symbol}{position.leg} is listed twice")
        merged[key] = (
            position if other is None else position._replace(observed=_both(other.observed, position.observed))
        )
    for (symbol, leg), position in merged.items():
        held.add_position(position.row, symbol, leg, position.observed.size, position.observed)


def _both(one: ObservedPosition, other: ObservedPosition) -> ObservedPosition:
    """Two positions in one instrument as one: sizes added, entry averaged where both point the same way."""
    size = add(one.size, other.size)
    entry = None
    if one.entry_price is not None and other.entry_price is not None and one.size * other.size > 0:
        paid = add(multiply(one.size, one.entry_price), multiply(other.size, other.entry_price))
        entry = divide(paid, size)
    notional = None
    if one.notional_usd is not None and other.notional_usd is not None:
        notional = add(one.notional_usd, other.notional_usd)
    return ObservedPosition(size, entry, notional)


async def powers(ask: Ask) -> tuple[str, ...]:
    """What the key may do beyond reading, in the venue's words."""
    row = single_row(_checked(await ask("GET /api/v5/account/config", "privateGetAccountConfig", {})), "data")
    return tuple(name for name in text(row, "perm").split(",") if name != "read_only")


async def server_time(ask: Ask) -> Decimal:
    """The venue's clock in milliseconds."""
    payload = _checked(await ask("GET /api/v5/public/time", "publicGetPublicTime", {}))
    return number(single_row(payload, "data"), "ts")


def parts(contracts: Contracts) -> Mapping[str, PartReader]:
    """How each part is read."""
    return {"trading": partial(read_trading, contracts=contracts), "funding": read_funding}
