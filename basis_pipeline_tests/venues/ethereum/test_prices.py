"""Prices and rates of now: Aave's oracle, Chainlink's feeds and conversion rates, of a real market on a test chain."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from basis_pipeline.domain.errors import MissingPriceError, VenueError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import multiply
from basis_pipeline.domain.observations import Verdict
from basis_pipeline.domain.quotes import Basket, Quoted, Rate, SeriesValue, Unavailable
from basis_pipeline.market.provider import PriceProvider
from basis_pipeline.venues.ethereum.batch import exact
from basis_pipeline.venues.ethereum.chain import Chain
from basis_pipeline.venues.ethereum.prices import ChainPrices
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_feeds import place_feed, place_vault
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import options

T = TypeVar("T")


def ask_prices(
    chain: AaveChain,
    question: Callable[[ChainPrices], Awaitable[T]],
    *urls: str,
    feeds: Mapping[str, str] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    **changes: Any,
) -> T:
    """The answer of the chain's prices, closed afterwards."""

    async def asked() -> T:
        prices = ChainPrices(Chain(**options(chain, *urls, **changes)), feeds or {}, monotonic=monotonic)
        try:
            return await question(prices)
        finally:
            await prices.close()
            await prices.close()

    return asyncio.run(asked())


def reason(told: object) -> str:
    assert isinstance(told, Unavailable)
    return told.describe()


