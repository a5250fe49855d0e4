"""Which published days no longer say what ledger and market say, and which were never published."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import accumulate

from basis_pipeline.domain.instants import DAY, day_start, hours_of
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.publications import Publication
from basis_pipeline.ledger.snapshot import Head, LedgerSnapshot
from basis_pipeline.steps.balance_changes import TABLE as BALANCE_CHANGES
from basis_pipeline.steps.equity import SNAPSHOTS
from basis_pipeline.steps.market import CONVERSION_RATES, PRICES
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.timeline import timeline_of


def stale_days(ports: Ports, days: DayRange) -> list[date]:
    """The days in the range to materialize again.

    They were never published, lack a portfolio that could not be valued, or are touched by entries recorded since. An
    entry touches its own day in ``balance_changes`` and, because balances carry forward, every day whose last instant
    is at or after its timestamp. A day that rests on a recorded market is stale, too, as soon as there is more of
    that: a new hour, a newer latest instant, or an hour that was filled in late.
    """
    snapshot = ports.ledger.snapshot()
    timeline = timeline_of(ports.market, days)
    published = {(p.table, p.day): p for p in publications.current_files(ports.ledger.engine).files}
    stale = []
    for day in days:
        changes, equity = published.get((BALANCE_CHANGES, day)), published.get((SNAPSHOTS, day))
        if (
            changes is None
            or equity is None
            or equity.market != timeline.marks.get(day)
            or _changed(snapshot, changes, day)
            or _carried(snapshot, equity, timeline.of([day]))
        ):
            stale.append(day)
    return stale


@dataclass(frozen=True)
class Touched:
    """What ``touched_days`` found; every tuple of days ascends.

    ``nothing_published``: neither this nor anything else was ever published, so no day can be behind.
    """

    heads: Mapping[str, Head]
    nothing_published: bool = False
    by_entries: tuple[date, ...] = ()
    """Days that entries recorded since touch."""
    behind: Mapping[str, int] = field(default_factory=dict)
    """The portfolios of these entries, and up to which sequence all of these days show them."""
    gaps: tuple[date, ...] = ()
    """Days whose equity lacks a portfolio that had started by then: it could not be valued."""
    lacking: frozenset[str] = frozenset()
    """The portfolios that the gaps lack."""
    with_market: frozenset[date] = frozenset()
    """Days whose prices and rates are published."""


def touched_days(ports: Ports, current: date, seen: Mapping[str, Head] | None = None) -> Touched:
    """The days that the ledger alone makes due; what a market brings is not looked at.

    An entry touches its own day (in ``balance_changes``), every published day whose last instant is at or after its
    timestamp, and ``current``, the last day there is. A day that was never published is touched only by entries that no
    published equity has seen: on their own day, and on ``current``.

    ``seen`` are heads at which no day was touched: entries up to them are not read again.
    """
    snapshot = ports.ledger.snapshot()
    heads = snapshot.heads()
    published = publications.current_files(ports.ledger.engine).files
    changes = {p.day: p for p in published if p.table == BALANCE_CHANGES}
    equity = {p.day: p for p in published if p.table == SNAPSHOTS}
    if not changes and not equity:
        return Touched(heads, nothing_published=True)
    days: set[date] = set()
    behind: dict[str, int] = {}
    for portfolio, head in heads.items():
        known_in = [p for p in equity.values() if _knows(p, changes.get(p.day), portfolio)]
        lowest = min((_built_from(p, portfolio) for p in (*changes.values(), *known_in)), default=0)
        known = (seen or {}).get(portfolio)
        if known is not None and lowest < known.sequence and snapshot.continues(portfolio, known):
            lowest = known.sequence
        if lowest < head.sequence:
            found = _touched_by(snapshot.recorded_after(portfolio, lowest), portfolio, changes, equity, current)
            if found:
                days |= found
                shown = [p for p in (*changes.values(), *known_in) if p.day in found]
                behind[portfolio] = min((_built_from(p, portfolio) for p in shown), default=lowest)
    lacking = {day: _lacking(snapshot, p, changes.get(day)) for day, p in equity.items()}
    gaps = sorted(day for day, portfolios in lacking.items() if portfolios)
    priced, rated = ({p.day for p in published if p.table == table} for table in (PRICES, CONVERSION_RATES))
    return Touched(
        heads,
        False,
        tuple(sorted(days)),
        behind,
        tuple(gaps),
        frozenset().union(*(lacking[day] for day in gaps)),
        frozenset(priced & rated),
    )


def unvalued_portfolios(ports: Ports) -> frozenset[str]:
    """The portfolios that some published day's equity lacks because they could not be valued."""
    published = publications.current_files(ports.ledger.engine).files
    changes = {p.day: p for p in published if p.table == BALANCE_CHANGES}
    snapshot = ports.ledger.snapshot()
    return frozenset().union(*(_lacking(snapshot, p, changes.get(p.day)) for p in published if p.table == SNAPSHOTS))


