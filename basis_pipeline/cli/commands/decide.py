"""What the configured strategies would do now. Nothing is traded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli import exits
from basis_pipeline.cli.options import FormatOption, HomeOption, examples
from basis_pipeline.cli.output import Format, complain, counted, emit, say
from basis_pipeline.domain.errors import BasisError, ConfigError, UnknownNameError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import quantize_value

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.reports.report import Report
    from basis_pipeline.settings.strategies import StrategySettings
    from basis_pipeline.strategy.values import Decision

Decided = list[tuple[str, "StrategySettings", "Decision"]]


@examples(
    "decide",
    "basis decide",
    "basis decide lender",
    "basis decide --format json",
)
def decide(
    name: Annotated[str | None, typer.Argument(help="Only this strategy.", metavar="NAME")] = None,
    *,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """What each strategy under `strategies:` wants to hold, how far that is from what is held, and what it decides.

    In a backtest that is as of the last instant of market data, when live as of now. Nothing is traded: json has the
    decisions whole, for what executes them; csv has a line for each position. Ends with exit code 0 whatever is
    decided, and with 1 when a strategy could not decide.
    """
    from basis_pipeline.home import open_home

    with open_home(home) as opened:
        decided, failed = _decide(opened, _chosen(opened, name))
    if form is Format.JSON:
        emit(_decisions(decided), form)
    elif decided:
        emit(_deviations(decided, brief=form is Format.TABLE), form)
    if form is Format.TABLE:
        for each in decided:
            _tell(*each)
    for strategy, error in failed.items():
        complain(f"strategies.{strategy}: {error}")
    if failed:
        raise typer.Exit(exits.ERROR)


def _chosen(home: Home, name: str | None) -> dict[str, StrategySettings]:
    configured = home.settings.strategies
    if not configured:
        raise ConfigError("strategies: none are configured; add one under `strategies:` in basis.yaml")
    if name is None:
        return configured
    if name not in configured:
        raise UnknownNameError(f"strategy: {name!r} is not configured; there are {', '.join(configured)}")
    return {name: configured[name]}


def _decide(home: Home, chosen: dict[str, StrategySettings]) -> tuple[Decided, dict[str, BasisError]]:
    """The decisions, and the error of each strategy that could not make one."""
    decided: Decided = []
    failed: dict[str, BasisError] = {}
    for name, given in chosen.items():
        try:
            decided.append((name, given, asyncio.run(_decision(home, given))))
        except BasisError as error:
            failed[name] = error
    return decided, failed


async def _decision(home: Home, given: StrategySettings) -> Decision:
    from basis_pipeline.monitors.equity import backtest_clock, open_equity
    from basis_pipeline.strategy.kinds import KINDS
    from basis_pipeline.strategy.positions import LedgerPositions

    share_class = home.settings.portfolios[given.portfolio].share_class
    config: dict[str, Any] = {"share_class": share_class, "registry": home.registry, **given.config()}
    positions = LedgerPositions(home.ledger, given.portfolio, None if home.live else backtest_clock(home))
    async with open_equity(home, given.portfolio) as calculator:
        return await KINDS[given.kind](config, None, positions, calculator).rebalance_decision()


def _decisions(decided: Decided) -> Report:
    from basis_pipeline.reports.report import Column, Report

    rows = [{"strategy": name, "kind": given.kind, **decision.to_json()} for name, given, decision in decided]
    names = list(rows[0]) if rows else []
    return Report(tuple(map(Column, names)), [tuple(row.values()) for row in rows])


def _deviations(decided: Decided, *, brief: bool) -> Report:
    """A row for each position; ``brief`` has percents for how far it is off, else that is exact."""
    from basis_pipeline.reports.report import Column, Kind, Report
    from basis_pipeline.strategy.values import percent

    columns = (
        Column("strategy"),
        Column("portfolio"),
        Column("venue"),
        Column("name"),
        Column("held", Kind.QUANTITY),
        Column("target", Kind.QUANTITY),
        Column("delta", Kind.QUANTITY),
        Column("off"),
        Column("worth_usd", Kind.USD),
        Column("rebalance"),
    )
    rows = [
        (
            name,
            given.portfolio,
            each.target.venue,
            each.target.name,
            each.held,
            each.target.amount,
            each.delta,
            percent(each.relative) if brief else quantize_value(each.relative),
            each.value_usd,
            "yes" if decision.rebalance else "no",
        )
        for name, given, decision in decided
        for each in decision.deviations
    ]
    return Report(columns, rows)


def _tell(name: str, given: StrategySettings, decision: Decision) -> None:
    """The decision in words."""
    from basis_pipeline.reports.text import money
    from basis_pipeline.strategy.values import percent

    standing = decision.standing
    moment = "now" if standing.as_of is None else iso(standing.as_of)
    equity = money(standing.total_equity, standing.share_class)
    verdict = f"rebalance by {counted(len(decision.adjustments), 'adjustment')}" if decision.rebalance else "stay"
    say()
    say(f"{name}: {verdict}", bold=True)
    say(
        f"  {given.kind} over {given.portfolio}: {equity} {standing.share_class} of equity, ledger entry "
        f"{standing.ledger_sequence}, {moment}"
    )
    for reason in decision.reasons:
        say(f"  {reason}")
    if not decision.rebalance:
        furthest = max((each.relative for each in decision.deviations), default=None)
        far = "nothing is wanted" if furthest is None else f"at most {percent(furthest)} off"
        least = f"{percent(decision.threshold)} and worth {given.minimum_deviation_usd:,f} USD"
        say(f"  {far}; above {least} it would be adjusted")
