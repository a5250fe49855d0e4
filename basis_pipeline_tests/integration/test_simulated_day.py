"""A day of a fund that trades on a real chain and on three exchanges, reconciled every hour by the schedule's job.

Yesterday is lived again, hour by hour, on a simulated clock: everything else is real. What is injected is found and
explained or adjusted, nothing else is, and at the end equity from the ledger is what the venues' own numbers come to.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from eth_abi import decode

from basis_pipeline.domain.instants import DAY, HOUR
from basis_pipeline.domain.numbers import CONTEXT
from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.home import open_home
from basis_pipeline.ledger.readings import ReconciliationRecord, reconciliations_between
from basis_pipeline.ledger.verification import verify
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import daily_partitions, range_tags
from basis_pipeline.orchestration.hours import hour_key
from basis_pipeline.orchestration.jobs import PROJECTION, RECONCILIATION
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.orchestration.schedules import reconciliation_due
from basis_pipeline.settings import load_settings
from basis_pipeline.steps.ports import DayRange
from basis_pipeline_tests.homes import ask
from basis_pipeline_tests.integration.simulated_fund import SECOND, SimulatedClock, Trader
from basis_pipeline_tests.rigs.ethereum_node import call_data
from basis_pipeline_tests.rigs.live_fund import BTC_PRICE, CAPITAL, ETH_PRICE, PORTFOLIO, LiveFund, live_fund

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("rigs")]

MIDNIGHT = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
FAINT = Outcome.UNAVAILABLE
Expected = dict[tuple[str, str], tuple[Outcome, bool]]
"""(venue, key): outcome, and whether it was adjusted. Whatever is not named must match."""


@pytest.fixture
def trader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trader]:
    clock = SimulatedClock(MIDNIGHT)
    settings = {"reconciliation": {"second_reading_after": "0s"}}
    with live_fund(tmp_path / "home", start=MIDNIGHT, clock=clock, **settings) as fund:
        for name, value in fund.environment.items():
            monkeypatch.setenv(name, value)
        monitor = PositionMonitor({"home": fund.home, "portfolio": PORTFOLIO}, "live", CAPITAL, "USDT")
        trader = Trader(fund, monitor, clock)
        try:
            yield trader
        finally:
            trader.close()


# What the fund does in the hour before each reconciliation, and what it forgets.


def lends(trader: Trader) -> None:
    trader.supply("weETH", "6.5")
    trader.borrow("WETH", "2.000000000000000003")


def hedges(trader: Trader) -> None:
    for venue, size in (("binance", "-1.7"), ("bybit", "-0.9"), ("okx", "-1.2")):
        trader.perp(venue, "OPEN", size, "3004.5", "1.35")


def earns_funding(trader: Trader) -> None:
    trader.funding("binance", "2.17000123")
    trader.funding("bybit", "-0.4451")
    trader.funding("okx", "1.00000001")


def pays(trader: Trader) -> None:
    trader.pay_gas("0.000812345678901234")
    trader.buy("bybit", "ETH", "0.25", "752.125")


def rebalances(trader: Trader) -> None:
    trader.perp("binance", "ADJUST", "-2.1", "3011.25", "0.98")
    trader.perp("bybit", "ADJUST", "-0.4", "3004.5", "-3.2")
    trader.repay("WETH", "0.5")
    trader.withdraw("weETH", "1.25")


def moves(trader: Trader) -> None:
    trader.deposit("binance", "2500")
    trader.stake("0.5", "0.476190476190476190")
    trader.supply("USDT", "9000.000001")


def unwinds(trader: Trader) -> None:
    trader.perp("okx", "CLOSE", "0", "0", "-7.77")
    trader.withdraw("USDT", "100")


def nothing(_trader: Trader) -> None:
    """A quiet hour."""


def loses_a_fee(trader: Trader) -> None:
    trader.fund.bybit.add("unified", "USDT", "-0.75")


def forgets_gas(trader: Trader) -> None:
    trader.fund.chain.transfer(trader.fund.wallet, trader.fund.chain.wallet("miner"), "ETH", "0.000000000000000001")


def is_partly_liquidated(trader: Trader) -> None:
    trader.fund.okx.set_position("ETHUSDT-PERP", "-1.0", "3004.5")


def gets_an_airdrop(trader: Trader) -> None:
    trader.fund.binance.add("usdm_futures", "BTC", "0.001")


def loses_everything_of_one_coin(trader: Trader) -> None:
    trader.fund.bybit.set_balance("unified", "ETH", "0")


def sends(trader: Trader) -> None:
    trader.send("okx", "500")


def receives(trader: Trader) -> None:
    trader.arrive("500")


def books_what_it_received(trader: Trader) -> None:
    trader.book_arrival("500")


def cannot_reach_binance(trader: Trader) -> None:
    trader.funding("okx", "0.5")
    trader.fund.venues.fail("/fapi/v3/account", "503")


def reaches_it_again(trader: Trader) -> None:
    trader.fund.venues.heal()


def is_told_early(trader: Trader) -> None:
    """The fill is booked, the exchange shows it only after it was read."""
    trader.tell("FUNDING_PAYMENT", ("okx", "USDT", "3.5"))


def sees_it_at_last(trader: Trader) -> None:
    trader.fund.okx.add("trading", "USDT", "3.5")


ADJUSTED, ALONE = True, False
DAY_PLAN: list[tuple[Callable[[Trader], None], Expected]] = [
    (nothing, {}),
    (lends, {}),
    (hedges, {}),
    (earns_funding, {}),
    (loses_a_fee, {("bybit", "USDT"): (Outcome.DRIFT, ADJUSTED)}),
    (pays, {}),
    (forgets_gas, {("wallet", "ETH"): (Outcome.DRIFT, ADJUSTED)}),
    (nothing, {}),
    (rebalances, {}),
    (is_partly_liquidated, {("okx", "ETHUSDT-PERP"): (Outcome.DRIFT, ADJUSTED)}),
    (earns_funding, {}),
    (cannot_reach_binance, {("binance", "USDT"): (FAINT, ALONE), ("binance", "ETHUSDT-PERP"): (FAINT, ALONE)}),
    (reaches_it_again, {}),
    (moves, {}),
    (gets_an_airdrop, {("binance", "BTC"): (Outcome.UNEXPECTED, ADJUSTED)}),
    (nothing, {}),
    (sends, {}),
    (receives, {("wallet", "USDT"): (Outcome.IN_FLIGHT, ALONE)}),
    (books_what_it_received, {}),
    (loses_everything_of_one_coin, {("bybit", "ETH"): (Outcome.MISSING, ADJUSTED)}),
    (is_told_early, {("okx", "USDT"): (Outcome.IN_FLIGHT, ALONE)}),
    (sees_it_at_last, {}),
    (unwinds, {}),
    (earns_funding, {}),
]
EARLY = {is_told_early: timedelta(minutes=58)}
"""When in its hour something happens, if not after twenty minutes."""


def test_a_day_of_trading_is_reconciled_every_hour_and_its_equity_is_what_the_venues_say(trader: Trader) -> None:
    fund, clock = trader.fund, trader.clock
    assert len(DAY_PLAN) == 24
    for number, (happens, expected) in enumerate(DAY_PLAN):
        hour = MIDNIGHT + number * HOUR
        if number:
            trader.at(hour + timedelta(minutes=10))
            fund.set_prices(ETH_PRICE + 7 * number - 3 * (number % 4), BTC_PRICE + 11 * number)
            clock.now = hour + timedelta(minutes=20)
            moment = hour + EARLY.get(happens, timedelta(minutes=20))
            trader.at(moment)
            happens(trader)
            trader.at(hour + timedelta(minutes=59))
            fund.chain.settle()
        clock.now = hour + (HOUR if number else timedelta(minutes=5)) + 5 * SECOND
        record = reconciled(trader, clock.now)
        found = {
            (account.account.venue, row.key): (row.outcome, row.adjusted)
            for account in record.accounts
            for row in account.comparisons
            if row.outcome is not Outcome.MATCHED
        }
        assert found == expected, f"hour {number} ({happens.__name__}): {record}"
    clock.now = MIDNIGHT + DAY + timedelta(minutes=2)
    run(trader, PROJECTION, days=DayRange(MIDNIGHT.date(), clock.now.date()))
    at_the_end = MIDNIGHT + DAY
    total, nav = ask(
        fund.home,
        f"SELECT total_equity, nav FROM equity_snapshots WHERE as_of = TIMESTAMP '{at_the_end:%Y-%m-%d %H:%M}'",
    )[0]
    expected_total, expected_pnl = worth(fund)
    assert total == pytest.approx(expected_total, rel=Decimal("1e-21"), abs=0)
    assert nav == pytest.approx(expected_total + expected_pnl, rel=Decimal("1e-21"), abs=0)
    hours = ask(fund.home, "SELECT count(DISTINCT as_of) FROM equity_snapshots WHERE minute(as_of) = 0")[0][0]
    assert hours == 24
    with open_home(fund.home) as home:
        assert verify(home.ledger.engine).problems == ()


def reconciled(trader: Trader, now: datetime) -> ReconciliationRecord:
    """What the schedule's job of this moment came to."""
    tick = now.replace(minute=0, second=0, microsecond=0)
    due = reconciliation_due(load_settings(trader.fund.home), tick, now)
    assert isinstance(due, dg.RunRequest)
    run(trader, RECONCILIATION, partition_key=due.partition_key)
    with open_home(trader.fund.home) as home:
        (record,) = reconciliations_between(home.ledger.engine, tick, tick + HOUR)
    assert not [account.note for account in record.accounts if account.note]
    return record


