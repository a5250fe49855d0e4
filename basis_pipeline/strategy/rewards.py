"""When unwrapping a reward is worth its gas."""

from __future__ import annotations

from decimal import Decimal

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.numbers import multiply, parse_decimal

UNWRAP_MULTIPLE = Decimal(100)


def should_unwrap_king(king_value: Decimal, gas_cost: Decimal, multiple: Decimal = UNWRAP_MULTIPLE) -> bool:
    """Whether KING worth ``king_value`` is to be unwrapped: at ``multiple`` times its gas cost, or more.

    Both are in the same currency, whichever. Nothing held is never worth unwrapping, even if gas is free.
    """
    king_value = parse_decimal(king_value, "king_value")
    gas_cost = parse_decimal(gas_cost, "gas_cost")
    multiple = parse_decimal(multiple, "multiple")
    for name, number in (("king_value", king_value), ("gas_cost", gas_cost), ("multiple", multiple)):
        if number < 0:
            raise InputError(f"{name}: {number} is negative; give zero or more")
    return king_value > 0 and king_value >= multiply(multiple, gas_cost)
