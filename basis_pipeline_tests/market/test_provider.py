"""What tokens are worth now: who is asked, what is accepted, how long it answers, and what is said when nobody can."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.errors import InputError, MissingPriceError, UnknownNameError, VenueError
from basis_pipeline.domain.numbers import multiply
from basis_pipeline.domain.quotes import Basket, Quote, Quoted, Rate, SeriesValue, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.domain.valuation import Run, Sheet, describe_balance
from basis_pipeline.market.provider import Observed, PriceProvider
from basis_pipeline.market.routing import Routing, SeriesRef

NOW = datetime(2026, 11, 1, 10, 30, tzinfo=UTC)


class Venue:
    """An interface that answers what it was given, and remembers what it was asked."""

    def __init__(
        self,
        prices: object = None,
        rates: Mapping[str, object] | None = None,
        marks: Mapping[str, object] | None = None,
        series: Mapping[tuple[str, str, str], object] | None = None,
        venues: tuple[str, ...] = (),
    ) -> None:
        self.prices = {} if prices is None else prices
        self.rates = rates or {}
        self.marks = marks or {}
        self.series = series or {}
        self.venues = venues
        self.asked: list[list[str]] = []
        self.asked_rates: list[list[str]] = []
        self.asked_marks: list[list[str]] = []
        self.gate: asyncio.Event | None = None

    async def get_prices(self, assets: list[str]) -> Any:
        self.asked.append(assets)
        if self.gate is not None:
            await self.gate.wait()
        if isinstance(self.prices, BaseException):
            raise self.prices
        return self.prices

    async def get_rates(self, names: list[str]) -> Any:
        self.asked_rates.append(names)
        return self.rates

    async def get_marks(self, instruments: list[str]) -> Any:
        self.asked_marks.append(instruments)
        return self.marks

    async def get_series(self, _names: list[tuple[str, str, str]]) -> Any:
        return self.series


class Time:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.passed = timedelta(0)

    def monotonic(self) -> float:
        return 1000 + self.passed.total_seconds()

    def now(self) -> datetime:
        return NOW + self.passed

    def go(self, **span: float) -> None:
        self.passed += timedelta(**span)


def provider(time: Time | None = None, routing: Routing | None = None, **options: Any) -> PriceProvider:
    """Venues by keyword; other options by theirs."""
    time = Time() if time is None else time
    venues = {name: options.pop(name) for name in list(options) if name not in ("ttl", "timeout", "band")}
    return PriceProvider(venues, routing=routing, monotonic=time.monotonic, clock=time.now, **options)


def prices(source: PriceProvider, *assets: str) -> dict[str, Decimal]:
    return asyncio.run(source.get_prices(list(assets)))


def told(source: PriceProvider, *assets: str) -> str:
    """The message of the error, which is due."""
    with pytest.raises(MissingPriceError) as caught:
        prices(source, *assets)
    return str(caught.value)


def usd(value: str) -> Decimal:
    return Decimal(value)


def in_usdt(value: str, age: timedelta = timedelta(0)) -> Quoted:
    return Quoted(Decimal(value), "USDT", NOW - age)


class TestWhoIsAsked:
    def test_the_first_exchange_that_answers_decides(self) -> None:
        binance, bybit = Venue({"ETH": usd("3000")}), Venue({"ETH": usd("3001")})
        assert prices(provider(binance=binance, bybit=bybit, band=None), "ETH") == {"ETH": usd("3000")}
        assert bybit.asked == []

    def test_what_one_venue_lacks_is_asked_of_the_next_for_that_token_only(self) -> None:
        binance, bybit = Venue({"ETH": usd("3000")}), Venue({"ETH": usd("9"), "BTC": usd("60000")})
        okx, wallet = Venue({"ETH": usd("9"), "EIGEN": usd("2")}), Venue({"EIGEN": usd("9"), "ETHFI": usd("8")})
        source = provider(wallet=wallet, okx=okx, bybit=bybit, binance=binance, band=None)
        assert prices(source, "ETH", "BTC", "EIGEN", "ETHFI") == {
            "ETH": usd("3000"),
            "BTC": usd("60000"),
            "EIGEN": usd("2"),
            "ETHFI": usd("8"),
        }
        assert bybit.asked == [["BTC", "EIGEN", "ETHFI"]]
        assert okx.asked == [["EIGEN", "ETHFI"]]
        assert wallet.asked == [["ETHFI"]]

    def test_what_exchanges_list_as_king_is_another_coin(self) -> None:
        binance, wallet = Venue({"KING": usd("0.01")}), Venue({"KING": usd("8")})
        assert prices(provider(binance=binance, wallet=wallet), "KING") == {"KING": usd("8")}
        assert binance.asked == []

    def test_the_chain_may_be_called_alchemy(self) -> None:
        assert prices(provider(alchemy=Venue({"KING": usd("8")})), "KING") == {"KING": usd("8")}

    def test_the_order_of_exchanges_is_that_of_the_routing(self) -> None:
        venues = {"binance": Venue({"ETH": usd("1")}), "okx": Venue({"ETH": usd("2")})}
        source = provider(routing=Routing(exchanges=("okx", "binance")), **venues)
        assert prices(source, "ETH") == {"ETH": usd("2")}

    def test_prices_are_named_as_they_were_asked_for(self) -> None:
        binance = Venue({"ETH": usd("3000"), "BTC": usd("60000")})
        found = prices(provider(binance=binance, band=None), "ETH_spot", "ETH", "WETH", "WBTC", "ETH")
        assert found == {"ETH_spot": usd("3000"), "ETH": usd("3000"), "WETH": usd("3000"), "WBTC": usd("60000")}
        assert binance.asked == [["ETH", "BTC"]]

    def test_asking_for_nothing_asks_nobody(self) -> None:
        binance = Venue()
        assert prices(provider(binance=binance)) == {}
        assert binance.asked == []

    def test_a_name_that_is_not_registered_is_refused_before_anybody_is_asked(self) -> None:
        binance = Venue({"ETH": usd("3000")})
        with pytest.raises(UnknownNameError, match="'ETX' is not a registered token"):
            prices(provider(binance=binance), "ETH", "ETX")
        assert binance.asked == []

    def test_a_single_name_instead_of_a_list_is_refused(self) -> None:
        with pytest.raises(InputError, match="'ETH' is one name"):
            asyncio.run(provider().get_prices("ETH"))


class TestStableCoins:
    def test_a_price_in_usdt_is_multiplied_by_the_price_of_usdt_on_chain(self) -> None:
        wallet = Venue({"USDT": usd("0.999")})
        source = provider(binance=Venue({"ETH": in_usdt("3000"), "USDT": in_usdt("1")}), wallet=wallet)
        assert prices(source, "ETH", "USDT") == {"ETH": usd("2997"), "USDT": usd("0.999")}

    def test_usdt_on_an_exchange_counts_only_where_the_chain_does_not_know_it(self) -> None:
        venues = {"binance": Venue({"USDT": usd("1.01")}), "wallet": Venue({"USDT": usd("0.999")})}
        assert prices(provider(**venues), "USDT") == {"USDT": usd("0.999")}
        venues["wallet"] = Venue()
        assert prices(provider(**venues), "USDT") == {"USDT": usd("1.01")}

    def test_usdt_is_never_priced_in_itself(self) -> None:
        message = told(provider(binance=Venue({"USDT": in_usdt("1")})), "USDT")
        assert message == "no price of USDT: binance: quotes USDT, which is not converted to USD here"

    def test_without_a_price_of_usdt_the_chain_s_own_price_answers(self) -> None:
        source = provider(binance=Venue({"ETH": in_usdt("3000")}), wallet=Venue({"ETH": usd("2990")}))
        assert prices(source, "ETH") == {"ETH": usd("2990")}

    def test_an_unknown_quote_currency_is_no_answer(self) -> None:
        binance = Venue({"ETH": Quoted(usd("2700"), "EUR", NOW)})
        assert "binance: quotes EUR" in told(provider(binance=binance), "ETH")

    def test_one_unit_of_the_share_class_is_worth_exactly_what_was_quoted_in_it(self) -> None:
        time = Time()
        wallet = Venue({"USDT": usd("0.998")})
        source = provider(time, binance=Venue({"ETH": in_usdt("3000")}), wallet=wallet)
        prices(source, "USDT")
        time.go(seconds=20)
        prices(source, "ETH")
        time.go(seconds=15)
        wallet.prices = {"USDT": usd("0.999")}
        found = prices(source, "ETH", "USDT")
        assert found["ETH"] == 3000 * found["USDT"] == 3000 * usd("0.999")


RATES = {"aave:weETH:liquidity": usd("1.02"), "lst:weETH": Rate(usd("1.04"), "oracle", NOW)}


class TestConversion:
    def test_an_a_token_of_a_staking_token_is_index_times_rate_times_the_price_of_eth(self) -> None:
        binance, wallet = Venue({"ETH": usd("3000")}), Venue(rates=RATES)
        assert prices(provider(binance=binance, wallet=wallet), "aWeETH") == {"aWeETH": usd("3182.40")}
        assert wallet.asked_rates == [["aave:weETH:liquidity", "lst:weETH"]]

    def test_no_market_price_of_a_derived_token_is_ever_used(self) -> None:
        everything = dict.fromkeys(("aWeETH", "weETH", "eETH", "ETH"), usd("1"))
        binance = Venue(everything, {"lst:weETH": usd("7")})
        wallet = Venue(everything, RATES)
        assert prices(provider(binance=binance, wallet=wallet, band=None), "weETH") == {"weETH": usd("1.04")}
        assert (binance.asked, binance.asked_rates) == ([["ETH"]], [])

    def test_a_debt_token_is_worth_its_index_times_its_underlying(self) -> None:
        wallet = Venue({"USDT": usd("0.999")}, {"aave:USDT:debt": usd("1.1")})
        assert prices(provider(wallet=wallet), "variableDebtUSDT") == {"variableDebtUSDT": usd("1.0989")}

    def test_what_the_chain_cannot_convert_is_asked_of_the_protocol(self) -> None:
        wallet, aave = Venue({"USDT": usd("1")}), Venue(rates={"aave:USDT:liquidity": usd("1.2")})
        assert prices(provider(aave=aave, wallet=wallet), "aUSDT") == {"aUSDT": usd("1.2")}

    def test_a_missing_rate_is_named(self) -> None:
        wallet = Venue({"ETH": usd("3000")}, {"lst:weETH": usd("0")})
        message = told(provider(wallet=wallet), "weETH", "ETH")
        assert message == "no price of weETH: lst:weETH: wallet: answered 0, not positive"

    @given(
        st.sampled_from(["ETH", "WETH", "wstETH", "weETH", "aWeETH", "awstETH", "variableDebtWETH"]),
        st.decimals(min_value="1e-18", max_value="1e6", places=18),
        st.lists(st.decimals(min_value=1, max_value=5, places=27), min_size=3, max_size=3),
    )
    def test_digits_are_those_of_the_valuation(self, token: str, eth: Decimal, factors: list[Decimal]) -> None:
        valuation = DEFAULT_REGISTRY.valuation(token)
        rates = dict(zip(valuation.rate_names, factors, strict=False))

        class Same:
            def price(self, _token: str, at: datetime) -> Quote | Unavailable:
                return Quote(eth, eth, "USD", "x", at)

            def mark(self, venue: str, _instrument: str, _at: datetime) -> Quote | Unavailable:
                return Unavailable(venue, ())

            def rate(self, name: str, at: datetime) -> Rate | Unavailable:
                return Rate(rates[name], "x", at)

        holding = describe_balance("wallet", token, usd("12.345678901234567891"), DEFAULT_REGISTRY)
        sheet = Sheet(Same(), DEFAULT_REGISTRY, [NOW])
        sheet.value([Run(holding, 0, 1)], "USD")
        found = prices(provider(wallet=Venue({"ETH": eth}, rates)), token)
        assert found[token] == sheet.units(token).usd[0]
        assert multiply(found[token], Decimal(1)) == found[token]


class TestWhatIsAccepted:
    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (usd("0"), "answered 0, not positive"),
            (usd("-1"), "answered -1, not positive"),
            (usd("NaN"), "answered NaN, not a finite number"),
            (usd("sNaN"), "answered sNaN, not a finite number"),
            (usd("Infinity"), "answered Infinity, not a finite number"),
            (3000.5, "answered 3000.5, a float; only a Decimal is exact"),
            ("3000", "answered '3000', a str; only a Decimal is exact"),
            (True, "answered True, a bool; only a Decimal is exact"),
            (usd("1e20"), "answered 1.000E+20, too large to be stored"),
            (usd("1e-19"), "1E-19 is below the smallest price that can be stored, 1e-18"),
            (None, "does not know ETH"),
            (Quoted(usd("0"), "USD", NOW), "answered 0, not positive"),
            (Quoted(usd("3"), ["USD"], NOW), "its currency ['USD'] is no name"),  # type: ignore[arg-type]
            (Quoted(usd("3"), "USD", NOW.replace(tzinfo=None)), "its time datetime.datetime(2026, 11, 1, 10, 30) has"),
            (Quoted(usd("3"), "USD", NOW + timedelta(hours=1)), "2026-11-01T11:30:00Z is in the future"),
        ],
    )
    def test_an_unusable_answer_is_told_and_the_next_venue_asked(self, answer: object, reason: str) -> None:
        venues = {"binance": Venue({"ETH": answer}), "okx": Venue({"ETH": usd("3000")})}
        assert prices(provider(**venues), "ETH") == {"ETH": usd("3000")}
        venues["okx"] = Venue()
        message = told(provider(**venues), "ETH")
        assert message.startswith(f"no price of ETH: binance: {reason}")
        assert message.endswith("; okx: does not know ETH")

    @given(st.one_of(st.decimals(max_value=0, allow_nan=True), st.floats(), st.integers(), st.text(), st.none()))
    def test_nothing_but_a_positive_decimal_becomes_a_price(self, answer: object) -> None:
        told(provider(binance=Venue({"ETH": answer})), "ETH")

    @given(st.decimals(min_value="1e-18", max_value="1e19", places=18))
    def test_every_storable_price_is_answered_to_the_last_digit(self, price: Decimal) -> None:
        assert prices(provider(binance=Venue({"ETH": price})), "ETH") == {"ETH": price}

    def test_a_quote_counts_by_its_price_in_usd(self) -> None:
        quote = Quote(usd("2997"), usd("3000"), "USDT", "x", NOW)
        assert prices(provider(binance=Venue({"ETH": quote})), "ETH") == {"ETH": usd("2997")}

    def test_each_token_has_its_own_age_limit(self) -> None:
        routing = Routing(max_age=timedelta(minutes=1), max_age_by_name={"KING": timedelta(days=1)})
        old = NOW - timedelta(hours=3)
        wallet = Venue({"KING": Quoted(usd("8"), "USD", old), "ETH": Quoted(usd("3000"), "USD", old)})
        assert prices(provider(routing=routing, wallet=wallet), "KING") == {"KING": usd("8")}
        message = told(provider(routing=routing, wallet=wallet), "KING", "ETH")
        assert message == "no price of ETH: wallet: 2026-11-01T07:30:00Z is 3 h old (limit 1 min)"

    def test_a_rate_too_small_to_be_stored_is_none(self) -> None:
        wallet = Venue({"ETH": usd("3000")}, {"lst:weETH": usd("1e-28")})
        assert "lst:weETH: wallet: 1E-28 is below the smallest rate" in told(provider(wallet=wallet), "weETH")

    def test_a_stale_rate_is_none(self) -> None:
        stale = {"lst:weETH": Rate(usd("1.04"), "oracle", NOW - timedelta(hours=3))}
        assert "lst:weETH: wallet: 2026-11-01T07:30:00Z is" in told(provider(wallet=Venue(rates=stale)), "weETH")


class TestErrors:
    def test_everybody_who_was_asked_is_named_with_the_answer(self) -> None:
        source = provider(
            binance=Venue(VenueError("binance: HTTP 451")),
            bybit=Venue(["3000"]),
            okx=Venue(ConnectionError("cut")),
            wallet=Venue({"EIGEN": usd("0")}),
        )
        with pytest.raises(MissingPriceError) as caught:
            prices(source, "ETH", "EIGEN")
        before = (
            "binance: binance: HTTP 451",
            "bybit: answered a list, not prices by name",
            "okx: ConnectionError: cut",
        )
        assert caught.value.failures == (
            Unavailable("ETH", (*before, "wallet: does not know ETH")),
            Unavailable("EIGEN", (*before, "wallet: answered 0, not positive")),
        )

    def test_without_any_source_the_error_says_so(self) -> None:
        assert told(provider(), "ETH") == "no price of ETH: no source is configured"

    def test_an_address_in_the_error_of_a_venue_is_left_out(self) -> None:
        message = told(provider(wallet=Venue(OSError("POST https://node.example/v2/s3cret failed"))), "ETH")
        assert message == "no price of ETH: wallet: OSError: POST (address left out) failed"

    def test_an_interface_without_prices_is_no_source(self) -> None:
        assert "wallet: AttributeError" in told(provider(wallet=object()), "ETH")

    def test_a_venue_that_does_not_answer_in_time_is_passed_over(self) -> None:
        async def ask() -> dict[str, Decimal]:
            slow = Venue()
            slow.gate = asyncio.Event()
            source = provider(
                binance=slow, okx=Venue({"ETH": usd("3000")}), timeout=timedelta(milliseconds=1), band=None
            )
            return await source.get_prices(["ETH"])

        assert asyncio.run(ask()) == {"ETH": usd("3000")}

    @pytest.mark.parametrize(
        "option", [{"ttl": timedelta(-1)}, {"timeout": timedelta(0)}, {"band": usd("0")}, {"band": usd("NaN")}]
    )
    def test_options_that_make_no_sense_are_refused(self, option: dict[str, Any]) -> None:
        with pytest.raises(InputError, match=next(iter(option))):
            provider(**option)


class TestCache:
    def test_a_price_answers_for_its_time_to_live_and_no_longer(self) -> None:
        time, binance = Time(), Venue({"ETH": usd("3000")})
        source = provider(time, binance=binance)
        prices(source, "ETH")
        binance.prices = {"ETH": usd("3100")}
        time.go(seconds=29.999)
        assert prices(source, "ETH") == {"ETH": usd("3000")}
        time.go(seconds=0.001)
        assert prices(source, "ETH") == {"ETH": usd("3100")}

    def test_a_converted_price_expires_with_the_first_of_what_it_rests_on(self) -> None:
        time, chain = Time(), Venue({"ETH": usd("3000")}, {"lst:weETH": usd("1.1")})
        source = provider(time, wallet=chain, band=None)
        assert prices(source, "ETH") == {"ETH": 3000}
        time.go(seconds=20)
        assert prices(source, "weETH") == {"weETH": 3300}
        time.go(seconds=9)
        chain.prices, chain.rates = {"ETH": usd("3100")}, {"lst:weETH": usd("1.2")}
        assert prices(source, "weETH") == {"weETH": 3300}
        time.go(seconds=2)
        assert prices(source, "weETH") == {"weETH": 3410}
        assert [len(chain.asked), len(chain.asked_rates)] == [2, 1]

    def test_rates_are_cached_too(self) -> None:
        wallet = Venue({"ETH": usd("3000")}, RATES)
        source = provider(wallet=wallet)
        assert prices(source, "weETH") == prices(source, "weETH")
        assert (len(wallet.asked), len(wallet.asked_rates)) == (1, 1)

    def test_a_price_that_gets_too_old_is_dropped_before_its_time_to_live_ends(self) -> None:
        time, binance = Time(), Venue({"ETH": Quoted(usd("3000"), "USD", NOW)})
        source = provider(time, Routing(max_age=timedelta(seconds=10)), binance=binance)
        prices(source, "ETH")
        time.go(seconds=11)
        assert "is 11 s old (limit 10 s)" in told(source, "ETH")

    def test_only_what_is_not_known_is_asked_for(self) -> None:
        binance = Venue({"ETH": usd("3000"), "BTC": usd("60000")})
        source = provider(binance=binance)
        prices(source, "ETH")
        prices(source, "ETH", "BTC")
        assert binance.asked == [["ETH"], ["BTC"]]

    def test_a_failure_is_not_remembered_and_no_old_price_takes_its_place(self) -> None:
        time, binance = Time(), Venue({"ETH": usd("3000")})
        source = provider(time, binance=binance)
        prices(source, "ETH")
        time.go(seconds=31)
        binance.prices = OSError("down")
        told(source, "ETH")
        binance.prices = {"ETH": usd("2900")}
        assert prices(source, "ETH") == {"ETH": usd("2900")}

    def test_without_a_time_to_live_every_call_asks(self) -> None:
        binance = Venue({"ETH": usd("3000")})
        source = provider(binance=binance, ttl=timedelta(0))
        prices(source, "ETH")
        prices(source, "ETH")
        assert len(binance.asked) == 2


async def turns() -> None:
    """Let everything that is ready run until it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


