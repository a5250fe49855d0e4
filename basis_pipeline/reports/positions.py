"""What is held, straight from the ledger: no price and no materialized day needed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from basis_pipeline.domain.numbers import ZERO
from basis_pipeline.domain.positions import BalanceKey, Book, PerpKey
from basis_pipeline.reports.report import Column, Kind, Report

COLUMNS = (
    Column("portfolio"),
    Column("as_of"),
    Column("venue"),
    Column("kind"),
    Column("name"),
    Column("amount", Kind.QUANTITY),
    Column("entry_price", Kind.QUANTITY),
    Column("entry_timestamp"),
    Column("notional_usd", Kind.USD),
)
"""``amount`` is token units (scaled for Aave tokens) or the signed size of a perpetual in base units."""


def book_rows(portfolio: str, as_of: datetime, book: Book) -> Iterator[tuple[Any, ...]]:
    """Every balance and open perpetual of a book, by venue and name."""
    for (venue, token), balance in sorted(book.balances.items()):
        yield portfolio, as_of, venue, "token", token, balance, None, None, None
    for (venue, instrument), p in sorted(book.positions.items()):
        yield (portfolio, as_of, venue, "perp", instrument, p.size, p.entry_price, p.entry_timestamp, p.notional_usd)


def positions(books: Collection[tuple[str, datetime, Book]]) -> Report:
    """The books of some portfolios, each with the instant it is of."""
    return Report(COLUMNS, [row for name, as_of, book in books for row in book_rows(name, as_of, book)])


def touched(
    portfolio: str, as_of: datetime, book: Book, tokens: Collection[BalanceKey], perps: Collection[PerpKey]
) -> Report:
    """What an entry left behind: its balances and perpetuals, zero where nothing is left."""
    keys = {*tokens, *perps}
    held = [row for row in book_rows(portfolio, as_of, book) if (row[2], row[4]) in keys]
    gone = [
        (portfolio, as_of, venue, kind, name, ZERO, None, None, None)
        for kind, found, there in (("token", tokens, book.balances.keys()), ("perp", perps, book.positions.keys()))
        for venue, name in sorted(set(found).difference(there))
    ]
    return Report(COLUMNS, held + gone)
