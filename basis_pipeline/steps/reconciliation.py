"""Reading every account, comparing it with the ledger, and bringing the ledger to the venue where it drifted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from basis_pipeline.domain.observations import Account, MarketObservation, Reading, VenueReader
from basis_pipeline.domain.reconciliation import Comparison, Rules
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport

Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True)
class AccountReport:
    """What one account came to: the reading that was judged, every key's outcome, and what was done about it."""

    account: Account
    reading: Reading
    readings: tuple[int, ...]
    comparisons: tuple[Comparison, ...]
    entry_id: str | None = None
    note: str = ""


@dataclass(frozen=True)
class ReconciliationReport:
    """What a reconciliation came to; ``market`` is what the readings said of rates and prices."""

    hour: datetime
    reconciled_at: datetime
    skew: timedelta
    accounts: tuple[AccountReport, ...]
    notes: tuple[str, ...]
    opened: tuple[str, ...]
    market: tuple[MarketObservation, ...]


async def reconcile(
    ports: Ports, readers: Sequence[VenueReader], rules: Rules, *, sleep: Sleep = asyncio.sleep
) -> ReconciliationReport:
    """Read all accounts once and compare them with the ledger as of their readings."""
    raise NotImplementedError


def project_reconciliation(ports: Ports, days: DayRange) -> StepReport:
    """Publish ``venue_observations``, ``reconciliation`` and ``account_health`` for the days, together."""
    raise NotImplementedError
