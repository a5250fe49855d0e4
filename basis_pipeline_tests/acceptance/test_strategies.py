"""The strategies over the shared journals: each wants what the journal's own traders did, at the hours they did it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest

from basis_pipeline.home import open_home
from basis_pipeline.market.as_of import AsOfPrices
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.simulated_time import SimulatedTime
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from basis_pipeline.strategy.base import BaseStrategyManager, PositionSource
from basis_pipeline.strategy.kinds import KINDS
from basis_pipeline.strategy.positions import LedgerPositions
from basis_pipeline.strategy.values import Decision
from basis_pipeline_tests.acceptance.live_replay import HOUR, live_replay
from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, START, journal
from basis_pipeline_tests.homes import ask, terms, write_home

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

HOURS = [START + HOUR * number for number in range(12_047)]
SAMPLED = HOURS[1::53]
ALLOCATION = {"binance": "40", "bybit": "30", "okx": "30"}
CONFIGURED: dict[str, tuple[str, dict[str, Any]]] = {
    "pure_lending_usdt": ("usdt_lending", {"asset": "USDT"}),
    "eth_leveraged_loop": ("eth_leveraged_loop", {"asset": "ETH", "target_ltv": "0.8", "reserve": "0.07"}),
    "btc_basis": ("basis", {"asset": "BTC", "allocation": ALLOCATION}),
    "usdt_market_neutral": ("usdt_market_neutral", {"asset": "ETH", "allocation": ALLOCATION}),
}


class Managed(NamedTuple):
    """A strategy over a journal in the ledger, whose time can be set."""

    strategy: Any
    now: list[datetime]

    def at(self, moments: list[datetime]) -> Iterator[tuple[datetime, Decision]]:
        """What it decides at each moment."""
        for moment in moments:
            self.now[0] = moment
            yield moment, asyncio.run(self.strategy.rebalance_decision())


def made(portfolio: str, positions: PositionSource, calculator: EquityCalculator) -> BaseStrategyManager:
    kind, config = CONFIGURED[portfolio]
    return KINDS[kind]({"share_class": JOURNALS[portfolio], **config}, None, positions, calculator)


@contextmanager
def managed(path: Path, portfolio: str) -> Iterator[Managed]:
    now = [START]

    def clock() -> datetime:
        return now[0]

    with open_home(path) as home:
        calculator = EquityCalculator(
            ledger_interfaces(home.ledger, portfolio, home.registry, clock=clock),
            AsOfPrices(home.history, home.registry, clock),
            clock=clock,
        )
        positions = LedgerPositions(home.ledger, portfolio, clock)
        yield Managed(made(portfolio, positions, calculator), now)


def hours_after(shared: Path, portfolio: str, *triggers: str) -> list[datetime]:
    """The full hours that come next after updates with these triggers."""
    moments = (
        datetime.fromisoformat(payload["timestamp"])
        for payload in journal(shared, portfolio)
        if payload["trigger"] in triggers
    )
    return sorted({moment.replace(minute=0, second=0) + HOUR for moment in moments})


def published_equity(home: Path, portfolio: str) -> dict[datetime, tuple[Decimal, int]]:
    rows = ask(
        home, f"SELECT as_of, total_equity, ledger_sequence FROM equity_snapshots WHERE portfolio = '{portfolio}'"
    )
    return {as_of.replace(tzinfo=UTC): (equity, sequence) for as_of, equity, sequence in rows}


def test_a_strategy_behind_a_monitor_decides_on_the_pipelines_equity_at_every_hour(
    rebuilt_home: Path, shared: Path, tmp_path: Path
) -> None:
    """All of live mode on a clock of its own: the journal happens, a monitor tells of equity, the strategy decides."""
    portfolio, share_class = "eth_leveraged_loop", "ETH"
    capital = JOURNAL_CAPITAL[share_class]
    home = write_home(tmp_path / "live", shared / "market_data", {portfolio: terms(share_class, capital, START)})
    days = SimulatedTime(HOURS[0], HOURS[-1])
    decisions: list[Decision] = []

    async def live_through() -> EquityMonitor:
        payloads = journal(shared, portfolio)
        async with live_replay(home, portfolio, capital, share_class, START, payloads) as fund:

            async def sleep(seconds: float) -> None:
                await days.sleep(seconds)
                await fund.go_to(days.clock())

            strategy = made(portfolio, fund.positions, fund.equity)

            async def decide(told: EquitySnapshot) -> None:
                decisions.append(await strategy.rebalance_decision(told))

            monitor = EquityMonitor(fund.equity, 3600, threshold=Decimal(0), monotonic=days.monotonic, sleep=sleep)
            monitor.add_callback(decide)
            await days.run(monitor.start_monitoring(share_class))
            return monitor

    monitor = asyncio.run(live_through())
    assert (monitor.calculations, monitor.failures, monitor.callback_failures) == (len(HOURS), 0, 0)
    expected = published_equity(rebuilt_home, portfolio)
    found = {each.standing.as_of: (each.standing.total_equity, each.standing.ledger_sequence) for each in decisions}
    assert len(found) == len(decisions)
    assert found == {hour: expected[hour] for hour in found}
    # Nobody is told of an hour whose equity is that of the hour before, to the last digit.
    unchanged = [hour for hour in HOURS if hour not in found]
    assert all(expected[hour][0] == expected[hour - HOUR][0] for hour in unchanged)
    assert len(unchanged) < 5


@pytest.mark.parametrize("portfolio", JOURNALS)
def test_every_decision_stands_on_the_pipelines_equity_and_is_exact(rebuilt_home: Path, portfolio: str) -> None:
    expected = published_equity(rebuilt_home, portfolio)
    with managed(rebuilt_home, portfolio) as fund:
        for hour, decision in fund.at(SAMPLED):
            standing = decision.standing
            assert (standing.portfolio, standing.as_of) == (portfolio, hour)
            assert (standing.total_equity, standing.ledger_sequence) == expected[hour]
            assert (
                bool(decision.adjustments)
                == decision.rebalance
                == any(each.exceeds(decision.threshold, Decimal(10)) for each in decision.deviations)
            )
            for each in decision.deviations:
                assert each.held + each.delta == each.target.amount


def test_lending_wants_to_lend_ever_less_more_as_the_journal_lends_month_by_month(rebuilt_home: Path) -> None:
    with managed(rebuilt_home, "pure_lending_usdt") as fund:
        decisions = [decision for _, decision in fund.at(HOURS[1::744])]
    missing = [decision.deviations[0].relative for decision in decisions]
    assert Decimal("0.09") < missing[0] < Decimal("0.1")
    assert missing == sorted(missing, reverse=True)
    assert [decision.rebalance for decision in decisions] == [part > Decimal("0.02") for part in missing]
    assert not decisions[-1].rebalance


def test_the_loop_wants_at_the_start_what_the_journal_then_opened(rebuilt_home: Path, shared: Path) -> None:
    (opened,) = (
        {change["token"]: Decimal(change["new_balance"]) for change in payload["token_changes"]}
        for payload in journal(shared, "eth_leveraged_loop")
        if payload["id"] == "eth_leveraged_loop-0000004"
    )
    with managed(rebuilt_home, "eth_leveraged_loop") as loop:
        (_, wanted), (_, after) = loop.at(HOURS[:2])
    for each in wanted.deviations:
        assert each.held == 0
        assert abs(each.target.amount / opened[each.target.name] - 1) < Decimal("1e-15")
    assert wanted.rebalance
    assert not after.rebalance
    assert max(each.relative for each in after.deviations) < Decimal("0.0001")


def test_the_basis_trade_is_on_target_whenever_the_journal_has_just_rebalanced(
    rebuilt_home: Path, shared: Path
) -> None:
    hours = hours_after(shared, "btc_basis", "TRADE_EXECUTED", "PERP_ADJUSTED")
    monthly = [hour for hour in hours if hour.day == 1 or hour == HOURS[1]]
    assert len(monthly) == 17
    with managed(rebuilt_home, "btc_basis") as fund:
        for hour, decision in fund.at(monthly):
            assert not decision.rebalance, hour
            # Each leg of the journal's was cut to 0.001 BTC by itself, as the spot is here.
            net = sum((each.delta for each in decision.deviations), Decimal(0))
            assert abs(net) <= Decimal("0.004"), hour


def test_the_hedge_is_on_target_always_and_to_a_step_when_the_journal_has_just_adjusted_it(
    rebuilt_home: Path, shared: Path
) -> None:
    adjusted = hours_after(shared, "usdt_market_neutral", "TRADE_EXECUTED", "PERP_ADJUSTED")
    assert len(adjusted) == 19
    with managed(rebuilt_home, "usdt_market_neutral") as fund:
        for hour, decision in fund.at(adjusted):
            assert all(abs(each.delta) <= Decimal("0.001") for each in decision.deviations), hour
        for hour, decision in fund.at(SAMPLED):
            assert not decision.rebalance, hour
            assert all(each.relative < Decimal("0.004") for each in decision.deviations), hour


def test_king_is_unwrapped_on_just_the_wednesdays_on_which_the_journal_did(rebuilt_home: Path, shared: Path) -> None:
    units = pq.read_table(shared / "market_data" / "gas_units.parquet").to_pylist()
    (unwrapping,) = (row["gas_units"] for row in units if row["operation"] == "UNWRAP_KING_TOKEN")
    gwei = {
        row["timestamp"]: row["gas_price_avg_gwei"]
        for row in pq.read_table(shared / "market_data" / "gas_prices.parquet").to_pylist()
    }
    unwrapped = [hour - HOUR for hour in hours_after(shared, "usdt_market_neutral", "KING_UNWRAPPED")]
    wednesdays = [hour for hour in HOURS if (hour.weekday(), hour.hour) == (2, 14)]
    with managed(rebuilt_home, "usdt_market_neutral") as fund:

        async def worth_it(hour: datetime) -> bool:
            fund.now[0] = hour
            worth: bool = await fund.strategy.should_unwrap_king(unwrapping * gwei[hour] / 10**9)
            return worth

        found = [hour for hour in wednesdays if asyncio.run(worth_it(hour))]
    assert len(found) == 26
    assert found == unwrapped
