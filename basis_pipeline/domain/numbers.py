"""Exact numbers: the one Decimal context, parsing at the edge, and the few places where we round.

No ``float`` gets past this module: JSON and databases hand over text, and text becomes Decimal unrounded.
"""

from __future__ import annotations

import decimal
from decimal import Decimal

from basis_pipeline.domain.errors import InputError

CONTEXT = decimal.Context(
    prec=78,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
"""78 digits hold any product of two uint256-sized factors we meet: amount (18 places) x ray (27) x price (18).

The interpreter's default of 28 digits would silently cut amount x ray.
"""

ZERO = Decimal(0)
ONE = Decimal(1)
VALUE_QUANTUM = Decimal(1).scaleb(-18)
"""Amounts, prices and values are stored with 18 places: DECIMAL(38,18)."""
RATE_QUANTUM = Decimal(1).scaleb(-27)
"""Rates and indices are stored with 27 places, Aave's ray: DECIMAL(38,27)."""
VALUE_LIMIT = Decimal(10) ** 20
"""DECIMAL(38,18) holds 20 digits before the point; anything larger cannot be stored and is refused."""

_STORABLE = "at most 20 digits before the decimal point can be stored"
_INTEGER_BITS_MAX = 128
_VALUE_DIGITS = VALUE_LIMIT.adjusted()

add = CONTEXT.add
subtract = CONTEXT.subtract
multiply = CONTEXT.multiply
divide = CONTEXT.divide


def parse_decimal(value: object, field: str) -> Decimal:
    """An exact, finite Decimal from a Decimal, an int or decimal text; anything else is refused.

    ``field`` names the input in the error. Floats are refused on purpose: their digits are already lost
    (the position monitor, which must accept them, reads them by their ``repr`` before it comes here).
    """
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool):
        raise InputError(f"{field}: {value!r} is not a number; give a decimal string such as '1.25'")
    elif isinstance(value, int):
        if value.bit_length() > _INTEGER_BITS_MAX:
            raise InputError(f"{field}: an integer of {value.bit_length()} bits is too large; {_STORABLE}")
        number = Decimal(value)
    elif isinstance(value, str):
        try:
            number = Decimal(value.strip())
        except decimal.InvalidOperation:
            raise InputError(f"{field}: {value!r:.100} is not a number; give a decimal string such as '1.25'") from None
    elif isinstance(value, float):
        raise InputError(
            f"{field}: {value!r} is a float, which is not exact; give a decimal string such as '{value!r}'"
        )
    else:
        raise InputError(f"{field}: {value!r:.100} ({type(value).__name__}) is not a number; give a decimal string")
    if not number.is_finite():
        raise InputError(f"{field}: {value!r} is not a finite number")
    if number.adjusted() >= _VALUE_DIGITS and number:
        raise InputError(f"{field}: {value!r:.100} is too large; {_STORABLE}")
    return number


def decimal_places(number: Decimal) -> int:
    """How many places after the point the number needs, trailing zeros not counted (0 for integers)."""
    _, digits, exponent = number.as_tuple()
    if not isinstance(exponent, int) or exponent >= 0 or not number:
        return 0
    # Counted, not normalized: normalizing rounds to the context, which would hide the digits looked for here.
    trailing_zeros = next(count for count, digit in enumerate(reversed(digits)) if digit)
    return max(0, -exponent - trailing_zeros)


def quantize_value(number: Decimal) -> Decimal:
    """Round half even to 18 places: how every line value, price and stored amount is rounded, once."""
    return CONTEXT.quantize(number, VALUE_QUANTUM)


def quantize_rate(number: Decimal) -> Decimal:
    """Round half even to 27 places: how rates and indices are stored."""
    return CONTEXT.quantize(number, RATE_QUANTUM)


def canonical(number: Decimal) -> str:
    """The one text of a number: no exponent, no trailing zeros, no ``-0``. Equal numbers have equal text."""
    if not number:
        return "0"
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text
