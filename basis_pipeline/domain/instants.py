"""Time as the product uses it: UTC only, hours and days, no clock of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

from basis_pipeline.domain.errors import InputError

Clock = Callable[[], datetime]
"""Tells the time in UTC. Everything that needs to know it is handed one, so that a simulated day can have its own."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
_FINER_THAN_MICROSECONDS = re.compile(r"[.,]\d{6}\d*[1-9]")


def parse_instant(value: object, field: str) -> datetime:
    """An aware UTC datetime from ISO-8601 text or an aware datetime (pandas Timestamps included).

    A time without zone is refused rather than guessed; so is anything finer than a microsecond.
    """
    if isinstance(value, str):
        if _FINER_THAN_MICROSECONDS.search(value):  # fromisoformat would cut the rest off silently
            raise InputError(f"{field}: {value!r} is finer than a microsecond; round it first")
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(f"{field}: {value!r} is not an ISO-8601 time; give e.g. 2024-05-12T01:00:00Z") from None
    elif isinstance(value, datetime):
        if getattr(value, "nanosecond", 0):
            raise InputError(f"{field}: {value!r} is finer than a microsecond; round it first")
        to_python = getattr(value, "to_pydatetime", None)
        moment = to_python() if to_python is not None else value
    else:
        raise InputError(f"{field}: {value!r} is not a time; give ISO-8601 text such as 2024-05-12T01:00:00Z")
    if moment.tzinfo is None:
        raise InputError(f"{field}: {value!r} has no time zone; add Z for UTC")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InputError(f"{field}: {value!r} is outside the years 1 to 9999 in UTC") from None


def iso(moment: datetime) -> str:
    """ISO-8601 in UTC with ``Z``, microseconds only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def day_start(day: date) -> datetime:
    """00:00 UTC of the day."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def hours_of(day: date) -> list[datetime]:
    """The 24 instants of a partition: D 00:00 ... D 23:00 UTC."""
    start = day_start(day)
    return [start + HOUR * n for n in range(24)]


def days_between(first: date, last: date) -> Iterator[date]:
    """Every day from first to last, both included."""
    day = first
    while day <= last:
        yield day
        day += DAY


def floor_hour(moment: datetime) -> datetime:
    """The full hour that the moment is in."""
    return moment.replace(minute=0, second=0, microsecond=0)


def first_hour_at_or_after(moment: datetime) -> datetime:
    """The first full hour not before the moment: the first instant an entry with this time can show in."""
    floor = floor_hour(moment)
    return floor if floor == moment else floor + HOUR
