"""How the books of each portfolio stand: the ledger, what subscribers were told of it, and what is projected."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from basis_pipeline.home import Home
from basis_pipeline.ledger.outbox import PublishingState, publishing_state
from basis_pipeline.ledger.publications import Publication, current_files
from basis_pipeline.reports.report import Column, Kind, Report
from basis_pipeline.steps.equity import SNAPSHOTS

PORTFOLIOS = (
    Column("portfolio"),
    Column("ledger_sequence", Kind.NUMBER),
    Column("last_entry"),
    Column("projected_day"),
    Column("projected_until"),
    Column("unprojected", Kind.NUMBER),
    Column("published_sequence", Kind.NUMBER),
    Column("unpublished", Kind.NUMBER),
    Column("published_at"),
    Column("publishing"),
)
"""``projected_day`` is the newest day with equity, ``projected_until`` its last instant (live) and ``unprojected`` how
many entries came since; ``published`` is what subscribers in Redis were told."""


def portfolios(home: Home, names: list[str]) -> Report:
    """One row for each of these portfolios."""
    snapshot = home.ledger.snapshot()
    published = {state.portfolio: state for state in publishing_state(home.ledger.engine)}
    newest: dict[str, Publication] = {}
    for file in sorted(current_files(home.ledger.engine).files, key=lambda file: file.day):
        if file.table == SNAPSHOTS:
            newest.update(dict.fromkeys(file.heads, file))
    rows = []
    for name in names:
        state = snapshot.state(name)
        head = state.head.sequence
        rows.append(
            (
                name,
                head,
                state.last_timestamp,
                *_projection(name, head, newest.get(name)),
                *_publishing(published.get(name)),
            )
        )
    return Report(PORTFOLIOS, rows)


def _projection(name: str, head: int, file: Publication | None) -> tuple[date | None, str | None, int]:
    if file is None:
        return None, None, head
    return file.day, None if file.market is None else file.market.last, max(head - file.heads[name].sequence, 0)


def joined(of_portfolios: Report, of_accounts: Report) -> Report:
    """One row for each account with what its portfolio has; a portfolio without accounts has one row, too."""
    by_portfolio: dict[str, list[tuple[Any, ...]]] = {}
    for row in of_accounts.rows:
        by_portfolio.setdefault(row[0], []).append(row[1:])
    nothing = (None,) * (len(of_accounts.columns) - 1)
    rows = [(*row, *account) for row in of_portfolios.rows for account in by_portfolio.get(row[0], [nothing])]
    return Report((*of_portfolios.columns, *of_accounts.columns[1:]), rows)


def _publishing(state: PublishingState | None) -> tuple[int | None, int | None, datetime | None, Any]:
    if state is None:
        return None, None, None, "no monitor yet"
    health = f"failing: {state.error}" if state.failing else "behind" if state.pending else "up to date"
    return state.published_sequence, state.pending, state.published_at, health
