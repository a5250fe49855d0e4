"""Reconciling: read every account, compare it with the ledger as of the reading, bring the ledger to the venue.

Readings are stored before anything follows from them and outcomes after it, so a crash in between loses at most the
account of what was done: the adjustment itself is in the ledger, and the next run finds that it matches. An
adjustment is appended only to the ledger it was worked out on, so of two runs at once the second sees the first's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from basis_pipeline.domain.errors import (
    DuplicateIdError,
    LateEntryError,
    LedgerMovedError,
    ReconciliationError,
    UpdateError,
)
from basis_pipeline.domain.instants import HOUR, floor_hour, iso
from basis_pipeline.domain.observations import Account, MarketObservation, Reading, VenueReader
from basis_pipeline.domain.reconciliation import (
    ENTRY_PRICE,
    RECONCILIATION_ADJUSTMENT,
    Arrivals,
    Comparison,
    Rules,
    Tracked,
    adjustment,
    arrivals,
    compare,
    held,
    share_arrivals,
    track,
    without_arrivals,
)
from basis_pipeline.domain.tokens import IN_TRANSIT
from basis_pipeline.ledger import market_observations, readings
from basis_pipeline.ledger.readings import AccountRecord, ReconciliationRecord
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.ledger.timeline import Timeline
from basis_pipeline.logs import get_logger
from basis_pipeline.steps.opening import is_unopened, open_books
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport
from basis_pipeline.steps.reading_accounts import read_accounts, skew_of
from basis_pipeline.steps.reconciliation_tables import TABLES, project_reconciliation

__all__ = [
    "TABLES",
    "OpeningRefused",
    "ReconciliationReport",
    "hour_report",
    "project_reconciliation",
    "reconcile",
    "republish_hour",
]

Sleep = Callable[[float], Awaitable[object]]
ATTEMPTS_MAX = 20
"""How often an adjustment is worked out anew because others kept writing to the ledger meanwhile."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class ReconciliationReport:
    """What a reconciliation came to, by account in the order of the readers.

    ``notes`` say what else somebody should know, ``opened`` which portfolios got their opening entries, ``market``
    what rates and prices came with the readings (stored already).
    """

    hour: datetime
    reconciled_at: datetime
    skew: timedelta
    accounts: tuple[AccountRecord, ...] = ()
    notes: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    market: tuple[MarketObservation, ...] = ()

    @property
    def unexplained(self) -> tuple[tuple[Account, Comparison], ...]:
        """Every difference without explanation that was not adjusted either."""
        found = ((each.account, row) for each in self.accounts for row in each.unexplained)
        return tuple((account, row) for account, row in found if not row.adjusted)

    @property
    def unavailable(self) -> tuple[AccountRecord, ...]:
        """The accounts that could not be read."""
        return tuple(each for each in self.accounts if each.error is not None)


class OpeningRefused(ReconciliationError):
    """Some portfolio's books cannot be opened. Everything else was reconciled and stored: see ``report``."""

    def __init__(self, message: str, report: ReconciliationReport) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True)
class _Look:
    """A stored reading."""

    number: int
    reading: Reading

    @property
    def account(self) -> Account:
        return self.reading.account


@dataclass
class _Findings:
    """What came up about portfolios rather than accounts."""

    notes: dict[str, list[str]]
    opened: list[str]
    refused: list[str]

    def note(self, portfolio: str, text: str) -> None:
        self.notes.setdefault(portfolio, []).append(text)


