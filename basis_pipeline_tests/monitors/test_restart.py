"""What is in memory is what the ledger says: after any updates, in any order, and after a restart."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.monitors import state as state_module
from basis_pipeline.monitors.position_monitor import PositionMonitor, to_json
from basis_pipeline.monitors.state import PositionState
from basis_pipeline_tests.builders import journal, payload, perp, token, wallet
from basis_pipeline_tests.domain.conftest import IN_CI
from basis_pipeline_tests.ledger.builders import replayed
from basis_pipeline_tests.monitors.builders import backtest, run, stored

SPOKEN = ("ETH", "BTC", "stETH")


@st.composite
def changes(draw: st.DrawFn) -> dict[str, Any]:
    """An update of any legs at any of a few minutes; some are late, some are refused."""
    tokens = st.builds(
        token,
        st.sampled_from(["wallet", "okx", "in_transit"]),
        st.sampled_from(SPOKEN),
        st.integers(-3, 5).map(str),
    )
    perps = st.builds(
        perp,
        st.sampled_from(["OPEN", "ADJUST", "CLOSE"]),
        st.sampled_from([None, "-2", "1"]),
        venue=st.sampled_from(["binance", "okx"]),
        fill_price=st.just("3000"),
    )
    legs = draw(st.lists(tokens, max_size=3)) + draw(st.lists(perps, max_size=2))
    return payload("HOURLY_RECONCILIATION", *legs, minute=draw(st.integers(0, 6)))


@settings(max_examples=30, deadline=None, derandomize=IN_CI)
@given(given_changes=st.lists(st.tuples(st.booleans(), changes()), max_size=12))
def test_memory_is_the_replayed_ledger_whoever_of_two_monitors_wrote_what(
    given_changes: list[tuple[bool, dict[str, Any]]],
) -> None:
    async def work(first: PositionMonitor, second: PositionMonitor) -> None:
        for by_first, change in given_changes:
            writer = first if by_first else second
            with suppress(ValueError):
                snapshot = await writer.update(change)
                assert snapshot["ledger_sequence"] == len(stored(first))
            assert writer._state.json() == to_json(writer._state.snapshot())
        shown = first.get_snapshot()
        assert second.get_snapshot() == shown
        fresh = PositionState("default")
        fresh.catch_up(first._ledger)
        assert fresh.snapshot() == shown
        assert first._state._book.to_json() == replayed(stored(first)).to_json()

    async def main() -> None:
        with TemporaryDirectory() as directory:
            async with backtest(Path(directory)) as first, backtest(Path(directory)) as second:
                await work(first, second)

    asyncio.run(main())


def test_a_restart_replays_to_the_same_state(home: Path) -> None:
    async def trade(monitor: PositionMonitor) -> dict[str, Any]:
        await monitor.update(payload("DEPOSIT", wallet("ETH", "1.5"), minute=3))
        await monitor.update(
            payload("PERP_OPENED", perp("OPEN", "-1", entry_price="3000", notional_usd="3000"), minute=9)
        )
        return await monitor.update(
            payload("VENUE_TRANSFER", wallet("USDT", "-9"), token("okx", "USDT", "9"), minute=4)
        )

    async def look(monitor: PositionMonitor) -> dict[str, Any]:
        return monitor.get_snapshot()

    before = run(backtest(home), trade)
    assert run(backtest(home), look) == before


def test_a_monitor_far_behind_starts_from_the_ledgers_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_module, "_CATCH_UP_MAX", 5)

    async def work(first: PositionMonitor) -> None:
        async with backtest(tmp_path) as second:
            for number in range(9):
                await first.update(payload("DEPOSIT", wallet("ETH", "1"), minute=number))
            assert second.get_snapshot() == first.get_snapshot()

    run(backtest(tmp_path), work)


def test_a_shared_journal_fed_through_a_monitor_ends_where_its_ledger_does(shared: Path, tmp_path: Path) -> None:
    payloads = [each for number, each in enumerate(journal(shared, "usdt_market_neutral")) if number < 400]

    async def work(monitor: PositionMonitor) -> None:
        for each in payloads:
            snapshot = await monitor.update(each)
        assert snapshot["ledger_sequence"] == len(payloads) + 1
        fresh = PositionState("default")
        fresh.catch_up(monitor._ledger)
        assert fresh.snapshot() == snapshot

    start = payloads[0]["timestamp"]
    run(backtest(tmp_path, 1_000_000, start=start), work)
