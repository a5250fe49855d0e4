"""What is held, arranged for people."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.reports.positions import positions, touched

NOON = datetime(2024, 5, 12, 12, tzinfo=UTC)
BOOK = Book(
    {("wallet", "USDT"): Decimal(100), ("okx", "USDT"): Decimal("-5.5")},
    {("okx", "ETHUSDT-PERP"): PerpPosition(Decimal("-1.5"), Decimal(3000), NOON, None)},
)


def test_every_balance_and_perpetual_is_listed_with_its_sign() -> None:
    assert [row[2:7] for row in positions([("lending", NOON, BOOK)]).rows] == [
        ("okx", "token", "USDT", Decimal("-5.5"), None),
        ("wallet", "token", "USDT", Decimal(100), None),
        ("okx", "perp", "ETHUSDT-PERP", Decimal("-1.5"), Decimal(3000)),
    ]


def test_what_an_entry_touched_is_listed_even_when_nothing_is_left() -> None:
    report = touched("lending", NOON, BOOK, {("okx", "USDT"), ("wallet", "ETH")}, {("bybit", "ETHUSDT-PERP")})
    assert [row[2:6] for row in report.rows] == [
        ("okx", "token", "USDT", Decimal("-5.5")),
        ("wallet", "token", "ETH", Decimal(0)),
        ("bybit", "perp", "ETHUSDT-PERP", Decimal(0)),
    ]