async def reconcile(
    ports: Ports, readers: Sequence[VenueReader], rules: Rules, *, sleep: Sleep = asyncio.sleep
) -> ReconciliationReport:
    """Read all accounts, compare them with the ledger, adjust what two readings agree on, and store all of it.

    Raises ``OpeningRefused`` at the end, when everything else is done and stored, if a portfolio without history
    is not worth its configured capital.
    """
    hour = floor_hour(ports.clock())
    looks = await _look(ports, readers, rules, hour, 1)
    market = _record_market(ports, looks)
    findings = _Findings({}, [], [])
    by_portfolio: dict[str, list[_Look]] = {}
    for look in looks:
        by_portfolio.setdefault(look.account.portfolio, []).append(look)
    records: dict[Account, AccountRecord] = {}
    arrived: dict[Account, Mapping[str, Decimal]] = {}
    for portfolio, own in by_portfolio.items():
        if _prepare(ports, portfolio, own, rules, findings):
            compared, found = _compare_all(ports, portfolio, own, rules)
            records.update(compared)
            arrived.update(found)
        else:
            records.update(_uncompared(own))
    doubtful = {
        account: frozenset(row.key for row in record.comparisons if row.adjustable)
        for account, record in records.items()
        if any(row.adjustable for row in record.comparisons)
    }
    if doubtful:
        await sleep(rules.second_reading_after.total_seconds())
        concerned = [reader for reader in readers if not doubtful.keys().isdisjoint(reader.accounts)]
        for look in await _look(ports, concerned, rules, hour, 2, doubtful):
            account = look.account
            others = [arrived[other] for other in arrived if other != account and other.portfolio == account.portfolio]
            records[account] = _settle(ports, records[account], look, doubtful[account], others, rules, hour)
    stored = _conclude(ports, hour, by_portfolio, records, findings)
    report = ReconciliationReport(hour, ports.clock(), timedelta(0)) if not stored else _report(stored)
    skew = skew_of([look.reading for look in looks])
    report = replace(report, skew=skew, opened=tuple(findings.opened), market=market)
    _tell(report)
    if findings.refused:
        raise OpeningRefused("\n".join(findings.refused), report)
    return report


async def _look(
    ports: Ports,
    readers: Sequence[VenueReader],
    rules: Rules,
    hour: datetime,
    attempt: int,
    wanted: Mapping[Account, object] | None = None,
) -> list[_Look]:
    """Read and store, all accounts or those wanted."""
    found = await read_accounts(readers, rules.deadline, ports.clock)
    found = [reading for reading in found if wanted is None or reading.account in wanted]
    numbers = readings.record_readings(ports.ledger.engine, hour, attempt, found)
    return [_Look(number, reading) for number, reading in zip(numbers, found, strict=True)]


def _record_market(ports: Ports, looks: Sequence[_Look]) -> tuple[MarketObservation, ...]:
    """Store the rates and prices that came with the readings; one that cannot be a price is left out and logged."""
    sound: list[MarketObservation] = []
    for look in looks:
        for observation in look.reading.market:
            if (problem := market_observations.refusal(observation)) is None:
                sound.append(observation)
            else:
                _log.warning("a market observation is left out", account=look.account.name, problem=problem)
    market_observations.record(ports.ledger.engine, sound)
    return tuple(sound)


def _prepare(ports: Ports, portfolio: str, looks: Sequence[_Look], rules: Rules, findings: _Findings) -> bool:
    """Whether the portfolio can be compared; its books are opened first if they are new."""
    snapshot = ports.ledger.snapshot()
    state = snapshot.state(portfolio)
    if min(look.reading.as_of for look in looks) < state.start:
        findings.note(portfolio, f"starts at {iso(state.start)}; it is compared once every reading is from after that")
        return False
    if not is_unopened(snapshot, portfolio):
        return True
    if failed := [f"{look.account.name} ({look.reading.error})" for look in looks if not look.reading.available]:
        findings.note(portfolio, f"its books open with the first complete reading; still missing {', '.join(failed)}")
        return False
    try:
        left_out = open_books(ports, snapshot, portfolio, {look.number: look.reading for look in looks}, rules)
    except LedgerMovedError:
        return True  # opened by somebody else, or traded on: there is history to compare with now
    except ReconciliationError as error:
        findings.refused.append(str(error))
        findings.note(portfolio, str(error).removeprefix(f"{portfolio}: "))
        return False
    findings.opened.append(portfolio)
    findings.note(portfolio, "its books were opened with what its accounts hold")
    for each in left_out:
        findings.note(portfolio, f"not opened: {each}")
    return True


def _tracked(
    snapshot: LedgerSnapshot, portfolio: str, cuts: Mapping[Account, datetime], rules: Rules
) -> dict[Account, Tracked]:
    """What the ledger says of each account as of its reading."""
    since = min(cuts.values()) - rules.window
    book = snapshot.book_at(portfolio, since).book
    updates = [entry.update for entry in snapshot.entries(portfolio, since, None)]
    return {account: track(book, updates, account.venue, as_of, rules) for account, as_of in cuts.items()}


