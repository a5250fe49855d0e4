"""Accounts with a script of answers, and a fund that reconciles with them at a time that the test sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from basis_pipeline.domain.observations import Account, Finding, Reading
from basis_pipeline.domain.reconciliation import Outcome, Rules
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.steps.ports import Ports
from basis_pipeline.steps.reconciliation import ReconciliationReport, reconcile
from basis_pipeline_tests.builders import FixedMarket, at
from basis_pipeline_tests.domain.reconciling import reading, unavailable

NOW = 10_005.0
"""Minutes after the start at which the tests reconcile: 23:45, eight days on."""
HOUR = at(NOW).replace(minute=0)
Answer = Reading | Exception | Callable[[], Reading]


class Scripted:
    """A reader of one account that gives its answers in turn, the last one again and again."""

    def __init__(self, *answers: Answer, delay: float = 0, of: Account | None = None) -> None:
        self._answers = list(answers)
        self._delay = delay
        first = answers[0]
        known = of or (first.account if isinstance(first, Reading) else None)
        assert known is not None
        self.accounts: Sequence[Account] = (known,)
        self.times_read = 0

    async def read(self) -> Sequence[Reading]:
        self.times_read += 1
        await asyncio.sleep(self._delay)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return [answer if isinstance(answer, Reading) else answer()]

    async def check(self) -> Sequence[Finding]:
        return []

    async def close(self) -> None:
        return None


class Markets:
    """The same prices at every time."""

    def __init__(self, **prices: str) -> None:
        self._market = FixedMarket(
            prices, {("binance", "ETHUSDT-PERP"): "3000"}, {"aave:USDT:liquidity": "1.1", "aave:WETH:debt": "1.1"}
        )

    def window(self, first: datetime, last: datetime) -> Any:
        return self._market


@dataclass
class Fund:
    """A fund's ledger, and how it reconciles."""

    ledger: Ledger
    home: Path
    minute: float = NOW
    rules: Rules = field(default_factory=Rules)
    slept: list[float] = field(default_factory=list)
    prices: dict[str, str] = field(default_factory=lambda: {"USDT": "1", "ETH": "3000"})

    @property
    def ports(self) -> Ports:
        return Ports(self.home, self.ledger, Markets(**self.prices), DEFAULT_REGISTRY, clock=lambda: at(self.minute))

    def reconcile(self, *readers: Scripted, **rules: Any) -> ReconciliationReport:
        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        chosen = Rules(**rules) if rules else self.rules
        return asyncio.run(reconcile(self.ports, readers, chosen, sleep=sleep))

    def balance(self, venue: str, token: str) -> Decimal:
        return self.ledger.snapshot().book_at("fund", at(10**6)).book.balances.get((venue, token), Decimal(0))

    def adjustments(self) -> list[str]:
        ids = [entry.update.id for entry in self.ledger.snapshot().entries("fund", None, None, as_recorded=True)]
        return [each for each in ids if each.startswith("recon:")]


def says(venue: str, minute: float = NOW, **held: object) -> Reading:
    """``says("binance", USDT="90")``: what the venue holds, told at ``minute``."""
    return reading(venue, held, when=at(minute))


def down(venue: str, minute: float = NOW) -> Reading:
    return unavailable(venue, when=at(minute))


def told(report: ReconciliationReport) -> dict[tuple[str, str], tuple[Outcome, bool]]:
    """(venue, key) to outcome and whether it was adjusted."""
    return {
        (record.account.venue, row.key): (row.outcome, row.adjusted)
        for record in report.accounts
        for row in record.comparisons
    }
