"""The assets ``equity_positions`` and ``equity_snapshots``: every holding valued at every hour, and its totals.

A portfolio-day with anything that cannot be valued gets no rows at all; the other portfolios and days are published,
and then the step raises one error that lists every gap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from basis_pipeline.domain.equity import Equity, totals
from basis_pipeline.domain.errors import MissingPriceError
from basis_pipeline.domain.instants import HOUR, day_start, hours_of, iso
from basis_pipeline.domain.quotes import Market
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.domain.valuation import Missing, Sheet, Span, describe_book
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.columns import ColumnBuilder
from basis_pipeline.steps.cursor import BookCursor, open_cursors
from basis_pipeline.steps.market import WINDOW_DAYS
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import Closing, StepReport, publish, report
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

POSITIONS = "equity_positions"
SNAPSHOTS = "equity_snapshots"
TABLES = (POSITIONS, SNAPSHOTS)


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
    closings: dict[date, dict[str, Closing]]


def project_equity(ports: Ports, days: DayRange) -> StepReport:
    """Publish both equity tables for the days, together.

    Raises ``EquityIncomplete`` after publishing when holdings could not be valued.
    """
    snapshot = ports.ledger.snapshot()
    findings = _Findings([], {})
    files = write_days(warehouse_root(ports.home), _days(ports, snapshot, days, findings))
    publish(ports, files, snapshot.heads())
    published = report(files, TABLES, snapshot.heads(), findings.closings)
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
            yield POSITIONS, day, positions
            yield SNAPSHOTS, day, snapshots
            done += 1
            ports.progress("equity", done, len(days))


def _day(
    market: Market, registry: Registry, books: list[_ValuedBook], day: date, findings: _Findings
) -> tuple[Columns, Columns]:
    hours = hours_of(day)
    sheet = Sheet(market, registry, hours)
    positions = ColumnBuilder(POSITIONS)
    snapshots = ColumnBuilder(SNAPSHOTS)
    closings: dict[str, Closing] = {}
    for book in books:
        state = book.cursor.state
        valued, gaps = book.value(sheet, hours)
        if gaps:
            findings.gaps += gaps
            continue
        for segment in valued:
            instants = hours[segment.first : segment.end]
            for span in segment.spans:
                positions.extend(len(instants), instants, state.portfolio, *span)
            figures = zip(*segment.totals, strict=True)
            snapshots.extend(len(instants), instants, state.portfolio, state.share_class, *figures, segment.sequences)
        if valued:
            closings[state.portfolio] = Closing(state.share_class, valued[-1].totals[-1])
    findings.closings[day] = closings
    return positions.columns, snapshots.columns


class _Segment(NamedTuple):
    """Consecutive hours [first, end) of a day over which a book did not change, valued."""

    first: int
    end: int
    spans: list[Span]
    totals: list[Equity]
    sequences: list[int]


class _ValuedBook:
    """One portfolio on its way through the days; its holdings are described again only when its book changes."""

    def __init__(self, cursor: BookCursor, registry: Registry) -> None:
        self.cursor = cursor
        self._registry = registry
        self._described = describe_book(cursor.book, registry)
        self._version = cursor.book.version

    def value(self, sheet: Sheet, hours: Sequence[datetime]) -> tuple[list[_Segment], list[Gap]]:
        """The day in segments, and every gap in it."""
        state = self.cursor.state
        segments: list[_Segment] = []
        gaps: list[Gap] = []
        sequences: list[int] = []
        first = sum(1 for hour in hours if hour < state.start)

        def close(end: int) -> None:
            if sequences:
                start = end - len(sequences)
                spans, missing = sheet.value(self._described, state.share_class, start, end)
                gaps.extend(_gap(state.portfolio, gap) for gap in missing)
                segments.append(_Segment(start, end, spans, totals(spans, end - start), list(sequences)))
                sequences.clear()

        for position in range(first, len(hours)):
            self.cursor.advance(hours[position])
            if self.cursor.book.version != self._version:
                close(position)
                self._described = describe_book(self.cursor.book, self._registry)
                self._version = self.cursor.book.version
            sequences.append(self.cursor.sequence)
        close(len(hours))
        return segments, gaps


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
