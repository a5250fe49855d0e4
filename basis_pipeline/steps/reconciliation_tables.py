"""The assets ``venue_observations``, ``reconciliation`` and ``account_health``: what is stored of each hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.instants import DAY, day_start
from basis_pipeline.domain.numbers import VALUE_LIMIT, quantize_value, subtract
from basis_pipeline.domain.observations import Reading
from basis_pipeline.domain.reconciliation import ENTRY_PRICE, UNMAPPED
from basis_pipeline.ledger import readings
from basis_pipeline.ledger.readings import AccountRecord, ReconciliationRecord
from basis_pipeline.steps.columns import columns_of
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport, publish, report
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

OBSERVATIONS = "venue_observations"
RECONCILIATION = "reconciliation"
HEALTH = "account_health"
TABLES = (OBSERVATIONS, RECONCILIATION, HEALTH)
Row = tuple[Any, ...]


def project_reconciliation(ports: Ports, days: DayRange) -> StepReport:
    """Publish ``venue_observations``, ``reconciliation`` and ``account_health`` for the days, together.

    Of each hour the last run counts. Days without any reconciliation are left alone: a backtest has none.
    """
    files = write_days(warehouse_root(ports.home), _days(ports, days))
    if files:
        publish(ports, files, {})
    return report(files, TABLES, {})


def _days(ports: Ports, days: DayRange) -> Iterator[tuple[str, date, Columns]]:
    engine = ports.ledger.engine
    for done, day in enumerate(days, start=1):
        start = day_start(day)
        if records := readings.reconciliations_between(engine, start, start + DAY):
            judged = {account.judged for record in records for account in record.accounts}
            for name, rows in _rows(records, readings.readings_by_id(engine, judged)).items():
                yield name, day, columns_of(name, rows)
        ports.progress(RECONCILIATION, done, len(days))


def _rows(records: Sequence[ReconciliationRecord], found: Mapping[int, Reading]) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    for record in records:
        for account in record.accounts:
            reading = found[account.judged]
            rows[OBSERVATIONS].extend(_observation_rows(record, reading))
            rows[RECONCILIATION].extend(_outcome_rows(record, account))
            if reading.health is not None:
                place = (record.hour, record.portfolio, reading.account.venue)
                rows[HEALTH].append((*place, *map(_fitting, reading.health)))
    return rows


def _observation_rows(record: ReconciliationRecord, reading: Reading) -> Iterator[Row]:
    number, block_hash = (None, None) if reading.block is None else reading.block[:2]
    head = (record.hour, record.portfolio, reading.account.name, reading.account.venue)
    tail = (reading.status.value, number, block_hash, reading.venue_time, reading.observed_at)
    amounts: dict[str | None, Decimal | None] = {token: amount for token, amount in reading.balances.items() if amount}
    for name, position in reading.positions.items():
        amounts[name] = position.size
        if position.entry_price is not None:
            amounts[f"{name}{ENTRY_PRICE}"] = position.entry_price
    amounts.update({f"{UNMAPPED}{asset}": amount for asset, amount in reading.unmapped.items() if amount})
    for key, amount in (amounts or {None: None}).items():
        yield *head, key, _fitting(amount), *tail


def _outcome_rows(record: ReconciliationRecord, account: AccountRecord) -> Iterator[Row]:
    for row in account.comparisons:
        tracked, actual, tolerance = quantize_value(row.tracked), _fitting(row.actual), _fitting(row.tolerance)
        difference = None if actual is None else _fitting(subtract(actual, tracked))
        place = (record.hour, record.portfolio, account.account.name, account.account.venue, row.key)
        yield *place, tracked, actual, difference, tolerance, row.outcome.value, row.adjusted, account.observed_at


def _fitting(amount: Decimal | None) -> Decimal | None:
    """The amount as a column holds it; None for what no column can hold, such as a worthless token's billions."""
    return None if amount is None or amount.copy_abs() >= VALUE_LIMIT else quantize_value(amount)
