"""Strategies on a real ledger: held by a position monitor, or only looked at."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from basis_pipeline.domain.errors import UnknownNameError
from basis_pipeline.home import open_home
from basis_pipeline.monitors.equity_calculator import EquityCalculator
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from basis_pipeline.strategy.holdings import Holdings
from basis_pipeline.strategy.lending import UsdtLending
from basis_pipeline.strategy.positions import LedgerPositions
from basis_pipeline.strategy.values import Decision
from basis_pipeline_tests.builders import START, at, payload, perp, token, wallet
from basis_pipeline_tests.homes import terms, write_home
from basis_pipeline_tests.strategy.fund import FixedPrices

CAPITAL = "1000000"
CHANGES: list[dict[str, Any]] = [
    payload("VENUE_TRANSFER", wallet("USDT", "-400000"), token("binance", "USDT", "400000"), minute=1),
    payload("COLLATERAL_SUPPLIED_USDT", wallet("USDT", "-108"), wallet("aUSDT", "100"), minute=2),
    payload("PERP_OPENED", perp("OPEN", "-2.5", fill_price="2920"), minute=3),
    payload("VENUE_TRANSFER", wallet("USDT", "-5"), token("in_transit", "USDT", "5"), minute=4),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A backtest home with the portfolio `fund`; there is no market data, and none is needed."""
    return write_home(tmp_path / "home", tmp_path, {"fund": terms("USDT", CAPITAL, START)})


def monitor_of(home: Path) -> PositionMonitor:
    return PositionMonitor({"home": home, "portfolio": "fund"}, "backtest", CAPITAL, "USDT")


async def record(home: Path, changes: list[dict[str, Any]]) -> Holdings:
    async with monitor_of(home) as monitor:
        for change in changes:
            await monitor.update(change)
        return Holdings.of(monitor.get_snapshot())


def test_looking_at_the_ledger_shows_what_a_position_monitor_holds(home: Path) -> None:
    held = asyncio.run(record(home, CHANGES))
    assert held.perps == {("binance", "ETHUSDT-PERP"): Decimal("-2.5")}
    assert held.balances["in_transit", "USDT"] == 5
    with open_home(home) as opened:
        assert Holdings.of(LedgerPositions(opened.ledger, "fund").get_snapshot()) == held


def test_looking_as_of_an_instant_shows_what_was_held_then(home: Path) -> None:
    then = asyncio.run(record(home, CHANGES[:2]))
    asyncio.run(record(home, CHANGES[2:]))
    with open_home(home) as opened:
        as_of = LedgerPositions(opened.ledger, "fund", lambda: at(2))
        assert Holdings.of(as_of.get_snapshot()) == then
        assert then.ledger_sequence == 3
        with pytest.raises(UnknownNameError, match="'other' is not in the ledger"):
            LedgerPositions(opened.ledger, "other").get_snapshot()


def test_who_looks_again_sees_what_is_new_and_what_came_late(home: Path) -> None:
    asyncio.run(record(home, CHANGES[:1]))
    late = payload("VENUE_TRANSFER", wallet("USDT", "-7"), token("okx", "USDT", "7"), minute=1.5)
    with open_home(home) as opened:
        positions = LedgerPositions(opened.ledger, "fund")
        for changes in (CHANGES[1:3], CHANGES[3:], [late]):
            positions.get_snapshot()
            held = asyncio.run(record(home, changes))
            assert Holdings.of(positions.get_snapshot()) == held
        assert held.balances["okx", "USDT"] == 7


def test_looking_again_reads_only_what_is_new(home: Path) -> None:
    asyncio.run(record(home, CHANGES[:1]))
    with open_home(home) as opened:
        positions = LedgerPositions(opened.ledger, "fund")
        positions.get_snapshot()
        asyncio.run(record(home, CHANGES[1:]))
        statements: list[str] = []
        sa.event.listen(opened.ledger.engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
        positions.get_snapshot()
        first, statements[:] = list(statements), []
        positions.get_snapshot()
        assert len(statements) < len(first), "heads, and no entries"
        assert not any("checkpoint" in each for each in first + statements)


def test_a_strategy_with_a_position_monitor_rests_once_its_decision_was_executed(home: Path) -> None:
    async def trade() -> tuple[Decision, Decision]:
        async with monitor_of(home) as monitor:
            with open_home(home) as opened:
                interfaces = ledger_interfaces(opened.ledger, "fund", opened.registry)
                calculator = EquityCalculator(interfaces, FixedPrices({"USDT": "0.9", "aUSDT": "0.99"}))
                strategy = UsdtLending({"share_class": "USDT", "asset": "USDT"}, None, monitor, calculator)
                before = await strategy.rebalance_decision()
                (lend,) = before.adjustments
                # One aUSDT is 1.1 USDT.
                cost = lend.delta * Decimal("1.1")
                await monitor.update(
                    payload(
                        "COLLATERAL_SUPPLIED_USDT",
                        wallet("USDT", -cost.quantize(Decimal("1e-6"))),
                        wallet("aUSDT", lend.delta),
                    )
                )
                return before, await strategy.rebalance_decision()

    before, after = asyncio.run(trade())
    # 980,000 / 1.1, cut to the six places of aUSDT.
    assert before.adjustments[0].delta == Decimal("890909.090909")
    assert (before.standing.ledger_sequence, after.standing.ledger_sequence) == (1, 2)
    assert (before.standing.portfolio, before.rebalance, after.rebalance) == ("fund", True, False)
    assert after.deviations[0].delta == 0