def gated(act: Callable[[PriceProvider, Venue], Coroutine[Any, Any, None]]) -> Venue:
    """Run ``act`` with a provider whose only exchange answers when its gate is opened."""

    async def run() -> Venue:
        binance = Venue({"ETH": usd("3000"), "BTC": usd("60000")})
        binance.gate = asyncio.Event()
        await act(provider(binance=binance), binance)
        return binance

    return asyncio.run(run())


class TestConcurrency:
    def test_calls_at_the_same_time_share_one_request_per_token(self) -> None:
        async def act(source: PriceProvider, binance: Venue) -> None:
            calls = [asyncio.ensure_future(source.get_prices(["ETH"])) for _ in range(50)]
            calls.append(asyncio.ensure_future(source.get_prices(["ETH", "BTC"])))
            await turns()
            assert binance.gate is not None
            binance.gate.set()
            answers = await asyncio.gather(*calls)
            assert answers == [{"ETH": usd("3000")}] * 50 + [{"ETH": usd("3000"), "BTC": usd("60000")}]

        assert gated(act).asked == [["ETH"], ["BTC"]]

    def test_a_cancelled_call_leaves_the_others_their_answer(self) -> None:
        async def act(source: PriceProvider, binance: Venue) -> None:
            first = asyncio.ensure_future(source.get_prices(["ETH"]))
            await turns()
            second = asyncio.ensure_future(source.get_prices(["ETH"]))
            await turns()
            first.cancel()
            await turns()
            assert first.cancelled()
            assert binance.gate is not None
            binance.gate.set()
            assert await second == {"ETH": usd("3000")}

        assert gated(act).asked == [["ETH"]]

    def test_a_request_whose_every_caller_was_cancelled_still_fills_the_cache(self) -> None:
        async def act(source: PriceProvider, binance: Venue) -> None:
            only = asyncio.ensure_future(source.get_prices(["ETH"]))
            await turns()
            only.cancel()
            await turns()
            assert binance.gate is not None
            binance.gate.set()
            await turns()
            assert await source.get_prices(["ETH"]) == {"ETH": usd("3000")}

        assert gated(act).asked == [["ETH"]]

    def test_a_loop_that_ends_during_a_request_leaves_nothing_behind(self) -> None:
        binance = Venue({"ETH": usd("3000")})
        source = provider(binance=binance)

        async def start() -> None:
            binance.gate = asyncio.Event()
            call = asyncio.ensure_future(source.get_prices(["ETH"]))
            await turns()
            call.cancel()

        asyncio.run(start())
        binance.gate = None
        assert prices(source, "ETH") == {"ETH": usd("3000")}


