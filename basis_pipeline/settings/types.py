"""The kinds of values that settings are made of, each with an error that says what to write instead."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, ValidationInfo

from basis_pipeline.domain.instants import parse_instant
from basis_pipeline.domain.numbers import parse_decimal

_DURATION = re.compile(r"^\s*(\d+)\s*(s|min|h|d)\s*$")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def decimal_of(value: object, info: ValidationInfo) -> Decimal:
    """The exact number, or an error with the field's name."""
    return parse_decimal(value, info.field_name or "value")


def instant_of(value: object, info: ValidationInfo) -> datetime:
    """The instant in UTC, or an error with the field's name."""
    return parse_instant(value, info.field_name or "value")


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit such as 30s, 90min, 2h or 1d")
    try:
        return timedelta(seconds=int(match.group(1)) * _UNITS[match.group(2)])
    except OverflowError:
        raise ValueError(f"{value!r} is longer than any time there is") from None


def _age(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than zero; write a number and a unit such as 30s, 90min, 2h or 1d")
    return value


def _portfolio_name(name: str) -> str:
    if name != name.strip() or not name.isprintable() or not name:
        raise ValueError(f"{name!r} is not a name; use printable characters, without spaces around them")
    return name


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Age = Annotated[Duration, AfterValidator(_age)]
PortfolioName = Annotated[str, AfterValidator(_portfolio_name)]
CLOSED = ConfigDict(extra="forbid", frozen=True)

Exact = Annotated[Decimal, BeforeValidator(decimal_of)]
Moment = Annotated[datetime, BeforeValidator(instant_of)]
