"""Builders for reconciliation: ``reading("binance", USDT="100")`` against ``tracked("binance", deposit(...))``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.observations import Account, Block, Health, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reconciliation import Comparison, Outcome, Rules, Tracked, compare, track
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline_tests.builders import at

READ_AT = 10_000.0
"""Minutes after the start: long after anything that a test books early."""


def account(venue: str, portfolio: str = "fund") -> Account:
    return Account(portfolio, f"{venue}_main", venue)


def position(size: str, entry_price: str | None = "3000", notional_usd: str | None = None) -> ObservedPosition:
    return ObservedPosition(
        Decimal(size),
        None if entry_price is None else Decimal(entry_price),
        None if notional_usd is None else Decimal(notional_usd),
    )


def reading(
    venue: str,
    held: Mapping[str, object] | None = None,
    *,
    positions: Mapping[str, ObservedPosition] | None = None,
    unmapped: Mapping[str, object] | None = None,
    portfolio: str = "fund",
    when: datetime | None = None,
    block: Block | None = None,
    health: Health | None = None,
    **more: Any,
) -> Reading:
    """What a venue says: ``reading("binance", {"USDT": "100"})``."""
    moment = at(READ_AT) if when is None else when
    return Reading(
        account(venue, portfolio),
        ReadingStatus.AVAILABLE,
        moment,
        moment,
        {token: Decimal(str(amount)) for token, amount in (held or {}).items()},
        positions or {},
        unmapped={name: Decimal(str(amount)) for name, amount in (unmapped or {}).items()},
        block=block,
        health=health,
        **more,
    )


def unavailable(venue: str, portfolio: str = "fund", when: datetime | None = None) -> Reading:
    moment = at(READ_AT) if when is None else when
    return Reading.unavailable(account(venue, portfolio), f"{venue}: HTTP 503", moment, moment)


def tracked(venue: str, *updates: BalanceUpdate, rules: Rules | None = None, minute: float = READ_AT) -> Tracked:
    """What the ledger says of a venue after these updates, as of ``minute``."""
    ordered = sorted(updates, key=lambda each: each.timestamp)
    return track(Book(), ordered, venue, at(minute), rules or Rules())


def compared(ledger: Tracked, found: Reading, rules: Rules | None = None) -> dict[str, Comparison]:
    """The comparisons by key; a key that comes twice is a failure."""
    rows = compare(ledger, found, rules or Rules(), DEFAULT_REGISTRY)
    by_key = {row.key: row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def outcomes(ledger: Tracked, found: Reading, rules: Rules | None = None) -> dict[str, Outcome]:
    return {key: row.outcome for key, row in compared(ledger, found, rules).items()}
