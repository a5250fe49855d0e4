"""Equity: assets less debts in the share-class currency, with what stands beside it.

Every figure is a sum of line values that are already rounded to 18 places, so that the total equals the sum by venue
and the sum by asset exactly, always.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from itertools import repeat
from typing import NamedTuple

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.numbers import ZERO, add, multiply, subtract
from basis_pipeline.domain.valuation import Line, Side, Span


class Equity(NamedTuple):
    """The totals of one portfolio at one instant, in share-class currency; ``assets`` and ``debts`` are positive."""

    total_equity: Decimal
    assets: Decimal
    debts: Decimal
    unrealized_pnl: Decimal
    in_transit: Decimal
    locked: Decimal
    nav: Decimal


_NOTHING = {side.value: ZERO for side in (Side.ASSET, Side.DEBT, Side.PERP, Side.IN_TRANSIT, Side.LOCKED)}


def total(lines: Iterable[Line]) -> Equity:
    """Sum the lines by side. Zero and negative equity are legal results."""
    sums = dict(_NOTHING)
    for line in lines:
        sums[line.side] = add(sums[line.side], line.value)
    assets, negative_debts, perps, in_transit, locked = sums.values()
    return of_sides(assets, subtract(ZERO, negative_debts), perps, in_transit, locked)


def of_sides(assets: Decimal, debts: Decimal, perps: Decimal, in_transit: Decimal, locked: Decimal) -> Equity:
    """The totals from the sum of each side's values; ``debts`` is positive."""
    equity = subtract(assets, debts)
    nav = add(equity, add(perps, add(in_transit, locked)))
    return Equity(equity, assets, debts, perps, in_transit, locked, nav)


def totals(spans: Iterable[Span], first: int, end: int) -> list[list[Decimal]]:
    """``total`` at each position of [first, end) of the sheet that valued the spans: a column per field of Equity."""
    sums = {side: [ZERO] * end for side in _NOTHING}
    for run, value in spans:
        column = sums[run.holding.side]
        column[run.first : run.end] = map(add, column[run.first : run.end], value)
    assets, negative_debts, perps, in_transit, locked = (column[first:] for column in sums.values())
    equity = list(map(add, assets, negative_debts))
    debts = list(map(subtract, repeat(ZERO), negative_debts))
    nav = list(map(add, equity, map(add, perps, map(add, in_transit, locked))))
    return [equity, assets, debts, perps, in_transit, locked, nav]


def changed_enough(value: Decimal, last_notified: Decimal, threshold: Decimal, floor: Decimal) -> bool:
    """Whether a change of equity is worth telling: more than ``threshold`` of the last notified value.

    ``floor`` (share-class currency) stands in for values near zero, where a relative threshold says nothing.
    """
    if threshold < 0 or floor < 0:
        raise InputError(f"threshold and floor must not be negative (got {threshold}, {floor})")
    change = subtract(value, last_notified).copy_abs()
    return change > multiply(threshold, max(last_notified.copy_abs(), floor))
