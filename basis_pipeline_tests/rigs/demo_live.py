"""`make demo-live`: live mode against a real node with Aave, three exchanges on loopback and a real Redis.

Everything the product does is done by its own commands, in processes of their own, as an operator would; the strategy's
part by a ``PositionMonitor``. Nothing outside this machine is read or traded.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Console

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.rigs.ethereum import RigUnavailable
from basis_pipeline_tests.rigs.live_fund import CAPITAL, PORTFOLIO, LiveFund, live_fund

VERSION = "v3.0.2"
"""Needs no compiler, so a first run takes less time."""
_console = Console(highlight=False)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="basis-demo-live-") as folder:
        say(
            "Starting a chain with Aave v3, Binance, Bybit and OKX on loopback, and Redis (the first time a minute) ..."
        )
        try:
            with live_fund(Path(folder), version=VERSION, reconciliation={"second_reading_after": "1s"}) as fund:
                ready = time.monotonic()
                code = tell(fund)
        except (RigUnavailable, FileNotFoundError) as error:
            _console.print(f"[red]This machine cannot run the demo:[/red] {error}")
            return 1
    done = time.monotonic()
    say(f"Done in {done - began:.0f} s, {done - ready:.0f} s of it after the rigs were up.")
    return code


def tell(fund: LiveFund) -> int:
    step("1", "Is everything connected and configured? basis doctor")
    basis(fund, "doctor")
    step("2", "A first start without history: what is there becomes the opening of the books. basis reconcile")
    opening = basis(fund, "reconcile")
    step("3", "The strategy supplies 4 weETH to Aave and opens a short on Binance, and tells the monitor")
    asyncio.run(trade(fund))
    step("4", "Nothing has drifted: the chain and the exchanges agree with the ledger to the last digit")
    clean = basis(fund, "reconcile")
    step("5", "Now 12.34 USDT leave Binance, and 0.0021 ETH the wallet, and nobody tells the ledger")
    fund.binance.add(fund.part("binance"), "USDT", "-12.34")
    fund.chain.transfer(fund.wallet, fund.chain.wallet("somebody"), "ETH", "0.0021")
    fund.chain.settle()
    step("6", "The drift is found, read a second time because it might have been in flight, and adjusted")
    drifted = basis(fund, "reconcile")
    step("7", "And once more: the adjustment is an entry in the ledger, so all is matched again")
    again = basis(fund, "reconcile")
    step("8", "Where things stand. basis status")
    basis(fund, "status")
    step("9", "The day's books. basis materialize, basis equity")
    materialized = basis(fund, "materialize", "--last")
    basis(fund, "equity", "--portfolio", PORTFOLIO)
    expected = {"opening": opening == 0, "clean": clean == 0, "again": again == 0, "materialized": materialized == 0}
    wrong = [name for name, fine in expected.items() if not fine]
    if wrong:
        _console.print(f"[red]Not as expected: {', '.join(wrong)} (drift ended with {drifted})[/red]")
    return 1 if wrong else 0


async def trade(fund: LiveFund) -> None:
    """On the venues first, then in the ledger: as fills and receipts would come back to a strategy."""
    fund.chain.supply(fund.wallet, "weETH", "4")
    scaled = Decimal(fund.chain.scaled_balance_of(fund.wallet, "aWeETH")).scaleb(-18)
    fund.chain.settle()
    fund.binance.set_position("ETHUSDT-PERP", "-2.5", "3001.2")
    fund.binance.add(fund.part("binance"), "USDT", "-3.0012")
    os.environ.update(fund.environment)
    monitor = PositionMonitor({"home": fund.home, "portfolio": PORTFOLIO}, "live", CAPITAL, "USDT")
    async with monitor:
        await monitor.update(
            {
                "trigger": "COLLATERAL_SUPPLIED",
                "token_changes": [
                    {"venue": "WALLET", "token": "weETH", "delta": "-4", "reason": "COLLATERAL_SUPPLIED"},
                    {"venue": "WALLET", "token": "aWeETH", "delta": scaled, "reason": "COLLATERAL_SUPPLIED"},
                ],
            }
        )
        snapshot = await monitor.update(
            {
                "trigger": "PERP_OPENED",
                "token_changes": [
                    {"venue": "binance", "token": "USDT", "delta": "-3.0012", "reason": "PERP_EXECUTION_COST"}
                ],
                "derivative_changes": [
                    {
                        "venue": "binance",
                        "instrument": "ETHUSDT-PERP",
                        "action": "OPEN",
                        "data": {"size": "-2.5", "entry_price": "3001.2", "notional_usd": "7503"},
                    }
                ],
            }
        )
    show(snapshot)


def show(snapshot: dict[str, Any]) -> None:
    held = {token: amount for token, amount in snapshot["wallet"].items() if amount}
    perps = ", ".join(snapshot["perp_positions"]["binance"])
    say("  wallet: " + ", ".join(f"{amount:f} {token}" for token, amount in held.items()))
    say(f"  perps:  {perps} on binance; as of ledger sequence {snapshot['ledger_sequence']}")


def basis(fund: LiveFund, *arguments: str) -> int:
    """Run the command as an operator would; returns its exit code."""
    _console.print(f"[dim]$ basis {' '.join(arguments)}[/dim]")
    command = [sys.executable, "-m", "basis_pipeline", *arguments]
    return subprocess.run(command, env=fund.environment, check=False).returncode


def step(number: str, text: str) -> None:
    _console.print(f"\n[bold]{number}. {text}[/bold]")


def say(text: str) -> None:
    _console.print(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BasisError as error:
        _console.print(f"[red]{error}[/red]")
        sys.exit(1)
