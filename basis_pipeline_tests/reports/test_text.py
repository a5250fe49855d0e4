"""How reports look to people, and what they are exactly."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from basis_pipeline.reports.report import Column, Kind, Report, exact
from basis_pipeline.reports.text import money, quantity, to_text


@pytest.mark.parametrize(
    ("value", "currency", "shown"),
    [
        ("1234567.891", "USDT", "1,234,567.89"),
        ("-1234.5", "USD", "-1,234.50"),
        ("0.12345678", "ETH", "0.123457"),
        ("-0.001", "USDT", "0.00"),
        ("0", "ETH", "0.000000"),
        ("2.5", "other", "2.500000"),
    ],
)
def test_money_has_the_places_of_its_currency_and_never_a_negative_zero(value: str, currency: str, shown: str) -> None:
    assert money(Decimal(value), currency) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("1000000", "1,000,000"),
        ("-1234.5", "-1,234.5"),
        ("-0.5", "-0.5"),
        ("0.123456789012345678", "0.12345679"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("0", "0"),
        ("99999999.999999999", "100,000,000"),
    ],
)
def test_a_quantity_is_short_but_never_shown_as_zero_when_it_is_not(value: str, shown: str) -> None:
    assert quantity(Decimal(value)) == shown


def test_points_stand_below_each_other_and_every_row_uses_its_own_currency() -> None:
    report = Report(
        (Column("portfolio"), Column("share_class"), Column("nav", Kind.MONEY)),
        [("a", "USDT", Decimal(1000000)), ("b", "ETH", Decimal(10))],
    )
    assert to_text(report) == [
        "portfolio  share_class               nav",
        "---------  -----------  ----------------",
        "a          USDT         1,000,000.00",
        "b          ETH                 10.000000",
    ]


def test_a_column_without_values_is_left_out_but_a_table_without_rows_keeps_its_names() -> None:
    columns = (Column("name"), Column("entry_price", Kind.QUANTITY), Column("locked", Kind.MONEY, rare=True))
    assert to_text(Report(columns, [("ETH", None, Decimal(0))])) == ["name", "----", "ETH"]
    assert to_text(Report(columns, [])) == ["name  entry_price  locked", "----  -----------  ------"]


def test_a_rare_column_shows_for_all_rows_once_one_has_something() -> None:
    report = Report((Column("locked", Kind.QUANTITY, rare=True),), [(Decimal(0),), (Decimal("1.5"),)])
    assert to_text(report)[2:] == ["   0", "   1.5"]


def test_a_line_break_in_a_value_does_not_break_the_table() -> None:
    assert to_text(Report((Column("reason"),), [("one\ntwo",)]))[2:] == ["one two"]


def test_exact_values_survive_json_digit_by_digit() -> None:
    values = [Decimal("1.000000000000000001"), Decimal("-0.10"), Decimal("1E+3"), 2**70, True, None, "text"]
    assert json.loads(json.dumps(exact(values))) == ["1.000000000000000001", "-0.1", "1000", 2**70, True, None, "text"]


def test_exact_times_are_utc_whatever_they_came_as() -> None:
    noon = datetime(2024, 5, 12, 12, tzinfo=UTC)
    naive, zoned = noon.replace(tzinfo=None), noon.astimezone(timezone(timedelta(hours=2)))
    assert {exact(noon), exact(naive), exact(zoned)} == {"2024-05-12T12:00:00Z"}
    assert exact(date(2024, 5, 12)) == "2024-05-12"


def test_what_json_has_no_number_for_becomes_text() -> None:
    assert exact(float("inf")) == "inf"
    assert exact({"a": (Decimal("1.50"), timedelta(hours=1))}) == {"a": ["1.5", "1:00:00"]}
    assert exact(0.5) == 0.5
