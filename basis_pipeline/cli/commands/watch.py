"""Watching equity: what portfolios are worth now, and whenever that changes; what drift is worth."""

from __future__ import annotations

import asyncio
import csv
import json
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.homes import chosen_portfolios
from basis_pipeline.cli.options import FormatOption, HomeOption, OnlyPortfolioOption, examples
from basis_pipeline.cli.output import Format, complain, emit, note, say, told_here, warn
from basis_pipeline.domain.errors import BasisError, ConfigError, InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import ZERO, add, subtract
from basis_pipeline.reports.equity import SUMMARY
from basis_pipeline.reports.report import Column, Kind, Report, exact
from basis_pipeline.reports.text import money

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.monitors.equity import Drift
    from basis_pipeline.monitors.equity_calculator import EquitySnapshot
    from basis_pipeline.monitors.equity_monitor import EquityMonitor
    from basis_pipeline.monitors.monitor_status import Failure

COLUMNS = (*SUMMARY, Column("ledger_sequence", Kind.NUMBER))
DRIFT_COLUMNS = (
    Column("portfolio"),
    Column("share_class"),
    Column("as_of"),
    Column("venue"),
    Column("asset"),
    Column("tracked", Kind.QUANTITY),
    Column("actual", Kind.QUANTITY),
    Column("value", Kind.MONEY),
)
"""One row an asset or a perpetual that ledger and venue tell differently, the value of the difference at its end."""


def _parse_interval(text: str) -> timedelta:
    from pydantic import TypeAdapter, ValidationError

    from basis_pipeline.settings.types import Age

    try:
        return TypeAdapter(Age).validate_python(text)
    except ValidationError as error:
        raise typer.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