def compared(source: PriceProvider, *assets: str) -> list[tuple[str, str, str, str]]:
    async def ask() -> list[tuple[str, str, str, str]]:
        await source.get_prices(list(assets))
        found = await source.compared()
        return [(each.asset, each.source, each.other, str(each.deviation)) for each in found]

    return asyncio.run(ask())


class TestComparison:
    def test_sources_further_apart_than_the_band_are_reported_and_not_averaged(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = provider(binance=Venue({"ETH": usd("3000")}), wallet=Venue({"ETH": usd("3060")}))
        with caplog.at_level(logging.WARNING):
            assert compared(source, "ETH") == [("ETH", "binance", "wallet", "0.02")]
        assert prices(source, "ETH") == {"ETH": usd("3000")}
        assert [record.getMessage() for record in caplog.records] == [
            "sources disagree about a price asset='ETH' used='binance 3000' other='wallet 3060' band='0.01'"
        ]

    def test_a_difference_of_just_the_band_is_none(self) -> None:
        assert compared(provider(binance=Venue({"ETH": usd("3000")}), okx=Venue({"ETH": usd("2970")})), "ETH") == []

    def test_each_price_is_compared_to_the_next_source_that_knows_it(self) -> None:
        binance, bybit = Venue({"ETH": usd("3000")}), Venue({"BTC": usd("60000")})
        wallet = Venue({"ETH": usd("3300"), "BTC": usd("63000")})
        source = provider(binance=binance, bybit=bybit, wallet=wallet)
        expected = [("BTC", "bybit", "wallet", "0.05"), ("ETH", "binance", "wallet", "0.1")]
        assert compared(source, "ETH", "BTC") == expected

    def test_a_discrepancy_ends_when_the_sources_agree_again_and_is_logged_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        time, okx = Time(), Venue({"ETH": usd("3300")})
        source = provider(time, binance=Venue({"ETH": usd("3000")}), okx=okx)
        for _ in range(3):
            assert len(compared(source, "ETH")) == 1
            time.go(seconds=31)
        okx.prices = OSError("down")
        assert len(compared(source, "ETH")) == 1, "a source that is silent does not agree"
        time.go(seconds=31)
        okx.prices = {"ETH": usd("3001")}
        assert compared(source, "ETH") == []
        assert len(caplog.records) == 1

    def test_the_answer_does_not_wait_for_the_comparison(self) -> None:
        async def ask() -> None:
            okx = Venue({"ETH": usd("3300")})
            okx.gate = asyncio.Event()
            source = provider(binance=Venue({"ETH": usd("3000")}), okx=okx)
            assert await source.get_prices(["ETH"]) == {"ETH": usd("3000")}
            assert source.discrepancies == ()
            okx.gate.set()
            assert len(await source.compared()) == 1

        asyncio.run(ask())

    def test_without_a_band_nobody_is_asked_for_comparison(self) -> None:
        okx = Venue({"ETH": usd("3300")})
        assert compared(provider(binance=Venue({"ETH": usd("3000")}), okx=okx, band=None), "ETH") == []
        assert okx.asked == []


def marks(source: PriceProvider, *contracts: tuple[str, str]) -> dict[tuple[str, str], Decimal]:
    return asyncio.run(source.get_marks(contracts))


def marks_told(source: PriceProvider, *contracts: tuple[str, str]) -> str:
    """The message of the error, which is due."""
    with pytest.raises(MissingPriceError) as caught:
        marks(source, *contracts)
    return str(caught.value)


PERP = "ETHUSDT-PERP"
ON_BINANCE, ON_OKX = ("binance", PERP), ("okx", PERP)


class TestMarks:
    def test_each_contract_has_the_mark_of_its_own_venue_to_the_last_digit(self) -> None:
        binance = Venue(marks={PERP: in_usdt("3000.123456789012345678901"), "BTCUSDT-PERP": usd("60000")})
        okx = Venue(marks={PERP: in_usdt("3001")})
        found = marks(provider(binance=binance, okx=okx), ON_BINANCE, ON_OKX, ("binance", "BTCUSDT-PERP"))
        assert found == {
            ON_BINANCE: usd("3000.123456789012345678901"),
            ON_OKX: usd("3001"),
            ("binance", "BTCUSDT-PERP"): usd("60000"),
        }
        assert binance.asked_marks == [[PERP, "BTCUSDT-PERP"]]

    def test_legs_and_other_spellings_share_the_mark_of_their_contract(self) -> None:
        binance = Venue(marks={PERP: in_usdt("3000")})
        asked = [("binance", f"{PERP}:LONG"), ("binance", f"{PERP}:SHORT"), ("Binance", "ETH/USDT:USDT"), ON_BINANCE]
        assert marks(provider(binance=binance), *asked) == dict.fromkeys(asked, usd("3000"))
        assert binance.asked_marks == [[PERP]]

    def test_no_other_venue_answers_for_it(self) -> None:
        venues = {"binance": Venue(), "okx": Venue(marks={PERP: in_usdt("3000")})}
        with pytest.raises(MissingPriceError) as caught:
            marks(provider(**venues), ON_BINANCE, ON_OKX, ("bybit", f"{PERP}:LONG"))
        assert caught.value.failures == (
            Unavailable("binance ETHUSDT-PERP", ("binance: does not know ETHUSDT-PERP",)),
            Unavailable("bybit ETHUSDT-PERP:LONG", ("bybit: nobody who is asked live tells of it",)),
        )
        assert str(caught.value).startswith("no mark of binance ETHUSDT-PERP: binance: does not know ETHUSDT-PERP; no")

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (usd("0"), "answered 0, not positive"),
            (usd("-3"), "answered -3, not positive"),
            (3000.5, "a float; only a Decimal is exact"),
            (usd("1e-19"), "below the smallest price"),
            (in_usdt("3000", timedelta(hours=3)), "2026-11-01T07:30:00Z is 3 h old (limit 2 h)"),
            (in_usdt("3000", -timedelta(hours=3)), "is in the future"),
            (Quoted(usd("3000"), "USDC", NOW), "quotes USDC, but the contract settles in USDT"),
            (Quoted(usd("3000"), "USD", NOW), "quotes USD, but the contract settles in USDT"),
            (Unavailable(PERP, ("HTTP 503",)), "binance: HTTP 503"),
        ],
    )
    def test_what_cannot_be_used_is_told(self, answer: object, reason: str) -> None:
        assert reason in marks_told(provider(binance=Venue(marks={PERP: answer})), ON_BINANCE)

    def test_a_quote_counts_by_its_price_in_the_settlement_coin(self) -> None:
        quote = Quote(usd("2997"), usd("3000"), "USDT", "x", NOW)
        assert marks(provider(binance=Venue(marks={PERP: quote})), ON_BINANCE) == {ON_BINANCE: usd("3000")}

    def test_age_limits_go_by_the_instrument(self) -> None:
        routing = Routing(max_age_by_name={PERP: timedelta(minutes=1)})
        venue = Venue(marks={PERP: in_usdt("3000", timedelta(minutes=2))})
        assert "2 min old (limit 1 min)" in marks_told(provider(routing=routing, binance=venue), ON_BINANCE)

    def test_a_mark_answers_for_its_time_to_live(self) -> None:
        time, binance = Time(), Venue(marks={PERP: usd("3000")})
        source = provider(time, binance=binance)
        marks(source, ON_BINANCE)
        time.go(seconds=29.9)
        marks(source, ON_BINANCE)
        assert len(binance.asked_marks) == 1
        time.go(seconds=0.1)
        marks(source, ON_BINANCE)
        assert len(binance.asked_marks) == 2

    def test_calls_at_the_same_time_share_one_request(self) -> None:
        binance = Venue(marks={PERP: usd("3000")})
        source = provider(binance=binance)

        async def ask() -> None:
            answers = await asyncio.gather(*(source.get_marks([ON_BINANCE]) for _ in range(20)))
            assert answers == [{ON_BINANCE: usd("3000")}] * 20

        asyncio.run(ask())
        assert binance.asked_marks == [[PERP]]

    def test_a_configured_route_replaces_the_contract_s_own_venue(self) -> None:
        refs = (SeriesRef("bybit", "ETHUSDT", "perp"), SeriesRef("binance", "ETHUSDT", "spot"))
        routing = Routing(marks={f"okx:{PERP}": refs})
        spot = Venue(series={refs[1]: SeriesValue(usd("2999"), NOW)})
        venues = {"okx": Venue(marks={PERP: usd("1")}), "bybit": Venue(marks={PERP: usd("3000")}), "binance": spot}
        assert marks(provider(routing=routing, **venues), ON_OKX) == {ON_OKX: usd("3000")}
        venues["bybit"] = Venue()
        assert marks(provider(routing=routing, **venues), ON_OKX) == {ON_OKX: usd("2999")}

    def test_a_configured_route_in_another_coin_is_refused(self) -> None:
        ref = SeriesRef("binance", "ETHUSDC", "spot")
        spot = Venue(series={ref: SeriesValue(usd("2999"), NOW)})
        message = marks_told(provider(routing=Routing(marks={f"okx:{PERP}": (ref,)}), binance=spot), ON_OKX)
        assert message == (
            "no mark of okx ETHUSDT-PERP: binance ETHUSDC spot: quotes USDC, but the contract settles in USDT"
        )

    @pytest.mark.parametrize("contract", [("kraken", PERP), ("okx", "ETH"), ("okx", "ETH/USD:ETH")])
    def test_names_that_there_are_none_of_are_refused(self, contract: tuple[str, str]) -> None:
        with pytest.raises(UnknownNameError):
            marks(provider(), contract)

    def test_nothing_asked_is_nothing_answered(self) -> None:
        assert marks(provider()) == {}


