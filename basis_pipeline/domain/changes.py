"""The input: one balance update, made canonical and validated before anything else sees it.

``BalanceUpdate`` takes the specification's payload as it comes from JSON. What it yields is canonical: venues and
tokens by their one name, times in UTC, amounts as exact Decimals. ``intake.parse_update`` makes one from a payload;
what a trigger may contain is in ``triggers``.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from basis_pipeline.domain.errors import InputError, UnknownNameError
from basis_pipeline.domain.instants import iso, parse_instant
from basis_pipeline.domain.numbers import canonical, decimal_places, parse_decimal, quantize_value
from basis_pipeline.domain.tokens import (
    DEFAULT_REGISTRY,
    EXCHANGE_DECIMALS,
    EXCHANGES,
    Registry,
    canonical_venue,
    parse_instrument,
)


class Trigger(StrEnum):
    """Why balances changed: one closed set."""

    INITIAL_CAPITAL = "INITIAL_CAPITAL"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"
    GAS_FEE_PAID = "GAS_FEE_PAID"
    STAKE_DEPOSIT = "STAKE_DEPOSIT"
    COLLATERAL_SUPPLIED = "COLLATERAL_SUPPLIED"
    COLLATERAL_SUPPLIED_BTC = "COLLATERAL_SUPPLIED_BTC"
    COLLATERAL_SUPPLIED_USDT = "COLLATERAL_SUPPLIED_USDT"
    COLLATERAL_WITHDRAWN = "COLLATERAL_WITHDRAWN"
    COLLATERAL_WITHDRAWN_BTC = "COLLATERAL_WITHDRAWN_BTC"
    COLLATERAL_WITHDRAWN_USDT = "COLLATERAL_WITHDRAWN_USDT"
    LOAN_CREATED = "LOAN_CREATED"
    LOAN_CREATED_BTC = "LOAN_CREATED_BTC"
    LOAN_CREATED_USDT = "LOAN_CREATED_USDT"
    LOAN_REPAID = "LOAN_REPAID"
    LOAN_REPAID_BTC = "LOAN_REPAID_BTC"
    LOAN_REPAID_USDT = "LOAN_REPAID_USDT"
    ATOMIC_LEVERAGE_LOOP = "ATOMIC_LEVERAGE_LOOP"
    VENUE_TRANSFER = "VENUE_TRANSFER"
    KING_REWARD_DISTRIBUTION = "KING_REWARD_DISTRIBUTION"
    KING_UNWRAPPED = "KING_UNWRAPPED"
    SEASONAL_REWARDS_SOLD = "SEASONAL_REWARDS_SOLD"
    SPOT_TRADE = "SPOT_TRADE"
    FUNDING_PAYMENT = "FUNDING_PAYMENT"
    TRADE_EXECUTED = "TRADE_EXECUTED"
    PERP_OPENED = "PERP_OPENED"
    PERP_ADJUSTED = "PERP_ADJUSTED"
    PERP_CLOSED = "PERP_CLOSED"
    HOURLY_RECONCILIATION = "HOURLY_RECONCILIATION"


class Action(StrEnum):
    """What a derivative change does to the position."""

    OPEN = "OPEN"
    ADJUST = "ADJUST"
    CLOSE = "CLOSE"


FLASH_LOAN = "FLASH_LOAN"
FLASH_LOAN_REPAID = "FLASH_LOAN_REPAID"
ID_LENGTH_MAX = 200
REASON_LENGTH_MAX = 500


def _registry(info: ValidationInfo) -> Registry:
    context = info.context
    return context["registry"] if context else DEFAULT_REGISTRY


def _name(info: ValidationInfo) -> str:
    return info.field_name or "value"


def _venue(value: object, info: ValidationInfo) -> str:
    return canonical_venue(value, _name(info))


def _exchange(value: object, info: ValidationInfo) -> str:
    venue = canonical_venue(value, _name(info))
    if venue not in EXCHANGES:
        raise UnknownNameError(f"{_name(info)}: {value!r} has no perpetuals; use one of {', '.join(EXCHANGES)}")
    return venue


def _token(value: object, info: ValidationInfo) -> str:
    return _registry(info).token(value, _name(info)).symbol


def _instrument(value: object, info: ValidationInfo) -> str:
    return parse_instrument(value, _name(info)).name


def _trigger(value: object, info: ValidationInfo) -> Trigger:
    try:
        return Trigger(str(value))
    except ValueError:
        raise UnknownNameError(
            f"{_name(info)}: {value!r} is not a trigger; the closed set is {', '.join(Trigger)}"
        ) from None


def _action(value: object, info: ValidationInfo) -> Action:
    try:
        return Action(str(value))
    except ValueError:
        raise UnknownNameError(f"{_name(info)}: {value!r} is not an action; use OPEN, ADJUST or CLOSE") from None


def _amount(value: object, info: ValidationInfo) -> Decimal:
    number = parse_decimal(value, _name(info))
    if decimal_places(number) > EXCHANGE_DECIMALS:
        raise InputError(f"{_name(info)}: {number} has more than {EXCHANGE_DECIMALS} decimal places")
    # 0E-99999 and 1 with a thousand zeros behind the point are legal here but not in every database.
    exponent = number.as_tuple().exponent
    return number if isinstance(exponent, int) and -EXCHANGE_DECIMALS <= exponent <= 0 else quantize_value(number)


def _price(value: object, info: ValidationInfo) -> Decimal:
    number = _amount(value, info)
    if number <= 0:
        raise InputError(f"{_name(info)}: {value!s} is not a price; it must be above zero")
    return number


def _instant(value: object, info: ValidationInfo) -> datetime:
    return parse_instant(value, _name(info))


def _text(value: object, info: ValidationInfo) -> str:
    limit = ID_LENGTH_MAX if info.field_name == "id" else REASON_LENGTH_MAX
    if not isinstance(value, str):
        raise InputError(f"{_name(info)}: {value!r} is not text")
    if info.field_name == "id" and not value.strip():
        raise InputError("id: is empty; every update needs an id of its own")
    if len(value) > limit or "\x00" in value:
        raise InputError(f"{_name(info)}: text of {len(value)} characters is longer than {limit} or holds a NUL")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError(f"{_name(info)}: {value!a} holds half a surrogate pair, which is not text") from None
    return value


Amount = Annotated[Decimal, BeforeValidator(_amount)]
Price = Annotated[Decimal, BeforeValidator(_price)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Text = Annotated[str, BeforeValidator(_text)]

_MODEL = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class TokenChange(BaseModel):
    """One leg: a balance at a venue changes by ``delta`` (token units; scaled units for a- and debt tokens)."""

    model_config = _MODEL

    venue: Annotated[str, BeforeValidator(_venue)]
    token: Annotated[str, BeforeValidator(_token)]
    delta: Amount
    new_balance: Amount | None = None
    reason: Text | None = None


class DerivativeData(BaseModel):
    """What the venue reported of a perpetual: ``size`` is the *resulting* signed size in base units (short < 0).

    ``entry_price``, when given, is the resulting average entry and is taken as it stands. ``fill_*``, ``fee`` and
    ``realized_pnl`` are kept as reported; money moves only through token legs.
    """

    model_config = _MODEL

    size: Amount | None = None
    entry_price: Price | None = None
    entry_timestamp: Instant | None = None
    notional_usd: Amount | None = None
    fill_size: Amount | None = None
    fill_price: Price | None = None
    fee: Amount | None = None
    realized_pnl: Amount | None = None


class DerivativeChange(BaseModel):
    """One leg on a perpetual position."""

    model_config = _MODEL

    venue: Annotated[str, BeforeValidator(_exchange)]
    instrument: Annotated[str, BeforeValidator(_instrument)]
    action: Annotated[Action, BeforeValidator(_action)]
    data: DerivativeData = DerivativeData()


class BalanceUpdate(BaseModel):
    """One atomic change of a portfolio's balances and positions. Made by ``intake.parse_update``."""

    model_config = _MODEL

    id: Text
    timestamp: Instant
    trigger: Annotated[Trigger, BeforeValidator(_trigger)]
    token_changes: tuple[TokenChange, ...] = ()
    derivative_changes: tuple[DerivativeChange, ...] = ()
    reverses: Text | None = Field(default=None, description="id of the entry this one is the mirror image of")


def canonical_content(update: BalanceUpdate) -> str:
    """The update as canonical JSON: what makes two updates the same. ``new_balance`` is a check, not content."""
    tokens = [[c.venue, c.token, canonical(c.delta), c.reason] for c in update.token_changes]
    perps = [
        [leg.venue, leg.instrument, leg.action.value, *_canonical_data(leg.data)] for leg in update.derivative_changes
    ]
    content = [update.id, iso(update.timestamp), update.trigger.value, tokens, perps, update.reverses]
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))


def _canonical_data(data: DerivativeData) -> list[str | None]:
    moment = data.entry_timestamp
    numbers = (
        data.size,
        data.entry_price,
        data.notional_usd,
        data.fill_size,
        data.fill_price,
        data.fee,
        data.realized_pnl,
    )
    return [iso(moment) if moment else None, *(None if n is None else canonical(n) for n in numbers)]


def content_hash(update: BalanceUpdate) -> str:
    """SHA-256 of the canonical content, hexadecimal: decides whether an id comes again with the same content."""
    return hashlib.sha256(canonical_content(update).encode()).hexdigest()
