"""Without a Redis, whoever watches equity sees what the ledger took, whoever wrote it."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.equity_monitor import EquityMonitor
from basis_pipeline.monitors.ledger_updates import LedgerUpdates
from basis_pipeline.monitors.monitor_status import UpdatesState
from basis_pipeline.monitors.venue_interfaces import ledger_interfaces
from basis_pipeline_tests.builders import START, deposit
from basis_pipeline_tests.monitors.builders import until
from basis_pipeline_tests.monitors.watched import EveryPriceIsOne, ended, started


def test_what_others_write_is_seen_soon_and_a_portfolio_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")

    async def main() -> None:
        told: list[EquitySnapshot] = []
        with Ledger(url) as ledger, Ledger(url) as other:
            updates = LedgerUpdates(ledger, "fund", every_s=0.01)
            interfaces = ledger_interfaces(ledger, "fund", DEFAULT_REGISTRY)
            monitor = EquityMonitor(EquityCalculator(interfaces, EveryPriceIsOne()), 86_400, updates=updates)
            monitor.add_callback(told.append)
            task = await started(monitor)
            await until(lambda: updates.state.error and monitor.failures, "there is no such portfolio yet")
            assert "'fund' is not in the ledger" in str(updates.state.error)
            other.register(Terms("fund", "USDT", Decimal(1000), START))
            await until(lambda: told, "it is there")
            assert updates.state == UpdatesState(True, 0, 1, None)
            other.append("fund", deposit("USDT", 500))
            await until(lambda: len(told) == 2, "it is told")
            other.register(Terms("another", "USDT", Decimal(1), START))
            other.append("another", deposit("USDT", 500))
            await asyncio.to_thread(other.append, "fund", deposit("USDT", 500))
            await until(lambda: len(told) == 3, "it is told")
            assert updates.state.messages == 2
            monitor.stop_monitoring()
            await ended(task)
        assert [snapshot.total_equity for snapshot in told] == [1000, 1500, 2000]
        assert not updates.state.listening

    asyncio.run(main())


def test_there_is_a_pause_between_looks(tmp_path: Path) -> None:
    with (
        Ledger(sqlite_url(tmp_path / "ledger.db")) as ledger,
        pytest.raises(InputError, match="every_s: 0 is not a number"),
    ):
        LedgerUpdates(ledger, "fund", every_s=0)
