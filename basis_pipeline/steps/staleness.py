"""Which published days no longer say what ledger and market say, and which were never published."""

from __future__ import annotations

from datetime import date

from basis_pipeline.domain.instants import DAY, day_start, first_hour_at_or_after
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.publications import MarketMark, Publication
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.balance_changes import TABLE as BALANCE_CHANGES
from basis_pipeline.steps.equity import SNAPSHOTS
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.timeline import timeline_of


def stale_days(ports: Ports, days: DayRange) -> list[date]:
    """The days in the range to materialize again.

    They were never published, lack a portfolio that could not be valued, or are touched by entries recorded since. An
    entry touches its own day in ``balance_changes`` and, because balances carry forward, every day from the first
    hour at or after its timestamp on. A day that rests on a recorded market is stale, too, as soon as there is more
    of that: a new hour, a newer latest instant, or an hour that was filled in late.
    """
    snapshot = ports.ledger.snapshot()
    marks = timeline_of(ports.market, days).marks
    published = {(p.table, p.day): p for p in publications.current_files(ports.ledger.engine).files}
    return [
        day
        for day in days
        if _stale(snapshot, published.get((BALANCE_CHANGES, day)), published.get((SNAPSHOTS, day)), day, marks.get(day))
    ]


def _stale(
    snapshot: LedgerSnapshot,
    changes: Publication | None,
    equity: Publication | None,
    day: date,
    mark: MarketMark | None,
) -> bool:
    if changes is None or equity is None or equity.market != mark:
        return True
    return _touched(snapshot, changes, equity, day)


def _touched(snapshot: LedgerSnapshot, changes: Publication, equity: Publication, day: date) -> bool:
    for portfolio, head in snapshot.heads().items():
        built_from = equity.heads.get(portfolio)
        since = built_from.sequence if built_from else 0
        if since < head.sequence:
            earliest = snapshot.earliest_after(portfolio, since)
            if earliest is not None and first_hour_at_or_after(earliest).date() <= day:
                return True
        own = changes.heads.get(portfolio)
        since = own.sequence if own else 0
        if since < head.sequence and snapshot.any_after(portfolio, since, day_start(day), day_start(day) + DAY):
            return True
    return False
