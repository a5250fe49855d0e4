"""History as a price source: the digits are those that the pipeline values with."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError, MissingPriceError, UnknownNameError
from basis_pipeline.domain.quotes import Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.domain.valuation import Sheet
from basis_pipeline.market.as_of import AsOfPrices
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline_tests.market.builders import PRICE_NAMES, RESERVE_NAMES, Build, Reserve, hour, price, write

TOKENS = ("ETH", "WETH", "USDT", "weETH", "aWeETH", "aUSDT", "variableDebtUSDT", "stETH")
CONTRACT = ("binance", "ETHUSDT-PERP")
_PLACES = {"min_value": Decimal("0.5"), "max_value": Decimal(5), "places": 18}


def prices_of(market: MarketHistory, at: datetime, *assets: str) -> dict[str, Decimal]:
    return asyncio.run(AsOfPrices(market, DEFAULT_REGISTRY, lambda: at).get_prices(assets))


def marks_of(market: MarketHistory, at: datetime, *contracts: tuple[str, str]) -> dict[tuple[str, str], Decimal]:
    return asyncio.run(AsOfPrices(market, DEFAULT_REGISTRY, lambda: at).get_marks(contracts))


@given(
    st.decimals(min_value="1", max_value="9999", places=18),
    st.lists(st.decimals(**_PLACES), min_size=4, max_size=4),  # type: ignore[arg-type]
    st.integers(min_value=0, max_value=119),
)
@settings(max_examples=40, deadline=None)
def test_digits_are_those_that_a_sheet_values_with(
    tmp_path_factory: pytest.TempPathFactory, eth: Decimal, factors: list[Decimal], minutes: int
) -> None:
    usdt, lst, liquidity, debt = (str(factor) for factor in factors)
    directory = tmp_path_factory.mktemp("market")
    rows = [
        price(0, "binance ETHUSDT spot", str(eth)),
        price(0, "binance ETHUSDT perp", str(eth)),
        price(0, "aave_oracle USDTUSD oracle", usdt),
        price(0, "aave_oracle weETHETH oracle", lst),
    ]
    reserves = [Reserve(hour(0), name, liquidity, debt) for name in ("weETH", "USDT")]
    market = _market(directory, rows, reserves)
    at = hour(0) + timedelta(minutes=minutes)
    sheet = Sheet(market.window(hour(0), hour(2)), DEFAULT_REGISTRY, [at])
    found = prices_of(market, at, *TOKENS)
    for token in TOKENS:
        units = sheet.units(token)
        assert units.gaps(0, 1) == []
        assert found[token].as_tuple() == units.usd[0].as_tuple()
    marks = sheet.marks(*CONTRACT)
    assert marks.gaps(0, 1) == []
    assert marks_of(market, at, CONTRACT) == {CONTRACT: marks.price[0]}


def _market(directory: Path, rows: list[object], reserves: list[Reserve]) -> MarketHistory:
    write(directory, "prices", PRICE_NAMES, rows, ".parquet")  # type: ignore[arg-type]
    write(directory, "aave_reserve_hourly", RESERVE_NAMES, list(reserves), ".parquet")
    return MarketHistory(directory)


ROWS = [
    price(0, "binance ETHUSDT spot", "3000"),
    price(1, "binance ETHUSDT spot", "3100"),
    price(0, "aave_oracle USDTUSD oracle", "0.999"),
    price(1, "aave_oracle USDTUSD oracle", "1"),
    price(0, "binance ETHUSDT perp", "3001"),
    price(0, "okx ETHUSDC perp", "3002"),
    price(0, "okx USDCUSDT spot", "1"),
]


def test_the_clock_says_what_was_known(build: Build) -> None:
    market = build(ROWS)
    now = [hour(0)]
    source = AsOfPrices(market, DEFAULT_REGISTRY, lambda: now[0])
    assert asyncio.run(source.get_prices(["ETH", "USDT"])) == {"ETH": Decimal(2997), "USDT": Decimal("0.999")}
    now[0] = hour(1) - timedelta(microseconds=1)
    assert asyncio.run(source.get_prices(["ETH"])) == {"ETH": Decimal(2997)}
    now[0] = hour(1)
    assert asyncio.run(source.get_prices(["ETH"])) == {"ETH": Decimal(3100)}


def test_names_are_those_that_were_asked_with(build: Build) -> None:
    market = build(ROWS)
    assert prices_of(market, hour(0), "ETH_spot", "WETH") == {"ETH_spot": Decimal(2997), "WETH": Decimal(2997)}
    found = marks_of(market, hour(0), ("Binance", "ETH/USDT:USDT"), ("binance", "ETHUSDT-PERP:SHORT"))
    assert found == {("Binance", "ETH/USDT:USDT"): Decimal(3001), ("binance", "ETHUSDT-PERP:SHORT"): Decimal(3001)}


def test_nothing_asked_is_nothing_answered(build: Build) -> None:
    assert prices_of(build(ROWS), hour(0)) == {}
    assert marks_of(build(ROWS), hour(0)) == {}


def test_everything_that_is_missing_is_listed_with_what_was_tried(build: Build) -> None:
    market = build(ROWS)
    with pytest.raises(MissingPriceError, match=r"no price of ETH at 2024-05-12T06:00:00Z: binance ") as e:
        prices_of(market, hour(6), "ETH", "WETH", "KING")
    assert [gap.name for gap in e.value.failures if isinstance(gap, Unavailable)] == ["ETH", "WETH", "KING"]


def test_a_mark_that_is_missing_is_listed_with_its_venue(build: Build) -> None:
    with pytest.raises(MissingPriceError, match=r"no mark of bybit ETHUSDT-PERP at .*no such series") as e:
        marks_of(build(ROWS), hour(0), ("bybit", "ETHUSDT-PERP"), CONTRACT)
    assert [gap.name for gap in e.value.failures if isinstance(gap, Unavailable)] == ["bybit ETHUSDT-PERP"]


def test_a_mark_in_another_coin_than_the_contract_settles_in_is_none(build: Build) -> None:
    routing = Routing(marks={"okx:ETHUSDT-PERP": (SeriesRef("okx", "ETHUSDC", "perp"),)})
    with pytest.raises(MissingPriceError, match="quotes USDC, but the contract settles in USDT"):
        marks_of(build(ROWS, routing=routing), hour(0), ("okx", "ETHUSDT-PERP"))


def test_names_that_are_not_registered_are_refused(build: Build) -> None:
    market = build(ROWS)
    with pytest.raises(UnknownNameError, match="'ETX'"):
        prices_of(market, hour(0), "ETX")
    with pytest.raises(UnknownNameError, match="'kraken' is not a venue"):
        marks_of(market, hour(0), ("kraken", "ETHUSDT-PERP"))
    with pytest.raises(InputError, match="'ETH' is one name"):
        asyncio.run(AsOfPrices(market, DEFAULT_REGISTRY, lambda: hour(0)).get_prices("ETH"))