class TestConfiguredRoutes:
    def test_series_are_asked_of_who_tells_them_in_the_configured_order(self) -> None:
        refs = (SeriesRef("modelled", "KINGUSD", "spot"), SeriesRef("lido", "KINGUSD", "oracle"))
        chain = Venue({"KING": usd("9")}, series={refs[1]: SeriesValue(usd("8"), NOW)}, venues=("aave_oracle", "lido"))
        assert prices(provider(routing=Routing(routes={"KING": refs}), wallet=chain), "KING") == {"KING": usd("8")}
        chain.series = {}
        message = told(provider(routing=Routing(routes={"KING": refs}), wallet=chain), "KING")
        assert message == (
            "no price of KING: modelled KINGUSD spot: nobody who is asked live tells of it; "
            "lido KINGUSD oracle: does not know lido:KINGUSD:oracle"
        )

    def test_a_venue_alone_is_asked_for_its_own_price(self) -> None:
        routing = Routing(routes={"ETH": (SeriesRef("okx"),)})
        venues = {"binance": Venue({"ETH": usd("1")}), "okx": Venue({"ETH": usd("3000")})}
        assert prices(provider(routing=routing, **venues), "ETH") == {"ETH": usd("3000")}
        assert venues["binance"].asked == []

    def test_a_route_for_one_token_leaves_the_others_together(self) -> None:
        routing = Routing(routes={"ETH": (SeriesRef("okx"),)})
        binance = Venue({"BTC": usd("60000"), "EIGEN": usd("2")})
        found = prices(provider(routing=routing, binance=binance, okx=Venue({"ETH": usd("3")})), "ETH", "BTC", "EIGEN")
        assert found == {"ETH": usd("3"), "BTC": usd("60000"), "EIGEN": usd("2")}
        assert binance.asked == [["BTC", "EIGEN"]]

    def test_a_price_in_another_token_is_converted_by_that_token_s_price(self) -> None:
        ref = SeriesRef("binance", "EIGENETH", "spot")
        binance = Venue({"ETH": in_usdt("3000")}, series={ref: SeriesValue(usd("0.001"), NOW)})
        source = provider(
            routing=Routing(routes={"EIGEN": (ref,)}), binance=binance, wallet=Venue({"USDT": usd("0.999")})
        )
        assert prices(source, "EIGEN", "ETH") == {"EIGEN": usd("2.997"), "ETH": usd("2997")}

    def test_routes_that_come_back_to_the_token_end_in_an_error_and_not_in_waiting(self) -> None:
        in_btc, in_eth = SeriesRef("binance", "ETHBTC", "spot"), SeriesRef("binance", "BTCETH", "spot")
        routing = Routing(routes={"ETH": (in_btc,), "BTC": (in_eth,)})
        values = {in_btc: SeriesValue(usd("0.05"), NOW), in_eth: SeriesValue(usd("20"), NOW)}

        async def ask() -> str:
            source = provider(routing=routing, binance=Venue(series=values))
            with pytest.raises(MissingPriceError) as caught:
                await asyncio.wait_for(source.get_prices(["ETH", "BTC"]), 5)
            return str(caught.value)

        message = asyncio.run(ask())
        assert "quotes BTC, which is not converted to USD here" in message
        assert "quotes ETH, which is not converted to USD here" in message

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_whatever_is_quoted_in_whatever_ends_in_a_price_or_an_error(self, data: st.DataObject) -> None:
        tokens = ("ETH", "BTC", "EIGEN", "ETHFI", "USDT")
        quotes = st.sampled_from(("USD", "USDT", "USDC", "ETH", "BTC"))
        refs = st.lists(quotes, min_size=1, max_size=3).map(
            lambda found: tuple(SeriesRef("okx", f"EIGEN{quote}", "spot") for quote in found)
        )
        routes = {token: data.draw(refs) for token in tokens if data.draw(st.booleans())}
        series = {ref: SeriesValue(usd("2"), NOW) for route in routes.values() for ref in route}
        calls = data.draw(st.lists(st.lists(st.sampled_from(tokens), min_size=1), min_size=1, max_size=4))

        async def ask() -> None:
            venues = {"okx": Venue({"BTC": in_usdt("3"), "ETH": in_usdt("5")}, series=series), "wallet": Venue()}
            source = provider(routing=Routing(routes=routes), **venues)
            answers = asyncio.gather(*(source.get_prices(names) for names in calls), return_exceptions=True)
            for answer in await asyncio.wait_for(answers, 5):
                assert isinstance(answer, dict | MissingPriceError)

        asyncio.run(ask())

    def test_usdc_is_priced_in_usdt_as_other_coins_are(self) -> None:
        venues = {"okx": Venue({"USDC": in_usdt("1.001")}), "wallet": Venue({"USDT": usd("0.999")})}
        ref = SeriesRef("binance", "ETHUSDC", "spot")
        venues["binance"] = Venue(series={ref: SeriesValue(usd("3000"), NOW)})
        source = provider(routing=Routing(routes={"ETH": (ref,)}), **venues)
        assert prices(source, "ETH") == {"ETH": usd("3000") * usd("1.001") * usd("0.999")}

    def test_a_traded_rate_counts_where_it_is_configured(self) -> None:
        ref = SeriesRef("bybit", "WEETHETH", "spot")
        routing = Routing(conversions={"lst:weETH": (ref,)})
        bybit = Venue({"ETH": usd("3000")}, series={ref: SeriesValue(usd("1.03"), NOW)})
        wallet = Venue(rates=RATES)
        assert prices(provider(routing=routing, bybit=bybit, wallet=wallet), "weETH") == {"weETH": usd("3090")}
        assert wallet.asked_rates == []

    def test_the_rate_of_a_token_whose_balance_grows_is_one(self) -> None:
        routing = Routing(rebasing=("weETH",))
        wallet = Venue({"ETH": usd("3000")}, {"lst:weETH": usd("7")})
        assert prices(provider(routing=routing, wallet=wallet), "weETH") == {"weETH": usd("3000")}


