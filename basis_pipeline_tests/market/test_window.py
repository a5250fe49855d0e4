"""What the market answers as of an instant, and why it sometimes does not."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.quotes import Quote, Rate, Unavailable
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline.market.window import MarketWindow, describe_span
from basis_pipeline_tests.market.builders import Build, Reserve, hour, price, prices

USDT = prices("aave_oracle USDTUSD oracle", ["0.999"] * 48)
BYBIT = "bybit ETHUSDT spot"


def window(history: MarketHistory) -> MarketWindow:
    return history.window(hour(0), hour(100))


def quote(answer: Quote | Unavailable) -> Quote:
    assert isinstance(answer, Quote), answer
    return answer


def reasons(answer: Quote | Rate | Unavailable) -> tuple[str, ...]:
    assert isinstance(answer, Unavailable), answer
    return answer.tried


def test_a_quote_carries_value_currency_source_and_time(build: Build) -> None:
    market = window(build([*USDT, price(3, BYBIT, "3000.5")]))
    assert market.price("ETH", hour(3)) == Quote(
        Decimal("2997.4995"), Decimal("3000.5"), "USDT", "bybit ETHUSDT spot", hour(3)
    )


def test_a_price_is_known_from_its_stamp_on_and_not_a_microsecond_before(build: Build) -> None:
    market = window(build([*USDT, *prices(BYBIT, ["3000", "3100"])]))
    before = quote(market.price("ETH", hour(1) - timedelta(microseconds=1)))
    assert (before.price, before.observed_at) == (Decimal(3000), hour(0))
    assert quote(market.price("ETH", hour(1))).price == Decimal(3100)


def test_instants_may_be_asked_in_any_order(build: Build) -> None:
    market = window(build([*USDT, *prices(BYBIT, ["3000", "3100", "3200"])]))
    asked = [2, 0, 1, 0, 2]
    assert [quote(market.price("ETH", hour(at))).price for at in asked] == [3200, 3000, 3100, 3000, 3200]


def test_two_hours_old_is_fresh_and_a_microsecond_more_is_stale(build: Build) -> None:
    market = window(build([*USDT, price(1, BYBIT, "3000")]))
    assert quote(market.price("ETH", hour(3))).observed_at == hour(1)
    tried = reasons(market.price("ETH", hour(3) + timedelta(microseconds=1)))
    assert "bybit ETHUSDT spot: 2024-05-12T01:00:00Z is 2 h old (limit 2 h)" in tried


def test_a_quote_is_as_old_as_the_oldest_observation_it_rests_on(build: Build) -> None:
    market = window(build([price(1, "aave_oracle USDTUSD oracle", "1"), price(2, BYBIT, "3000")]))
    assert quote(market.price("ETH", hour(2))).observed_at == hour(1)


def test_the_age_limit_can_be_set_per_name(build: Build) -> None:
    routing = Routing(max_age_by_name={"ETH": timedelta(hours=5), "lst:weETH": timedelta(hours=30)})
    rows = [*USDT, price(1, BYBIT, "3000"), price(1, "aave_oracle weETHETH oracle", "1.04")]
    market = build(rows, routing=routing).window(hour(6), hour(40))
    assert quote(market.price("ETH", hour(6))).price == Decimal(3000)
    assert reasons(market.price("ETH", hour(6.5)))
    assert isinstance(market.rate("lst:weETH", hour(31)), Rate)


def test_what_the_first_exchange_lacks_is_asked_of_the_next_per_token(build: Build) -> None:
    rows = [
        *USDT,
        price(1, "binance BTCUSDT spot", "60000"),
        price(1, BYBIT, "3000"),
        price(1, "okx KINGUSDT spot", "9"),
    ]
    market = window(build(rows))
    sources = [quote(market.price(token, hour(1))).source for token in ("BTC", "ETH", "KING")]
    assert sources == ["binance BTCUSDT spot", "bybit ETHUSDT spot", "okx KINGUSDT spot"]


def test_sources_are_asked_exchanges_first_then_oracles_then_other_series_then_pools(build: Build) -> None:
    names = [
        "binance ETHUSDT spot",
        "binance ETHUSDC spot",
        "bybit ETHUSDT spot",
        "okx ETHUSD spot",
        "aave_oracle WETHUSD oracle",
        "chainlink ETHUSD oracle",
        "derived ETHUSDT spot",
        "kraken ETHUSD spot",
        "modelled ETHUSDT spot",
        "uniswap_v3 WETHUSDT dex",
    ]
    rows = [row for place, name in enumerate(names) for row in prices(name, ["3000"] * (3 * place + 1))]
    usd = [*prices("aave_oracle USDTUSD oracle", ["1"] * 60), *prices("aave_oracle USDCUSD oracle", ["1"] * 60)]
    market = window(build([*rows, *usd]))
    last_hours = [hour(3 * place) for place in range(len(names))]
    assert [quote(market.price("ETH", at)).source for at in last_hours] == names


def test_a_missing_price_tells_everything_that_was_tried(build: Build) -> None:
    rows = [
        *USDT,
        price(1, BYBIT, "3000"),
        price(20, "okx ETHUSDT spot", "3000"),
        price(6, "derived ETHUSDT spot", "0"),
    ]
    market = window(build(rows))
    answer = market.price("ETH", hour(6))
    assert reasons(answer) == (
        "binance ETHUSDT spot: no such series",
        "bybit ETHUSDT spot: 2024-05-12T01:00:00Z is 5 h old (limit 2 h)",
        "okx ETHUSDT spot: no observation",
        "derived ETHUSDT spot: 0 at 2024-05-12T06:00:00Z is not positive",
    )


def test_the_age_is_told_even_when_the_last_observation_is_long_before_the_window(build: Build) -> None:
    market = build([*USDT, price(1, BYBIT, "3000")]).window(hour(40), hour(41))
    assert "bybit ETHUSDT spot: 2024-05-12T01:00:00Z is 1 d 15 h old (limit 2 h)" in reasons(
        market.price("ETH", hour(40))
    )


@pytest.mark.parametrize("close", ["0", "-1"])
def test_a_price_that_is_not_positive_is_passed_over_and_not_replaced_by_an_older_one(build: Build, close: str) -> None:
    market = window(build([*USDT, *prices("binance ETHUSDT spot", ["2999", close]), *prices(BYBIT, ["3000", "3001"])]))
    assert quote(market.price("ETH", hour(1))).source == "bybit ETHUSDT spot"


def test_a_row_without_value_answers_nothing_and_leaves_the_older_value_standing(build: Build) -> None:
    market = window(build([*USDT, price(0, BYBIT, "3000"), price(1, BYBIT, None)]))
    assert quote(market.price("ETH", hour(1))).observed_at == hour(0)


def test_a_price_too_small_to_store_is_missing_and_not_zero(build: Build) -> None:
    rows = [price(1, "aave_oracle USDTUSD oracle", "0.4"), price(1, "okx DUSTUSDT spot", "0.000000000000000001")]
    assert "below the smallest price" in reasons(window(build(rows)).price("DUST", hour(1)))[0]


def test_an_exact_duplicate_is_used_and_a_contradiction_is_not(build: Build) -> None:
    same = [price(1, "binance ETHUSDT spot", "3000"), price(1, "binance ETHUSDT spot", "3000")]
    other = price(1, "binance ETHUSDT spot", "3001")
    fallback = price(1, BYBIT, "3002")
    assert quote(window(build([*USDT, *same, fallback])).price("ETH", hour(1))).price == 3000
    contradicting = window(build([*USDT, *same, other, fallback]))
    assert quote(contradicting.price("ETH", hour(1))).price == 3002
    alone = window(build([*USDT, *same, other]))
    assert "binance ETHUSDT spot: two different values at 2024-05-12T01:00:00Z" in reasons(alone.price("ETH", hour(1)))


def test_usdt_is_not_one_dollar_and_the_reserve_price_is_its_last_source(build: Build) -> None:
    reserves = [Reserve(hour(number), "USDT", "1.1", "1.2", "0.998") for number in range(12)]
    market = window(build([price(1, "aave_oracle USDTUSD oracle", "0.999"), price(8, BYBIT, "3000")], reserves))
    assert quote(market.price("USDT", hour(1)))[3] == "aave_oracle USDTUSD oracle"
    late = quote(market.price("USDT", hour(8)))
    assert (late.price_usd, late.source) == (Decimal("0.998"), "aave_reserve USDTUSD oracle")
    assert quote(market.price("ETH", hour(8))).price_usd == Decimal(2994)


def test_reserve_prices_of_volatile_tokens_are_never_used(build: Build) -> None:
    market = window(build(USDT, [Reserve(hour(1), "WETH", "1", "1", "3000")]))
    assert all("aave_reserve" not in reason for reason in reasons(market.price("ETH", hour(1))))


def test_a_dollar_is_a_dollar(build: Build) -> None:
    assert quote(window(build(USDT)).price("USD", hour(1))).price_usd == 1


def test_quote_currencies_are_converted_along_their_own_routes_and_rounded_once(build: Build) -> None:
    rows = [
        price(1, "aave_oracle USDTUSD oracle", "0.999999999999999999"),
        price(1, BYBIT, "3000.000000000000000001"),
        price(1, "uniswap_v3 EIGENWETH dex", "0.000333333333333333"),
    ]
    market = window(build(rows))
    exact = Fraction("0.000333333333333333") * Fraction("3000.000000000000000001") * Fraction("0.999999999999999999")
    answer = quote(market.price("EIGEN", hour(1)))
    assert (answer.currency, answer.source) == ("WETH", "uniswap_v3 EIGENWETH dex")
    assert answer.price_usd == Decimal(round(exact * 10**18)).scaleb(-18)


def test_a_token_quoted_in_something_without_price_says_so(build: Build) -> None:
    market = window(build([price(1, "uniswap_v3 EIGENWETH dex", "0.0003")]))
    last = reasons(market.price("EIGEN", hour(1)))[-1]
    assert last.startswith("uniswap_v3 EIGENWETH dex: no USD price of WETH (binance ETHUSDT spot: no such series")


def test_wrapped_tokens_are_priced_as_what_they_wrap_unless_they_have_a_route(build: Build) -> None:
    rows = [*USDT, price(1, "binance BTCUSDT spot", "60000"), price(1, "curve cbBTCUSDT dex", "59000")]
    market = window(build(rows))
    assert market.price("WBTC", hour(1)) == market.price("BTC", hour(1)) == market.price("cbBTC", hour(1))
    routing = Routing(routes={"cbBTC": (SeriesRef.parse("curve:cbBTCUSDT:dex"),)})
    assert quote(window(build(rows, routing=routing)).price("cbBTC", hour(1))).price == 59000


def test_a_route_that_comes_back_to_itself_is_refused_whoever_asks_first(build: Build) -> None:
    rows = [
        price(1, "uniswap_v3 AAAETH dex", "2"),
        price(1, "okx ETHUSDT spot", "3000"),
        price(1, "x USDTETH spot", "0.0003"),
    ]
    routing = Routing(routes={"USDT": (SeriesRef.parse("x:USDTETH:spot"),)})
    for first, second in (("ETH", "USDT"), ("USDT", "ETH")):
        market = window(build(rows, routing=routing))
        for token in (first, second, "AAA"):
            assert "comes back to" in " ".join(reasons(market.price(token, hour(1))))


def test_an_answer_does_not_depend_on_what_was_asked_before(build: Build) -> None:
    rows = [
        price(1, "x AAABBB spot", "2"),
        price(1, "y AAAUSD oracle", "10"),
        price(1, "x BBBAAA spot", "3"),
        price(1, "y BBBUSD oracle", "7"),
    ]
    parse = SeriesRef.parse
    routing = Routing(
        quotes=("AAA", "BBB", "USD"),
        routes={
            "AAA": (parse("x:AAABBB:spot"), parse("y:AAAUSD:oracle")),
            "BBB": (parse("x:BBBAAA:spot"), parse("y:BBBUSD:oracle")),
        },
    )
    for order in (("AAA", "BBB"), ("BBB", "AAA")):
        market = window(build(rows, routing=routing))
        answers = {token: quote(market.price(token, hour(1))).price_usd for token in order}
        assert answers == {"AAA": 14, "BBB": 30}


def test_a_configured_route_replaces_the_default_one(build: Build) -> None:
    rows = [
        *USDT,
        price(1, "binance ETHUSDT spot", "3000"),
        price(1, "kraken ETHUSD spot", "3003"),
        price(1, BYBIT, "1"),
    ]
    routing = Routing(routes={"ETH": (SeriesRef.parse("kraken"),)})
    market = window(build(rows, routing=routing))
    assert quote(market.price("ETH", hour(1))).source == "kraken ETHUSD spot"
    assert reasons(market.price("ETH", hour(9))) == ("kraken ETHUSD spot: 2024-05-12T01:00:00Z is 8 h old (limit 2 h)",)


def test_a_configured_venue_without_series_of_the_token_is_named(build: Build) -> None:
    market = window(build(USDT, routing=Routing(routes={"ETH": (SeriesRef("kraken"),)})))
    assert reasons(market.price("ETH", hour(1))) == ("kraken: no such series",)


def test_any_registered_token_is_found_by_the_default_rules(build: Build) -> None:
    market = window(build([*USDT, price(1, "kraken PEPEUSDT spot", "0.00001")]))
    assert quote(market.price("PEPE", hour(1))).source == "kraken PEPEUSDT spot"


def test_indices_come_from_the_reserve_file_by_its_symbols(build: Build) -> None:
    market = window(build(USDT, [Reserve(hour(1), "WETH", "1.05", "1.06"), Reserve(hour(1), "sDAI", "1.2", "1.3")]))
    assert market.rate("aave:WETH:liquidity", hour(1)) == Rate(
        Decimal("1.05"), "aave_reserve WETH liquidity_index", hour(1)
    )
    assert isinstance(debt := market.rate("aave:sDAI:debt", hour(2)), Rate)
    assert (debt.rate, debt.observed_at) == (Decimal("1.3"), hour(1))
    assert reasons(market.rate("aave:cbBTC:debt", hour(1))) == (
        "aave_reserve cbBTC variable_borrow_index: no such series",
    )


def test_staking_rates_come_from_the_oracle_ratio_and_never_from_trades(build: Build) -> None:
    rows = [*USDT, price(1, "aave_oracle weETHETH oracle", "1.04"), *prices("curve weETHWETH dex", ["1.03"] * 9)]
    market = window(build(rows))
    assert market.rate("lst:weETH", hour(1)) == Rate(Decimal("1.04"), "aave_oracle weETHETH oracle", hour(1))
    assert reasons(market.rate("lst:weETH", hour(8))) == (
        "aave_oracle weETHETH oracle: 2024-05-12T01:00:00Z is 7 h old (limit 2 h)",
    )
    routing = Routing(conversions={"lst:weETH": (SeriesRef.parse("curve:weETHWETH:dex"),)})
    assert isinstance(window(build(rows, routing=routing)).rate("lst:weETH", hour(8)), Rate)


@pytest.mark.parametrize("token", ["stETH", "eETH"])
def test_rebasing_tokens_convert_at_exactly_one(build: Build, token: str) -> None:
    assert window(build(USDT)).rate(f"lst:{token}", hour(1)) == Rate(Decimal(1), "rebasing token", hour(1))


@pytest.mark.parametrize("name", ["weETH", "aave:WETH", "aave::debt", "aave:WETH:stable", "lst:", "fx:EUR"])
def test_a_name_that_is_no_rate_is_answered_with_the_forms_there_are(build: Build, name: str) -> None:
    assert "aave:<reserve>:liquidity" in reasons(window(build(USDT)).rate(name, hour(1)))[0]


def test_a_mark_comes_from_its_own_venue_only(build: Build) -> None:
    rows = [
        *USDT,
        price(1, "binance ETHUSDT perp", "3000"),
        price(1, BYBIT, "2999"),
        price(1, "okx ETHUSDT perp", "3001"),
    ]
    market = window(build(rows))
    mark = quote(market.mark("binance", "ETHUSDT-PERP", hour(1)))
    assert mark == Quote(Decimal(2997), Decimal(3000), "USDT", "binance ETHUSDT perp", hour(1))
    assert market.mark("binance", "ETHUSDT-PERP:SHORT", hour(1)) == mark
    assert reasons(market.mark("bybit", "ETHUSDT-PERP", hour(1))) == ("bybit ETHUSDT perp: no such series",)


def test_a_mark_may_be_given_other_sources_per_venue_and_instrument(build: Build) -> None:
    refs = (SeriesRef.parse("bybit:ETHUSDT:perp"), SeriesRef.parse("binance:ETHUSDT:perp"))
    routing = Routing(marks={"bybit:ETHUSDT-PERP": refs})
    market = window(build([*USDT, price(1, "binance ETHUSDT perp", "3000")], routing=routing))
    assert quote(market.mark("bybit", "ETHUSDT-PERP:LONG", hour(1))).source == "binance ETHUSDT perp"


@pytest.mark.parametrize("instrument", ["ETHUSDT", "ETH-PERP", "ETHUSDT-PERP:BOTH", "USDT-PERP"])
def test_an_unreadable_instrument_is_said_to_be_one(build: Build, instrument: str) -> None:
    assert "<BASE><QUOTE>-PERP" in reasons(window(build(USDT)).mark("okx", instrument, hour(1)))[0]


@pytest.mark.parametrize("at", [hour(-1), hour(101), datetime(2024, 5, 12, 1)])  # noqa: DTZ001
def test_instants_outside_the_window_and_times_without_zone_are_refused(build: Build, at: datetime) -> None:
    with pytest.raises(InputError, match="at: 2024-05"):
        window(build(USDT)).price("USDT", at)


def test_all_quotes_lists_every_fresh_series_once_per_symbol_kind_and_venue(build: Build) -> None:
    rows = [
        *USDT,
        price(1, BYBIT, "3000"),
        price(1, "bybit ETHUSDC spot", "3001"),
        price(1, "aave_oracle USDCUSD oracle", "1"),
        price(1, "bybit ETHUSDT perp", "3002"),
        price(1, "aave_oracle weETHUSD oracle", "3100"),
        price(1, "aave_oracle weETHETH oracle", "1.04"),
        price(1, "curve weETHWETH dex", "1.03"),
        price(1, "modelled KINGUSDT spot", "9"),
        price(-5, "okx ETHUSDT spot", "2900"),
        price(1, "index DXY spot", "104"),
        price(1, "strange ETHUSDT candle", "3000"),
    ]
    found = {
        name: answer for *name_parts, answer in window(build(rows)).all_quotes(hour(1)) if (name := tuple(name_parts))
    }
    assert {name: answer.source for name, answer in found.items()} == {
        ("ETH", "spot", "bybit"): "bybit ETHUSDT spot",
        ("ETHUSDT-PERP", "perp_mark", "bybit"): "bybit ETHUSDT perp",
        ("KING", "modelled", "modelled"): "modelled KINGUSDT spot",
        ("USDC", "oracle", "aave_oracle"): "aave_oracle USDCUSD oracle",
        ("USDT", "oracle", "aave_oracle"): "aave_oracle USDTUSD oracle",
        ("weETH", "dex", "curve"): "curve weETHWETH dex",
        ("weETH", "oracle", "aave_oracle"): "aave_oracle weETHUSD oracle",
    }
    assert found["weETH", "dex", "curve"].price_usd == Decimal("1.03") * 3000 * Decimal("0.999")


def test_tokens_with_two_names_share_one_row(build: Build) -> None:
    rows = [price(1, "aave_oracle WBTCUSD oracle", "59000"), price(1, "aave_oracle BTCUSD oracle", "60000")]
    listed = list(window(build(rows)).all_quotes(hour(1)))
    assert [(name, kind, venue, answer.price) for name, kind, venue, answer in listed] == [
        ("BTC", "oracle", "aave_oracle", Decimal(60000))
    ]


def test_all_rates_lists_what_is_observed_and_fresh(build: Build) -> None:
    rows = [*USDT, price(1, "aave_oracle weETHETH oracle", "1.04"), price(-5, "aave_oracle wstETHETH oracle", "1.16")]
    market = window(build(rows, [Reserve(hour(1), "WETH", "1.05", "1.06")]))
    assert [(name, rate.rate) for name, rate in market.all_rates(hour(1))] == [
        ("aave:WETH:debt", Decimal("1.06")),
        ("aave:WETH:liquidity", Decimal("1.05")),
        ("lst:weETH", Decimal("1.04")),
    ]


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=2, minutes=30), "2 h 30 min"),
        (timedelta(days=3, hours=1, seconds=5), "3 d 1 h"),
        (timedelta(seconds=7), "7 s"),
        (timedelta(0), "0 s"),
    ],
)
def test_spans_are_written_for_people(span: timedelta, text: str) -> None:
    assert describe_span(span) == text