def _compare_all(
    ports: Ports, portfolio: str, looks: Sequence[_Look], rules: Rules
) -> tuple[dict[Account, AccountRecord], Arrivals]:
    """What each account comes to, and what of transfers under way has arrived at which of them."""
    snapshot = ports.ledger.snapshot()
    if (agreed := _compare_without_history(ports, snapshot, portfolio, looks, rules)) is not None:
        return agreed, {look.account: {} for look in looks}
    tracked = _tracked(snapshot, portfolio, {look.account: look.reading.as_of for look in looks}, rules)
    rows = {look.account: compare(tracked[look.account], look.reading, rules, ports.registry) for look in looks}
    shared = share_arrivals({account: arrivals(tracked[account], found) for account, found in rows.items()}, tracked)
    records: dict[Account, AccountRecord] = {}
    for look in looks:
        own = without_arrivals(tracked[look.account], (shared[other] for other in shared if other != look.account))
        records[look.account] = _record(look, compare(own, look.reading, rules, ports.registry))
    return records, shared


def _compare_without_history(
    ports: Ports, snapshot: LedgerSnapshot, portfolio: str, looks: Sequence[_Look], rules: Rules
) -> dict[Account, AccountRecord] | None:
    """What each account comes to, unless there is a difference that what happened lately may explain: then None.

    A day of a busy fund is tens of thousands of updates, and in most hours nobody needs to look at them.
    """
    records: dict[Account, AccountRecord] = {}
    for look in looks:
        book = snapshot.book_at(portfolio, look.reading.as_of).book
        rows = compare(held(book, look.account.venue, look.reading.as_of), look.reading, rules, ports.registry)
        if any(row.adjustable for row in rows):
            return None
        records[look.account] = _record(look, rows)
    return records


def _uncompared(looks: Sequence[_Look]) -> dict[Account, AccountRecord]:
    return {look.account: _record(look, ()) for look in looks}


def _record(look: _Look, comparisons: tuple[Comparison, ...]) -> AccountRecord:
    reading = look.reading
    return AccountRecord(
        look.account,
        reading.status,
        reading.observed_at,
        reading.error,
        (look.number,),
        look.number,
        comparisons,
    )


def _settle(
    ports: Ports,
    first: AccountRecord,
    second: _Look,
    doubtful: frozenset[str],
    elsewhere: Sequence[Mapping[str, Decimal]],
    rules: Rules,
    hour: datetime,
) -> AccountRecord:
    """What an account comes to after a second look at the keys that the first could not explain.

    ``elsewhere`` is what of transfers under way has arrived at other accounts.
    """
    looked = (*first.readings, second.number)
    reading = second.reading
    if not reading.available:
        return first._replace(
            readings=looked, note=f"the second reading failed ({reading.error}); nothing was adjusted"
        )
    for _ in range(ATTEMPTS_MAX):
        snapshot = ports.ledger.snapshot()
        tracked = _tracked(snapshot, reading.account.portfolio, {reading.account: reading.as_of}, rules)[
            reading.account
        ]
        rows = compare(without_arrivals(tracked, elsewhere), reading, rules, ports.registry)
        record = _record(second, rows)._replace(readings=looked)
        standing = {row.key for row in rows if row.adjustable} & doubtful
        if not standing:
            return record
        if rules.on_drift == "alert":
            return record._replace(note="not adjusted, because `reconciliation.on_drift` is alert")
        possible, impossible = _sorted_out(ports, tracked, reading, standing, snapshot)
        try:
            record = _adjust(ports, record, tracked, reading, possible, snapshot, hour)
        except LedgerMovedError:
            continue
        except (UpdateError, LateEntryError, DuplicateIdError) as error:
            impossible = [*impossible, str(error)]
        refused = [f"the ledger refuses the adjustment: {each}" for each in impossible]
        return record._replace(note="; ".join(filter(None, (record.note, *refused))))
    return record._replace(note=f"not adjusted: the ledger was written to {ATTEMPTS_MAX} times meanwhile; it stands")


def _sorted_out(
    ports: Ports, tracked: Tracked, reading: Reading, keys: set[str], snapshot: LedgerSnapshot
) -> tuple[set[str], list[str]]:
    """The keys that the ledger can be brought to the venue in, and why it cannot in the others.

    An entry is accepted whole or not at all, so one key that a later entry makes impossible would hold up all others.
    """
    portfolio, since = reading.account.portfolio, reading.as_of
    later = ((entry.sequence, entry.update) for entry in snapshot.entries(portfolio, since, None))
    timeline = Timeline(snapshot.book_at(portfolio, since).book, later)
    together: dict[str, set[str]] = {}
    for key in keys:
        together.setdefault(key.removesuffix(ENTRY_PRICE), set()).add(key)
    possible: set[str] = set()
    problems: list[str] = []
    for number, name in enumerate(sorted(together), start=snapshot.state(portfolio).head.sequence + 1):
        try:
            trial = adjustment(
                tracked,
                reading,
                together[name],
                f"bringing {name} to the venue",
                RECONCILIATION_ADJUSTMENT,
                ports.registry,
            )
            timeline.insert(number, trial.update)
        except (UpdateError, LateEntryError) as error:
            problems.append(str(error))
        else:
            possible |= together[name]
    return possible, problems