class TestChainlink:
    def test_chainlink_answers_after_the_chain_s_own_oracle(self) -> None:
        chainlink = Venue({"ETH": usd("3001"), "USDT": usd("0.998")})
        source = provider(wallet=Venue({"ETH": usd("3000")}), chainlink=chainlink, band=None)
        assert prices(source, "ETH", "USDT") == {"ETH": usd("3000"), "USDT": usd("0.998")}
        assert chainlink.asked == [["USDT"]]

    def test_both_oracles_of_usdt_are_compared(self) -> None:
        source = provider(wallet=Venue({"USDT": usd("1")}), chainlink=Venue({"USDT": usd("0.95")}))
        assert compared(source, "USDT") == [("USDT", "wallet", "chainlink", "0.05")]

    def test_an_interface_says_why_it_has_no_answer(self) -> None:
        reasons = Unavailable("ETH", ("latestRoundData() reverted",))
        message = told(provider(chainlink=Venue({"ETH": reasons})), "ETH")
        assert message == "no price of ETH: chainlink: latestRoundData() reverted"


def king(**amounts: str) -> Basket:
    return Basket({token: usd(amount) for token, amount in amounts.items()}, NOW)


class TestVaults:
    def test_a_share_is_worth_what_it_is_redeemed_for(self) -> None:
        binance = Venue({"EIGEN": in_usdt("2"), "ETHFI": in_usdt("1.5"), "ETH": in_usdt("3000")})
        wallet = Venue({"USDT": usd("0.999"), "KING": king(EIGEN="3", ETHFI="2", weETH="0.001")}, RATES)
        source = provider(binance=binance, wallet=wallet)
        assert prices(source, "KING", "EIGEN", "USDT")["KING"] == (6 + 3 + 3 * usd("1.04")) * usd("0.999")

    def test_a_token_of_the_vault_without_a_price_is_named(self) -> None:
        wallet = Venue({"KING": king(EIGEN="3", ETHFI="2"), "EIGEN": usd("2")})
        assert told(provider(wallet=wallet), "KING") == (
            "no price of KING: wallet: is redeemed for EIGEN, ETHFI: no price of ETHFI: wallet: does not know ETHFI"
        )

    def test_it_answers_no_longer_than_the_prices_that_it_rests_on(self) -> None:
        time, binance = Time(), Venue({"EIGEN": usd("2")})
        source = provider(time, binance=binance, wallet=Venue({"KING": king(EIGEN="3")}))
        prices(source, "EIGEN")
        time.go(seconds=20)
        assert prices(source, "KING") == {"KING": usd("6")}
        binance.prices = {"EIGEN": usd("4")}
        time.go(seconds=10)
        assert prices(source, "KING", "EIGEN") == {"KING": usd("12"), "EIGEN": usd("4")}

    @pytest.mark.parametrize(
        ("asset", "basket", "reason"),
        [
            ("ETH", king(EIGEN="1"), "is told to be EIGEN; only a share of a vault is"),
            ("KING", king(KING="1"), "is told to be KING; only a share of a vault is, and of others than vaults"),
            ("KING", king(), "is redeemed for nothing that can be counted"),
            ("KING", king(EIGEN="0"), "answered 0, not positive of EIGEN"),
            ("KING", king(EIGEN="-1"), "answered -1, not positive of EIGEN"),
            ("KING", king(EIGEX="1"), "'EIGEX' is not a registered token"),
            ("KING", king(EIGEN="1")._replace(observed_at=NOW - timedelta(hours=3)), "is 3 h old (limit 2 h)"),
        ],
    )
    def test_a_basket_that_cannot_be_right_is_no_price(self, asset: str, basket: Basket, reason: str) -> None:
        assert reason in told(provider(wallet=Venue({asset: basket}), binance=Venue({"EIGEN": usd("2")})), asset)


