"""What hypothesis draws: exact amounts and sequences of updates that a book may or may not take."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import strategies as st

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline_tests.builders import perp, token, update

VENUES = ("wallet", "binance", "bybit", "okx", "in_transit")
TOKENS = ("ETH", "USDT", "weETH", "EIGEN")
INSTRUMENTS = ("ETHUSDT-PERP", "BTCUSDT-PERP", "ETHUSDT-PERP:SHORT")


def amounts(low: str = "-1000000", high: str = "1000000", places: int = 6) -> st.SearchStrategy[Decimal]:
    """Exact amounts on a grid of 10^-places."""
    quantum = Decimal(1).scaleb(-places)
    return st.integers(int(Decimal(low) / quantum), int(Decimal(high) / quantum)).map(lambda n: n * quantum)


prices = amounts("0.01", "100000", 8)
sizes = amounts("-1000", "1000", 8)


@st.composite
def token_legs(draw: st.DrawFn) -> dict[str, object]:
    return token(draw(st.sampled_from(VENUES)), draw(st.sampled_from(TOKENS)), str(draw(amounts())))


@st.composite
def perp_legs(draw: st.DrawFn) -> dict[str, object]:
    instrument = draw(st.sampled_from(INSTRUMENTS))
    size = draw(sizes)
    if instrument.endswith(":SHORT"):
        size = -abs(size)
    action = draw(st.sampled_from(("OPEN", "ADJUST", "CLOSE")))
    price = draw(st.none() | prices)
    return perp(
        action,
        None if action == "CLOSE" else str(size),
        venue=draw(st.sampled_from(("binance", "okx"))),
        on=instrument,
        fill_price=None if price is None else str(price),
    )


@st.composite
def updates(draw: st.DrawFn) -> BalanceUpdate:
    """An update of any legs: HOURLY_RECONCILIATION may adjust anything."""
    legs = draw(st.lists(token_legs(), max_size=4)) + draw(st.lists(perp_legs(), max_size=3))
    return update("HOURLY_RECONCILIATION", *legs)
