"""Backtest = live: a journal lived through by the live code comes to the pipeline's equity, to the last digit.

Updates reach a position monitor hour by hour, as they happen, on a home of its own; its ledger is read and valued the
way a live strategy has it done, at a simulated time. The pipeline has valued the same journals in one go.
Every nineteenth hour is compared, the last one among them; with BASIS_EVERY_HOUR=1 (``make soak``) all of them. All
hours behind a strategy are in ``test_strategies``.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from basis_pipeline.monitors.equity_calculator import EquitySnapshot
from basis_pipeline_tests.acceptance.live_replay import HOUR, live_replay
from basis_pipeline_tests.builders import JOURNAL_CAPITAL, JOURNALS, START, journal
from basis_pipeline_tests.homes import ask, heads, terms, write_home

pytestmark = [pytest.mark.acceptance, pytest.mark.slow]

HOURS = 12_047
LAST = START + HOUR * (HOURS - 1)
SAMPLED = 19 * HOUR
FIGURES = ("total_equity", "unrealized_pnl", "in_transit", "locked", "nav", "ledger_sequence")


class Told(NamedTuple):
    """What is said of one hour."""

    figures: tuple[Any, ...]
    assets: Decimal
    debts: Decimal
    by_venue: dict[str, Decimal]
    by_asset: dict[str, Decimal]


def published(home: Path, portfolio: str) -> dict[datetime, Told]:
    """What the pipeline says of each hour."""
    only = f"WHERE portfolio = '{portfolio}'"
    groups: dict[tuple[str, datetime], dict[str, Decimal]] = {}
    for view, key in (("equity_by_venue", "venue"), ("equity_by_asset", "token")):
        for as_of, name, value in ask(home, f"SELECT as_of, {key}, value FROM {view} {only}"):
            groups.setdefault((view, as_of), {})[name] = value
    rows = ask(home, f"SELECT as_of, assets, debts, {', '.join(FIGURES)} FROM equity_snapshots {only}")
    return {
        as_of.replace(tzinfo=UTC): Told(
            tuple(figures), assets, debts, groups["equity_by_venue", as_of], groups["equity_by_asset", as_of]
        )
        for as_of, assets, debts, *figures in rows
    }


def told(snapshot: EquitySnapshot) -> Told:
    """The same of a snapshot."""
    zero = Decimal(0)
    return Told(
        tuple(getattr(snapshot, name) for name in FIGURES),
        sum((each.value or zero for each in snapshot.assets if not each.locked), zero),
        sum((each.value or zero for each in snapshot.debts), zero),
        snapshot.equity_by_venue,
        snapshot.equity_by_asset,
    )


@pytest.mark.parametrize("portfolio", JOURNALS)
def test_the_live_code_path_has_the_pipelines_equity(
    rebuilt_home: Path, shared: Path, portfolio: str, tmp_path: Path
) -> None:
    share_class = JOURNALS[portfolio]
    capital = JOURNAL_CAPITAL[share_class]
    step = HOUR if os.environ.get("BASIS_EVERY_HOUR") else SAMPLED
    home = write_home(tmp_path / "live", shared / "market_data", {portfolio: terms(share_class, capital, START)})

    async def live_through() -> dict[datetime, Told]:
        found = {}
        payloads = journal(shared, portfolio)
        async with live_replay(home, portfolio, capital, share_class, START, payloads) as fund:
            async for moment, snapshot in fund.hours(START, LAST, step):
                assert (snapshot.as_of, snapshot.timestamp) == (moment, moment.timestamp())
                found[moment] = told(snapshot)
            assert fund.updates > 500
        return found

    found, expected = asyncio.run(live_through()), published(rebuilt_home, portfolio)
    assert len(expected) == HOURS
    assert len(found) == (LAST - START) // step + 1
    assert [moment for moment in found if found[moment] != expected[moment]] == []
    assert heads(home)[portfolio].sequence == heads(rebuilt_home)[portfolio].sequence
