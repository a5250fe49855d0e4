"""Reading and refusing routes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from basis_pipeline.domain.errors import InputError
from basis_pipeline.market.routing import Routing, SeriesRef

parse = SeriesRef.parse


def test_a_series_is_written_as_venue_symbol_kind_or_as_a_venue() -> None:
    assert parse("bybit:ETHUSDT:spot") == SeriesRef("bybit", "ETHUSDT", "spot")
    assert parse(" kraken ") == SeriesRef("kraken")
    assert str(parse("bybit:ETHUSDT:spot")) == "bybit:ETHUSDT:spot"
    assert str(SeriesRef("kraken")) == "kraken"


@pytest.mark.parametrize("text", ["", "bybit:ETHUSDT", "bybit::spot", "a:b:c:d", ":"])
def test_other_ways_of_writing_a_series_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="venue:SYMBOL:kind"):
        parse(text)


@pytest.mark.parametrize(
    ("symbol", "parts"),
    [
        ("ETHUSDT", ("ETH", "USDT")),
        ("WETHUSDT", ("WETH", "USDT")),
        ("weETHETH", ("weETH", "ETH")),
        ("weETHWETH", ("weETH", "WETH")),
        ("wstETHUSD", ("wstETH", "USD")),
        ("USDCUSDT", ("USDC", "USDT")),
        ("ETHFIWETH", ("ETHFI", "WETH")),
        ("USDT", None),
        ("DXY", None),
    ],
)
def test_symbols_split_at_the_longest_quote_currency(symbol: str, parts: tuple[str, str] | None) -> None:
    assert Routing().split(symbol) == parts


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"routes": {"ETH": ()}}, r"routes\[ETH\]: no source"),
        ({"routes": {"ETH": (SeriesRef("x", "ETHUSDT"),)}}, r"routes\[ETH\]: x:ETHUSDT must have both"),
        ({"routes": {"DXY": (SeriesRef("x", "DXY", "spot"),)}}, r"routes\[DXY\]: x:DXY:spot ends in no known quote"),
        ({"conversions": {"lst:weETH": (SeriesRef("curve"),)}}, r"conversions\[lst:weETH\]: curve must name a series"),
        ({"marks": {"okx:ETHUSDT-PERP": (SeriesRef("okx"),)}}, r"marks\[okx:ETHUSDT-PERP\]: okx must name a series"),
        ({"max_age": timedelta(0)}, "max_age: the maximum age"),
        ({"max_age_by_name": {"ETH": timedelta(-1)}}, "ETH: the maximum age"),
    ],
)
def test_routes_that_cannot_work_are_refused_with_their_name(settings: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Routing(**settings)  # type: ignore[arg-type]
