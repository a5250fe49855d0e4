"""What a strategy wants, how far that is from what is held, and the decision that follows. Exact, and frozen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import (
    CONTEXT,
    ZERO,
    canonical,
    divide,
    multiply,
    parse_decimal,
    quantize_value,
    subtract,
)
from basis_pipeline.domain.tokens import (
    EXCHANGE_DECIMALS,
    EXCHANGES,
    IN_TRANSIT,
    ON_CHAIN_ONLY,
    WALLET,
    Registry,
    canonical_venue,
    parse_instrument,
)


class PositionKind(StrEnum):
    """A token's balance, or a perpetual's signed size."""

    BALANCE = "balance"
    PERP = "perp"


@dataclass(frozen=True, slots=True)
class TargetPosition:
    """What should be held: ``amount`` of ``name`` (a token or a perpetual) on ``venue``.

    A balance is in ledger units (scaled for a- and debt tokens, and positive for a debt), a perpetual in signed base
    units.
    """

    kind: PositionKind
    venue: str
    name: str
    amount: Decimal

    def __post_init__(self) -> None:
        where = f"target {self.name} on {self.venue}"
        object.__setattr__(self, "kind", _kind(self.kind, where))
        object.__setattr__(self, "venue", canonical_venue(self.venue, where))
        object.__setattr__(self, "amount", parse_decimal(self.amount, where))


def balance(venue: str, token: str, amount: Decimal) -> TargetPosition:
    """A token's balance as a target."""
    return TargetPosition(PositionKind.BALANCE, venue, token, amount)


def perp(venue: str, instrument: str, size: Decimal) -> TargetPosition:
    """A perpetual as a target; short is negative."""
    return TargetPosition(PositionKind.PERP, venue, instrument, size)


def settled(target: TargetPosition, registry: Registry) -> TargetPosition:
    """The target as the ledger can hold it: its canonical name, and an amount without the digits beyond its grain.

    Digits are cut, not rounded: a target is never more than there is. ``UnknownNameError`` for a name that is not
    registered, ``InputError`` for what the ledger would refuse to hold there.
    """
    where = f"target {target.name} on {target.venue}"
    if target.kind is PositionKind.PERP:
        return _settled_perp(target, where)
    token = registry.token(target.name, where)
    if target.venue == IN_TRANSIT:
        raise InputError(f"{where}: what is under way is on its way somewhere; give where it should arrive")
    if target.venue != WALLET and token.kind in ON_CHAIN_ONLY:
        raise InputError(f"{where}: {token.symbol} exists only on chain; give {WALLET}")
    if target.venue == WALLET and target.amount < 0:
        raise InputError(
            f"{where}: {target.amount} is below zero, which a wallet cannot be; a debt is a positive amount of its "
            "debt token"
        )
    places = token.decimals if target.venue == WALLET else EXCHANGE_DECIMALS
    return balance(target.venue, token.symbol, _cut(target.amount, places))


def _settled_perp(target: TargetPosition, where: str) -> TargetPosition:
    instrument = parse_instrument(target.name, where)
    if target.venue not in EXCHANGES:
        raise InputError(f"{where}: there are no perpetuals; give one of {', '.join(EXCHANGES)}")
    if (instrument.leg == "LONG" and target.amount < 0) or (instrument.leg == "SHORT" and target.amount > 0):
        raise InputError(f"{where}: {target.amount} has the wrong sign for a {instrument.leg} leg; give the other leg")
    return perp(target.venue, instrument.name, _cut(target.amount, EXCHANGE_DECIMALS))


@dataclass(frozen=True, slots=True)
class Deviation:
    """A target and what is held of it now in the same units; ``price_usd`` is USD per such unit (zero: not needed)."""

    target: TargetPosition
    held: Decimal
    price_usd: Decimal

    @property
    def delta(self) -> Decimal:
        """What has to be added (negative: taken away) to reach the target; exact."""
        return subtract(self.target.amount, self.held)

    @property
    def relative(self) -> Decimal:
        """The delta as a part of the larger of target and holding: 0 is on target, 1 is all of it, 2 the wrong side."""
        return divide(self.delta.copy_abs(), self._size) if self._size else ZERO

    @property
    def value_usd(self) -> Decimal:
        """What the delta is worth, never negative."""
        return quantize_value(multiply(self.delta.copy_abs(), self.price_usd))

    def exceeds(self, threshold: Decimal, minimum_usd: Decimal) -> bool:
        """Whether it is above the threshold, and worth at least the minimum. On target is never above."""
        return self.delta.copy_abs() > multiply(threshold, self._size) and self.value_usd >= minimum_usd

    @property
    def _size(self) -> Decimal:
        return max(self.target.amount.copy_abs(), self.held.copy_abs())

    def __str__(self) -> str:
        return (
            f"{self.target.name} on {self.target.venue}: {_readable(self.held)} held, "
            f"{_readable(self.target.amount)} wanted, {percent(self.relative)} off"
        )


