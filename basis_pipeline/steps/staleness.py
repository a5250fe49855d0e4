"""Which published days no longer say what ledger and market say, and which were never published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime

from basis_pipeline.domain.instants import DAY, day_start
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.publications import Publication
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.balance_changes import TABLE as BALANCE_CHANGES
from basis_pipeline.steps.equity import SNAPSHOTS
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