class TestAave:
    def test_oracle_prices_are_in_usd_and_as_of_the_block(self, market: AaveChain) -> None:
        market.set_price("WETH", "3000.12345678")
        market.set_price("USDT", "0.9991")
        found = ask_prices(market, lambda prices: prices.get_prices(["ETH", "WETH", "USDT", "BTC"]))
        eth = Quoted(Decimal("3000.12345678"), "USD", market.now)
        assert found == {
            "ETH": eth,
            "WETH": eth,
            "USDT": Quoted(Decimal("0.99910000"), "USD", market.now),
            "BTC": Quoted(Decimal("60000.00000000"), "USD", market.now),
        }

    def test_what_has_no_reserve_is_left_out(self, chain: AaveChain) -> None:
        assert ask_prices(chain, lambda prices: prices.get_prices(["EIGEN", "ETHFI", "SOMETHING"])) == {}

    @pytest.mark.parametrize("answer", ["0", "-1"])
    def test_an_oracle_at_zero_or_below_is_told_with_its_reason(self, chain: AaveChain, answer: str) -> None:
        chain.set_price("USDT", answer)
        found = ask_prices(chain, lambda prices: prices.get_prices(["ETH", "USDT"]))
        assert isinstance(found["ETH"], Quoted)
        assert "getAssetPrice(address)" in reason(found["USDT"])

    def test_rates_are_the_indices_and_redemption_rates_of_the_block(self, market: AaveChain) -> None:
        market.advance(timedelta(days=30))
        names = [
            "aave:weETH:liquidity",
            "aave:WETH:debt",
            "aave:WBTC:liquidity",
            "lst:weETH",
            "lst:wstETH",
            "lst:rETH",
            "x",
        ]
        found = ask_prices(market, lambda prices: prices.get_rates(names))
        assert found == {
            "aave:weETH:liquidity": Rate(exact(market.liquidity_index("weETH"), 27), "aave_reserve", market.now),
            "aave:WETH:debt": Rate(exact(market.debt_index("WETH"), 27), "aave_reserve", market.now),
            "aave:WBTC:liquidity": Rate(exact(market.liquidity_index("BTC"), 27), "aave_reserve", market.now),
            "lst:weETH": Rate(Decimal("1.04"), "etherfi", market.now),
            "lst:wstETH": Rate(Decimal("1.18"), "lido", market.now),
        }
        assert market.debt_index("WETH") > 10**27

    def test_a_rate_that_reverts_spoils_no_other(self, chain: AaveChain) -> None:
        chain.break_call("wstETH", "stEthPerToken()")
        found = ask_prices(chain, lambda prices: prices.get_rates(["lst:wstETH", "lst:weETH"]))
        assert isinstance(found["lst:weETH"], Rate)
        assert "reverted" in reason(found["lst:wstETH"])

    def test_single_series_are_told_by_their_names(self, chain: AaveChain) -> None:
        names = [("aave_oracle", "weETHUSD", "oracle"), ("etherfi", "weETHETH", "oracle"), ("bybit", "ETHUSDT", "spot")]
        found = ask_prices(chain, lambda prices: prices.get_series(names))
        assert found == {
            names[0]: SeriesValue(Decimal("2600.00000000"), chain.now),
            names[1]: SeriesValue(Decimal("1.040000000000000000"), chain.now),
        }

    def test_what_is_asked_together_or_right_after_is_of_one_reading(self, chain: AaveChain, node: NodeProxy) -> None:
        passed = [0.0]

        async def asked(prices: ChainPrices) -> None:
            await prices.get_prices(["ETH"])  # the first reading looks the contracts up
            for number, (later_s, readings) in enumerate([(1.0, 1), (0.9, 0), (0.1, 1)]):
                passed[0] += later_s
                node.requests.clear()
                questions = prices.get_prices(["ETH"]), prices.get_rates(["lst:weETH"])
                await asyncio.gather(*questions, prices.chainlink.get_prices(["ETH"]))
                assert node.requests.count("eth_call") == readings, number

        feeds = {"ETH": place_feed(chain, "ETH", "3000", chain.now)}
        ask_prices(chain, asked, node.url, feeds=feeds, monotonic=lambda: passed[0])

    def test_a_reading_that_failed_does_not_answer_again(self, chain: AaveChain, node: NodeProxy) -> None:
        async def asked(prices: ChainPrices) -> Mapping[str, object]:
            node.refuse_to_talk()
            with pytest.raises(VenueError):
                await prices.get_prices(["ETH"])
            node.behave()
            return await prices.get_prices(["ETH"])

        assert "ETH" in ask_prices(chain, asked, node.url, monotonic=lambda: 0.0)

    def test_a_reading_goes_on_when_who_waits_for_it_is_cancelled(self, chain: AaveChain) -> None:
        async def asked(prices: ChainPrices) -> Mapping[str, object]:
            first = asyncio.ensure_future(prices.get_prices(["ETH"]))
            await asyncio.sleep(0)
            second = asyncio.ensure_future(prices.get_prices(["BTC"]))
            await asyncio.sleep(0)
            first.cancel()
            return await second

        assert "BTC" in ask_prices(chain, asked)

    def test_closing_ends_a_reading_that_is_under_way(self, chain: AaveChain) -> None:
        async def asked(prices: ChainPrices) -> asyncio.Task[Any]:
            task: asyncio.Task[Any] = asyncio.ensure_future(prices.get_prices(["ETH"]))
            await asyncio.sleep(0)
            await prices.close()
            with suppress(asyncio.CancelledError):
                await task
            return task

        assert ask_prices(chain, asked).cancelled()

    def test_a_chain_that_cannot_be_read_says_why(self, chain: AaveChain, node: NodeProxy) -> None:
        node.refuse_to_talk()
        with pytest.raises(VenueError, match="node 1 of 1"):
            ask_prices(chain, lambda prices: prices.get_prices(["ETH"]), node.url)