class TestWhatAPriceRestsOn:
    def test_source_venue_time_and_time_of_asking_are_known_of_each(self) -> None:
        time = Time()
        binance = Venue({"ETH": in_usdt("3000", timedelta(minutes=5))}, marks={PERP: usd("3001")})
        source = provider(time, binance=binance, wallet=Venue({"USDT": usd("0.999")}, {"lst:weETH": usd("1.04")}))
        time.go(seconds=5)
        prices(source, "weETH")
        marks(source, ON_BINANCE)
        asked = NOW + timedelta(seconds=5)
        assert source.observed == (
            Observed("ETH", usd("2997"), "binance", NOW - timedelta(minutes=5), asked),
            Observed("USDT", usd("0.999"), "wallet", None, asked),
            Observed("binance:ETHUSDT-PERP", usd("3001"), "binance", None, asked),
            Observed("lst:weETH", usd("1.04"), "wallet", None, asked),
        )


class TestClosing:
    def test_closing_ends_requests_and_comparisons_that_are_under_way(self) -> None:
        async def act() -> None:
            binance, okx = Venue({"ETH": usd("3000")}), Venue({"ETH": usd("3000")})
            okx.gate = asyncio.Event()
            source = provider(binance=binance, okx=okx)
            await source.get_prices(["ETH"])
            binance.gate = asyncio.Event()
            waiting = asyncio.ensure_future(source.get_prices(["BTC"]))
            await turns()
            await source.close()
            with pytest.raises(MissingPriceError, match="no price of BTC: closed before there was an answer"):
                await asyncio.wait_for(waiting, 5)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(act())