def run(trader: Trader, name: str, *, partition_key: str | None = None, days: DayRange | None = None) -> None:
    home = trader.fund.home
    definitions = build_definitions(home, pool=None)
    tags = {} if days is None else range_tags(daily_partitions(load_settings(home)), days)
    resource = HomeResource.watched(home, clock=trader.clock)
    with warnings.catch_warnings(), dg.DagsterInstance.ephemeral() as instance:
        warnings.simplefilter("ignore", DeprecationWarning)
        result = definitions.resolve_job_def(name).execute_in_process(
            instance=instance,
            partition_key=partition_key,
            tags=tags,
            resources={"home": dg.ResourceDefinition.hardcoded_resource(resource)},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=True,
        )
    assert result.success
    assert partition_key is None or partition_key == hour_key(trader.clock.now)


def worth(fund: LiveFund) -> tuple[Decimal, Decimal]:
    """Equity and unrealised PnL from what the chain and the exchanges themselves say, without the product."""
    block = ask(fund.home, "SELECT max(block_number) FROM venue_observations")[0][0]
    usdt, eth, btc = (oracle(fund, token, block) for token in ("USDT", "WETH", "BTC"))
    eth, btc = (spot(fund, symbol) * usdt for symbol in ("ETHUSDT", "BTCUSDT"))
    weeth = Decimal(view(fund, "weETH", "getRate()", (), block)).scaleb(-18) * eth
    prices = {"ETH": eth, "WETH": eth, "weETH": weeth, "USDT": usdt, "BTC": btc}
    equity = CONTEXT.create_decimal(0)
    wei = int(fund.chain.node.rpc("eth_getBalance", fund.wallet, hex(block)), 16)
    equity += Decimal(wei).scaleb(-18) * eth
    for token, price in prices.items():
        if token != "ETH":
            equity += held(fund, token, "balanceOf(address)", block) * price
    for token, receipt in (("weETH", "aWeETH"), ("USDT", "aUSDT")):
        index = ray(fund, "getReserveNormalizedIncome(address)", token, block)
        equity = CONTEXT.add(
            equity, CONTEXT.multiply(held(fund, receipt, "scaledBalanceOf(address)", block) * index, prices[token])
        )
    index = ray(fund, "getReserveNormalizedVariableDebt(address)", "WETH", block)
    owed = CONTEXT.multiply(held(fund, "variableDebtWETH", "scaledBalanceOf(address)", block), index)
    equity = CONTEXT.subtract(equity, CONTEXT.multiply(owed, eth))
    profit = Decimal(0)
    for venue, account in fund.accounts.items():
        for token in account.coins(fund.part(venue)):
            free, locked, borrowed = account.held(fund.part(venue), token)
            equity = CONTEXT.add(equity, CONTEXT.multiply(free + locked - borrowed, prices[token]))
        for position in account.open_positions("USDT"):
            profit += account.pnl(position) * usdt
    return equity / usdt, profit / usdt