class TestChainlink:
    def told(self, chain: AaveChain, token: str = "ETH", **feed: Any) -> object:
        given = {"usd": "3000.25", "updated_at": chain.now, **feed}
        feeds = {token: place_feed(chain, token, **given)}
        found = ask_prices(chain, lambda prices: prices.chainlink.get_prices([token, "EIGEN"]), feeds=feeds)
        assert list(found) == [token]
        return found[token]

    @pytest.mark.parametrize("decimals", [8, 18])
    def test_a_price_has_the_time_of_its_update_and_the_decimals_of_its_feed(
        self, chain: AaveChain, decimals: int
    ) -> None:
        updated = chain.now - timedelta(hours=20)
        assert self.told(chain, decimals=decimals, updated_at=updated) == Quoted(Decimal("3000.25"), "USD", updated)

    def test_a_feed_of_something_else_is_refused(self, chain: AaveChain) -> None:
        assert "describes itself as b'BTC / USD', not 'ETH / USD'" in reason(self.told(chain, description="BTC / USD"))

    def test_a_round_that_is_not_complete_is_no_price(self, chain: AaveChain) -> None:
        assert "was updated at 0" in reason(self.told(chain, updated_at=0))

    def test_a_time_beyond_all_times_is_no_price(self, chain: AaveChain) -> None:
        assert "which is no time" in reason(self.told(chain, updated_at=2**200))

    def test_decimals_that_cannot_be_are_refused(self, chain: AaveChain) -> None:
        assert "200 decimals" in reason(self.told(chain, usd="0", decimals=200))

    def test_an_address_without_a_feed_says_so(self, chain: AaveChain) -> None:
        feeds = {"ETH": chain.wallet("nobody")}
        found = ask_prices(chain, lambda prices: prices.chainlink.get_prices(["ETH"]), feeds=feeds)
        assert "no contract code that answers latestRoundData()" in reason(found["ETH"])

    def test_single_series_are_told_by_their_names(self, chain: AaveChain) -> None:
        updated = chain.now
        feeds = {"ETH": place_feed(chain, "ETH", "3000", updated)}
        names = [("chainlink", "ETHUSD", "oracle"), ("chainlink", "ETHUSD", "spot"), ("chainlink", "BTCUSD", "oracle")]
        found = ask_prices(chain, lambda prices: prices.chainlink.get_series(names), feeds=feeds)
        assert found == {names[0]: SeriesValue(Decimal("3000.00000000"), updated)}

    def test_a_check_says_what_each_feed_says_and_what_to_correct(self, chain: AaveChain) -> None:
        updated = chain.now
        feeds = {"ETH": place_feed(chain, "ETH", "3000.25", updated), "BTC": chain.wallet("nobody")}
        findings = ask_prices(chain, lambda prices: prices.chainlink.check(), feeds=feeds)
        assert [(finding.subject, finding.verdict) for finding in findings] == [
            ("chainlink ETH", Verdict.OK),
            ("chainlink BTC", Verdict.WARNING),
        ]
        assert findings[0].message == f"3000.25 USD, updated at {iso(updated)}"
        assert "ethereum.chainlink_feeds.BTC" in findings[1].remedy

    def test_a_check_leaves_a_chain_that_cannot_be_read_to_the_check_of_the_chain(
        self, chain: AaveChain, node: NodeProxy
    ) -> None:
        node.refuse_to_talk()
        feeds = {"ETH": chain.wallet("nobody")}
        assert ask_prices(chain, lambda prices: prices.chainlink.check(), node.url, feeds=feeds) == []

    def test_without_feeds_the_chain_is_not_asked(self, chain: AaveChain, node: NodeProxy) -> None:
        node.refuse_to_talk()
        assert ask_prices(chain, lambda prices: prices.chainlink.get_prices(["ETH"]), node.url) == {}


