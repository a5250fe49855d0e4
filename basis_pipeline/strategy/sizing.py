"""Splitting and rounding amounts without losing a unit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.numbers import CONTEXT, divide, multiply


def whole_steps(amount: Decimal, step: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """The amount as a multiple of ``step``: the nearest, unless another ``rounding`` is asked for."""
    return multiply(divide(amount, step).to_integral_value(rounding, CONTEXT), step)


def split(total: Decimal, weights: Mapping[str, Decimal], step: Decimal) -> dict[str, Decimal]:
    """The total, rounded to a multiple of ``step``, in parts by weight that are multiples too and sum to it exactly.

    The steps left over by rounding down go to the largest remainders, among equals by name.
    """
    whole = sum((Fraction(weight) for weight in weights.values()), Fraction(0))
    if not weights or whole <= 0 or any(weight < 0 for weight in weights.values()):
        raise InputError(f"weights: {dict(weights)} must not be negative, and one must be above zero")
    steps = int(divide(whole_steps(total, step), step))
    shares = {name: Fraction(weight) * abs(steps) / whole for name, weight in weights.items()}
    parts = {name: int(share) for name, share in shares.items()}
    left = abs(steps) - sum(parts.values())
    for name in sorted(shares, key=lambda name: (parts[name] - shares[name], name))[:left]:
        parts[name] += 1
    sign = -1 if steps < 0 else 1
    return {name: multiply(Decimal(sign * count), step) for name, count in parts.items()}
