from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import days_between, first_hour_at_or_after, hours_of, iso, parse_instant

TEN = datetime(2024, 5, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2024-05-12T10:00:00Z",
        "2024-05-12 10:00:00+00:00",
        "2024-05-12T12:00:00+02:00",
        "2024-05-12T10:00:00.000000000Z",
        TEN.astimezone(timezone(timedelta(hours=-7))),
        pd.Timestamp("2024-05-12 10:00:00", tz="UTC"),
        pd.Timestamp("2024-05-12 12:00:00", tz="Europe/Paris"),
    ],
)
def test_one_moment_is_one_instant_in_whatever_zone_it_is_written(value: object) -> None:
    moment = parse_instant(value, "timestamp")
    assert moment == TEN
    assert moment.tzinfo is UTC
    assert type(moment) is datetime
    assert iso(moment) == "2024-05-12T10:00:00Z"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("2024-05-12T10:00:00", "no time zone"),
        (datetime(2024, 5, 12), "no time zone"),  # noqa: DTZ001
        ("2024-05-12", "no time zone"),
        ("yesterday", "not an ISO-8601 time"),
        ("", "not an ISO-8601 time"),
        (1715508000, "not a time"),
        (None, "not a time"),
        (date(2024, 5, 12), "not a time"),
        ("2024-05-12T10:00:00.123456789Z", "finer than a microsecond"),
        (pd.Timestamp("2024-05-12 10:00:00.000000001", tz="UTC"), "finer than a microsecond"),
        ("0001-01-01T00:00:00+14:00", "outside the years"),
        ("9999-12-31T23:59:59-12:00", "outside the years"),
    ],
)
def test_a_time_that_would_have_to_be_guessed_or_cut_is_refused(value: object, why: str) -> None:
    with pytest.raises(InputError, match=f"timestamp: .*{why}"):
        parse_instant(value, "timestamp")


def test_pandas_not_a_time_is_refused() -> None:
    with pytest.raises(InputError):
        parse_instant(pd.NaT, "timestamp")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_iso_text_reads_back_to_the_microsecond(moment: datetime) -> None:
    assert parse_instant(iso(moment), "timestamp") == moment


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_an_entry_first_shows_at_the_next_full_hour(moment: datetime) -> None:
    shown = first_hour_at_or_after(moment)
    assert (shown.minute, shown.second, shown.microsecond) == (0, 0, 0)
    assert timedelta(0) <= shown - moment < timedelta(hours=1)


def test_a_partition_holds_the_24_hours_of_its_day() -> None:
    hours = hours_of(date(2024, 5, 12))
    assert hours[0] == datetime(2024, 5, 12, tzinfo=UTC)
    assert hours[-1] == datetime(2024, 5, 12, 23, tzinfo=UTC)
    assert len(hours) == 24


def test_a_range_of_days_includes_both_ends_and_may_be_empty() -> None:
    assert list(days_between(date(2024, 2, 28), date(2024, 3, 1))) == [
        date(2024, 2, 28),
        date(2024, 2, 29),
        date(2024, 3, 1),
    ]
    assert list(days_between(date(2024, 3, 2), date(2024, 3, 1))) == []