class TestVaults:
    def told(self, chain: AaveChain, amounts: Mapping[str, str]) -> object:
        """What is said of KING when its vault holds this."""
        placed = replace(chain.registry.token("KING"), address=place_vault(chain, amounts, fee=10**16))
        registry = chain.registry.extended([placed])
        found = ask_prices(chain, lambda prices: prices.get_prices(["KING"]), registry=registry)
        return found["KING"]

    def test_a_share_is_told_by_what_it_is_redeemed_for_now(self, chain: AaveChain) -> None:
        told = self.told(chain, {"EIGEN": "2.5", "USDT": "0.000001", "BTC": "0", "weETH": "0.01"})
        amounts = {"EIGEN": Decimal("2.5"), "USDT": Decimal("0.000001"), "weETH": Decimal("0.01")}
        assert told == Basket(amounts, chain.now)

    def test_a_token_that_is_not_registered_is_named_unless_there_is_none_of_it(self, chain: AaveChain) -> None:
        other = "0x" + "ab" * 20
        assert f"its vault holds {other}, not registered" in reason(self.told(chain, {"EIGEN": "1", other: "1"}))
        assert self.told(chain, {"EIGEN": "1", other: "0"}) == Basket({"EIGEN": Decimal(1)}, chain.now)

    def test_a_token_that_is_told_twice_is_refused(self, chain: AaveChain) -> None:
        told = self.told(chain, {"EIGEN": "1", chain.tokens["EIGEN"]: "1"})
        assert "does not tell one amount a token" in reason(told)

    def test_a_vault_that_does_not_answer_says_so(self, chain: AaveChain) -> None:
        found = ask_prices(chain, lambda prices: prices.get_prices(["KING"]))
        assert "previewRedeem(uint256)" in reason(found["KING"])

    def test_without_an_address_there_is_no_vault(self, chain: AaveChain) -> None:
        registry = chain.registry.extended([replace(chain.registry.token("KING"), address=None)])
        assert ask_prices(chain, lambda prices: prices.get_prices(["KING"]), registry=registry) == {}


class TestOverTheProvider:
    """The rules of the provider over a chain's answers."""

    @pytest.fixture
    def broken_usdt(self, chain: AaveChain) -> Iterator[AaveChain]:
        """Aave's oracle has no price of USDT."""
        chain.set_price("USDT", "0")
        return chain

    def price(self, chain: AaveChain, asset: str, usd: str, age: timedelta) -> Decimal:
        feeds = {asset: place_feed(chain, asset, usd, chain.now - age)}

        async def asked(prices: ChainPrices) -> Decimal:
            source = PriceProvider(
                {"wallet": prices, "chainlink": prices.chainlink}, chain.registry, clock=lambda: chain.now
            )
            found = await source.get_prices([asset])
            await source.close()
            return found[asset]

        return ask_prices(chain, asked, feeds=feeds)

    def test_chainlink_answers_where_aave_cannot(self, broken_usdt: AaveChain) -> None:
        assert self.price(broken_usdt, "USDT", "0.9987", timedelta(minutes=90)) == Decimal("0.9987")

    @pytest.mark.parametrize(
        ("usd", "age", "complaint"),
        [
            ("0.9987", timedelta(hours=3), "is 3 h .*old \\(limit 2 h\\)"),
            ("0", timedelta(0), "answered 0.*, not positive"),
            ("-1", timedelta(0), "answered -1.*, not positive"),
        ],
    )
    def test_a_feed_that_is_stale_or_not_positive_is_no_price(
        self, broken_usdt: AaveChain, usd: str, age: timedelta, complaint: str
    ) -> None:
        with pytest.raises(MissingPriceError, match=f"no price of USDT: wallet: .*; chainlink: .*{complaint}"):
            self.price(broken_usdt, "USDT", usd, age)

    def test_a_derived_token_is_its_index_times_its_rate_times_the_price_of_eth(self, chain: AaveChain) -> None:
        chain.advance(timedelta(days=30))

        async def asked(prices: ChainPrices) -> dict[str, Decimal]:
            source = PriceProvider({"wallet": prices}, chain.registry, clock=lambda: chain.now)
            return await source.get_prices(["aWeETH", "variableDebtWETH", "ETH"])

        found = ask_prices(chain, asked)
        index, debt_index = (exact(each, 27) for each in (chain.liquidity_index("weETH"), chain.debt_index("WETH")))
        assert found["aWeETH"] == multiply(multiply(index, Decimal("1.04")), found["ETH"])
        assert found["variableDebtWETH"] == multiply(debt_index, found["ETH"])