def spot(fund: LiveFund, symbol: str) -> Decimal:
    return fund.venues.prices.at("binance", symbol, "spot", int((MIDNIGHT + DAY).timestamp() * 1000))


def view(fund: LiveFund, token: str, signature: str, arguments: tuple[Any, ...], block: int) -> int:
    return _view(fund, fund.chain.tokens[token], signature, arguments, block)


def held(fund: LiveFund, token: str, signature: str, block: int) -> Decimal:
    units = view(fund, token, signature, (fund.wallet,), block)
    return Decimal(units).scaleb(-fund.chain.registry.token(token).decimals)


def ray(fund: LiveFund, signature: str, token: str, block: int) -> Decimal:
    return Decimal(_view(fund, fund.chain.addresses["pool"], signature, (fund.chain.tokens[token],), block)).scaleb(-27)


def oracle(fund: LiveFund, token: str, block: int) -> Decimal:
    arguments = (fund.chain.tokens[token],)
    return Decimal(_view(fund, fund.chain.addresses["oracle"], "getAssetPrice(address)", arguments, block)).scaleb(-8)


def _view(fund: LiveFund, to: str, signature: str, arguments: tuple[Any, ...], block: int) -> int:
    data = call_data(signature, arguments)
    answer = fund.chain.node.rpc("eth_call", {"to": to, "data": data}, hex(block))
    return int(decode(["uint256"], bytes.fromhex(answer[2:]))[0])
