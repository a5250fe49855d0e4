"""Journals that hypothesis draws: updates that a fund with 1,000 USDT can take in order of time."""

from __future__ import annotations

from contextlib import suppress
from decimal import Decimal

from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError
from basis_pipeline.domain.positions import Book
from basis_pipeline_tests.builders import perp, token, update, wallet

MINUTES = 12


@st.composite
def _payloads(draw: st.DrawFn) -> tuple[str, list[dict[str, object]]]:
    kind = draw(st.sampled_from(["move", "move", "fund", "open", "adjust", "close", "nothing"]))
    amount = str(draw(st.integers(-900, 900)))
    if kind == "move":
        return "HOURLY_RECONCILIATION", [wallet("USDT", amount), token("okx", "USDT", str(-int(amount)))]
    if kind == "fund":
        return "FUNDING_PAYMENT", [token("okx", "USDT", amount)]
    if kind == "open":
        return "PERP_OPENED", [perp("OPEN", draw(st.sampled_from(["-2", "3"])), fill_price="3000")]
    if kind == "adjust":
        size = draw(st.sampled_from(["-4", "-1", "1", "6"]))
        price = draw(st.sampled_from([None, "3100"]))
        return "PERP_ADJUSTED", [perp("ADJUST", size, fill_price=price)]
    if kind == "close":
        return "PERP_CLOSED", [perp("CLOSE"), token("binance", "USDT", amount)]
    return "HOURLY_RECONCILIATION", []


@st.composite
def journals(draw: st.DrawFn, size_max: int = 14) -> list[BalanceUpdate]:
    """Updates in order of time, several at one time, each of which the book takes in its turn."""
    book = Book({("wallet", "USDT"): Decimal(1000)})
    taken = []
    for minute in sorted(draw(st.lists(st.integers(0, MINUTES), max_size=size_max))):
        trigger, legs = draw(_payloads())
        each = update(trigger, *legs, minute=minute)
        with suppress(BookError):
            book.apply(each)
            taken.append(each)
    return taken
