"""A live fund by its ledger and by its venues, all parts real: the same digits, and what differs is drift."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.home import Home, open_home
from basis_pipeline.live import reconcile_accounts
from basis_pipeline.monitors.equity import Drift, EquityOfBoth, calculate_drift, open_equity_of_both
from basis_pipeline_tests.rigs.live_fund import CAPITAL, ETH_PRICE, PORTFOLIO, LiveFund, live_fund


async def watch(fund: LiveFund, home: Home) -> None:
    await reconcile_accounts(home, home.ports())
    async with open_equity_of_both(home, PORTFOLIO) as both:
        agreed = await drift(both)
        assert agreed.lines == ()
        assert agreed.tracked.equity_by_venue == agreed.actual.equity_by_venue
        assert agreed.tracked.equity_by_asset == agreed.actual.equity_by_asset
        assert agreed.actual.nav == agreed.tracked.nav - agreed.tracked.in_transit
        assert CAPITAL - 200 < agreed.actual.total_equity < CAPITAL

        fund.okx.add(fund.part("okx"), "USDT", "-40.5")
        fund.bybit.set_balance(fund.part("bybit"), "ETH", "-0.01")
        found = await drift(both)
        assert [line[:2] for line in found.lines] == [("okx", "USDT"), ("bybit", "ETH")]
        assert found.lines[0].value == Decimal("-40.5")
        assert found.lines[1].value == Decimal("-0.01") * ETH_PRICE
        assert found.total_equity == Decimal("-70.5")
        assert {debt.asset for debt in found.actual.debts} == {"ETH"}

        fund.chain.supply(fund.wallet, "weETH", "4")
        fund.chain.borrow(fund.wallet, "WETH", "1")
        fund.chain.settle()
        lent = await drift(both)
        places = {line[:2]: line.actual - line.tracked for line in lent.lines}
        assert places["etherfi", "weETH"] == -4
        assert places["aave", "aWeETH"] > 0
        assert places["aave", "variableDebtWETH"] < 0
        assert places["wallet", "WETH"] == 1
        assert lent.total_equity == sum(line.value for line in lent.lines)

        fund.venues.fail("/fapi/v3/account", "html")
        with pytest.raises(VenueError, match=r"^binance: "):
            await drift(both)


async def drift(both: EquityOfBoth) -> Drift:
    """What the difference is worth, which is that of the two equities."""
    found = await calculate_drift(both, "USDT")
    assert found.total_equity == found.actual.total_equity - found.tracked.total_equity
    return found


def test_ledger_and_venues_have_the_same_equity_until_they_drift(
    rigs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live_fund(tmp_path / "home") as fund:
        for name, secret in fund.secrets.items():
            monkeypatch.setenv(name, secret)
        with open_home(fund.home) as home:
            asyncio.run(watch(fund, home))
