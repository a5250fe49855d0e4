from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.aave import (
    RAY,
    borrow_scaled,
    debt_balance,
    index_to_ray,
    ray_div,
    ray_mul,
    repay_scaled,
    supply_balance,
    supply_scaled,
    withdraw_scaled,
)
from basis_pipeline.domain.errors import InputError

HALF_UP, DIRECTED = 3, 9
amounts = st.integers(0, 10**30)
indices = st.integers(RAY, 5 * RAY)
revisions = st.sampled_from([1, HALF_UP, 8, DIRECTED, 10])


def index(text: str) -> int:
    return index_to_ray(Decimal(text))


def test_golden_vectors_of_supply() -> None:
    assert supply_scaled(100 * 10**18, index("1.05"), DIRECTED) == 95238095238095238095
    assert supply_scaled(100 * 10**18, index("1.05"), HALF_UP) == 95238095238095238095
    assert supply_balance(95238095238095238095, index("1.05"), DIRECTED) == 99999999999999999999
    assert supply_balance(95238095238095238095, index("1.05"), HALF_UP) == 100000000000000000000
    assert supply_balance(95238095238095238095, index("1.08"), DIRECTED) == 102857142857142857142


def test_golden_vector_of_borrowing() -> None:
    assert borrow_scaled(887 * 10**17, index("1.045678901234567890123456789"), DIRECTED) == 84825274656758819212


def test_the_directed_rounding_begins_with_revision_nine() -> None:
    assert supply_balance(95238095238095238095, index("1.05"), 8) == 100000000000000000000
    assert supply_balance(95238095238095238095, index("1.05"), 9) == 99999999999999999999


@given(amounts, indices)
def test_half_up_is_the_nearest_integer_and_up_on_a_tie(amount: int, at: int) -> None:
    assert 2 * abs(ray_mul(amount, at) * RAY - amount * at) <= RAY
    assert 2 * abs(ray_div(amount, at) * at - amount * RAY) <= at
    assert ray_mul(1, RAY // 2) == 1
    assert ray_div(1, 2 * RAY) == 1


@given(amounts, indices, revisions)
def test_supplying_and_withdrawing_the_same_amount_never_gains(amount: int, at: int, revision: int) -> None:
    assert withdraw_scaled(amount, at, revision) >= supply_scaled(amount, at, revision)


@given(amounts, indices, revisions)
def test_borrowing_and_repaying_the_same_amount_never_gains(amount: int, at: int, revision: int) -> None:
    assert repay_scaled(amount, at, revision) <= borrow_scaled(amount, at, revision)


@given(amounts, indices)
def test_directed_rounding_never_shows_more_than_was_supplied_nor_less_than_was_borrowed(amount: int, at: int) -> None:
    assert supply_balance(supply_scaled(amount, at, DIRECTED), at, DIRECTED) <= amount
    assert debt_balance(borrow_scaled(amount, at, DIRECTED), at, DIRECTED) >= amount


@given(amounts, indices, revisions)
def test_the_balance_right_after_a_supply_is_off_by_no_more_than_the_two_roundings(
    amount: int, at: int, revision: int
) -> None:
    shown = supply_balance(supply_scaled(amount, at, revision), at, revision)
    assert abs(shown - amount) * RAY <= at + RAY


@given(amounts, indices, st.integers(0, RAY), revisions)
def test_a_scaled_balance_never_falls_in_value_while_the_index_grows(
    scaled: int, at: int, growth: int, revision: int
) -> None:
    assert supply_balance(scaled, at + growth, revision) >= supply_balance(scaled, at, revision)
    assert debt_balance(scaled, at + growth, revision) >= debt_balance(scaled, at, revision)


@given(st.integers(RAY, 10 * RAY))
def test_a_normalized_index_becomes_its_exact_ray(at: int) -> None:
    assert index_to_ray(Decimal(f"{at // RAY}.{at % RAY:027d}")) == at


@pytest.mark.parametrize("bad", ["0", "-1", "NaN", "Infinity", "1.0000000000000000000000000001"])
def test_an_index_that_is_none_is_refused(bad: str) -> None:
    with pytest.raises(InputError, match="index: "):
        index_to_ray(Decimal(bad))


@pytest.mark.parametrize(
    "convert", [supply_scaled, withdraw_scaled, supply_balance, borrow_scaled, repay_scaled, debt_balance]
)
def test_a_negative_amount_or_an_index_below_one_is_refused(convert: object) -> None:
    with pytest.raises(InputError, match="amount: -1 is negative"):
        convert(-1, RAY, DIRECTED)  # type: ignore[operator]
    with pytest.raises(InputError, match="below one ray"):
        convert(1, RAY - 1, DIRECTED)  # type: ignore[operator]