def _touched_by(
    entries: Sequence[tuple[int, datetime]],
    portfolio: str,
    changes: Mapping[date, Publication],
    equity: Mapping[date, Publication],
    current: date,
) -> set[date]:
    """The days that entries of one portfolio touch; they come as (sequence, timestamp) in the order of recording."""
    sequences = [sequence for sequence, _ in entries]
    earliest = [*accumulate((moment for _, moment in reversed(entries)), min)][::-1]  # of each entry and all after it
    newest_on = {moment.date(): sequence for sequence, moment in entries}
    found = {day for day, p in changes.items() if newest_on.get(day, 0) > _built_from(p, portfolio)}
    for day, p in equity.items():
        position = bisect_right(sequences, _built_from(p, portfolio))
        last = _last_instant(p)
        known = _knows(p, changes.get(day), portfolio)
        if known and position < len(entries) and last is not None and earliest[position] <= last:
            found.add(day)
    shown = max((_built_from(p, portfolio) for p in equity.values()), default=0)
    unseen = [day for day, sequence in newest_on.items() if sequence > shown and day <= current]
    if unseen:
        found.update(day for day in (*unseen, current) if day not in equity)
    return found


def _lacking(snapshot: LedgerSnapshot, equity: Publication, changes: Publication | None) -> frozenset[str]:
    """The portfolios that the day's equity does not name though the ledger it was built from had them already."""
    last = _last_instant(equity)
    return frozenset(
        name
        for name, state in snapshot.portfolios.items()
        if name not in equity.heads and name in _heads_of(changes) and last is not None and state.start <= last
    )


def _knows(equity: Publication, changes: Publication | None, portfolio: str) -> bool:
    """Whether the portfolio is in it, or was not in the ledger yet; not so when it only could not be valued."""
    return portfolio in equity.heads or portfolio not in _heads_of(changes)


def _built_from(publication: Publication, portfolio: str) -> int:
    """The sequence up to which entries are in it, 0 where the portfolio is missing."""
    head = publication.heads.get(portfolio)
    return 0 if head is None else head.sequence


def _heads_of(publication: Publication | None) -> Mapping[str, Head]:
    return {} if publication is None else publication.heads


def _last_instant(publication: Publication) -> datetime | None:
    if publication.market is None:
        return hours_of(publication.day)[-1]
    return datetime.fromisoformat(publication.market.last) if publication.market.last else None


def _changed(snapshot: LedgerSnapshot, changes: Publication, day: date) -> bool:
    """Whether entries of the day were recorded since its changes were published."""
    return any(
        snapshot.any_after(portfolio, since, day_start(day), day_start(day) + DAY)
        for portfolio, since in _behind(snapshot, changes)
    )


def _carried(snapshot: LedgerSnapshot, equity: Publication, instants: Sequence[datetime]) -> bool:
    """Whether entries recorded since show at the last of the day's instants."""
    for portfolio, since in _behind(snapshot, equity):
        earliest = snapshot.earliest_after(portfolio, since)
        if earliest is not None and instants and earliest <= instants[-1]:
            return True
    return False


def _behind(snapshot: LedgerSnapshot, built: Publication) -> Iterator[tuple[str, int]]:
    """The portfolios that have moved on since, with the sequence that was built from (0: the portfolio is missing)."""
    for portfolio, head in snapshot.heads().items():
        since = built.heads[portfolio].sequence if portfolio in built.heads else 0
        if since < head.sequence:
            yield portfolio, since
