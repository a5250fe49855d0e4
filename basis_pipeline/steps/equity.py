"""The assets ``equity_positions`` and ``equity_snapshots``: every holding valued at every hour, and its totals.

A portfolio-day with anything that cannot be valued gets no rows at all; the other portfolios and days are published,
and then the step raises one error that lists every gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

from basis_pipeline.domain.equity import Equity, totals
from basis_pipeline.domain.errors import MissingPriceError
from basis_pipeline.domain.instants import DAY, HOUR, day_start, first_hour_at_or_after, iso
from basis_pipeline.domain.valuation import Missing, Sheet, Span
from basis_pipeline.ledger.snapshot import LedgerSnapshot, PortfolioState
from basis_pipeline.steps.columns import ColumnBuilder
from basis_pipeline.steps.cursor import open_cursors
from basis_pipeline.steps.holdings import BookHistory, Held
from basis_pipeline.steps.market import WINDOW_DAYS
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import Closing, StepReport, publish, report
from basis_pipeline.steps.timeline import Timeline, timeline_of
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

    ``failures`` lists every ``Gap``; ``failed_days`` the days on which at least one portfolio is missing;
    ``by_portfolio`` says in words what is missing of each.
    """

    def __init__(self, gaps: tuple[Gap, ...], published: StepReport) -> None:
        self.by_portfolio = _by_portfolio(gaps)
        super().__init__(_describe(gaps, self.by_portfolio), gaps)
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
    timeline = timeline_of(ports.market, days)
    findings = _Findings([], {})
    files = write_days(warehouse_root(ports.home), _days(ports, snapshot, days, timeline, findings))
    left_out = {(gap.portfolio, gap.instant.date()) for gap in findings.gaps}
    publish(ports, files, snapshot.heads(), left_out, timeline.marks)
    published = report(files, TABLES, snapshot.heads(), findings.closings)
    if findings.gaps:
        raise EquityIncomplete(tuple(findings.gaps), published)
    return published


def _days(
    ports: Ports, snapshot: LedgerSnapshot, days: DayRange, timeline: Timeline, findings: _Findings
) -> Iterator[tuple[str, date, Columns]]:
    cursors = open_cursors(snapshot, days.first, days.last, timeline.last)
    books = [BookHistory(cursor, ports.registry) for cursor in cursors]
    done = 0
    for chunk in days.chunks(WINDOW_DAYS):
        instants = timeline.of(chunk)
        rows = {day: (ColumnBuilder(POSITIONS), ColumnBuilder(SNAPSHOTS)) for day in chunk}
        if instants:
            sheet = Sheet(ports.market.window(instants[0], instants[-1]), ports.registry, instants)
            for book in books:
                state = book.cursor.state
                blocks, missing = _value(sheet, book.advance(instants), state.share_class)
                findings.gaps.extend(Gap(state.portfolio, *gap) for gap in missing)
                for block in blocks:
                    _add_rows(sheet, state, block, rows, findings)
        for day, (positions, snapshots) in rows.items():
            yield POSITIONS, day, positions.columns
            yield SNAPSHOTS, day, snapshots.columns
            done += 1
            ports.progress("equity", done, len(days))


class _Block(NamedTuple):
    """Consecutive instants [first, end) of a sheet, all valued; ``sequences`` has the ledger's at each."""

    first: int
    end: int
    spans: list[Span]
    sequences: list[int]


def _value(sheet: Sheet, held: Held, share_class: str) -> tuple[list[_Block], list[Missing]]:
    """What was held, valued in one block; where something is missing, without the days it is missing on."""
    spans, missing = sheet.value(held.runs, share_class)
    if not missing:
        return [_Block(held.first, held.end, spans, held.sequences)], []
    blocks = []
    for _, first, end in _days_of(sheet, 0, held.end):
        day = held.between(first, end)
        spans, gaps = sheet.value(day.runs, share_class)
        if not gaps:
            blocks.append(_Block(day.first, day.end, spans, day.sequences))
    return blocks, missing


def _add_rows(
    sheet: Sheet,
    state: PortfolioState,
    block: _Block,
    rows: dict[date, tuple[ColumnBuilder, ColumnBuilder]],
    findings: _Findings,
) -> None:
    """The block's rows, each to its own day."""
    for run, value in block.spans:
        # The first six fields of a holding are the columns from account to amount.
        figures = (*sheet.figures(run), value)
        for day, first, end in _days_of(sheet, run.first, run.end):
            part = slice(first - run.first, end - run.first)
            columns = (*run.holding[:6], *(column[part] for column in figures))
            rows[day][0].extend(end - first, sheet.instants[first:end], state.portfolio, *columns)
    equity = totals(block.spans, block.first, block.end)
    for day, first, end in _days_of(sheet, block.first, block.end):
        part = slice(first - block.first, end - block.first)
        columns = (*(column[part] for column in equity), block.sequences[part])
        rows[day][1].extend(end - first, sheet.instants[first:end], state.portfolio, state.share_class, *columns)
        closing = Closing(state.share_class, Equity(*(column[part][-1] for column in equity)))
        findings.closings.setdefault(day, {})[state.portfolio] = closing


def _days_of(sheet: Sheet, first: int, end: int) -> Iterator[tuple[date, int, int]]:
    """The days in [first, end) of a sheet, each with its part of the range."""
    while first < end:
        day = sheet.instants[first].date()
        stop = bisect_left(sheet.instants, day_start(day) + DAY, first, end)
        yield day, first, stop
        first = stop


def _by_portfolio(gaps: tuple[Gap, ...]) -> dict[str, list[str]]:
    """Every gap in words, consecutive hours of the same one in one line."""
    runs: dict[tuple[str, str], list[list[Gap]]] = {}
    for gap in sorted(gaps, key=lambda g: (g.portfolio, g.token, g.instant)):
        found = runs.setdefault((gap.portfolio, gap.token), [])
        if found and gap.instant - found[-1][-1].instant <= HOUR:
            found[-1].append(gap)
        else:
            found.append([gap])
    lines: dict[str, list[str]] = {}
    for (portfolio, token), found in runs.items():
        for run in found:
            lines.setdefault(portfolio, []).append(f"{token} has no usable price {_when(run)}; tried {run[-1].tried}")
    return lines


def _describe(gaps: tuple[Gap, ...], by_portfolio: dict[str, list[str]]) -> str:
    lines = [f"{portfolio}: {line}" for portfolio, found in by_portfolio.items() for line in found]
    portfolio_days = len({(gap.portfolio, gap.instant.date()) for gap in gaps})
    affected = "1 portfolio-day has" if portfolio_days == 1 else f"{portfolio_days} portfolio-days have"
    head = f"{affected} no equity rows because held assets could not be valued:"
    advice = (
        "Everything else was published. Complete the market data (or `prices:` in basis.yaml) and materialize these "
        "days again."
    )
    return "\n".join([head, *lines, advice])


def _when(run: list[Gap]) -> str:
    if len(run) == 1:
        return f"at {iso(run[0].instant)}"
    last = run[-1].instant
    unit = "hours" if last == first_hour_at_or_after(last) else "instants"  # the latest one of a live day
    return f"from {iso(run[0].instant)} to {iso(last)} ({len(run)} {unit})"
