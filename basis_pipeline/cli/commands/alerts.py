"""Alerts: what stands, keeping it quiet, and whether the channels work."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.options import FormatOption, HomeOption, examples
from basis_pipeline.cli.output import Format, counted, emit, note, say, warn

if TYPE_CHECKING:
    from basis_pipeline.home import Home


class Action(StrEnum):
    """What `basis alerts` does."""

    LIST = "list"
    SHOW = "show"
    ACK = "ack"
    TEST = "test"


@examples(
    "alerts",
    "basis alerts",
    "basis alerts --all --format json",
    "basis alerts show 3",
    "basis alerts ack 3 4",
    "basis alerts test",
    "basis alerts test chat",
)
def alerts(
    action: Annotated[
        Action,
        typer.Argument(
            help="`list` what stands (the default), `show` or `ack` alerts by number, or `test` channels by name.",
            show_default=False,
            show_choices=False,
        ),
    ] = Action.LIST,
    items: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ITEM", help="Numbers to `show` or `ack`, or names of channels to `test` (default: all)."
        ),
    ] = None,
    *,
    closed: Annotated[bool, typer.Option("--all", help="List also what is resolved, and events.")] = False,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """What needs a person and is not resolved yet; acknowledge it, or see whether messages reach their channels.

    An acknowledged alert is quiet until it is resolved or gets worse. `test` sends a message that is no alert and ends
    with exit code 3 when a channel did not take it.
    """
    from basis_pipeline.home import open_home

    given = items or []
    if action is Action.LIST and given:
        raise typer.BadParameter(f"{given[0]!r} is not needed to list alerts; write `show`, `ack` or `test` before it")
    with open_home(home) as opened:
        if action is Action.SHOW:
            _show(opened, _numbers(given))
        elif action is Action.ACK:
            _acknowledge(opened, _numbers(given))
        elif action is Action.TEST:
            _test(opened, given)
        else:
            _list(opened, closed, form)


def _list(home: Home, closed: bool, form: Format) -> None:
    from basis_pipeline.reports import alerts as report_of

    report = report_of.alerts(home, closed=closed, brief=form is Format.TABLE)
    if report.rows or form is not Format.TABLE:
        emit(report, form)
    else:
        say("No alert stands." if not closed else "There has never been an alert.")
    if not home.settings.alerts.channels:
        note("no channel is configured, so nobody is told; see alerts.channels in basis.yaml")
    tell_failing(home)


def _show(home: Home, numbers: list[int]) -> None:
    from basis_pipeline.domain.errors import InputError
    from basis_pipeline.ledger.alerts import alerts_listed

    known = {stored.number: stored for stored in alerts_listed(home.ledger.engine, closed=True)}
    for number in numbers:
        stored = known.get(number)
        if stored is None:
            raise InputError(f"number: there is no alert {number}; basis alerts --all lists those there are")
        say(f"{number} [{stored.alert.severity}, {stored.state}] {stored.alert.title}", bold=True)
        say(f"{stored.alert.text}\n")
        seen = f"{counted(stored.times, 'time')} from {stored.raised_at:%Y-%m-%d %H:%M} UTC"
        say(f"{stored.alert.kind} of {stored.alert.subject}, {seen} to {stored.last_raised_at:%Y-%m-%d %H:%M} UTC")


def _acknowledge(home: Home, numbers: list[int]) -> None:
    from basis_pipeline.ledger.alerts import acknowledge

    for stored in acknowledge(home.ledger.engine, numbers, home.clock()):
        say(f"alert {stored.number} is quiet until it is resolved or gets worse: {stored.alert.title}")


def _numbers(given: list[str]) -> list[int]:
    if not given:
        raise typer.BadParameter("which alerts? give the numbers that `basis alerts` lists")
    for text in given:
        if not text.isdecimal() or len(text) > 18:
            raise typer.BadParameter(f"{text!r} is not the number of an alert; `basis alerts` lists them")
    return [int(text) for text in given]


def _test(home: Home, names: list[str]) -> None:
    from basis_pipeline.alerts.delivery import try_channels

    outcomes = try_channels(home, names)
    for outcome in outcomes:
        say(f"{outcome.channel}: {'took the message' if outcome.error is None else f'FAILED: {outcome.error}'}")
    failed = sum(outcome.error is not None for outcome in outcomes)
    note(f"{counted(len(outcomes), 'channel')}: {failed} failed")
    if failed:
        raise typer.Exit(exits.FINDINGS)


def tell_failing(home: Home) -> None:
    """Warn of channels that alerts do not reach."""
    from basis_pipeline.reports.alerts import failing_channels

    for state in failing_channels(home):
        warn(f"alerts do not reach {state.channel} since {state.failing_since:%Y-%m-%d %H:%M} UTC: {state.error}")


def tell_standing(home: Home) -> None:
    """Say that alerts stand which nobody has looked at, and which channels alerts do not reach."""
    from basis_pipeline.reports.alerts import standing

    count, errors = standing(home)
    if count:
        warn(f"{counted(count, 'alert')} nobody acknowledged, {counted(errors, 'error')}; `basis alerts` lists them")
    tell_failing(home)
