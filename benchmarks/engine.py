"""The engine alone: equity at all hours, from entries and market columns in memory.

Against the specification implemented literally, called once an hour for each portfolio. Both start from the same
entries and columns, make their own price structures inside the timed part, and come to the same equity.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

from basis_pipeline.domain.equity import totals
from basis_pipeline.domain.instants import hours_of
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.domain.valuation import Sheet
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.steps.cursor import open_cursors
from basis_pipeline.steps.holdings import BookHistory
from basis_pipeline.steps.market import WINDOW_DAYS
from basis_pipeline.steps.ports import DayRange
from benchmarks.data import Data
from benchmarks.literal import EntriesInMemory, LiteralMarket, hour_by_hour
from benchmarks.measure import Figure, in_turns

TIMES_FASTER_MIN = 5
TOLERANCE = Decimal("1e-12")

Equities = dict[str, list[Decimal]]
"""``total_equity`` by portfolio at each hour from its start on."""


def ours(entries: LedgerSnapshot, market: MarketHistory, days: DayRange) -> Equities:
    """As the equity step does it, without its rows."""
    books = [BookHistory(cursor, DEFAULT_REGISTRY) for cursor in open_cursors(entries, days.first, days.last)]
    found: Equities = {book.cursor.state.portfolio: [] for book in books}
    for chunk in days.chunks(WINDOW_DAYS):
        hours = [hour for day in chunk for hour in hours_of(day)]
        sheet = Sheet(market.window(hours[0], hours[-1]), DEFAULT_REGISTRY, hours)
        for book in books:
            state = book.cursor.state
            held = book.advance(hours)
            spans, missing = sheet.value(held.runs, state.share_class)
            if missing:
                raise ValueError(f"{state.portfolio}: {missing[0]}")
            found[state.portfolio] += totals(spans, held.first, held.end)[0]
    return found


def literally(entries: LedgerSnapshot, market: MarketHistory, days: DayRange) -> Equities:
    """By the reference."""

    async def collect() -> Equities:
        found: Equities = {name: [] for name in entries.portfolios}
        async for hour in hour_by_hour(entries, LiteralMarket(market), days):
            found[hour.cursor.state.portfolio].append(hour.snapshot.total_equity)
        return found

    return asyncio.run(collect())


def largest_difference(a: Equities, b: Equities) -> Decimal:
    """The largest relative difference at any hour; both must have the same portfolios and hours."""
    if {name: len(values) for name, values in a.items()} != {name: len(values) for name, values in b.items()}:
        raise ValueError("the two sides have different portfolios or hours")
    return max(abs(x - y) / max(abs(y), Decimal(1)) for name in a for x, y in zip(a[name], b[name], strict=True))


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    market = MarketHistory(data.market_data)
    market.store()
    with data.ledger(folder / "ledger.db") as ledger:
        data.import_all(ledger)
        entries = EntriesInMemory(ledger.snapshot())
    equities = ours(entries, market, data.days)
    difference = largest_difference(equities, literally(entries, market, data.days))
    if difference > TOLERANCE:
        raise ValueError(f"the engine and the reference differ by {difference}: comparing their speed means nothing")
    pairs = in_turns(
        lambda: ours(entries, market, data.days), lambda: literally(entries, market, data.days), 2 if quick else 5
    )
    count = sum(len(values) for values in equities.values())
    detail = f"{pairs.medians()}; {count:,} equities agree to {difference:.0e}"
    yield Figure(
        "times as fast as the reference, CPU", pairs.times_faster("cpu"), "×", detail, at_least=TIMES_FASTER_MIN
    )
    yield Figure("the same by the clock", pairs.times_faster("wall"), "×")
