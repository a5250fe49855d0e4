"""The asset ``balance_changes``: every leg of every entry of a day, with the balance after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from basis_pipeline.domain.instants import DAY, day_start
from basis_pipeline.domain.numbers import ZERO
from basis_pipeline.domain.positions import Applied
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.columns import columns_of
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport, publish, report
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

TABLE = "balance_changes"
_INSTANT_BEFORE = timedelta(microseconds=1)


def project_balance_changes(ports: Ports, days: DayRange) -> StepReport:
    """Publish ``balance_changes`` for the days."""
    snapshot = ports.ledger.snapshot()
    files = write_days(warehouse_root(ports.home), _days(ports, snapshot, days))
    publish(ports, files, snapshot.heads())
    return report(files, (TABLE,), snapshot.heads())


def _days(ports: Ports, snapshot: LedgerSnapshot, days: DayRange) -> Iterator[tuple[str, date, Columns]]:
    by_day: dict[date, list[tuple[Any, ...]]] = {}
    done = 0
    for chunk in days.chunks(31):
        for portfolio in snapshot.portfolios:
            for row in _rows(snapshot, portfolio, chunk[0], chunk[-1]):
                by_day.setdefault(row[0].date(), []).append(row)
        for day in chunk:
            yield TABLE, day, columns_of(TABLE, by_day.pop(day, []))
            done += 1
            ports.progress(TABLE, done, len(days))


def _rows(snapshot: LedgerSnapshot, portfolio: str, first: date, last: date) -> Iterator[tuple[Any, ...]]:
    start, end = day_start(first), day_start(last) + DAY
    book = snapshot.book_at(portfolio, start - _INSTANT_BEFORE).book
    for entry in snapshot.entries(portfolio, start - _INSTANT_BEFORE, end - _INSTANT_BEFORE):
        update = entry.update
        yield from _leg_rows(entry, book.replay(update.token_changes, update.derivative_changes, update.timestamp))


def _leg_rows(entry: Entry, applied: Applied) -> Iterator[tuple[Any, ...]]:
    update = entry.update
    head = (update.timestamp, entry.recorded_at, entry.portfolio, entry.sequence, update.id, update.trigger.value)
    leg = 0
    for change, balance in zip(update.token_changes, applied.balances, strict=True):
        token_part = (change.token, None, None, change.delta, balance, None, None, None)
        yield (*head, leg, change.venue, *token_part, change.reason)
        leg += 1
    for perp, position in zip(update.derivative_changes, applied.positions, strict=True):
        size, entry_price = (ZERO, None) if position is None else (position.size, position.entry_price)
        perp_part = (None, perp.instrument, perp.action.value, None, None, size, entry_price, perp.data.notional_usd)
        yield (*head, leg, perp.venue, *perp_part, None)
        leg += 1
