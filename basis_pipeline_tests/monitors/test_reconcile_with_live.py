"""Reconciling through the monitor: what the hourly job does, once, and memory and subscribers know of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from basis_pipeline.domain.errors import ReconciliationError
from basis_pipeline.home import open_home
from basis_pipeline.monitors import position_monitor
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import START, token, update
from basis_pipeline_tests.homes import terms
from basis_pipeline_tests.monitors.builders import Subscriber, backtest, live, run
from basis_pipeline_tests.rigs.redis_server import RedisServer


def test_in_a_backtest_there_is_nothing_to_reconcile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(monitor: PositionMonitor) -> None:
        before = monitor.get_snapshot()
        assert await monitor.reconcile_with_live() == {}
        assert monitor.get_snapshot() == before

    run(backtest(tmp_path), work)


def adjust(home: Path, failing: bool = False) -> Any:
    """A reconciliation of another hand, which finds 5 USDT on OKX."""

    async def reconcile_home(path: Path) -> Any:
        assert path == home
        with open_home(path) as opened:
            adjustment = update("HOURLY_RECONCILIATION", token("okx", "USDT", "5"), minute=60)
            opened.ledger.append("default", adjustment)
        if failing:
            raise ReconciliationError("the books of other cannot be opened")
        return SimpleNamespace(accounts=[SimpleNamespace(account=SimpleNamespace(name="okx_main"))])

    return reconcile_home


@pytest.fixture
def live_home(tmp_path: Path, redis_server: RedisServer) -> Path:
    import yaml

    config = {"mode": "live", "portfolios": {"default": terms("USDT", "1000", START)}}
    (tmp_path / "basis.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


@pytest.mark.parametrize("failing", [False, True])
def test_adjustments_are_in_memory_and_told_when_it_returns_even_if_the_rest_failed(
    live_home: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, failing: bool
) -> None:
    monkeypatch.setattr(position_monitor, "reconcile_home", adjust(live_home, failing))

    async def work(monitor: PositionMonitor) -> None:
        with Subscriber(redis_server) as subscriber:
            if failing:
                with pytest.raises(ReconciliationError):
                    await monitor.reconcile_with_live()
            else:
                assert (await monitor.reconcile_with_live()).keys() == {"okx_main"}
            assert monitor._state.cex_accounts["okx"]["USDT"] == 5
            assert [message["trigger"] for message in subscriber.hears()] == ["HOURLY_RECONCILIATION"]
            assert subscriber.snapshot()["cex_accounts"]["okx"]["USDT"] == "5"

    run(live(live_home), work)


def test_a_home_without_accounts_reconciles_to_nothing(live_home: Path, redis_server: RedisServer) -> None:
    pytest.importorskip("basis_pipeline.live")

    async def work(monitor: PositionMonitor) -> None:
        assert await monitor.reconcile_with_live() == {}
        assert monitor.get_snapshot()["ledger_sequence"] == 1

    run(live(live_home), work)
