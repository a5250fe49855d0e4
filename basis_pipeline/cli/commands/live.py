"""Live mode: is everything reachable, what do the venues say now, how do the books stand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.commands.alerts import tell_standing
from basis_pipeline.cli.homes import chosen_portfolios
from basis_pipeline.cli.options import FormatOption, HomeOption, OnlyPortfolioOption, examples
from basis_pipeline.cli.output import Format, counted, emit, finding, note, say, told_here, warn
from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.observations import Verdict

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.ledger.readings import ReconciliationRecord


@examples(
    "doctor",
    "basis doctor",
)
def doctor(*, home: HomeOption) -> None:
    """Check every part this home needs, a line each: what is wrong, and what to do about it.

    Configuration, ledger, market data, warehouse and the channels of alerts; when live also each node, contract and
    token, each exchange key and what it may do, the clocks, the sources of prices, and Redis. Ends with exit code 1
    when something failed.
    """
    from basis_pipeline.cli.doctor import examine

    found = examine(home)
    for each in found:
        finding(each)
    failed = sum(each.verdict is Verdict.FAILED for each in found)
    doubtful = sum(each.verdict is Verdict.WARNING for each in found)
    say()
    say(f"{counted(len(found), 'check')}: {failed} failed, {counted(doubtful, 'warning')}")
    if failed:
        raise typer.Exit(exits.ERROR)


@examples(
    "reconcile",
    "basis reconcile",
    "basis reconcile --portfolio lending --format json",
)
def reconcile(*, portfolio: OnlyPortfolioOption = None, form: FormatOption = Format.TABLE, home: HomeOption) -> None:
    """Read every account once, now, and compare it with the ledger; drift that stands is adjusted, or only told.

    It does what the hourly schedule does, and its outcome counts for the current hour. The table leaves out what
    matches to the last digit; csv and json have everything. Ends with exit code 3 when an account could not be read
    or a difference stays that nothing explains.
    """
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        _check_can_reconcile(opened, chosen_portfolios(opened, portfolio))
        records = _reconcile_now(opened, portfolio)
    from basis_pipeline.reports.reconciliation import outcomes

    report = outcomes(records, brief=form is Format.TABLE)
    if report.rows or form is not Format.TABLE:
        emit(report, form)
    else:
        say("Ledger and venues agree on everything, to the last digit.")
    if not _tell(records):
        raise typer.Exit(exits.FINDINGS)


def _check_can_reconcile(home: Home, portfolios: list[str]) -> None:
    if not home.live:
        raise ConfigError(
            f"mode: {home.path} is a backtest, in which the ledger is the world; reconciling needs `mode: live`"
        )
    if not any(account.portfolio in portfolios for account in home.settings.accounts.values()):
        raise ConfigError(
            f"accounts: {', '.join(portfolios)} has none to read; add some under `accounts:` in basis.yaml"
        )


def _reconcile_now(home: Home, portfolio: str | None) -> list[ReconciliationRecord]:
    from basis_pipeline.ledger.readings import reconciliations_between
    from basis_pipeline.monitors.publishing import reconcile_and_publish
    from basis_pipeline.steps.ports import DayRange
    from basis_pipeline.steps.reconciliation import project_reconciliation

    ports = home.ports()
    with told_here("steps.reconciliation", "venues"):
        report = asyncio.run(reconcile_and_publish(home, ports, portfolio))
    day = report.hour.date()
    project_reconciliation(ports, DayRange(day, day))
    records = reconciliations_between(home.ledger.engine, report.hour, report.hour + HOUR)
    return [record for record in records if portfolio in (None, record.portfolio)]


def _tell(records: list[ReconciliationRecord]) -> bool:
    """Say what it came to; returns whether every account was read and every difference is explained or adjusted."""
    accounts = [account for record in records for account in record.accounts]
    for record in records:
        for line in record.notes:
            warn(f"{record.portfolio}: {line}")
    unavailable = [account for account in accounts if account.error is not None]
    standing = [row for account in accounts for row in account.unexplained if not row.adjusted]
    for account in unavailable:
        warn(f"{account.account.name} could not be read: {account.error}")
    keys = sum(len(account.comparisons) for account in accounts)
    adjusted = sum(row.adjusted for account in accounts for row in account.comparisons)
    note(
        f"{counted(len(accounts), 'account')}, {counted(keys, 'key')}: {adjusted} adjusted, {len(standing)} "
        f"unexplained; {counted(len(unavailable), 'account')} unavailable"
    )
    return not unavailable and not standing


@examples(
    "status",
    "basis status",
    "basis status --format json",
)
def status(*, portfolio: OnlyPortfolioOption = None, form: FormatOption = Format.TABLE, home: HomeOption) -> None:
    """How the books stand: each portfolio's ledger, projection and publishing, each account's last reconciliation.

    As csv or json, one row for each account with what its portfolio has. On standard error: how many alerts nobody has
    acknowledged, and which channels they do not reach.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.ledger.readings import latest_reconciliations
    from basis_pipeline.reports import reconciliation as accounts_report
    from basis_pipeline.reports import status as portfolios_report

    with open_home(home) as opened:
        names = chosen_portfolios(opened, portfolio)
        configured = [
            (each.portfolio, name, each.venue)
            for name, each in opened.settings.accounts.items()
            if each.portfolio in names
        ]
        records = latest_reconciliations(opened.ledger.engine)
        accounts = accounts_report.accounts(configured, records, opened.clock(), brief=form is Format.TABLE)
        portfolios = portfolios_report.portfolios(opened, names)
        tell_standing(opened)
    if form is not Format.TABLE:
        emit(portfolios_report.joined(portfolios, accounts), form)
        return
    emit(portfolios, form)
    if configured:
        say()
        emit(accounts, form)
