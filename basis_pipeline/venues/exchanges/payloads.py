"""Shapes of answers, checked before anything is understood: what is missing, empty or odd is an error, never a zero."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.errors import InputError, UnknownNameError, VenueError
from basis_pipeline.domain.numbers import ZERO, add, decimal_places, divide, parse_decimal
from basis_pipeline.domain.observations import ObservedPosition
from basis_pipeline.domain.tokens import EXCHANGE_DECIMALS, parse_instrument
from basis_pipeline.venues.exchanges.connection import Answer

Row = Mapping[str, Any]
Ask = Callable[[str, str, Mapping[str, Any]], Awaitable[Answer]]
"""Asks one question: the request in words, ccxt's method for it, and its parameters."""

_ROW_TEXT_MAX = 300
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Holdings:
    """What one part of an account holds, by the venue's own names of coins and our names of perpetuals.

    ``cash`` is net of what is owed, ``debts`` what is owed (positive), ``foreign`` the size of positions that are no
    linear perpetuals, by the venue's name for them.
    """

    cash: dict[str, Decimal] = field(default_factory=dict)
    debts: dict[str, Decimal] = field(default_factory=dict)
    positions: dict[str, ObservedPosition] = field(default_factory=dict)
    foreign: dict[str, Decimal] = field(default_factory=dict)
    margin_ratio: Decimal | None = None
    venue_time: datetime | None = None

    def add_coin(self, row: Row, coin: str, net: Decimal, owed: Decimal = ZERO) -> None:
        """Book a coin; a negative balance is borrowed. VenueError if the coin is listed twice."""
        if coin in self.cash:
            raise malformed(row, f"{coin} is listed twice")
        self.cash[coin] = net
        debt = max(owed, -net, ZERO)
        if debt:
            self.debts[coin] = debt

    def add_position(self, row: Row, symbol: str, leg: str, size: Decimal, position: ObservedPosition) -> None:
        """Book a position by the venue's symbol; a flat one is none. VenueError if it is listed twice."""
        if not size:
            return
        try:
            name = parse_instrument(symbol).name
        except UnknownNameError:
            name, book = f"{symbol}{leg}", self.foreign
            if name in book:
                raise malformed(row, f"{name} is listed twice") from None
            book[name] = size
            return
        if f"{name}{leg}" in self.positions:
            raise malformed(row, f"{name}{leg} is listed twice")
        self.positions[f"{name}{leg}"] = position


PartReader = Callable[[Ask], Awaitable[Holdings]]
"""Reads one part of an account. VenueError says what cannot be understood."""


async def together(*questions: Awaitable[Any]) -> list[Any]:
    """The answers to questions asked at once; the first failure is raised when all have come to an end."""
    results = await asyncio.gather(*questions, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def malformed(row: object, problem: str) -> VenueError:
    """The error for a row that cannot be understood, with the row."""
    text = json.dumps(row, default=str)
    return VenueError(f"{problem}, in {text if len(text) <= _ROW_TEXT_MAX else text[:_ROW_TEXT_MAX] + '...'}")


def as_object(payload: object) -> Row:
    """The payload, which must be a JSON object with something in it."""
    if not isinstance(payload, Mapping) or not payload:
        raise _not(payload, "an object")
    return payload


def as_rows(payload: object) -> Sequence[Row]:
    """The payload, which must be a list of JSON objects (of none, where the venue lists only what is not zero)."""
    if not isinstance(payload, list):
        raise _not(payload, "a list")
    for row in payload:
        if not isinstance(row, Mapping):
            raise malformed(row, "a row is not an object")
    return payload


def rows_of(payload: object, key: str) -> Sequence[Row]:
    """The list under a key of an object."""
    holder = as_object(payload)
    if key not in holder:
        raise malformed(holder, f"{key} is missing")
    try:
        return as_rows(holder[key])
    except VenueError as error:
        raise VenueError(f"{key}: {error}") from None


def single_row(payload: object, key: str) -> Row:
    """The one row of the list under a key."""
    found = rows_of(payload, key)
    if len(found) != 1:
        raise VenueError(f"{key} has {len(found)} rows where one account was asked for")
    return as_object(found[0])


def _not(payload: object, wanted: str) -> VenueError:
    if isinstance(payload, str):
        shown = f"text that is not JSON: {payload[:80]!r}" if payload else "nothing"
    elif isinstance(payload, (Mapping, list)) or payload is None:
        shown = json.dumps(payload, default=str)[:80]
    else:
        shown = "something that is not JSON"
    return VenueError(f"the answer is {shown}, not {wanted}")


def text(row: Row, key: str) -> str:
    """A name: printable text that is not empty."""
    value = row.get(key)
    if not isinstance(value, str) or not value or not value.isprintable():
        raise malformed(row, f"{key} is {'missing' if value is None else ascii(value)}, not a name")
    return value


def number(row: Row, key: str) -> Decimal:
    """A finite number. Missing, null or '' means unknown, which is not zero: VenueError."""
    if key not in row:
        raise malformed(row, f"{key} is missing")
    value = row[key]
    if value is None or value == "":
        raise malformed(row, f"{key} is empty, which means unknown")
    try:
        return parse_decimal(value, key)
    except InputError as error:
        raise malformed(row, str(error)) from None


def amount(row: Row, key: str) -> Decimal:
    """A number that can be booked: at most 18 decimals."""
    value = number(row, key)
    if decimal_places(value) > EXCHANGE_DECIMALS:
        raise malformed(row, f"{key}: {value} has more than {EXCHANGE_DECIMALS} decimals, which cannot be booked")
    return value


def total(row: Row, *keys: str) -> Decimal:
    """The sum of several amounts of a row."""
    result = ZERO
    for key in keys:
        result = add(result, amount(row, key))
    return result


def optional(row: Row, key: str) -> Decimal | None:
    """A number the venue may leave out ('' or absent: None). VenueError if it is there and no number."""
    return None if row.get(key) in {None, ""} else number(row, key)


def owed(row: Row, key: str) -> Decimal:
    """A debt: an amount that is not negative."""
    value = amount(row, key)
    if value < 0:
        raise malformed(row, f"{key}: {value} is negative, which a debt cannot be")
    return value


def observed(row: Row, size: Decimal, entry_key: str, notional_key: str) -> ObservedPosition:
    """A position's size with the venue's entry price and notional; entry price 0 means not told."""
    entry = optional(row, entry_key) if size else None
    if entry is not None and entry < 0:
        raise malformed(row, f"{entry_key}: {entry} is negative")
    notional = optional(row, notional_key) if size else None
    return ObservedPosition(size, entry or None, None if notional is None else abs(notional))


def ratio(part: Decimal | None, whole: Decimal | None) -> Decimal | None:
    """Maintenance margin over margin balance; None where either has no meaning."""
    return None if part is None or whole is None or whole <= 0 else divide(part, whole)


def venue_moment(row: Row, key: str) -> datetime | None:
    """A time in milliseconds since 1970 (None: not told)."""
    value = optional(row, key)
    if value is None or value <= 0:
        return None
    try:
        return _EPOCH + timedelta(milliseconds=int(value))
    except OverflowError:
        raise malformed(row, f"{key}: {value} is not a time") from None
