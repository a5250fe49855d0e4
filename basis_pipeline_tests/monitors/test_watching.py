"""An equity monitor made from a home: its settings decide, and simulated time gives the digits of the pipeline."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from basis_pipeline.domain.errors import MonitorError, UnknownNameError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.home import open_home
from basis_pipeline.monitors.equity_updates import RedisUpdates
from basis_pipeline.monitors.ledger_updates import LedgerUpdates
from basis_pipeline.monitors.simulated_time import SimulatedTime
from basis_pipeline.monitors.watching import open_equity_monitor
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import START
from basis_pipeline_tests.homes import import_sample, rebuild_days, write_home, write_sample_home
from basis_pipeline_tests.monitors.builders import until
from basis_pipeline_tests.monitors.watched import DUE_S, ended, started
from basis_pipeline_tests.rigs.redis_server import RedisServer

ETH_LOOP = "sample_eth_loop"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of six days, imported and rebuilt."""
    home = tmp_path_factory.mktemp("sample")
    import_sample(home, write_sample_home(home, days=6))
    rebuild_days(home)
    return home


def with_equity(home: Path, **equity: object) -> None:
    """The home with these settings under ``equity:`` and no others."""
    config = yaml.safe_load((home / CONFIG_NAME).read_text(encoding="utf-8"))
    (home / CONFIG_NAME).write_text(yaml.safe_dump({**config, "equity": equity}), encoding="utf-8")


def test_the_settings_of_the_home_decide(sample: Path) -> None:
    with_equity(
        sample,
        update_interval="15min",
        change_threshold="0.02",
        change_floor={"ETH": "2"},
        change_of="nav",
    )

    async def main() -> None:
        with open_home(sample) as home:
            async with open_equity_monitor(home, ETH_LOOP) as monitor:
                assert monitor.update_interval == 900
                assert (monitor.threshold, monitor.floor, monitor.measure) == (Decimal("0.02"), 2, "nav")
                assert isinstance(monitor.updates, LedgerUpdates)
            async with open_equity_monitor(home, "sample_usdt_neutral") as monitor:
                assert monitor.floor == 1000
            with pytest.raises(UnknownNameError, match="'nobody' is not in the ledger"):
                async with open_equity_monitor(home, "nobody"):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize("portfolio", [ETH_LOOP, "sample_usdt_neutral"])
def test_through_simulated_time_the_monitor_tells_what_the_pipeline_publishes_for_each_hour(
    sample: Path, portfolio: str
) -> None:
    with_equity(sample, update_interval="1h", change_threshold="0", change_floor={"ETH": "0", "USDT": "0"})
    rows = Reader.open(sample).rows(
        "SELECT as_of, total_equity, nav FROM equity_snapshots WHERE portfolio = ? ORDER BY as_of", [portfolio]
    )
    published = [(row["as_of"].replace(tzinfo=UTC), row["total_equity"], row["nav"]) for row in rows]
    changed = [new for old, new in pairwise([(None, None, None), *published]) if new[1] != old[1]]
    first, last = published[0][0], published[-1][0]
    told: list[tuple[datetime, Decimal, Decimal]] = []

    async def main() -> None:
        time = SimulatedTime(first, last)
        with open_home(sample, clock=time.clock) as home:
            async with open_equity_monitor(home, portfolio, simulated=time) as monitor:
                monitor.add_callback(lambda new: told.append((new.as_of, new.total_equity, new.nav)))
                await time.run(monitor.start_monitoring("ETH" if portfolio == ETH_LOOP else "USDT"))
                assert monitor.calculations == len(published) == (last - first) / HOUR + 1

    asyncio.run(main())
    assert told == changed
    assert len(told) > 100


def test_leaving_the_block_ends_a_monitor_that_runs(sample: Path) -> None:
    async def main() -> None:
        with open_home(sample) as home:
            async with open_equity_monitor(home, ETH_LOOP) as monitor:
                task = await started(monitor)
                await until(lambda: monitor.status.activity == "waiting", "it runs")
                with pytest.raises(MonitorError, match="runs in another event loop"):
                    await asyncio.to_thread(lambda: asyncio.run(monitor.ended()))
            assert task.done()
            await asyncio.wait_for(monitor.ended(), DUE_S)
            await ended(task)

    asyncio.run(main())


def test_a_live_home_is_woken_by_redis_where_there_is_one(tmp_path: Path, redis_server: RedisServer) -> None:
    terms = {"share_class": "USDT", "initial_capital": "1000", "start": (START - timedelta(days=1)).isoformat()}
    home = write_home(tmp_path / "live", tmp_path, {"fund": terms}, mode="live")

    async def updates() -> object:
        with open_home(home) as opened:
            async with open_equity_monitor(opened, "fund") as monitor:
                return monitor.updates

    assert isinstance(asyncio.run(updates()), RedisUpdates)


def test_a_live_home_without_redis_looks_at_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASIS_REDIS_URL", raising=False)
    terms = {"share_class": "USDT", "initial_capital": "1000", "start": START.isoformat()}
    home = write_home(tmp_path / "live", tmp_path, {"fund": terms}, mode="live")

    async def updates() -> object:
        with open_home(home) as opened:
            async with open_equity_monitor(opened, "fund") as monitor:
                return monitor.updates

    assert isinstance(asyncio.run(updates()), LedgerUpdates)
