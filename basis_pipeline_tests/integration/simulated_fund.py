"""A trader for simulated days: what it does on the rigs it also tells the monitor, with the time at which it happened.

Its mistakes are deliberate and are made by the test, on the rigs only.
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.rigs.live_fund import LiveFund

SECOND = timedelta(seconds=1)


class SimulatedClock:
    """Time moves when it is told to."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


class Trader:
    """One fund, its rigs, and the monitor that is told."""

    def __init__(self, fund: LiveFund, monitor: PositionMonitor, clock: SimulatedClock) -> None:
        self.fund = fund
        self.monitor = monitor
        self.clock = clock
        self.loop = asyncio.new_event_loop()

    def close(self) -> None:
        self.loop.run_until_complete(self.monitor.close())
        self.loop.close()

    def tell(
        self, trigger: str, *legs: tuple[str, str, Decimal | str], perps: list[dict[str, Any]] | None = None
    ) -> None:
        """Tell the monitor: legs are (venue, token, delta)."""
        tokens = [{"venue": venue, "token": token, "delta": Decimal(delta)} for venue, token, delta in legs]
        changes = {
            "timestamp": self.clock.now,
            "trigger": trigger,
            "token_changes": tokens,
            "derivative_changes": perps or [],
        }
        self.loop.run_until_complete(self.monitor.update(changes))

    def at(self, moment: datetime) -> None:
        """Go to a moment; the chain gets a block there."""
        self.clock.now = moment
        self.fund.chain.set_time(moment)

    def on_chain(self) -> None:
        """What comes next happened in the newest block."""
        self.clock.now = self.fund.chain.now

    # On chain.

    def _scaled(self, token: str) -> Decimal:
        chain = self.fund.chain
        return Decimal(chain.scaled_balance_of(self.fund.wallet, token)).scaleb(-chain.registry.token(token).decimals)

    def _aave(self, what: str, trigger: str, token: str, receipt: str, amount: str, sign: int) -> None:
        before = self._scaled(receipt)
        getattr(self.fund.chain, what)(self.fund.wallet, token, amount)
        self.on_chain()
        legs = (("wallet", token, sign * Decimal(amount)), ("wallet", receipt, self._scaled(receipt) - before))
        self.tell(trigger, *legs)

    def supply(self, token: str, amount: str) -> None:
        self._aave("supply", "COLLATERAL_SUPPLIED", token, f"a{token[0].upper()}{token[1:]}", amount, -1)

    def withdraw(self, token: str, amount: str) -> None:
        self._aave("withdraw", "COLLATERAL_WITHDRAWN", token, f"a{token[0].upper()}{token[1:]}", amount, +1)

    def borrow(self, token: str, amount: str) -> None:
        self._aave("borrow", "LOAN_CREATED", token, f"variableDebt{token}", amount, +1)

    def repay(self, token: str, amount: str) -> None:
        self._aave("repay", "LOAN_REPAID", token, f"variableDebt{token}", amount, -1)

    def pay_gas(self, amount: str) -> None:
        self.fund.chain.transfer(self.fund.wallet, self.fund.chain.wallet("miner"), "ETH", amount)
        self.on_chain()
        self.tell("GAS_FEE_PAID", ("wallet", "ETH", -Decimal(amount)))

    def stake(self, eth: str, weeth: str) -> None:
        self.fund.chain.transfer(self.fund.wallet, self.fund.chain.wallet("etherfi"), "ETH", eth)
        self.fund.chain.give(self.fund.wallet, "weETH", weeth)
        self.on_chain()
        self.tell("STAKE_DEPOSIT", ("wallet", "ETH", -Decimal(eth)), ("wallet", "weETH", weeth))

    # On exchanges.

    def funding(self, venue: str, amount: str) -> None:
        self.fund.accounts[venue].add(self.fund.part(venue), "USDT", amount)
        self.tell("FUNDING_PAYMENT", (venue, "USDT", amount))

    def buy(self, venue: str, token: str, amount: str, cost: str) -> None:
        account, part = self.fund.accounts[venue], self.fund.part(venue)
        account.add(part, token, amount)
        account.add(part, "USDT", -Decimal(cost))
        self.tell("SPOT_TRADE", (venue, token, amount), (venue, "USDT", -Decimal(cost)))

    def perp(self, venue: str, action: str, size: str, entry: str, paid: str) -> None:
        """``paid``: fee less realized PnL, in USDT."""
        account = self.fund.accounts[venue]
        account.add(self.fund.part(venue), "USDT", -Decimal(paid))
        if action == "CLOSE":
            account.close_position("ETHUSDT-PERP")
        else:
            account.set_position("ETHUSDT-PERP", size, entry)
        data = {} if action == "CLOSE" else {"size": size, "entry_price": entry}
        leg = {"venue": venue, "instrument": "ETHUSDT-PERP", "action": action, "data": data}
        trigger = {"OPEN": "PERP_OPENED", "ADJUST": "PERP_ADJUSTED", "CLOSE": "PERP_CLOSED"}[action]
        self.tell(trigger, (venue, "USDT", -Decimal(paid)), perps=[leg])

    # Between them.

    def deposit(self, venue: str, amount: str) -> None:
        """Wallet to exchange, at once."""
        self.fund.chain.transfer(self.fund.wallet, self.fund.chain.wallet(venue), "USDT", amount)
        self.fund.accounts[venue].add(self.fund.part(venue), "USDT", amount)
        self.on_chain()
        self.tell("VENUE_TRANSFER", ("wallet", "USDT", -Decimal(amount)), (venue, "USDT", amount))

    def send(self, venue: str, amount: str) -> None:
        """Exchange to wallet: it leaves now and arrives later."""
        self.fund.accounts[venue].add(self.fund.part(venue), "USDT", -Decimal(amount))
        self.tell("VENUE_TRANSFER", (venue, "USDT", -Decimal(amount)), ("in_transit", "USDT", amount))

    def arrive(self, amount: str) -> None:
        """The transfer is in the wallet; the ledger is not told yet."""
        self.fund.chain.give(self.fund.wallet, "USDT", amount)

    def book_arrival(self, amount: str) -> None:
        self.on_chain()
        self.tell("VENUE_TRANSFER", ("in_transit", "USDT", -Decimal(amount)), ("wallet", "USDT", amount))
