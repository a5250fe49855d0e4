"""Aave v3 scaled balances in exact integers, with the rounding of each pool revision.

Source: Aave v3 WadRayMath and TokenMath. Until v3.4 both directions round half up; from pool revision 9 (v3.5) every
conversion rounds in the protocol's favour. ``RAY`` is 10^27. Amounts are in the token's smallest unit (wei).
These are for what is minted and burned and for checks against ``balanceOf``; equity values the unrounded product.
"""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.numbers import CONTEXT, decimal_places

RAY_PLACES = 27
RAY: int = 10**27
DIRECTED_ROUNDING_REVISION = 9
"""First POOL_REVISION with rounding in the protocol's favour (v3.5, August 2025)."""


def ray_mul(a: int, b: int) -> int:
    """(a * b + RAY / 2) / RAY: half up, as v3.0 to v3.4 round."""
    return (a * b + RAY // 2) // RAY


def ray_div(a: int, b: int) -> int:
    """(a * RAY + b / 2) / b: half up, as v3.0 to v3.4 round."""
    return (a * RAY + b // 2) // b


def _mul_floor(a: int, b: int) -> int:
    return a * b // RAY


def _mul_ceil(a: int, b: int) -> int:
    return -(-a * b // RAY)


def _div_floor(a: int, b: int) -> int:
    return a * RAY // b


def _div_ceil(a: int, b: int) -> int:
    return -(-a * RAY // b)


def _check(amount: int, index: int) -> None:
    if amount < 0:
        raise InputError(f"amount: {amount} is negative; give the size of the movement in the token's smallest unit")
    if index < RAY:
        raise InputError(f"index: {index} is below one ray (10^27); indices start at 1 and never fall")


def supply_scaled(amount: int, liquidity_index: int, revision: int) -> int:
    """Scaled aTokens minted for a supply of ``amount``."""
    _check(amount, liquidity_index)
    divide = _div_floor if revision >= DIRECTED_ROUNDING_REVISION else ray_div
    return divide(amount, liquidity_index)


def withdraw_scaled(amount: int, liquidity_index: int, revision: int) -> int:
    """Scaled aTokens burned for a withdrawal of ``amount``."""
    _check(amount, liquidity_index)
    divide = _div_ceil if revision >= DIRECTED_ROUNDING_REVISION else ray_div
    return divide(amount, liquidity_index)


def supply_balance(scaled: int, liquidity_index: int, revision: int) -> int:
    """``balanceOf`` of an aToken."""
    _check(scaled, liquidity_index)
    times = _mul_floor if revision >= DIRECTED_ROUNDING_REVISION else ray_mul
    return times(scaled, liquidity_index)


def borrow_scaled(amount: int, debt_index: int, revision: int) -> int:
    """Scaled debt tokens minted for a loan of ``amount``."""
    _check(amount, debt_index)
    divide = _div_ceil if revision >= DIRECTED_ROUNDING_REVISION else ray_div
    return divide(amount, debt_index)


def repay_scaled(amount: int, debt_index: int, revision: int) -> int:
    """Scaled debt tokens burned for a repayment of ``amount``."""
    _check(amount, debt_index)
    divide = _div_floor if revision >= DIRECTED_ROUNDING_REVISION else ray_div
    return divide(amount, debt_index)


def debt_balance(scaled: int, debt_index: int, revision: int) -> int:
    """``balanceOf`` of a variable debt token."""
    _check(scaled, debt_index)
    times = _mul_ceil if revision >= DIRECTED_ROUNDING_REVISION else ray_mul
    return times(scaled, debt_index)


def index_to_ray(index: Decimal) -> int:
    """A normalized index (about 1.0, at most 27 places) as the contract's integer; more places are refused."""
    if not index.is_finite() or index <= 0:
        raise InputError(f"index: {index} is not a positive finite number")
    if decimal_places(index) > RAY_PLACES:
        raise InputError(f"index: {index} has more than {RAY_PLACES} places")
    return int(index.scaleb(RAY_PLACES, context=CONTEXT))
