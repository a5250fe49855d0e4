from __future__ import annotations

import decimal
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.numbers import (
    CONTEXT,
    add,
    canonical,
    decimal_places,
    multiply,
    parse_decimal,
    quantize_rate,
    quantize_value,
)

finite = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**19), max_value=10**19)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        *[("1.50", "1.5"), ("15E-1", "1.5"), (" 1.5 ", "1.5"), ("1E+3", "1000"), (7, "7"), (Decimal("0.10"), "0.1")],
        *[("-0", "0"), ("0E-400", "0"), ("-0.000", "0"), ("+2", "2"), ("000.5", "0.5")],
    ],
)
def test_equal_numbers_have_one_canonical_text(given_: object, expected: str) -> None:
    assert canonical(parse_decimal(given_, "delta")) == expected


@pytest.mark.parametrize("value", ["NaN", "sNaN", "-NaN", "Infinity", "-inf", Decimal("NaN"), Decimal("-Infinity")])
def test_what_is_not_finite_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"delta: .* is not a finite number"):
        parse_decimal(value, "delta")


@pytest.mark.parametrize("value", [True, False, "", "abc", "1,5", "0x10", "1.2.3", None, [], {}, b"1", 1 + 2j])
def test_what_is_not_a_number_is_refused_with_its_value(value: object) -> None:
    with pytest.raises(InputError, match=r"delta: .*is not a number"):
        parse_decimal(value, "delta")


@pytest.mark.parametrize("value", [1.5, 0.1, float("nan"), float("inf")])
def test_a_float_is_refused_because_its_digits_are_lost(value: float) -> None:
    with pytest.raises(InputError, match="is a float, which is not exact"):
        parse_decimal(value, "delta")


@pytest.mark.parametrize("value", ["100000000000000000000", "1E+20", "-1E+400000", 10**20, "9" * 3000])
def test_what_the_database_cannot_hold_is_refused_in_a_short_message(value: object) -> None:
    with pytest.raises(InputError, match="at most 20 digits before the decimal point") as refused:
        parse_decimal(value, "delta")
    assert len(str(refused.value)) < 250


def test_the_largest_storable_number_is_accepted() -> None:
    assert parse_decimal("99999999999999999999.999999999999999999", "delta") < Decimal(10) ** 20


@pytest.mark.parametrize(
    ("number", "places"),
    [
        ("1.5000", 1),
        ("100", 0),
        ("1E+3", 0),
        ("0E-30", 0),
        ("0.000001", 6),
        ("1E-27", 27),
        ("1E-9999999999", 9999999999),
        # More digits than the context holds: rounding before counting would make these look whole.
        ("1." + "0" * 80 + "1", 81),
        ("1." + "0" * 500, 0),
        ("123456789." + "9" * 90, 90),
    ],
)
def test_decimal_places_counts_every_significant_digit(number: str, places: int) -> None:
    assert decimal_places(Decimal(number)) == places


@given(finite)
def test_canonical_text_reads_back_as_the_same_number_without_exponent(number: Decimal) -> None:
    text = canonical(number)
    assert Decimal(text) == number
    assert "E" not in text
    assert not text.startswith("-0") or text.startswith("-0.")
    assert text == canonical(Decimal(text))


@given(st.integers(1, 10**38 - 1), st.integers(10**27, 10**38), st.integers(1, 10**36))
def test_a_product_of_amount_index_and_price_keeps_every_digit(amount: int, index: int, price: int) -> None:
    exact = amount * index * price
    if len(str(exact)) > 78:
        return
    factors = (
        Decimal(amount).scaleb(-18, CONTEXT),
        Decimal(index).scaleb(-27, CONTEXT),
        Decimal(price).scaleb(-18, CONTEXT),
    )
    product = multiply(multiply(factors[0], factors[1]), factors[2])
    assert int(product.scaleb(63, CONTEXT)) == exact


def test_arithmetic_ignores_the_precision_the_thread_happens_to_have() -> None:
    with decimal.localcontext(prec=5):
        assert add(Decimal("99999999999.123456789012345678"), Decimal("1E-18")) == Decimal(
            "99999999999.123456789012345679"
        )
        assert quantize_value(Decimal("12345678.1234567890123456785")) == Decimal("12345678.123456789012345678")
        assert quantize_rate(Decimal("1.0000000000000000000000000015")) == Decimal("1.000000000000000000000000002")


def test_an_integer_too_long_for_python_to_print_is_refused_like_any_other() -> None:
    with pytest.raises(InputError, match="delta: an integer of 16610 bits is too large"):
        parse_decimal(10**5000, "delta")