@examples(
    "watch",
    "basis watch --once",
    "basis watch --once --portfolio lending --format json",
)
def watch(
    *,
    once: Annotated[bool, typer.Option("--once", help="Equity now, and that is all.")] = False,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Read the venues, once, and say what their difference to the ledger is worth."),
    ] = False,
    every: Annotated[
        bool,
        typer.Option("--all", help="Every change, not only those that `equity:` in basis.yaml finds worth telling."),
    ] = False,
    interval: Annotated[
        timedelta | None,
        typer.Option(
            "--interval",
            help="How often to calculate when nothing happens, e.g. 30s; else `equity.update_interval`.",
            parser=_parse_interval,
            metavar="TIME",
        ),
    ] = None,
    portfolio: OnlyPortfolioOption = None,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Equity by the ledger, now and whenever it changes enough, until Ctrl-C.

    Live, at the prices of now; in a backtest at those at the end of market data. It is calculated at once when the
    ledger takes something, and by time. json is one object a line when following. What cannot be calculated is told
    on standard error, and tried again.

    With --drift, live: what the venues hold differently than the ledger, and what that is worth; exit code 3 when
    there is something.
    """
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        if drift:
            _show_drift(opened, portfolio, form)
            return
        names = chosen_portfolios(opened, portfolio)
        if once:
            _show_once(opened, names, form)
        elif not names:
            raise InputError(f"portfolio: {opened.path} has none yet; add one under `portfolios:` in basis.yaml")
        else:
            asyncio.run(_follow(opened, names, form, interval, every=every))


def _show_once(home: Home, portfolios: list[str], form: Format) -> None:
    from basis_pipeline.monitors.equity import open_equity

    async def calculate(portfolio: str) -> EquitySnapshot:
        async with open_equity(home, portfolio) as calculator:
            return await calculator.calculate_equity(_share_class(home, portfolio))

    rows: list[tuple[Any, ...]] = []
    failed: dict[str, BasisError] = {}
    for portfolio in portfolios:
        try:
            rows.append(_row(portfolio, asyncio.run(calculate(portfolio))))
        except BasisError as error:
            failed[portfolio] = error
    if rows or not failed:
        emit(Report(COLUMNS, rows), form)
    for portfolio, reason in failed.items():
        complain(f"{portfolio}: {reason}")
    if failed:
        raise typer.Exit(exits.ERROR)


def _show_drift(home: Home, portfolio: str | None, form: Format) -> None:
    found: dict[str, Drift] = {}
    failed: dict[str, BasisError] = {}
    for name in _with_accounts(home) if portfolio is None else chosen_portfolios(home, portfolio):
        try:
            found[name] = asyncio.run(_drift(home, name))
        except ConfigError:
            raise  # the same for every portfolio
        except BasisError as error:
            failed[name] = error
    rows = [
        (name, drift.tracked.share_class, drift.actual.as_of, *line)
        for name, drift in found.items()
        for line in drift.lines
    ]
    if rows or (form is not Format.TABLE and (found or not failed)):
        emit(Report(DRIFT_COLUMNS, rows), form)
    for name, drift in found.items():
        unit = drift.tracked.share_class
        equity, tracked = money(drift.total_equity, unit), money(drift.tracked.total_equity, unit)
        perpetuals = money(drift.unrealized_pnl, unit)
        note(f"{name}: drift is worth {equity} of {tracked} {unit}, and {perpetuals} in unrealized profit")
    for name, reason in failed.items():
        complain(f"{name}: {reason}")
    if failed:
        raise typer.Exit(exits.ERROR)
    if any(drift.lines for drift in found.values()):
        raise typer.Exit(exits.FINDINGS)


def _with_accounts(home: Home) -> list[str]:
    """The portfolios that have accounts to read, the others told; all of them where none has any."""
    names = chosen_portfolios(home, None)
    read = {account.portfolio for account in home.settings.accounts.values()}
    without = [name for name in names if name not in read]
    if len(without) == len(names):
        return names
    for name in without:
        note(f"{name}: has no accounts to read")
    return [name for name in names if name in read]


async def _drift(home: Home, portfolio: str) -> Drift:
    from basis_pipeline.monitors.equity import calculate_drift, open_equity_of_both

    async with open_equity_of_both(home, portfolio) as both:
        return await calculate_drift(both, _share_class(home, portfolio))


async def _follow(home: Home, portfolios: list[str], form: Format, interval: timedelta | None, *, every: bool) -> None:
    from basis_pipeline.monitors.watching import open_equity_monitor

    if form is Format.CSV:
        _csv([column.name for column in COLUMNS])
    watched = _Watched()
    with told_here("monitors"):
        async with AsyncExitStack() as stack:
            for portfolio in portfolios:
                opened = open_equity_monitor(home, portfolio, on_error=partial(watched.worry, portfolio))
                monitor = watched.monitors[portfolio] = await stack.enter_async_context(opened)
                monitor.add_callback(partial(_tell, portfolio, form, monitor))
                if interval is not None:
                    monitor.update_interval = interval.total_seconds()
                if every:
                    monitor.threshold = monitor.floor = ZERO
            note(f"watching {', '.join(portfolios)}")
            await asyncio.gather(
                *(each.start_monitoring(_share_class(home, name)) for name, each in watched.monitors.items())
            )
    if watched.gone is not None:
        raise watched.gone


class _Watched:
    """The monitors, and what becomes of their troubles; ``gone`` is set when nobody reads the output any more."""

    def __init__(self) -> None:
        self.monitors: dict[str, EquityMonitor] = {}
        self.gone: BrokenPipeError | None = None
        self._said: dict[str, str] = {}

    def worry(self, portfolio: str, failure: Failure) -> None:
        """Say it, once for as long as it stays the same."""
        if isinstance(failure.exception, BrokenPipeError):
            self.gone = failure.exception
            for monitor in self.monitors.values():
                monitor.stop_monitoring()
        elif self._said.get(portfolio) != failure.error or self.monitors[portfolio].status.failing == 1:
            warn(f"{portfolio}: {failure.error}")
            self._said[portfolio] = failure.error


def _tell(portfolio: str, form: Format, monitor: EquityMonitor, snapshot: EquitySnapshot) -> None:
    """A line, flushed, so that whoever reads the output has it at once."""
    row = _row(portfolio, snapshot)
    if form is Format.CSV:
        _csv([exact(value) for value in row])
    elif form is Format.JSON:
        say(
            json.dumps(dict(zip((column.name for column in COLUMNS), map(exact, row), strict=True)), ensure_ascii=False)
        )
    else:
        say(_line(portfolio, snapshot, monitor.last_notified))
    sys.stdout.flush()


def _line(portfolio: str, snapshot: EquitySnapshot, before: EquitySnapshot | None) -> str:
    unit = snapshot.share_class
    parts = [iso(snapshot.as_of.replace(microsecond=0)), portfolio, money(snapshot.total_equity, unit), unit]
    if before is not None:
        change = subtract(snapshot.total_equity, before.total_equity)
        parts.append(f"({'+' if change > 0 else ''}{money(change, unit)})")
    parts += ["nav", money(snapshot.nav, unit), f"#{snapshot.ledger_sequence}"]
    return " ".join(parts)


def _row(portfolio: str, snapshot: EquitySnapshot) -> tuple[Any, ...]:
    figures = {
        **snapshot.model_dump(include={column.name for column in COLUMNS}),
        "portfolio": portfolio,
        "assets": _sum(position.value for position in snapshot.assets if not position.locked),
        "debts": _sum(position.value for position in snapshot.debts),
    }
    return tuple(figures[column.name] for column in COLUMNS)


def _sum(values: Iterable[Decimal | None]) -> Decimal:
    total = ZERO
    for value in values:
        total = add(total, value or ZERO)
    return total


def _csv(cells: list[Any]) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def _share_class(home: Home, portfolio: str) -> str:
    return home.ledger.snapshot().state(portfolio).share_class
