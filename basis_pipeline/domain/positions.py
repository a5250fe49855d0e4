"""The book: what a portfolio holds. It takes an update whole or not at all.

Balances are raw token units (scaled for a- and debt tokens), positions signed base units; nothing here knows a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from basis_pipeline.domain.changes import Action, BalanceUpdate, DerivativeChange, TokenChange
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.instants import iso, parse_instant
from basis_pipeline.domain.numbers import (
    VALUE_LIMIT,
    ZERO,
    add,
    canonical,
    divide,
    multiply,
    parse_decimal,
    quantize_value,
    subtract,
)
from basis_pipeline.domain.tokens import IN_TRANSIT, WALLET

BalanceKey = tuple[str, str]
"""(venue, token)"""
PerpKey = tuple[str, str]
"""(venue, instrument)"""

NEVER_NEGATIVE = (WALLET, IN_TRANSIT)
"""A wallet cannot owe and nothing can arrive that was not sent; an exchange balance below zero is borrowing."""


class PerpPosition(NamedTuple):
    """An open perpetual: signed ``size`` in base units (short < 0), average ``entry_price`` in the quote currency.

    ``notional_usd`` is what the venue last reported, or None; valuation never uses it.
    """

    size: Decimal
    entry_price: Decimal
    entry_timestamp: datetime
    notional_usd: Decimal | None


class Applied(NamedTuple):
    """What an update did: the balance after each token leg and the position after each derivative leg, in order."""

    balances: tuple[Decimal, ...]
    positions: tuple[PerpPosition | None, ...]


def impossible(venue: str, balance: Decimal) -> str | None:
    """Why the venue cannot hold this balance, or None if it can."""
    if balance < 0 and venue in NEVER_NEGATIVE:
        return f"a {venue} balance cannot go below zero"
    if balance.copy_abs() >= VALUE_LIMIT:
        return "a balance has at most 20 digits before the decimal point"
    return None


class TokenBalanceMonitor:
    """Token balances by (venue, token). Zero balances are not kept."""

    __slots__ = ("balances",)

    def __init__(self, balances: Mapping[BalanceKey, Decimal] | None = None) -> None:
        self.balances: dict[BalanceKey, Decimal] = dict(balances or {})

    def stage(
        self, changes: Iterable[TokenChange], check: bool
    ) -> tuple[dict[BalanceKey, Decimal], tuple[Decimal, ...]]:
        """The balances the changes lead to, leg by leg, without applying them."""
        staged: dict[BalanceKey, Decimal] = {}
        after: list[Decimal] = []
        for number, change in enumerate(changes):
            key = (change.venue, change.token)
            before = staged.get(key)
            if before is None:
                before = self.balances.get(key, ZERO)
            balance = add(before, change.delta)
            if check and change.new_balance is not None and change.new_balance != balance:
                raise BookError(
                    f"token_changes[{number}].new_balance: {change.venue} {change.token} would be "
                    f"{canonical(balance)}, not {canonical(change.new_balance)} (before: {canonical(before)}, "
                    f"delta {canonical(change.delta)}); nothing was applied"
                )
            staged[key] = balance
            after.append(balance)
        if check:
            for (venue, token), balance in staged.items():
                if problem := impossible(venue, balance):
                    raise BookError(
                        f"token_changes: {venue} {token} would be {canonical(balance)}, and {problem} "
                        f"(before: {canonical(self.balances.get((venue, token), ZERO))}); nothing was applied"
                    )
        return staged, tuple(after)

    def commit(self, staged: Mapping[BalanceKey, Decimal]) -> None:
        for key, balance in staged.items():
            if balance:
                self.balances[key] = balance
            else:
                self.balances.pop(key, None)


class DerivativeBalanceMonitor:
    """Open perpetual positions by (venue, instrument)."""

    __slots__ = ("positions",)

    def __init__(self, positions: Mapping[PerpKey, PerpPosition] | None = None) -> None:
        self.positions: dict[PerpKey, PerpPosition] = dict(positions or {})

    def stage(
        self, changes: Iterable[DerivativeChange], timestamp: datetime
    ) -> tuple[dict[PerpKey, PerpPosition | None], tuple[PerpPosition | None, ...]]:
        """The positions the changes lead to, leg by leg, without applying them."""
        staged: dict[PerpKey, PerpPosition | None] = {}
        after: list[PerpPosition | None] = []
        for number, change in enumerate(changes):
            key = (change.venue, change.instrument)
            before = staged[key] if key in staged else self.positions.get(key)
            position = next_position(before, change, timestamp, f"derivative_changes[{number}]")
            staged[key] = position
            after.append(position)
        return staged, tuple(after)

    def commit(self, staged: Mapping[PerpKey, PerpPosition | None]) -> None:
        for key, position in staged.items():
            if position is None:
                self.positions.pop(key, None)
            else:
                self.positions[key] = position


def next_position(
    before: PerpPosition | None, change: DerivativeChange, timestamp: datetime, where: str
) -> PerpPosition | None:
    """The position after one derivative change (None: flat).

    The entry price is the one reported if any; else it stays on a reduction, is the size-weighted average (rounded
    half even to 18 places) on an increase, and is the fill price after crossing through zero.
    """
    data = change.data
    name = f"{change.venue} {change.instrument}"
    if change.action is Action.OPEN:
        if before is not None:
            raise BookError(f"{where}: OPEN of {name}, which is open already (size {before.size}); use ADJUST")
        size = _nonzero_size(data.size, where, "OPEN")
        entry = data.entry_price or data.fill_price
        if entry is None:
            raise BookError(f"{where}.data: OPEN of {name} needs entry_price or fill_price")
        return PerpPosition(size, entry, data.entry_timestamp or timestamp, data.notional_usd)
    if before is None:
        raise BookError(f"{where}: {change.action} of {name}, which is not open; use OPEN first")
    if change.action is Action.CLOSE:
        if data.size:
            raise BookError(
                f"{where}.data.size: {data.size} after a CLOSE of {name}; size is the resulting size, so 0 or left out"
            )
        return None
    size = _nonzero_size(data.size, where, "ADJUST")
    crossed = (size > 0) != (before.size > 0)
    entry = data.entry_price
    if entry is None:
        if not crossed and size.copy_abs() <= before.size.copy_abs():
            entry = before.entry_price
        elif data.fill_price is None:
            raise BookError(f"{where}.data: ADJUST of {name} that adds to it needs entry_price or fill_price")
        elif crossed:
            entry = data.fill_price
        else:
            cost = add(
                multiply(before.size, before.entry_price), multiply(subtract(size, before.size), data.fill_price)
            )
            entry = quantize_value(divide(cost, size))
    opened = data.entry_timestamp or (timestamp if crossed else before.entry_timestamp)
    return PerpPosition(size, entry, opened, data.notional_usd)


def _nonzero_size(size: Decimal | None, where: str, action: str) -> Decimal:
    if size is None:
        raise BookError(f"{where}.data.size: is missing; {action} needs the resulting signed size")
    if not size:
        raise BookError(f"{where}.data.size: 0 is not a position; use CLOSE")
    return size


class Book:
    """Tokens and derivatives together: both monitors take an update, or neither does."""

    __slots__ = ("derivatives", "tokens")

    def __init__(
        self,
        balances: Mapping[BalanceKey, Decimal] | None = None,
        positions: Mapping[PerpKey, PerpPosition] | None = None,
    ) -> None:
        self.tokens = TokenBalanceMonitor(balances)
        self.derivatives = DerivativeBalanceMonitor(positions)

    @property
    def balances(self) -> dict[BalanceKey, Decimal]:
        return self.tokens.balances

    @property
    def positions(self) -> dict[PerpKey, PerpPosition]:
        return self.derivatives.positions

    def apply(self, update: BalanceUpdate) -> Applied:
        """Apply a new update, or raise ``BookError`` and change nothing."""
        return self._apply(update.token_changes, update.derivative_changes, update.timestamp, check=True)

    def replay(
        self,
        token_changes: tuple[TokenChange, ...],
        derivative_changes: tuple[DerivativeChange, ...],
        timestamp: datetime,
    ) -> Applied:
        """Apply what the ledger accepted before: its post-conditions held then and are not asked again."""
        return self._apply(token_changes, derivative_changes, timestamp, check=False)

    def _apply(
        self,
        token_changes: tuple[TokenChange, ...],
        derivative_changes: tuple[DerivativeChange, ...],
        timestamp: datetime,
        check: bool,
    ) -> Applied:
        if not token_changes and not derivative_changes:
            return Applied((), ())
        balances, after = self.tokens.stage(token_changes, check)
        positions, opened = self.derivatives.stage(derivative_changes, timestamp)
        self.tokens.commit(balances)
        self.derivatives.commit(positions)
        return Applied(after, opened)

    def copy(self) -> Book:
        return Book(self.tokens.balances, self.derivatives.positions)

    def to_json(self) -> dict[str, Any]:
        """The book as JSON-ready text and lists, sorted, exact: what a checkpoint stores."""
        return {
            "balances": [[*key, canonical(balance)] for key, balance in sorted(self.balances.items())],
            "positions": [
                [
                    *key,
                    canonical(p.size),
                    canonical(p.entry_price),
                    iso(p.entry_timestamp),
                    None if p.notional_usd is None else canonical(p.notional_usd),
                ]
                for key, p in sorted(self.positions.items())
            ],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Book:
        """The book that ``to_json`` wrote."""
        balances = {(venue, token): parse_decimal(text, token) for venue, token, text in state["balances"]}
        positions = {
            (venue, instrument): PerpPosition(
                parse_decimal(size, "size"),
                parse_decimal(entry, "entry_price"),
                parse_instant(opened, "entry_timestamp"),
                None if notional is None else parse_decimal(notional, "notional_usd"),
            )
            for venue, instrument, size, entry, opened, notional in state["positions"]
        }
        return cls(balances, positions)