@dataclass(frozen=True, slots=True)
class Adjustment:
    """One change that a decision asks for: ``delta`` is added to what is held, in the units of the target."""

    kind: PositionKind
    venue: str
    name: str
    delta: Decimal


@dataclass(frozen=True, slots=True)
class Standing:
    """What a decision stands on: the portfolio's equity after one ledger entry (None where it is not the ledger's)."""

    portfolio: str | None
    share_class: str
    as_of: datetime | None
    ledger_sequence: int | None
    total_equity: Decimal


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether to rebalance, why, and to what end; nothing is traded by making one.

    ``adjustments`` closes every deviation, also those below the threshold: the legs of a strategy belong together.
    It is empty where there is no reason to rebalance. An execution layer that acts on it should see first that the
    ledger is still at ``standing.ledger_sequence``.
    """

    standing: Standing
    threshold: Decimal
    reasons: tuple[str, ...]
    deviations: tuple[Deviation, ...]
    adjustments: tuple[Adjustment, ...]

    @property
    def rebalance(self) -> bool:
        """Whether anything is to be done."""
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """The decision as JSON holds it: decimals as text, instants in UTC."""
        return {
            "portfolio": self.standing.portfolio,
            "share_class": self.standing.share_class,
            "as_of": None if self.standing.as_of is None else iso(self.standing.as_of),
            "ledger_sequence": self.standing.ledger_sequence,
            "total_equity": canonical(self.standing.total_equity),
            "threshold": canonical(self.threshold),
            "rebalance": self.rebalance,
            "reasons": list(self.reasons),
            "adjustments": [
                {"kind": each.kind.value, "venue": each.venue, "name": each.name, "delta": canonical(each.delta)}
                for each in self.adjustments
            ],
            "deviations": [_deviation_json(each) for each in self.deviations],
        }


def decide(deviations: Iterable[Deviation], threshold: Decimal, minimum_usd: Decimal, standing: Standing) -> Decision:
    """The decision for these deviations, in the order of kind, venue and name whatever order they come in.

    ``InputError`` if two of them are for the same position.
    """
    ordered = tuple(sorted(deviations, key=lambda one: _key(one.target)))
    for first, second in pairwise(ordered):
        if _key(first.target) == _key(second.target):
            raise InputError(f"targets: {first.target.name} on {first.target.venue} is given twice; add them up")
    reasons = tuple(
        f"{one}, above {percent(threshold)} (worth {_rounded(one.value_usd):,f} USD)"
        for one in ordered
        if one.exceeds(threshold, minimum_usd)
    )
    adjustments = tuple(
        Adjustment(one.target.kind, one.target.venue, one.target.name, one.delta) for one in ordered if one.delta
    )
    return Decision(standing, threshold, reasons, ordered, adjustments if reasons else ())


def percent(part: Decimal) -> str:
    """A part of one as percent with up to two places, for people."""
    return f"{canonical(_rounded(multiply(part, Decimal(100))))} %"


def _readable(amount: Decimal) -> str:
    """An amount with at most 8 places; a smaller one in full, never as zero."""
    rounded = amount.quantize(Decimal("1e-8"), context=CONTEXT)
    return canonical(rounded or amount)


def _rounded(number: Decimal) -> Decimal:
    return number.quantize(Decimal("0.01"), context=CONTEXT)


def _cut(amount: Decimal, places: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-places), ROUND_DOWN, CONTEXT)


def _kind(given: str, where: str) -> PositionKind:
    try:
        return PositionKind(given)
    except ValueError:
        raise InputError(f"{where}: kind {given!r} is not one; give {' or '.join(PositionKind)}") from None


def _key(target: TargetPosition) -> tuple[str, str, str]:
    return target.kind, target.venue, target.name


def _deviation_json(deviation: Deviation) -> dict[str, Any]:
    return {
        "kind": deviation.target.kind.value,
        "venue": deviation.target.venue,
        "name": deviation.target.name,
        "held": canonical(deviation.held),
        "target": canonical(deviation.target.amount),
        "delta": canonical(deviation.delta),
        "relative": canonical(quantize_value(deviation.relative)),
        "value_usd": canonical(deviation.value_usd),
    }
