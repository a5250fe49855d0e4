"""What differs from venue to venue: how a series is asked for, and where in the answer its numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import InputError, VenueError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.numbers import parse_decimal
from basis_pipeline.venues.exchanges.payloads import malformed

SPOT, PERP = "spot", "perp"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class Question(NamedTuple):
    """One request: in words, by ccxt's raw method, and its parameters."""

    words: str
    method: str
    params: Mapping[str, Any]


class Told(NamedTuple):
    """A value and the moment it is known for."""

    value: Decimal
    at: datetime


class Candle(NamedTuple):
    """The close of an hourly candle, known at ``end``. ``closed`` is False where the venue says that it still moves."""

    end: datetime
    close: Decimal
    closed: bool = True


class NotListed(VenueError):
    """The venue has no such series."""


class Dialect(NamedTuple):
    """How a venue is asked for a series (symbol, kind) and understood. Readers raise VenueError with the bad row."""

    now: Callable[[str, str], Question]
    read_now: Callable[[Any, str], Told]
    candles: Callable[[str, str, int], Question]
    """The newest so many hourly candles."""
    read_candles: Callable[[Any], list[Candle]]


def price(row: object, value: object, name: str) -> Decimal:
    """A positive price, which a venue writes as text."""
    if not isinstance(value, str):
        raise malformed(row, f"{name} is {value!r:.40}, not the text of a number")
    try:
        number = parse_decimal(value, name)
    except InputError as error:
        raise malformed(row, str(error)) from None
    if number <= 0:
        raise malformed(row, f"{name} is {value}, not positive")
    return number


def moment(row: object, value: object, name: str) -> datetime:
    """A time in milliseconds since 1970, as an integer or its text."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not text.isdigit() or len(text) > 13:
        raise malformed(row, f"{name} is {value!r:.40}, not milliseconds since 1970")
    return _EPOCH + _MILLISECOND * int(text)


def candle(row: object, places: tuple[int, int], confirmed: bool = True) -> Candle:
    """A candle from a row of values; ``places`` are the lengths the row may have."""
    if not isinstance(row, Sequence) or isinstance(row, str) or len(row) not in places:
        raise malformed(row, f"a candle does not have {' or '.join(map(str, places))} values")
    start = moment(row, row[0], "the start of a candle")
    if (start - _EPOCH) % HOUR:
        raise malformed(row, f"a candle starts at {start}, not on the hour")
    return Candle(start + HOUR, price(row, row[4], "close"), confirmed)


def rows(payload: object) -> list[Any]:
    """A list, and not an empty one."""
    if not isinstance(payload, list):
        raise malformed(payload, "the answer is not a list")
    if not payload:
        raise NotListed("the answer is empty")
    return payload


def field(holder: object, name: str) -> Any:
    """The value under a name of a JSON object."""
    if not isinstance(holder, Mapping) or name not in holder:
        raise malformed(holder, f"{name} is missing")
    return holder[name]


def same(row: object, value: object, asked: str, name: str) -> None:
    """The venue answered for what was asked."""
    if value != asked:
        raise malformed(row, f"{name} is {value!r:.40}, but {asked} was asked for")
