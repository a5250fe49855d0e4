"""The assets ``wallet_balances``, ``cex_balances`` and ``perp_positions``: what was held at each hour, one step."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import ZERO
from basis_pipeline.domain.positions import BalanceKey, PerpKey, PerpPosition
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.columns import columns_of
from basis_pipeline.steps.cursor import BookCursor, open_cursors
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport, publish, report
from basis_pipeline.steps.timeline import Timeline, timeline_of
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

TABLES = ("wallet_balances", "cex_balances", "perp_positions")
Row = tuple[Any, ...]


def project_positions(ports: Ports, days: DayRange) -> StepReport:
    """Publish the three position tables for the days, together."""
    snapshot = ports.ledger.snapshot()
    timeline = timeline_of(ports.market, days)
    files = write_days(warehouse_root(ports.home), _days(ports, snapshot, days, timeline))
    publish(ports, files, snapshot.heads(), marks=timeline.marks)
    return report(files, TABLES, snapshot.heads())


def _days(
    ports: Ports, snapshot: LedgerSnapshot, days: DayRange, timeline: Timeline
) -> Iterator[tuple[str, date, Columns]]:
    holders = [_Holder(cursor) for cursor in open_cursors(snapshot, days.first, days.last, timeline.last)]
    for done, day in enumerate(days, start=1):
        wallet: list[Row] = []
        cex: list[Row] = []
        perps: list[Row] = []
        for instant in timeline.of([day]):
            for holder in holders:
                holder.add_rows(instant, wallet, cex, perps)
        for table_name, rows in zip(TABLES, (wallet, cex, perps), strict=True):
            yield table_name, day, columns_of(table_name, rows)
        ports.progress("positions", done, len(days))


class _Holder:
    """One portfolio's rows, prepared once per change of its book."""

    def __init__(self, cursor: BookCursor) -> None:
        self._cursor = cursor
        self._held: dict[BalanceKey, Decimal] = dict(cursor.book.balances)
        self._open: dict[PerpKey, PerpPosition] = dict(cursor.book.positions)
        self._prepare({}, {})

    def add_rows(self, instant: datetime, wallet: list[Row], cex: list[Row], perps: list[Row]) -> None:
        if instant < self._cursor.state.start:
            return
        ended: dict[BalanceKey, Decimal] = {}
        closed: dict[PerpKey, PerpPosition] = {}
        if self._cursor.advance(instant):
            book = self._cursor.book
            ended = {key: ZERO for key in self._held if key not in book.balances}
            closed = {key: position for key, position in self._open.items() if key not in book.positions}
            self._held, self._open = dict(book.balances), dict(book.positions)
            self._prepare(ended, closed)
        wallet.extend((instant, *row) for row in self._wallet)
        cex.extend((instant, *row) for row in self._cex)
        perps.extend((instant, *row) for row in self._perps)
        if ended or closed:  # they show once, at the first hour at which they are gone
            self._prepare({}, {})

    def _prepare(self, ended: dict[BalanceKey, Decimal], closed: dict[PerpKey, PerpPosition]) -> None:
        name = self._cursor.state.portfolio
        balances = sorted({**self._held, **ended}.items())
        self._wallet = [(name, token, amount) for (venue, token), amount in balances if venue == WALLET]
        self._cex = [(name, venue, token, amount) for (venue, token), amount in balances if venue != WALLET]
        self._perps = [
            (name, *key, p.size, p.entry_price, p.entry_timestamp, p.notional_usd)
            for key, p in sorted(self._open.items())
        ] + [(name, *key, ZERO, p.entry_price, p.entry_timestamp, None) for key, p in sorted(closed.items())]
