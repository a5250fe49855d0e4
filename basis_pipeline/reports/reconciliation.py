"""What reconciling came to, as it is recorded: key by key, or counted by account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.ledger.readings import AccountRecord, ReconciliationRecord
from basis_pipeline.reports.report import Column, Kind, Report

NOTE_MAX = 60
"""Characters of a note in a table that is made for reading."""

OUTCOMES = (
    Column("portfolio"),
    Column("account"),
    Column("venue"),
    Column("key"),
    Column("outcome"),
    Column("tracked", Kind.QUANTITY),
    Column("actual", Kind.QUANTITY),
    Column("difference", Kind.QUANTITY),
    Column("tolerance", Kind.QUANTITY, rare=True),
    Column("adjusted_by"),
    Column("observed_at"),
    Column("note"),
)
"""``tracked`` is the ledger's, ``actual`` the venue's; ``adjusted_by`` the entry that brought the one to the other."""


def outcomes(records: Iterable[ReconciliationRecord], *, brief: bool = False) -> Report:
    """Every key of every account with its outcome; an account without keys has one row that says how it was read.

    ``brief`` leaves out what matches to the last digit, and the end of long notes.
    """
    rows = [row for record in records for account in record.accounts for row in _rows(record, account, brief)]
    return Report(OUTCOMES, rows)


def _rows(record: ReconciliationRecord, account: AccountRecord, brief: bool) -> Iterator[tuple[Any, ...]]:
    head = (record.portfolio, account.account.name, account.account.venue)
    note = _note(account, brief)
    for each in account.comparisons:
        if not brief or each.outcome is not Outcome.MATCHED:
            adjusted_by = account.entry_id if each.adjusted else None
            figures = (each.tracked, each.actual, each.difference, each.tolerance)
            yield (*head, each.key, each.outcome.value, *figures, adjusted_by, account.observed_at, note)
    if not account.comparisons:
        yield (*head, None, account.status.value, *(None,) * 5, account.observed_at, note)


def _note(account: AccountRecord, brief: bool) -> str | None:
    text = account.error or account.note or None
    return f"{text[:NOTE_MAX]}..." if text and brief and len(text) > NOTE_MAX else text


ACCOUNTS = (
    Column("portfolio"),
    Column("account"),
    Column("venue"),
    Column("hour"),
    Column("observed_at"),
    Column("lag_s", Kind.NUMBER),
    Column("status"),
    *(Column(outcome.lower(), Kind.NUMBER, rare=True) for outcome in Outcome),
    Column("adjusted", Kind.NUMBER, rare=True),
    Column("note"),
)
"""``lag_s``: seconds since the account was read; the outcomes count keys, and ``adjusted`` those that were adjusted."""


def accounts(
    configured: Iterable[tuple[str, str, str]],
    records: Iterable[ReconciliationRecord],
    now: datetime,
    *,
    brief: bool = False,
) -> Report:
    """Each configured account (portfolio, name, venue) with its newest reconciliation, if there is one."""
    newest = {
        (record.portfolio, account.account.name): (record, account) for record in records for account in record.accounts
    }
    return Report(ACCOUNTS, [_account_row(*place, newest.get(place[:2]), now, brief) for place in configured])


def _account_row(
    portfolio: str,
    name: str,
    venue: str,
    found: tuple[ReconciliationRecord, AccountRecord] | None,
    now: datetime,
    brief: bool,
) -> tuple[Any, ...]:
    if found is None:
        return (portfolio, name, venue, None, None, None, "never read", *(None for _ in Outcome), None, None)
    record, account = found
    counts = Counter(each.outcome for each in account.comparisons)
    lag = round((now - account.observed_at).total_seconds())
    return (
        portfolio,
        name,
        venue,
        record.hour,
        account.observed_at,
        lag,
        account.status.value,
        *(counts[outcome] for outcome in Outcome),
        sum(each.adjusted for each in account.comparisons),
        _note(account, brief),
    )
