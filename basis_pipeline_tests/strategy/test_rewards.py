"""KING is unwrapped when it is worth its gas."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError
from basis_pipeline.strategy.rewards import should_unwrap_king

positive = st.decimals("0.01", "1000000", places=4)


def test_a_hundred_times_its_gas_is_worth_it_and_less_is_not() -> None:
    assert should_unwrap_king(Decimal(500), Decimal(5))
    assert not should_unwrap_king(Decimal("499.999999999999999999"), Decimal(5))


def test_another_multiple_may_be_asked_for() -> None:
    assert should_unwrap_king(Decimal(50), Decimal(5), Decimal(10))
    assert not should_unwrap_king(Decimal(49), Decimal(5), Decimal(10))


def test_nothing_is_never_unwrapped_even_if_gas_is_free() -> None:
    assert not should_unwrap_king(Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("king_value", ("-1", "1", "1")), ("gas_cost", ("1", "-1", "1")), ("multiple", ("1", "1", "-1"))],
)
def test_a_negative_number_is_refused_by_name(name: str, arguments: tuple[str, str, str]) -> None:
    with pytest.raises(InputError, match=name):
        should_unwrap_king(*map(Decimal, arguments))


def test_a_float_is_refused() -> None:
    with pytest.raises(InputError, match="king_value"):
        should_unwrap_king(500.0, Decimal(5))  # type: ignore[arg-type]


@given(positive, positive, positive)
def test_the_currency_of_both_does_not_matter(value: Decimal, gas: Decimal, rate: Decimal) -> None:
    assert should_unwrap_king(value * rate, gas * rate) == should_unwrap_king(value, gas)
