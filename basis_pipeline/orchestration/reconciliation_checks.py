"""Asset checks of reconciliation: over the hours of the run, or the newest hour of each portfolio when run alone.

None of them blocks: what a difference means is for people to find out, and what was recorded is published all the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import dagster as dg

from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.observations import ReadingStatus
from basis_pipeline.home import Home
from basis_pipeline.ledger.readings import AccountRecord, ReconciliationRecord, adjustment_ids, latest_reconciliations
from basis_pipeline.orchestration.check_steps import SHOWN_MAX, Check, Verdict, check_step
from basis_pipeline.orchestration.hours import hours_of_run
from basis_pipeline.orchestration.metadata import Metadata, markdown_table
from basis_pipeline.orchestration.reconciliation import OBSERVATIONS, OUTCOMES, records_of
from basis_pipeline.steps.ports import Ports


class Recorded(NamedTuple):
    """What these checks look at."""

    home: Home
    records: Sequence[ReconciliationRecord]

    @property
    def scope(self) -> Metadata:
        hours = sorted({iso(record.hour) for record in self.records})
        return {"hours": f"{hours[0]} to {hours[-1]}" if hours else "none"}


def reconciliation_checks() -> dg.AssetChecksDefinition:
    """The checks, which are one step."""
    return check_step("check_reconciliation", CHECKS, _look)


@contextmanager
def _look(home: Home, _ports: Ports, tags: Mapping[str, str]) -> Iterator[Recorded]:
    hours = hours_of_run(tags)
    yield Recorded(home, latest_reconciliations(home.ledger.engine) if hours is None else records_of(home, hours))


def _no_unexplained_drift(evidence: Recorded) -> Verdict:
    home, records = evidence
    rows = [
        (
            iso(record.hour),
            record.portfolio,
            account.account.name,
            each.key,
            each.outcome.value,
            canonical(each.tracked),
            "" if each.actual is None else canonical(each.actual),
            account.entry_id if each.adjusted else account.note or "no",
        )
        for record in records
        for account in record.accounts
        for each in account.comparisons
        if each in account.unexplained
    ]
    besides = _besides(records)
    if not rows:
        if earlier := _adjusted_earlier(home, records):
            named = ", ".join(earlier)
            what = f"The ledger was adjusted earlier in the hour: {named}; the last run found no other difference."
            return Verdict(False, f"{what}{besides}", warning=True)
        compared = any(_is_read(account) and account.comparisons for record in records for account in record.accounts)
        what = "Every difference between ledger and venues is explained." if compared else "Nothing was compared."
        return Verdict(True, f"{what}{besides}")
    columns = ("hour", "portfolio", "account", "key", "outcome", "ledger", "venue", "adjusted")
    standing = sum(
        not each.adjusted for record in records for account in record.accounts for each in account.unexplained
    )
    named = "; ".join(f"{row[1]} {row[2]} {row[3]}: {row[4]}, ledger {row[5]}, venue {row[6]}" for row in rows[:3])
    count = "1 difference" if len(rows) == 1 else f"{len(rows)} differences"
    what = f"{count} that no update explains, {len(rows) - standing} adjusted: {named}.{besides}"
    return Verdict(False, what, {"differences": markdown_table(columns, rows[:SHOWN_MAX])}, warning=not standing)


def _besides(records: Sequence[ReconciliationRecord]) -> str:
    """What was not compared, and what was noted of the portfolios: books that could not be opened yet, say."""
    unread = [account.account.name for record in records for account in record.accounts if not _is_read(account)]
    told = [f"Not compared: {', '.join(unread)}."] if unread else []
    told += [f"{record.portfolio}: {note}." for record in records for note in record.notes]
    return "".join(f" {each}" for each in told[:SHOWN_MAX])


def _is_read(account: AccountRecord) -> bool:
    return account.status is ReadingStatus.AVAILABLE


def _adjusted_earlier(home: Home, records: Sequence[ReconciliationRecord]) -> list[str]:
    """Adjustments of these hours that the records do not tell of, because a later run of the hour found all in order.

    Also those of a run whose process ended before it could store what it did.
    """
    return [
        entry
        for record in records
        for account in record.accounts
        for entry in adjustment_ids(home.ledger.engine, account.account, record.hour)
        if entry != account.entry_id
    ]


def _all_accounts_available(evidence: Recorded) -> Verdict:
    records = evidence.records
    down = [
        (iso(record.hour), record.portfolio, each.account.name, each.error or "")
        for record in records
        for each in record.accounts
        if not _is_read(each)
    ]
    if not down:
        read = sum(len(record.accounts) for record in records)
        return Verdict(True, f"Every account was read ({read})." if read else "There was no account to read.")
    shown = markdown_table(("hour", "portfolio", "account", "why"), down[:SHOWN_MAX])
    named = "; ".join(f"{name}: {why}" for _, _, name, why in down[:3])
    count = "1 account" if len(down) == 1 else f"{len(down)} accounts"
    return Verdict(False, f"{count} could not be read: {named}", {"unavailable": shown}, warning=True)


def _skew_in_bounds(evidence: Recorded) -> Verdict:
    home, records = evidence
    limit = home.settings.reconciliation.skew_max
    worst = max(records, key=lambda record: record.skew, default=None)
    if worst is None or not worst.skew:
        return Verdict(True, "No two accounts were read at different times.")
    seconds = worst.skew.total_seconds()
    if worst.skew <= limit:
        return Verdict(True, f"First and last reading lie at most {seconds:g} s apart.", {"skew (s)": seconds})
    summary = (
        f"{worst.portfolio} at {iso(worst.hour)}: first and last reading lie {seconds:g} s apart, more than "
        f"`reconciliation.skew_max` ({limit.total_seconds():g} s); what moved between accounts meanwhile may show twice"
    )
    return Verdict(False, summary, {"skew (s)": seconds}, warning=True)


CHECKS = (
    Check(
        OUTCOMES,
        "no_unexplained_drift",
        "No venue differs from the ledger without explanation. An error while the difference stands, a warning where "
        "the ledger was adjusted.",
        _no_unexplained_drift,
        blocking=False,
    ),
    Check(
        OBSERVATIONS,
        "all_accounts_available",
        "Every account could be read. One that could not is not compared and never adjusted.",
        _all_accounts_available,
        blocking=False,
    ),
    Check(
        OBSERVATIONS,
        "skew_in_bounds",
        "The accounts of a portfolio were read at about the same time (`reconciliation.skew_max`).",
        _skew_in_bounds,
        blocking=False,
    ),
)
