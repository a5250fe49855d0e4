"""What an interface's answer is worth: an exact positive number with its currency and time, or why it is none."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import VALUE_LIMIT, ZERO, canonical
from basis_pipeline.domain.quotes import AHEAD_MAX, Quote, Quoted, Rate, SeriesValue, Unavailable
from basis_pipeline.market.routing import USD
from basis_pipeline.market.window import describe_span


class Known(NamedTuple):
    """An accepted answer.

    ``value`` is unrounded: USD per unit of a token, a mark in its settlement coin, or a rate. ``observed_at`` is the
    venue's own time (None where it told none), ``fetched_at`` ours; it answers until ``expires`` (monotonic).
    """

    value: Decimal
    source: str
    observed_at: datetime | None
    fetched_at: datetime
    expires: float


Outcome = Known | Unavailable


class Told(NamedTuple):
    """A number as it was told; ``currency`` is empty where the number came alone."""

    number: Decimal
    currency: str
    observed_at: datetime | None


def told(answer: object, *, in_usd: bool) -> Told | str:
    """What an interface answered for one name, or what is wrong with it.

    A ``Quote`` has two numbers: ``in_usd`` takes its price in USD, otherwise the one in its own currency.
    """
    if isinstance(answer, Unavailable):
        return answer.describe()
    value, currency, observed_at = _parts(answer, in_usd)
    wrong = _wrong_number(value)
    if wrong is not None:
        return wrong
    if not isinstance(currency, str):
        return f"its currency {currency!r:.40} is no name"
    if observed_at is not None and (not isinstance(observed_at, datetime) or observed_at.tzinfo is None):
        return f"its time {observed_at!r} has no time zone"
    return Told(Decimal(value), currency, observed_at)


def refused_for_its_time(observed_at: datetime, now: datetime, limit: timedelta) -> str | None:
    """Why a value of this time is not to be used, if it is not."""
    age = now - observed_at
    if age > limit:
        return f"{iso(observed_at)} is {describe_span(age)} old (limit {describe_span(limit)})"
    return f"{iso(observed_at)} is in the future" if age < -AHEAD_MAX else None


def _parts(answer: object, in_usd: bool) -> tuple[Any, Any, Any]:
    match answer:
        case Quote(price_usd=value, observed_at=at) if in_usd:
            return value, USD, at
        case Quote(price=value, currency=currency, observed_at=at) | Quoted(value, currency, at):
            return value, currency, at
        case Rate(rate=value, observed_at=at) | SeriesValue(value, at):
            return value, "", at
    return answer, "", None


def _wrong_number(value: object) -> str | None:
    if not isinstance(value, Decimal):
        return f"answered {value!r:.100}, a {type(value).__name__}; only a Decimal is exact"
    if not value.is_finite():
        return f"answered {value}, not a finite number"
    if value <= ZERO:
        return f"answered {canonical(value)}, not positive"
    if value >= VALUE_LIMIT:
        return f"answered {value:.3E}, too large to be stored"
    return None
