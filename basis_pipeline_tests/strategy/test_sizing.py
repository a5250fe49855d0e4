"""Splitting loses nothing."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError
from basis_pipeline.strategy.sizing import split, whole_steps

STEP = Decimal("0.001")
totals = st.decimals("-100000", "100000", places=18)
weights = st.dictionaries(
    st.sampled_from(("binance", "bybit", "okx")), st.decimals("0.01", "100", places=2), min_size=1
)


@given(totals, weights)
def test_parts_sum_to_the_rounded_total_exactly(total: Decimal, given_weights: dict[str, Decimal]) -> None:
    parts = split(total, given_weights, STEP)
    assert sum(parts.values()) == whole_steps(total, STEP)
    assert all(part % STEP == 0 for part in parts.values())


@given(totals, weights)
def test_each_part_is_within_a_step_of_its_weight(total: Decimal, given_weights: dict[str, Decimal]) -> None:
    whole = sum(given_weights.values())
    for name, part in split(total, given_weights, STEP).items():
        assert abs(part - whole_steps(total, STEP) * given_weights[name] / whole) <= STEP


@given(totals, weights)
def test_the_order_of_weights_does_not_matter(total: Decimal, given_weights: dict[str, Decimal]) -> None:
    turned = dict(reversed(given_weights.items()))
    assert split(total, turned, STEP) == split(total, given_weights, STEP)


@given(totals, weights, st.integers(1, 50))
def test_only_the_ratio_of_weights_matters(total: Decimal, given_weights: dict[str, Decimal], factor: int) -> None:
    larger = {name: weight * factor for name, weight in given_weights.items()}
    assert split(total, larger, STEP) == split(total, given_weights, STEP)


def test_the_step_left_over_goes_to_the_largest_remainder_then_by_name() -> None:
    thirds = split(Decimal("0.010"), {"okx": Decimal(1), "bybit": Decimal(1), "binance": Decimal(1)}, STEP)
    assert thirds == {"binance": Decimal("0.004"), "bybit": Decimal("0.003"), "okx": Decimal("0.003")}


@pytest.mark.parametrize("given_weights", [{}, {"okx": Decimal(0)}, {"okx": Decimal(2), "bybit": Decimal(-1)}])
def test_weights_that_share_nothing_out_are_refused(given_weights: dict[str, Decimal]) -> None:
    with pytest.raises(InputError, match="weights"):
        split(Decimal(1), given_weights, STEP)
