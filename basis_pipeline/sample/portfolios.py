"""The three synthetic portfolios: what each one does and when, as a list of steps.

Between them they use every trigger except ``INITIAL_CAPITAL``, which the ledger books itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from basis_pipeline.domain.changes import Trigger
from basis_pipeline.domain.instants import DAY
from basis_pipeline.domain.numbers import ZERO
from basis_pipeline.domain.tokens import IN_TRANSIT, WALLET
from basis_pipeline.sample.trader import Trader

Act = Callable[[Trader], None]

FUNDING_EVERY = timedelta(hours=8)
ETH_PERP = "ETHUSDT-PERP"
BTC_PERP = "BTCUSDT-PERP"
ETH_PERP_SHORT = "ETHUSDT-PERP:SHORT"
BTC_PERP_LONG = "BTCUSDT-PERP:LONG"


class Step(NamedTuple):
    """One thing a strategy does, so long after its start."""

    after: timedelta
    act: Act


@dataclass(frozen=True)
class Strategy:
    """The terms of a portfolio and its steps; ``steps`` takes the number of days to fill."""

    name: str
    share_class: str
    initial_capital: Decimal
    steps: Callable[[int], list[Step]]


def run(strategy: Strategy, trader: Trader, days: int) -> None:
    """Do every step that falls within the days, in order of time (those at the same time as they are listed)."""
    for step in sorted(strategy.steps(days), key=lambda step: step.after):
        if step.after < DAY * days:
            trader.now = trader.market.start + step.after
            step.act(trader)


def at(day: int, time: str, act: Act) -> Step:
    """A step on a day counted from 0, at a UTC time such as ``13:05``."""
    hours, minutes = time.split(":")
    return Step(timedelta(days=day, hours=int(hours), minutes=int(minutes)), act)


def usdt_lending(days: int) -> list[Step]:
    """USDT lent on Aave, with a subscription, a redemption and a spell of part of it on an exchange."""
    return [
        at(0, "00:05", lambda t: t.transfer("USDT", Decimal(5_000), WALLET, "binance")),
        at(0, "00:12", lambda t: t.spot("binance", "ETH", Decimal("0.6"))),
        at(0, "00:25", lambda t: t.transfer("ETH", Decimal("0.6"), "binance", WALLET, Decimal("0.0005"))),
        at(0, "00:38", lambda t: t.gas("APPROVAL")),
        at(0, "00:40", lambda t: t.supply("USDT", Decimal(940_000))),
        at(6, "14:10", lambda t: t.deposit("USDT", Decimal(250_000))),
        at(6, "14:45", lambda t: t.supply("USDT", Decimal(240_000))),
        at(11, "21:50", lambda t: t.withdraw("USDT", Decimal(60_000))),
        at(11, "22:40", lambda t: t.transfer("USDT", Decimal(60_000), WALLET, IN_TRANSIT)),
        at(12, "01:25", lambda t: t.receive("USDT", "bybit", Decimal(1))),
        at(17, "09:10", lambda t: t.transfer("USDT", t.balance("bybit", "USDT"), "bybit", IN_TRANSIT)),
        at(17, "11:35", lambda t: t.receive("USDT", WALLET, Decimal(4))),
        at(17, "12:00", lambda t: t.supply("USDT", Decimal(55_000))),
        at(20, "08:30", lambda t: t.withdraw("USDT", Decimal(100_000))),
        at(20, "15:20", lambda t: t.withdraw_capital("USDT", Decimal(120_000))),
        at(26, "10:15", lambda t: t.supply("USDT", Decimal(20_000))),
        *_daily(days),
    ]


def eth_loop(days: int) -> list[Step]:
    """ETH staked through EtherFi with borrowed WETH, a little Lido and plain WETH beside it, rewards sold for ETH."""
    return [
        at(0, "00:04", lambda t: t.gas("APPROVAL")),
        at(0, "00:04", lambda t: t.gas("SET_EMODE")),
        at(0, "00:05", lambda t: t.leverage_loop(Decimal(280), Decimal(700))),
        at(0, "00:20", lambda t: t.convert("ETH", Decimal(40), "WETH")),
        at(0, "00:24", lambda t: t.supply("WETH", Decimal(36))),
        at(0, "00:40", lambda t: t.stake("ETH", Decimal(30), "stETH")),
        at(0, "00:52", lambda t: t.stake("stETH", Decimal(20), "wstETH")),
        at(0, "00:55", lambda t: t.supply("wstETH", Decimal(12))),
        at(0, "01:10", lambda t: t.stake("ETH", Decimal(20), "eETH")),
        at(2, "10:30", lambda t: t.convert("eETH", Decimal(14), "weETH")),
        at(8, "09:40", lambda t: t.borrow("WETH", Decimal(25))),
        at(8, "09:45", lambda t: t.stake("WETH", Decimal(20), "weETH")),
        at(8, "09:50", lambda t: t.supply("weETH", t.balance(WALLET, "weETH"))),
        at(13, "16:05", lambda t: t.convert("wstETH", t.balance(WALLET, "wstETH"), "unstETH")),
        at(15, "11:15", lambda t: t.withdraw("wstETH", Decimal(6))),
        at(15, "11:30", lambda t: t.withdraw("WETH")),
        at(15, "11:35", lambda t: t.repay("WETH", Decimal(30))),
        at(16, "13:00", lambda t: t.withdraw("weETH", Decimal(9))),
        at(16, "13:10", lambda t: t.convert("weETH", Decimal(9), "unweETH")),
        at(18, "17:45", lambda t: t.convert("unstETH", t.balance(WALLET, "unstETH"), "ETH")),
        at(22, "08:20", lambda t: t.deleverage_loop(Decimal(60))),
        at(24, "19:05", lambda t: t.convert("unweETH", t.balance(WALLET, "unweETH"), "ETH")),
        *(step for day in range(5, days, 7) for step in _king_week(day)),
        *_daily(days),
    ]


def usdt_neutral(days: int) -> list[Step]:
    """Staked ETH against short perpetuals on three exchanges, for a while the same with BTC, and BTC the other way."""
    return [
        at(0, "00:04", lambda t: t.transfer("USDT", Decimal(640_000), WALLET, "binance")),
        at(0, "00:10", lambda t: t.transfer("USDT", Decimal(150_000), WALLET, "bybit")),
        at(0, "00:16", lambda t: t.transfer("USDT", Decimal(150_000), WALLET, "okx")),
        at(0, "00:25", lambda t: t.spot("binance", "ETH", Decimal(150))),
        at(0, "00:26", lambda t: t.perp("binance", ETH_PERP, Decimal(-60), Trigger.TRADE_EXECUTED)),
        at(0, "00:27", lambda t: t.perp("bybit", ETH_PERP, Decimal(-45))),
        at(0, "00:28", lambda t: t.perp("okx", ETH_PERP_SHORT, Decimal(-45))),
        at(0, "00:40", lambda t: t.transfer("ETH", Decimal(150), "binance", WALLET, Decimal("0.0005"))),
        at(0, "00:50", lambda t: t.stake("ETH", Decimal(70), "weETH")),
        at(0, "00:54", lambda t: t.stake("ETH", Decimal(75), "wstETH")),
        at(1, "09:15", lambda t: t.supply("weETH", t.balance(WALLET, "weETH"))),
        at(5, "10:05", lambda t: t.spot("binance", "BTC", Decimal("0.8"))),
        at(5, "10:06", lambda t: t.perp("bybit", BTC_PERP, Decimal("-0.8"))),
        at(5, "10:40", lambda t: t.transfer("BTC", Decimal("0.8"), "binance", WALLET, Decimal("0.00002"))),
        at(5, "11:10", lambda t: t.supply("BTC", t.balance(WALLET, "BTC"))),
        at(5, "11:20", lambda t: t.borrow("USDT", Decimal(40_000))),
        at(5, "22:30", lambda t: t.transfer("USDT", Decimal(40_000), WALLET, IN_TRANSIT)),
        at(6, "01:15", lambda t: t.receive("USDT", "bybit", Decimal(1))),
        at(7, "12:30", lambda t: t.perp("binance", ETH_PERP, Decimal(10))),
        at(7, "12:31", lambda t: t.perp("okx", ETH_PERP_SHORT, Decimal(-10))),
        at(9, "08:50", lambda t: t.borrow("BTC", Decimal("0.25"))),
        at(9, "09:30", lambda t: t.transfer("BTC", Decimal("0.25"), WALLET, "okx")),
        at(9, "09:32", lambda t: t.spot("okx", "BTC", Decimal("-0.25"))),
        at(9, "09:33", lambda t: t.perp("okx", BTC_PERP_LONG, Decimal("0.25"))),
        at(12, "15:10", _buy_on_margin),
        at(14, "15:40", _sell_what_was_bought_on_margin),
        at(16, "10:20", lambda t: t.spot("okx", "BTC", Decimal("0.251"))),
        at(16, "10:21", lambda t: t.close_perp("okx", BTC_PERP_LONG)),
        at(16, "11:00", lambda t: t.transfer("BTC", Decimal("0.251"), "okx", WALLET, Decimal("0.00002"))),
        at(16, "11:20", lambda t: t.repay("BTC")),
        at(19, "21:40", lambda t: t.transfer("USDT", Decimal(30_000), "bybit", IN_TRANSIT)),
        at(20, "00:35", lambda t: t.receive("USDT", "binance", Decimal(1))),
        at(24, "09:00", lambda t: t.repay("USDT")),
        at(24, "09:20", lambda t: t.withdraw("BTC")),
        at(24, "09:50", lambda t: t.transfer("BTC", t.balance(WALLET, "BTC"), WALLET, "binance")),
        at(24, "10:10", lambda t: t.spot("binance", "BTC", -t.balance("binance", "BTC"))),
        at(24, "10:11", lambda t: t.close_perp("bybit", BTC_PERP)),
        at(27, "13:20", _hedge_again),
        *(Step(FUNDING_EVERY * n, Trader.settle_funding) for n in range(1, days * 3)),
        *_daily(days),
    ]


STRATEGIES = (
    Strategy("sample_usdt_lending", "USDT", Decimal(1_000_000), usdt_lending),
    Strategy("sample_eth_loop", "ETH", Decimal(400), eth_loop),
    Strategy("sample_usdt_neutral", "USDT", Decimal(1_000_000), usdt_neutral),
)

DECIDING: Mapping[str, Mapping[str, object]] = {
    "lender": {"portfolio": "sample_usdt_lending", "kind": "usdt_lending", "reserve": "0.05"},
    "loop": {"portfolio": "sample_eth_loop", "kind": "eth_leveraged_loop", "target_ltv": "0.71", "reserve": "0.3"},
    "hedge": {
        "portfolio": "sample_usdt_neutral",
        "kind": "usdt_market_neutral",
        "allocation": {"binance": "60", "bybit": "45"},
    },
}
"""What decides over each of them, as ``strategies`` in a ``basis.yaml``; the short on okx is left to a person."""


def _daily(days: int) -> list[Step]:
    return [Step(DAY * n, Trader.reconcile) for n in range(1, days)]


def _king_week(day: int) -> list[Step]:
    """Rewards arrive, are unwrapped two days later, sold the day after, and pay back a little of the loan."""
    return [
        at(day, "12:00", lambda t: t.king_reward((t.supplied("weETH") / 32).quantize(Decimal("0.000001")))),
        at(day + 2, "14:30", Trader.unwrap_king),
        at(day + 3, "09:30", Trader.sell_rewards),
        at(day + 3, "18:10", lambda t: t.repay("WETH", Decimal("0.1"), paid_in="ETH")),
    ]


def _buy_on_margin(trader: Trader) -> None:
    """Buy ETH on binance for 15,000 USDT more than is there, hedged: the balance goes below zero, which is a loan."""
    price = trader.market.price("binance", "ETHUSDT", "spot", trader.now)
    spend = max(trader.balance("binance", "USDT"), ZERO) + 15_000
    quantity = (spend / price).quantize(Decimal("0.01"), ROUND_DOWN)
    trader.spot("binance", "ETH", quantity)
    trader.perp("binance", ETH_PERP, -quantity)


def _sell_what_was_bought_on_margin(trader: Trader) -> None:
    quantity = trader.balance("binance", "ETH")
    trader.spot("binance", "ETH", -quantity)
    trader.perp("binance", ETH_PERP, quantity)


def _hedge_again(trader: Trader) -> None:
    """Bring the short on okx to where all shorts together equal the staked ETH again."""
    lent = trader.supplied("weETH") * trader.market.staking_rate("weETH", trader.now)
    staked = trader.balance(WALLET, "wstETH") * trader.market.staking_rate("wstETH", trader.now)
    held = lent + staked + trader.balance(WALLET, "ETH")
    short = sum((p.size for (_, name), p in trader.book.positions.items() if name.startswith(ETH_PERP)), ZERO)
    trader.perp("okx", ETH_PERP_SHORT, -(held + short).quantize(Decimal("0.001")), Trigger.TRADE_EXECUTED)
