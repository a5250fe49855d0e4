"""Which series are recorded: those that would answer for what may be held, and no others."""

from __future__ import annotations

import pytest

from basis_pipeline.domain.errors import UnknownNameError
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Token, TokenKind
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline.market.wanted import wanted_series


def names(routing: Routing | None = None, *instruments: tuple[str, str], required: bool | None = None) -> set[str]:
    found = wanted_series(routing or Routing(), DEFAULT_REGISTRY, instruments)
    return {
        f"{each.venue} {each.symbol} {each.kind}"
        for venue in found.values()
        for each in venue
        if required in (None, each.required)
    }


def refs(*texts: str) -> tuple[SeriesRef, ...]:
    return tuple(SeriesRef.parse(text) for text in texts)


def test_every_exchange_is_asked_for_the_price_of_every_coin_in_usdt_and_needs_none_of_them() -> None:
    coins = ("BTC", "EIGEN", "ETH", "ETHFI")
    assert names() == {f"{venue} {coin}USDT spot" for venue in ("binance", "bybit", "okx") for coin in coins}
    assert names(required=True) == set()


def test_usdt_itself_king_and_what_converts_into_another_token_are_not_asked_of_exchanges() -> None:
    assert not any(name.split()[1].startswith(("USDT", "KING", "WETH", "weETH", "stETH", "aW")) for name in names())


def test_the_mark_of_a_perpetual_is_required_on_its_own_venue_whatever_its_leg() -> None:
    asked = names(None, ("okx", "ETHUSDT-PERP:LONG"), ("okx", "ETHUSDT-PERP:SHORT"), ("bybit", "BTCUSDT-PERP"))
    assert {name for name in asked if name.endswith("perp")} == {"okx ETHUSDT perp", "bybit BTCUSDT perp"}
    assert names(None, ("okx", "ETHUSDT-PERP"), required=True) == {"okx ETHUSDT perp"}


def test_a_contract_that_settles_in_another_coin_needs_the_price_of_that_coin_too() -> None:
    assert "bybit USDCUSDT spot" in names(None, ("bybit", "ETHUSDC-PERP"))


def test_configured_routes_replace_the_usual_ones_and_are_required_with_what_they_are_quoted_in() -> None:
    routing = Routing(
        routes={"EIGEN": refs("okx:EIGENUSDC:spot", "aave_oracle:EIGENUSD:oracle"), "KING": refs("bybit")},
        conversions={"lst:wstETH": refs("okx:WSTETHETH:spot", "lido:wstETHETH:oracle")},
        marks={"binance:ETHUSDT-PERP": refs("bybit:ETHUSDT:perp")},
    )
    asked = names(routing, ("binance", "ETHUSDT-PERP"))
    assert {name for name in asked if "EIGEN" in name} == {"okx EIGENUSDC spot"}
    assert "okx USDCUSDT spot" in asked
    assert names(routing, ("binance", "ETHUSDT-PERP"), required=True) == {
        "okx EIGENUSDC spot",
        "bybit KINGUSDT spot",
        "okx WSTETHETH spot",
        "bybit ETHUSDT perp",
    }
    assert not any(name.endswith("oracle") for name in asked)


def test_tokens_of_the_users_own_are_asked_for_by_what_they_convert_into() -> None:
    registry = DEFAULT_REGISTRY.extended([Token("LDO", TokenKind.BASE, 18), Token("rETH", TokenKind.LST, 18, "ETH")])
    symbols = {each.symbol for each in wanted_series(Routing(), registry)["binance"]}
    assert "LDOUSDT" in symbols
    assert not any("rETH" in symbol for symbol in symbols)


def test_the_series_of_a_venue_come_in_a_fixed_order() -> None:
    listed = wanted_series(Routing(), DEFAULT_REGISTRY, [("okx", "ETHUSDT-PERP")])
    assert list(listed) == sorted(listed)
    assert all(series == sorted(series) for series in listed.values())


def test_something_that_is_no_perpetual_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="ETH-250926"):
        wanted_series(Routing(), DEFAULT_REGISTRY, [("okx", "ETH-250926")])
