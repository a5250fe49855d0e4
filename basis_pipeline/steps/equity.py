"""The assets ``equity_positions`` and ``equity_snapshots``: every holding valued at every hour, and its totals.

A portfolio-day with anything that cannot be valued gets no rows at all; the other portfolios and days are published,
and then the step raises one error that lists every gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from basis_pipeline.domain.equity import Equity, total
from basis_pipeline.domain.errors import MissingPriceError
from basis_pipeline.domain.instants import HOUR, day_start, hours_of, iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.quotes import Market
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.domain.valuation import Missing, Valuer, describe_book
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.columns import columns_of
from basis_pipeline.steps.cursor import BookCursor, open_cursors
from basis_pipeline.steps.market import WINDOW_DAYS
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport, publish, report
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

POSITIONS = "equity_positions"
SNAPSHOTS = "equity_snapshots"
TABLES = (POSITIONS, SNAPSHOTS)
Row = tuple[Any, ...]


class Gap(NamedTuple):
    """A holding of a portfolio that could not be valued at an instant, and what was tried."""

    portfolio: str
    instant: datetime
    token: str
    tried: str


class EquityIncomplete(MissingPriceError):
    """Some portfolio-days could not be valued. What could be was published: see ``report``.

    ``failures`` lists every ``Gap``; ``failed_days`` the days on which at least one portfolio is missing.
    """

    def __init__(self, gaps: tuple[Gap, ...], published: StepReport) -> None:
        super().__init__(_describe(gaps), gaps)
        self.gaps = gaps
        self.report = published
        self.failed_days = frozenset(gap.instant.date() for gap in gaps)


@dataclass
class _Findings:
    """What the days leave behind besides their files."""

    gaps: list[Gap]
    notes: dict[date, dict[str, str | int]]


def project_equity(ports: Ports, days: DayRange) -> StepReport:
    """Publish both equity tables for the days, together.

    Raises ``EquityIncomplete`` after publishing when holdings could not be valued.
    """
    snapshot = ports.ledger.snapshot()
    findings = _Findings([], {})
    files = write_days(warehouse_root(ports.home), _days(ports, snapshot, days, findings))
    publish(ports, files, snapshot.heads())
    published = report(files, TABLES, snapshot.heads(), findings.notes)
    if findings.gaps:
        raise EquityIncomplete(tuple(findings.gaps), published)
    return published


def _days(
    ports: Ports, snapshot: LedgerSnapshot, days: DayRange, findings: _Findings
) -> Iterator[tuple[str, date, Columns]]:
    books = [_ValuedBook(cursor, ports.registry) for cursor in open_cursors(snapshot, days.first, days.last)]
    done = 0
    for chunk in days.chunks(WINDOW_DAYS):
        market = ports.market.window(day_start(chunk[0]), day_start(chunk[-1]) + 23 * HOUR)
        for day in chunk:
            positions, snapshots = _day(market, ports.registry, books, day, findings)
            yield POSITIONS, day, columns_of(POSITIONS, positions)
            yield SNAPSHOTS, day, columns_of(SNAPSHOTS, snapshots)
            done += 1
            ports.progress("equity", done, len(days))


def _day(
    market: Market, registry: Registry, books: list[_ValuedBook], day: date, findings: _Findings
) -> tuple[list[Row], list[Row]]:
    valuer = Valuer(market, registry)
    for book in books:
        book.begin_day()
    for instant in hours_of(day):
        for book in books:
            book.value(valuer, instant)
    positions: list[Row] = []
    snapshots: list[Row] = []
    notes: dict[str, str | int] = {}
    for book in books:
        if book.gaps:
            findings.gaps.extend(book.gaps)
            continue
        positions += book.position_rows
        snapshots += book.snapshot_rows
        if book.latest is not None:
            share_class = book.cursor.state.share_class
            notes[book.cursor.state.portfolio] = f"{canonical(book.latest.nav)} {share_class}"
    findings.notes[day] = notes
    return positions, snapshots


class _ValuedBook:
    """One portfolio on its way through a day: its holdings, described again only when its book changes."""

    def __init__(self, cursor: BookCursor, registry: Registry) -> None:
        self.cursor = cursor
        self._registry = registry
        self._described = describe_book(cursor.book, registry)
        self._version = cursor.book.version
        self.begin_day()

    def begin_day(self) -> None:
        self.position_rows: list[Row] = []
        self.snapshot_rows: list[Row] = []
        self.gaps: list[Gap] = []
        self.latest: Equity | None = None

    def value(self, valuer: Valuer, instant: datetime) -> None:
        state = self.cursor.state
        if instant < state.start:
            return
        self.cursor.advance(instant)
        if self.cursor.book.version != self._version:
            self._described = describe_book(self.cursor.book, self._registry)
            self._version = self.cursor.book.version
        lines, missing = valuer.at(instant, state.share_class).lines(*self._described)
        if missing:
            # A share class without a price is missing for every holding; say it once.
            self.gaps.extend(_gap(state.portfolio, gap) for gap in dict.fromkeys(missing))
            return
        self.latest = total(lines)
        name = state.portfolio
        self.position_rows.extend((instant, name, *line) for line in lines)
        self.snapshot_rows.append((instant, name, state.share_class, *self.latest, self.cursor.sequence))


def _gap(portfolio: str, missing: Missing) -> Gap:
    return Gap(portfolio, missing.instant, missing.name, missing.tried)


def _describe(gaps: tuple[Gap, ...]) -> str:
    """Every gap, consecutive hours of the same one in one line."""
    runs: dict[tuple[str, str], list[list[Gap]]] = {}
    for gap in sorted(gaps, key=lambda g: (g.portfolio, g.token, g.instant)):
        found = runs.setdefault((gap.portfolio, gap.token), [])
        if found and gap.instant - found[-1][-1].instant <= HOUR:
            found[-1].append(gap)
        else:
            found.append([gap])
    lines = [
        f"{portfolio}: {token} has no usable price {_when(run)}; tried {run[-1].tried}"
        for (portfolio, token), found in runs.items()
        for run in found
    ]
    portfolio_days = len({(gap.portfolio, gap.instant.date()) for gap in gaps})
    head = f"{portfolio_days} portfolio-days have no equity rows because held assets could not be valued:"
    advice = (
        "Everything else was published. Complete the market data (or `prices:` in basis.yaml) and materialize these "
        "days again."
    )
    return "\n".join([head, *lines, advice])


def _when(run: list[Gap]) -> str:
    if len(run) == 1:
        return f"at {iso(run[0].instant)}"
    return f"from {iso(run[0].instant)} to {iso(run[-1].instant)} ({len(run)} hours)"
