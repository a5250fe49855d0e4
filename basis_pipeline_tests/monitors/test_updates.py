"""Updates: the specification's payloads and examples, all or nothing, once, in order, and the same after a restart."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from sqlalchemy import make_url

from basis_pipeline.domain.changes import Trigger
from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.monitors.intake import inferred_trigger
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import Leg, at, payload, perp, token, wallet
from basis_pipeline_tests.monitors.builders import backtest, run, stored, updated

SPECIFIED = ["ETH", "USDT", "BTC", "weETH", "wstETH", "aWeETH", "awstETH", "aUSDT", "aBTC", "variableDebtWETH"]
SPECIFIED += ["variableDebtUSDT", "variableDebtBTC", "KING", "EIGEN", "ETHFI"]


def test_the_specifications_example_of_a_token_update(home: Path) -> None:
    monitor = backtest(home)
    assert monitor.wallet["ETH"] == 0
    [snapshot] = updated(monitor, {"token_changes": [{"venue": "WALLET", "token": "ETH", "delta": 100.0}]})
    assert snapshot["wallet"]["ETH"] == Decimal("100.0")


def test_the_specifications_example_of_a_supply_at_an_index(home: Path) -> None:
    received = 100.0 / 1.05
    *_, snapshot = updated(
        backtest(home, 100, "ETH"),
        {"token_changes": [token("WALLET", "ETH", -100.0), token("WALLET", "weETH", 100.0)]},
        {"token_changes": [token("WALLET", "weETH", -100.0), token("WALLET", "aWeETH", received)]},
    )
    assert snapshot["wallet"]["aWeETH"] == Decimal(repr(received))
    assert snapshot["wallet"]["weETH"] == 0


def test_the_specifications_example_of_token_and_derivative_together(home: Path) -> None:
    data = {"size": -8.562, "entry_price": 2920.00, "notional_usd": 25000.0}
    [snapshot] = updated(
        backtest(home),
        {
            "timestamp": at(60),
            "token_changes": [{"venue": "binance", "token": "USDT", "delta": -7.50}],
            "derivative_changes": [
                {"venue": "binance", "instrument": "ETHUSDT-PERP", "action": "OPEN", "data": data},
            ],
        },
    )
    assert snapshot["cex_accounts"]["binance"]["USDT"] == Decimal("-7.50")
    assert snapshot["perp_positions"]["binance"]["ETHUSDT-PERP"] == {
        "size": Decimal("-8.562"),
        "entry_price": Decimal("2920.0"),
        "entry_timestamp": "2024-05-12T02:00:00Z",
        "notional_usd": Decimal("25000.0"),
    }


def test_what_a_strategy_takes_from_pandas_is_understood(home: Path) -> None:
    leg = {"venue": "WALLET", "token": "ETH", "delta": np.float64(0.1), "reason": "x"}
    [snapshot] = updated(
        backtest(home),
        {
            "timestamp": pd.Timestamp("2024-05-12 02:00:00.25", tz="UTC"),
            "trigger": "DEPOSIT",
            "token_changes": [leg],
        },
    )
    assert snapshot["wallet"]["ETH"] == Decimal("0.1")
    assert snapshot["timestamp"] == "2024-05-12T02:00:00.250000Z"
    *_, more = updated(backtest(home), {"trigger": "DEPOSIT", "token_changes": [{**leg, "delta": np.int64(2)}]})
    assert more["wallet"]["ETH"] == Decimal("2.1")


def test_the_specifications_example_of_a_spot_trade_with_an_alias(home: Path) -> None:
    [snapshot] = updated(
        backtest(home),
        {"token_changes": [token("binance", "ETH_spot", +15.2), token("BINANCE", "USDT", -50035)]},
    )
    assert snapshot["cex_accounts"]["binance"] == {"USDT": Decimal(-50035), "ETH": Decimal("15.2"), "BTC": 0}


def test_the_specifications_example_of_unwrapping_king(home: Path) -> None:
    legs = [wallet("KING", -100.0), wallet("EIGEN", +50.0), wallet("ETHFI", +50.0)]
    for leg in legs:
        leg["reason"] = "KING_UNWRAPPED"
    *_, snapshot = updated(
        backtest(home),
        {"trigger": "KING_REWARD_DISTRIBUTION", "token_changes": [wallet("KING", 100.0)]},
        {"timestamp": at(1), "trigger": "KING_UNWRAPPED", "token_changes": legs},
    )
    assert [snapshot["wallet"][name] for name in ("KING", "EIGEN", "ETHFI")] == [0, 50, 50]


def test_a_snapshot_has_the_keys_of_the_specification_and_says_which_entry_it_is_of(home: Path) -> None:
    [snapshot] = updated(backtest(home), payload("DEPOSIT", wallet("stETH", "1.5"), minute=5))
    assert list(snapshot["wallet"]) == [*SPECIFIED, "stETH"]
    assert snapshot["cex_accounts"].keys() == snapshot["perp_positions"].keys() == {"binance", "bybit", "okx"}
    assert all(account == {"USDT": 0, "ETH": 0, "BTC": 0} for account in snapshot["cex_accounts"].values())
    assert {"timestamp", "last_updated"} < snapshot.keys()
    assert (snapshot["portfolio"], snapshot["ledger_sequence"], snapshot["in_transit"]) == ("default", 2, {})
    assert snapshot["timestamp"] == "2024-05-12T01:05:00Z"


def test_what_is_on_its_way_is_in_transit(home: Path) -> None:
    sent, received = updated(
        backtest(home),
        payload("VENUE_TRANSFER", wallet("USDT", "-10"), token("in_transit", "USDT", "10"), minute=1),
        payload("VENUE_TRANSFER", token("in_transit", "USDT", "-10"), token("okx", "USDT", "9"), minute=2),
    )
    assert sent["in_transit"] == {"USDT": 10}
    assert (received["in_transit"], received["cex_accounts"]["okx"]["USDT"]) == ({}, 9)


def test_a_snapshot_is_a_copy_and_the_views_are_read_only_and_current(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        opened = payload(
            "PERP_OPENED", perp("OPEN", "-1", entry_price="3000"), token("binance", "USDT", "-1"), minute=1
        )
        snapshot = await monitor.update(opened)
        wallet_view, perps = monitor.wallet, monitor.perp_positions
        snapshot["wallet"]["USDT"] = Decimal(0)
        snapshot["cex_accounts"]["binance"].clear()
        snapshot["perp_positions"]["binance"]["ETHUSDT-PERP"]["size"] = Decimal(5)
        assert monitor.get_snapshot()["perp_positions"]["binance"]["ETHUSDT-PERP"]["size"] == -1
        assert (monitor.wallet["USDT"], monitor.cex_accounts["binance"]["USDT"]) == (1000, -1)
        for view in (monitor.wallet, monitor.cex_accounts, monitor.cex_accounts["okx"], perps["binance"]):
            with pytest.raises(TypeError):
                view["USDT"] = 5  # type: ignore[index]
        with pytest.raises(TypeError):
            perps["binance"]["ETHUSDT-PERP"]["size"] = 5  # type: ignore[index]
        await monitor.update(payload("PERP_CLOSED", perp("CLOSE"), minute=2))
        await monitor.update(payload("WITHDRAWAL", wallet("USDT", "-1"), minute=3))
        assert (wallet_view["USDT"], dict(perps["binance"])) == (999, {})

    run(backtest(home), work)


def test_json_carries_amounts_as_decimal_strings_without_exponents(home: Path) -> None:
    monitor = backtest(home)
    [snapshot] = updated(monitor, payload("DEPOSIT", wallet("ETH", "0.000000000000000001"), minute=1))
    text = monitor.to_json(snapshot)
    assert '"ETH":"0.000000000000000001"' in text
    assert json.loads(text)["wallet"]["USDT"] == "1000"
    assert json.loads(text).keys() == snapshot.keys()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "changes: list is not a mapping"),
        ({"token_changes": [wallet("ETHH", 1)]}, "'ETHH' is not a registered token"),
        ({"token_changes": [token("kraken", "ETH", 1)]}, "'kraken' is not a venue"),
        ({"token_changes": [wallet("USDT", 0.1 + 0.2)]}, "more decimal places than USDT"),
        ({"token_changes": [wallet("ETH", float("nan"))]}, "not a finite number"),
        ({"token_changes": [wallet("ETH", True)]}, "is not a number"),
        ({"token_changes": [wallet("ETH", 1)], "note": "x"}, "note: unknown field"),
        ({"timestamp": "2024-05-13", "token_changes": [wallet("ETH", 1)]}, "no time zone"),
        ({"trigger": "GAS", "token_changes": [wallet("ETH", 1)]}, "'GAS' is not a trigger"),
        ({"trigger": "GAS_FEE_PAID", "token_changes": [wallet("ETH", 1)]}, "takes wallet ETH down"),
        ({"token_changes": [wallet("USDT", -1001)]}, "wallet USDT would be -1"),
        ({"token_changes": [wallet("USDT", -1, new_balance=998.5)]}, "would be 999, not 998.5"),
        ({"timestamp": "2020-01-01T00:00:00Z", "token_changes": [wallet("ETH", 1)]}, "before the portfolio's start"),
        (
            {"token_changes": [token("okx", "USDT", -1)], "derivative_changes": [perp("CLOSE", venue="okx")]},
            "which is not open",
        ),
        ({"trigger": "INITIAL_CAPITAL", "token_changes": [wallet("USDT", 1)]}, "has its initial capital"),
    ],
)
def test_a_refused_update_changes_nothing(home: Path, changes: Any, message: str) -> None:
    async def work(monitor: PositionMonitor) -> None:
        before = monitor.get_snapshot()
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is looked at below
            await monitor.update(changes)
        assert isinstance(caught.value, BasisError)
        assert message in str(caught.value)
        assert monitor.get_snapshot() == before
        assert len(stored(monitor)) == 1

    run(backtest(home), work)


def test_the_same_id_counts_once_and_with_other_content_is_refused(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        change = payload("DEPOSIT", wallet("ETH", "1"), minute=1, entry_id="desk-1")
        first = await monitor.update(change)
        await monitor.update(payload("DEPOSIT", wallet("ETH", "5"), minute=2))
        again = await monitor.update({**change, "token_changes": [token("WALLET", "ETH_spot", 1.0)]})
        assert (first["wallet"]["ETH"], again["wallet"]["ETH"], again["ledger_sequence"]) == (1, 6, 3)
        with pytest.raises(ValueError, match="with other content"):
            await monitor.update({**change, "token_changes": [wallet("ETH", "2")]})
        assert monitor.get_snapshot() == again

    run(backtest(home), work)


def test_missing_ids_are_made_up_and_missing_times_are_the_last_entrys(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        for changes in ({"timestamp": at(7)}, {}, {"id": None, "timestamp": None, "trigger": None}):
            await monitor.update({**changes, "token_changes": [wallet("ETH", 1.0)], "derivative_changes": None})
        entries = stored(monitor)[1:]
        assert [entry.update.timestamp for entry in entries] == [at(7)] * 3
        assert len({entry.update.id for entry in entries}) == 3
        assert monitor.wallet["ETH"] == 3

    run(backtest(home), work)


SUPPLY = [wallet("weETH", "-1"), wallet("aWeETH", "0.9")]
BUY = [token("okx", "ETH", "1"), token("okx", "USDT", "-3000")]


@pytest.mark.parametrize(
    ("legs", "trigger"),
    [
        ([wallet("ETH", "1")], Trigger.DEPOSIT),
        ([wallet("USDT", "-1")], Trigger.WITHDRAWAL),
        ([wallet("ETH", "-0.0035", reason="GAS_FEE_PAID")], Trigger.GAS_FEE_PAID),
        ([wallet("ETH", "-0.0035", reason="GAS_FEE")], Trigger.GAS_FEE_PAID),
        ([token("okx", "USDT", "1", reason="FUNDING_PAYMENT")], Trigger.FUNDING_PAYMENT),
        ([wallet("ETH", "-1"), wallet("weETH", "0.9")], Trigger.STAKE_DEPOSIT),
        (SUPPLY, Trigger.COLLATERAL_SUPPLIED),
        ([{**leg, "reason": "AAVE_SUPPLY"} for leg in SUPPLY], Trigger.COLLATERAL_SUPPLIED),
        ([wallet("BTC", "-1"), wallet("aBTC", "0.9")], Trigger.COLLATERAL_SUPPLIED_BTC),
        ([wallet("aUSDT", "-1"), wallet("USDT", "1.1")], Trigger.COLLATERAL_WITHDRAWN_USDT),
        ([wallet("variableDebtWETH", "1"), wallet("WETH", "1")], Trigger.LOAN_CREATED),
        ([wallet("variableDebtUSDT", "-1"), wallet("USDT", "-1")], Trigger.LOAN_REPAID_USDT),
        ([wallet("USDT", "-5"), token("okx", "USDT", "4")], Trigger.VENUE_TRANSFER),
        (BUY, Trigger.SPOT_TRADE),
        ([token("binance", "EIGEN", "-9"), token("binance", "USDT", "9")], Trigger.SEASONAL_REWARDS_SOLD),
        ([wallet("KING", "-1"), wallet("EIGEN", "1")], Trigger.KING_UNWRAPPED),
        ([wallet("WETH", "1", reason="FLASH_LOAN"), wallet("WETH", "-1", reason="FLASH_LOAN_REPAID")],
         Trigger.ATOMIC_LEVERAGE_LOOP),
        ([perp("OPEN", "-1", entry_price="1")], Trigger.PERP_OPENED),
        ([perp("ADJUST", "-1")], Trigger.PERP_ADJUSTED),
        ([perp("CLOSE"), token("binance", "USDT", "1")], Trigger.PERP_CLOSED),
        ([perp("CLOSE"), perp("OPEN", "1", entry_price="1", venue="okx")], Trigger.TRADE_EXECUTED),
    ],
)  # fmt: skip
def test_a_missing_trigger_is_what_the_legs_can_only_mean(legs: list[Leg], trigger: Trigger) -> None:
    update = parse_update(payload("HOURLY_RECONCILIATION", *legs))
    assert inferred_trigger(update, DEFAULT_REGISTRY) is trigger


@pytest.mark.parametrize(
    ("legs", "message"),
    [
        ([], "its legs have the shape of none"),
        ([wallet("ETH", "-1")], "it could be WITHDRAWAL or GAS_FEE_PAID"),
        ([token("okx", "USDT", "1")], "it could be DEPOSIT or FUNDING_PAYMENT"),
        ([wallet("KING", "1")], "it could be DEPOSIT or KING_REWARD_DISTRIBUTION"),
        ([wallet("ETH", "-1"), wallet("aWeETH", "1"), token("okx", "ETH", "1")], "its legs have the shape of none"),
        ([perp("OPEN", "-1", entry_price="1"), wallet("ETH", "-1")], "its legs have the shape of none"),
    ],
)
def test_a_trigger_that_could_be_another_is_asked_for(legs: list[Leg], message: str) -> None:
    update = parse_update(payload("HOURLY_RECONCILIATION", *legs))
    with pytest.raises(ValueError, match=f"trigger: is missing, and {message}; say which"):
        inferred_trigger(update, DEFAULT_REGISTRY)


def test_a_missing_trigger_is_stored_as_what_it_was_taken_for(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update({"token_changes": BUY})
        assert stored(monitor)[-1].update.trigger is Trigger.SPOT_TRADE

    run(backtest(home), work)


def test_updates_at_once_in_one_process_are_taken_in_order(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> list[dict[str, Any]]:
        changes = [payload("DEPOSIT", wallet("ETH", "1"), minute=1, entry_id=f"n-{n}") for n in range(30)]
        snapshots = await asyncio.gather(*(monitor.update(each) for each in changes))
        assert [entry.update.id for entry in stored(monitor)[1:]] == [each["id"] for each in changes]
        return snapshots

    snapshots = run(backtest(home), work)
    assert [s["ledger_sequence"] for s in snapshots] == list(range(2, 32))
    assert [s["wallet"]["ETH"] for s in snapshots] == list(range(1, 31))


def test_a_backtest_may_run_one_event_loop_after_the_other(home: Path) -> None:
    monitor = backtest(home)

    async def work() -> None:
        await asyncio.gather(*(monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1)) for _ in range(5)))

    for _ in range(2):
        asyncio.run(work())
    assert monitor.wallet["ETH"] == 10
    asyncio.run(monitor.close())


def test_the_event_loop_goes_on_while_another_process_writes_to_the_ledger(tmp_path: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            given_up, waiting = (
                asyncio.create_task(monitor.update(payload("DEPOSIT", wallet("ETH", amount), minute=1)))
                for amount in ("2", "4")
            )
            for _ in range(10):
                await asyncio.sleep(0.01)
            assert not waiting.done()
            assert monitor.wallet["ETH"] == 1
            given_up.cancel()
            await asyncio.wait([given_up])
            other.execute("COMMIT")
        await waiting
        assert given_up.cancelled()
        assert (monitor.wallet["ETH"], len(stored(monitor))) == (7, 4), "it was handed over before it was given up"
        await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        assert monitor._state.snapshot() == monitor.get_snapshot()

    run(backtest(tmp_path), work)


def test_an_update_after_the_database_server_cut_the_connection_is_accepted(tmp_path: Path, postgres_url: str) -> None:
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"

    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        address = make_url(postgres_url).set(drivername="postgresql")
        with psycopg.connect(address.render_as_string(hide_password=False), autocommit=True) as server:
            assert server.execute(cut, [address.database]).rowcount > 0
        after = await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        assert (after["wallet"]["ETH"], len(stored(monitor))) == (2, 3)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BASIS_LEDGER__URL", postgres_url)
        run(backtest(tmp_path), work)


def test_an_update_that_is_cancelled_is_in_the_ledger_and_in_memory_or_in_neither(home: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        tasks = [
            asyncio.create_task(monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))) for _ in range(10)
        ]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        after = await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        assert after["ledger_sequence"] == len(stored(monitor)) == 1 + after["wallet"]["ETH"]

    run(backtest(home), work)


def test_a_late_update_restates_the_present(home: Path) -> None:
    first, late = updated(
        backtest(home),
        payload("PERP_OPENED", perp("OPEN", "-1", entry_price="3000"), minute=10),
        payload("DEPOSIT", wallet("ETH", "2"), minute=5),
    )
    assert (late["timestamp"], late["ledger_sequence"]) == (first["timestamp"], 3)
    assert late["wallet"]["ETH"] == 2
    assert late["perp_positions"] == first["perp_positions"]


def test_a_late_position_changes_what_later_entries_made_of_it(home: Path) -> None:
    *_, snapshot = updated(
        backtest(home),
        payload("PERP_OPENED", perp("OPEN", "-1", fill_price="3000"), minute=10),
        payload("PERP_ADJUSTED", perp("ADJUST", "-3", fill_price="3300"), minute=30),
        payload("PERP_ADJUSTED", perp("ADJUST", "-2", fill_price="3100"), minute=20),
    )
    position = snapshot["perp_positions"]["binance"]["ETHUSDT-PERP"]
    assert (position["size"], position["entry_price"]) == (-3, Decimal("3133.333333333333333333"))


def test_monitors_on_one_ledger_see_each_others_entries(home: Path) -> None:
    async def work(first: PositionMonitor) -> None:
        async with backtest(home) as second:
            await first.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
            assert second.wallet["ETH"] == second.get_snapshot()["wallet"]["ETH"] == 1
            await second.update(payload("PERP_OPENED", perp("OPEN", "-1", entry_price="1"), minute=2))
            third = await first.update(payload("DEPOSIT", wallet("ETH", "1"), minute=3))
            assert third["perp_positions"]["binance"]["ETHUSDT-PERP"]["size"] == -1
            await second.update(payload("WITHDRAWAL", wallet("USDT", "-900"), minute=2))
            with pytest.raises(ValueError, match="would be -100"):
                await first.update(payload("WITHDRAWAL", wallet("USDT", "-200"), minute=4))
            assert first.get_snapshot() == second.get_snapshot()

    run(backtest(home), work)


def test_a_monitor_shows_a_ledger_that_was_put_back(tmp_path: Path) -> None:
    async def work(monitor: PositionMonitor) -> None:
        await monitor.update(payload("DEPOSIT", wallet("ETH", "1"), minute=1))
        with monitor._ledger.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM legs WHERE sequence = 2")
            connection.exec_driver_sql("DELETE FROM entries WHERE sequence = 2")
            connection.exec_driver_sql(
                "UPDATE portfolios SET head_sequence = 1, head_hash = (SELECT hash FROM entries), "
                "last_timestamp = (SELECT timestamp FROM entries)"
            )
        assert monitor.get_snapshot()["wallet"]["ETH"] == 0
        after = await monitor.update(payload("DEPOSIT", wallet("BTC", "1"), minute=1))
        assert (after["ledger_sequence"], after["wallet"]["BTC"], after["wallet"]["ETH"]) == (2, 1, 0)

    run(backtest(tmp_path), work)
