"""A strategy reconciles through its monitor on real parts: it, the ledger and subscribers know what was found."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.observations import ReadingStatus
from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.ledger.readings import AccountRecord
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.monitors.builders import Subscriber
from basis_pipeline_tests.rigs.live_fund import CAPITAL, HOLDINGS, PORTFOLIO, LiveFund, live_fund


def found(records: dict[str, AccountRecord]) -> dict[tuple[str, str], tuple[Outcome, bool]]:
    """(account, key) to outcome and whether it was adjusted, where they did not simply match."""
    return {
        (name, row.key): (row.outcome, row.adjusted)
        for name, record in records.items()
        for row in record.comparisons
        if row.outcome is not Outcome.MATCHED
    }


async def strategy(monitor: PositionMonitor, fund: LiveFund, subscriber: Subscriber) -> None:
    opened = await monitor.reconcile_with_live()
    assert opened.keys() == {"fund_wallet", "binance", "bybit", "okx"}
    assert found(opened) == {}
    assert monitor.wallet["weETH"] == Decimal(HOLDINGS["wallet"]["weETH"])
    assert subscriber.snapshot()["cex_accounts"]["okx"]["USDT"] == HOLDINGS["okx"]["USDT"]

    reconciling = asyncio.create_task(monitor.reconcile_with_live())
    for _ in range(5):
        fund.okx.add(fund.part("okx"), "USDT", "1")
        leg = {"venue": "okx", "token": "USDT", "delta": "1"}
        await monitor.update({"trigger": "FUNDING_PAYMENT", "token_changes": [leg]})
    assert {outcome for outcome, _ in found(await reconciling).values()} <= {Outcome.IN_FLIGHT}

    fund.binance.add(fund.part("binance"), "USDT", "-12.5")
    drifted = await monitor.reconcile_with_live()
    assert found(drifted) == {("binance", "USDT"): (Outcome.DRIFT, True)}
    left = Decimal(HOLDINGS["binance"]["USDT"]) - Decimal("12.5")
    assert monitor.cex_accounts["binance"]["USDT"] == left
    assert subscriber.hears()[-1]["trigger"] == "HOURLY_RECONCILIATION"
    assert Decimal(subscriber.snapshot()["cex_accounts"]["binance"]["USDT"]) == left

    fund.venues.fail("/fapi/v3/account", "html")
    silent = await monitor.reconcile_with_live()
    assert silent["binance"].status is ReadingStatus.UNAVAILABLE
    assert monitor.cex_accounts["binance"]["USDT"] == left
    heads = [message["ledger_sequence"] for message in subscriber.hears()]
    assert heads == [*range(heads[0], monitor.get_snapshot()["ledger_sequence"] + 1)]


def test_a_strategy_reconciles_through_its_monitor(rigs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with live_fund(tmp_path, reconciliation={"second_reading_after": "0s"}) as fund:
        for name, value in fund.secrets.items():
            monkeypatch.setenv(name, value)

        async def main() -> None:
            config = {"home": tmp_path, "portfolio": PORTFOLIO}
            async with PositionMonitor(config, "live", CAPITAL, "USDT") as monitor:
                with Subscriber(fund.redis) as subscriber:
                    await strategy(monitor, fund, subscriber)

        asyncio.run(main())