def _adjust(
    ports: Ports,
    record: AccountRecord,
    tracked: Tracked,
    reading: Reading,
    keys: set[str],
    snapshot: LedgerSnapshot,
    hour: datetime,
) -> AccountRecord:
    """Append the adjustment, if the ledger is still the one that it follows from."""
    portfolio = reading.account.portfolio
    entry_id = readings.next_adjustment_id(ports.ledger.engine, reading.account, hour)
    reason = f"{RECONCILIATION_ADJUSTMENT} readings {', '.join(map(str, record.readings))}"
    entry = adjustment(tracked, reading, keys, entry_id, reason, ports.registry)
    note = "; ".join(f"not adjusted: {each}" for each in entry.left_out)
    if not entry.keys:
        return record._replace(note=note)
    ports.ledger.append_many(portfolio, [entry.update], expected_head=snapshot.state(portfolio).head.sequence)
    rows = tuple(row._replace(adjusted=row.adjustable and row.key in entry.keys) for row in record.comparisons)
    return record._replace(comparisons=rows, entry_id=entry_id, note=note)


def _conclude(
    ports: Ports,
    hour: datetime,
    by_portfolio: Mapping[str, Sequence[_Look]],
    records: Mapping[Account, AccountRecord],
    findings: _Findings,
) -> list[ReconciliationRecord]:
    """Store what each portfolio came to."""
    snapshot = ports.ledger.snapshot()
    moment = ports.clock()
    stored = []
    for portfolio, looks in by_portfolio.items():
        notes = (*findings.notes.get(portfolio, ()), *_unread_venues(snapshot, portfolio, looks))
        skew = skew_of([look.reading for look in looks])
        sequence = snapshot.state(portfolio).head.sequence
        accounts = tuple(records[look.account] for look in looks)
        stored.append(ReconciliationRecord(hour, moment, portfolio, skew, sequence, accounts, notes))
    readings.record_reconciliations(ports.ledger.engine, stored)
    return stored


def _unread_venues(snapshot: LedgerSnapshot, portfolio: str, looks: Sequence[_Look]) -> list[str]:
    """Where the ledger has holdings that no account can confirm."""
    book = snapshot.book_at(portfolio, snapshot.state(portfolio).last_timestamp).book
    held = {venue for venue, _ in (*book.balances, *book.positions)}
    unread = held - {look.account.venue for look in looks} - {IN_TRANSIT}
    return [
        f"{venue}: the ledger has holdings there, but no account under `accounts:` reads it" for venue in sorted(unread)
    ]


def _tell(report: ReconciliationReport) -> None:
    """Log what somebody should look into."""
    for record in report.unavailable:
        _log.warning("account unavailable", portfolio=record.account.portfolio, account=record.account.name)
    for record in report.accounts:
        for row in record.unexplained:
            _log.warning(
                "drift adjusted" if row.adjusted else "drift",
                portfolio=record.account.portfolio,
                account=record.account.name,
                key=row.key,
                outcome=row.outcome.value,
                difference=str(row.difference),
                entry_id=record.entry_id if row.adjusted else None,
            )


def hour_report(ports: Ports, hour: datetime) -> ReconciliationReport:
    """What reconciling an hour came to. ``ReconciliationError`` for an hour without a record."""
    stored = readings.reconciliations_between(ports.ledger.engine, hour, hour + HOUR)
    if not stored:
        raise ReconciliationError(
            f"hour: {iso(hour)} has no reconciliation, and what the accounts held then cannot be read any more; "
            "reconcile the current hour"
        )
    return _report(stored)


def republish_hour(ports: Ports, hour: datetime) -> StepReport:
    """Publish the day of a past hour again, from what is stored. ``ReconciliationError`` if nothing is."""
    hour_report(ports, hour)
    return project_reconciliation(ports, DayRange(hour.date(), hour.date()))


def _report(stored: Sequence[ReconciliationRecord]) -> ReconciliationReport:
    return ReconciliationReport(
        stored[0].hour,
        max(record.reconciled_at for record in stored),
        max(record.skew for record in stored),
        tuple(account for record in stored for account in record.accounts),
        tuple(f"{record.portfolio}: {note}" for record in stored for note in record.notes),
    )
