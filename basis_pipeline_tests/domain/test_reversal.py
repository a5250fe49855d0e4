from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reversal import check_mirror, mirror_image, reversal_id
from basis_pipeline_tests.builders import at, book_of, deposit, perp, state, token, update, wallet
from basis_pipeline_tests.domain.strategies import updates


def mirror_of(original: BalanceUpdate, before: Book) -> tuple[BalanceUpdate, Book]:
    """The mirror image of an update applied to ``before``, and the book after the update."""
    after = before.copy()
    after.apply(original)
    return mirror_image(original, before, after, after, original.timestamp), after


@given(st.lists(updates(), max_size=5), updates())
def test_an_update_and_its_mirror_image_leave_the_book_as_it_was(
    stream: list[BalanceUpdate], last: BalanceUpdate
) -> None:
    before = Book()
    for each in stream:
        try:
            before.apply(each)
        except BookError:
            continue
    try:
        mirror, after = mirror_of(last, before)
    except BookError:
        return
    check_mirror(mirror, last)
    after.apply(mirror)
    assert after.balances == before.balances
    assert after.positions == before.positions


OPENED = book_of(update("PERP_OPENED", perp("OPEN", "-2", fill_price="3000", notional_usd="6000")), deposit("ETH", "5"))


@pytest.mark.parametrize(
    "original",
    [
        update("PERP_OPENED", perp("OPEN", "1", venue="okx", fill_price="3000"), token("okx", "USDT", "-3")),
        update("PERP_ADJUSTED", perp("ADJUST", "-5", fill_price="3100")),
        update("PERP_ADJUSTED", perp("ADJUST", "5", fill_price="3100")),
        update("PERP_CLOSED", perp("CLOSE"), token("binance", "USDT", "55")),
        update("TRADE_EXECUTED", perp("CLOSE"), perp("OPEN", "4", fill_price="3100")),
        update("TRADE_EXECUTED", perp("OPEN", "1", venue="okx", fill_price="1"), perp("CLOSE", venue="okx")),
        update("GAS_FEE_PAID", wallet("ETH", "-0.1")),
        update("HOURLY_RECONCILIATION"),
    ],
    ids=lambda original: f"{original.trigger} {'+'.join(c.action for c in original.derivative_changes)}",
)
def test_each_kind_of_update_can_be_taken_back(original: BalanceUpdate) -> None:
    mirror, after = mirror_of(original, OPENED)
    check_mirror(mirror, original)
    after.apply(mirror)
    assert state(after) == state(OPENED)


def test_a_reversal_cannot_be_reversed() -> None:
    original = update("GAS_FEE_PAID", wallet("ETH", "-0.1"))
    mirror, after = mirror_of(original, OPENED)
    with pytest.raises(BookError, match="is itself the reversal of"):
        mirror_image(mirror, after, OPENED, OPENED, at(0))


def exported(change: BalanceUpdate, **changed: object) -> BalanceUpdate:
    """The update as it comes back from a file, perhaps tampered with."""
    return parse_update({**change.model_dump(mode="python"), "trigger": change.trigger.value, **changed})


TRADE = update("TRADE_EXECUTED", perp("CLOSE"), token("binance", "USDT", "55"), entry_id="trade")
MIRROR, _ = mirror_of(TRADE, OPENED)
TAMPERED = [
    {"id": "another-reversal-of-it"},
    {"trigger": "PERP_CLOSED"},
    {"token_changes": []},
    {"token_changes": [token("binance", "USDT", "-54")]},
    {"token_changes": [token("okx", "USDT", "-55")]},
    {"derivative_changes": []},
    {"derivative_changes": [perp("CLOSE")]},
    {"derivative_changes": [perp("OPEN", "-2", venue="okx", fill_price="3000")]},
    {
        "derivative_changes": [
            perp("OPEN", "-2", fill_price="3000"),
            perp("OPEN", "1", on="BTCUSDT-PERP", fill_price="1"),
        ]
    },
]


def test_a_mirror_image_that_comes_back_from_a_file_is_accepted() -> None:
    check_mirror(exported(MIRROR), TRADE)


@pytest.mark.parametrize("changed", TAMPERED, ids=lambda changed: str(changed)[:60])
def test_what_only_claims_to_be_a_mirror_image_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(BookError, match="is not the mirror image of trade"):
        check_mirror(exported(MIRROR, **changed), TRADE)


def test_the_reversal_of_a_reversal_in_a_file_is_refused() -> None:
    with pytest.raises(BookError, match="is not the mirror image"):
        check_mirror(exported(MIRROR, id=reversal_id(MIRROR.id), reverses=MIRROR.id), MIRROR)


@pytest.mark.parametrize("length", [1, 190, 191, 192, 200])
def test_a_reversal_s_id_can_be_read_back_however_long_the_entry_s_is(length: int) -> None:
    original = deposit("USDT", "1").model_copy(update={"id": "x" * length})
    mirror, _ = mirror_of(original, Book())
    assert exported(mirror).id == reversal_id(original.id)
    assert reversal_id("x" * 199) != reversal_id("x" * 200)


def test_a_mirror_image_does_not_repeat_the_post_conditions() -> None:
    mirror, _ = mirror_of(update("DEPOSIT", wallet("USDT", "5", new_balance="5")), Book())
    (leg,) = mirror.token_changes
    assert (leg.delta, leg.new_balance) == (Decimal(-5), None)
