"""Live prices of a configured home over real parts: three exchanges on loopback, and a chain with Aave and feeds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import yaml

from basis_pipeline.domain.errors import ConfigError, MissingPriceError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import multiply
from basis_pipeline.domain.observations import Verdict
from basis_pipeline.home import Home, open_home
from basis_pipeline.live import check_connections, open_prices, record_market_now
from basis_pipeline.market.as_of import AsOfPrices
from basis_pipeline.market.provider import PriceProvider
from basis_pipeline.venues.ethereum.batch import exact
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_feeds import place_feed, place_vault
from basis_pipeline_tests.rigs.ethereum_fixtures import START, chain, ethereum_parts
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, exchange_venues
from basis_pipeline_tests.rigs.live_fund import tokens_of

__all__ = ["chain", "ethereum_parts"]

T = TypeVar("T")
NOWHERE = "http://127.0.0.1:1"
SPOT = {"binance": "/api/v3/ticker/24hr", "bybit": "/v5/market/tickers", "okx": "/api/v5/market/ticker"}
PERP = "ETHUSDT-PERP"


class World(NamedTuple):
    """The outside of the home, and where its home is."""

    path: Path
    venues: ExchangeVenues
    chain: AaveChain | None

    def ask(self, question: Callable[[PriceProvider], Awaitable[T]], **settings: Any) -> T:
        """The answer of a freshly opened home with these settings of ``prices``, after which nothing is left open."""

        async def asked(home: Home) -> T:
            async with open_prices(home) as prices:
                answer = await question(prices)
            await _everything_ended()
            return answer

        with self.home(settings) as home:
            return asyncio.run(asked(home))

    def home(self, prices: dict[str, Any]) -> Any:
        ethereum: dict[str, Any] = {"block": 0}
        tokens: dict[str, Any] = {}
        if self.chain is not None:
            feeds = {token: self.chain.wallet(f"feed of {token}") for token in ("ETH", "USDT")}
            ethereum |= {
                "chain_id": self.chain.chain_id,
                "pool_addresses_provider": self.chain.addresses["provider"],
                "chainlink_feeds": {**feeds, "BTC": None},
            }
            tokens = tokens_of(self.chain.registry)
        config = {
            "mode": "live",
            "portfolios": {"fund": {"share_class": "USDT", "initial_capital": "5", "start": iso(START)}},
            "exchange_gateway": self.venues.url,
            "ethereum": ethereum,
            "tokens": tokens,
            "prices": {"band": "0.99", **prices},
        }
        self.path.mkdir(exist_ok=True)
        (self.path / "basis.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        return open_home(self.path, clock=self.venues.clock)


async def _everything_ended() -> None:
    """Nothing goes on but what ends by itself at once: ccxt's queue, from which somebody waiting was taken away."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, pending = await asyncio.wait(others, timeout=5)
        assert not pending


@pytest.fixture
def world(chain: AaveChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("BASIS_ETHEREUM__RPC_URLS", chain.url)
    with exchange_venues(lambda: chain.now) as venues:
        venues.set_price("ETHUSDT", "3000", mark="3001")
        chain.set_price("USDT", "0.999")
        yield World(tmp_path / "home", venues, chain)


@pytest.fixture
def no_chain(tmp_path: Path) -> Iterator[World]:
    with exchange_venues(lambda: START) as venues:
        yield World(tmp_path / "home", venues, None)


def told(world: World, *assets: str, **settings: Any) -> str:
    """The message of the error, which is due."""
    with pytest.raises(MissingPriceError) as caught:
        world.ask(lambda prices: prices.get_prices(assets), **settings)
    return str(caught.value)


def test_exchanges_price_in_usdt_and_the_chain_prices_usdt_and_converts(world: World) -> None:
    assert world.chain is not None
    world.chain.advance(timedelta(days=10))
    tokens = ["ETH", "USDT", "BTC", "aWeETH", "wstETH", "variableDebtUSDT", "stETH"]
    found = world.ask(lambda prices: prices.get_prices(tokens))
    usdt, eth = Decimal("0.999"), Decimal(2997)
    index, debt = exact(world.chain.liquidity_index("weETH"), 27), exact(world.chain.debt_index("USDT"), 27)
    assert found == {
        "ETH": eth,
        "USDT": usdt,
        "BTC": 60_000 * usdt,
        "aWeETH": multiply(multiply(index, Decimal("1.04")), eth),
        "wstETH": Decimal("1.18") * eth,
        "variableDebtUSDT": multiply(debt, usdt),
        "stETH": eth,
    }


def test_marks_come_from_the_contracts_own_venues(world: World) -> None:
    world.venues.set_price("ETHUSDT", "3000", mark="3002.50", venue="okx")
    asked = [("binance", PERP), ("okx", f"{PERP}:SHORT"), ("bybit", PERP)]
    found = world.ask(lambda prices: prices.get_marks(asked))
    assert found == {asked[0]: Decimal(3001), asked[1]: Decimal("3002.50"), asked[2]: Decimal(3001)}


def test_a_venue_that_is_down_is_passed_over(world: World) -> None:
    world.venues.set_price("ETHUSDT", "3010", venue="bybit")
    world.venues.fail(SPOT["binance"], "503")
    assert world.ask(lambda prices: prices.get_prices(["ETH"])) == {"ETH": Decimal(3010) * Decimal("0.999")}


def test_what_one_venue_does_not_list_is_asked_of_the_next_and_nothing_else(world: World) -> None:
    world.venues.set_price("EIGENUSDT", "2", venue="okx")
    found = world.ask(lambda prices: prices.get_prices(["ETH", "EIGEN"]), band="0.5")
    assert found == {"ETH": Decimal(2997), "EIGEN": Decimal("1.998")}


def test_king_is_worth_what_its_vault_redeems_it_for(world: World) -> None:
    assert world.chain is not None
    world.venues.set_price("EIGENUSDT", "2", venue="bybit")
    world.venues.set_price("ETHFIUSDT", "1.5", venue="okx")
    vault = place_vault(world.chain, {"EIGEN": "2.5", "ETHFI": "4", "WETH": "0.001"})
    placed = replace(world.chain.registry.token("KING"), address=vault)
    world.chain.registry = world.chain.registry.extended([placed])
    found = world.ask(lambda prices: prices.get_prices(["KING", "ETH", "EIGEN"]))
    assert found["KING"] == (5 + 6 + 3) * Decimal("0.999")


def test_with_every_exchange_down_aave_s_oracle_answers(world: World) -> None:
    assert world.chain is not None
    world.chain.set_price("WETH", "2990.5")
    for path in SPOT.values():
        world.venues.fail(path, "html_error")
    assert world.ask(lambda prices: prices.get_prices(["ETH"])) == {"ETH": Decimal("2990.5")}


def test_with_aave_s_oracle_broken_too_chainlink_answers_while_it_is_fresh(world: World) -> None:
    assert world.chain is not None
    world.chain.set_price("USDT", "0")
    place_feed(world.chain, "USDT", "0.9985", world.chain.now - timedelta(hours=1))
    assert world.ask(lambda prices: prices.get_prices(["USDT"])) == {"USDT": Decimal("0.9985")}
    assert world.ask(lambda prices: prices.get_prices(["ETH"])) == {"ETH": 3000 * Decimal("0.9985")}


@pytest.mark.parametrize(
    ("answer", "age_h", "reason"),
    [
        ("0.99", 30, "is 1 d 6 h old (limit 2 h)"),
        ("0", 0, "answered 0, not positive"),
        ("-1", 0, "answered -1, not positive"),
    ],
)
def test_when_nobody_can_tell_everybody_and_everything_said_is_named(
    world: World, answer: str, age_h: int, reason: str
) -> None:
    assert world.chain is not None
    world.chain.set_price("USDT", "-5")
    world.chain.set_price("WETH", "0")
    place_feed(world.chain, "USDT", answer, world.chain.now - timedelta(hours=age_h))
    message = told(world, "ETH", "USDT", "KING")
    assert message.startswith("no price of ETH: binance: no USD price of USDT (wallet: getAssetPrice(address)")
    (told_of_king,) = (part for part in message.split("; no price of ") if part.startswith("KING: "))
    assert told_of_king.startswith("KING: wallet: previewRedeem(uint256) of ")
    assert told_of_king.endswith(" reverted; chainlink: does not know KING")
    (told_of_usdt,) = (part for part in message.split("; no price of ") if part.startswith("USDT: "))
    assert "wallet: getAssetPrice(address)" in told_of_usdt
    assert f"{reason}; binance: does not know USDT" in told_of_usdt


def test_the_settings_of_prices_hold(world: World) -> None:
    world.venues.set_price("ETHUSDT", "3100", venue="okx")
    by_okx = world.ask(lambda prices: prices.get_prices(["ETH"]), routes={"ETH": ["okx:ETHUSDT:spot", "binance"]})
    assert by_okx == {"ETH": 3100 * Decimal("0.999")}
    by_aave = world.ask(lambda prices: prices.get_prices(["ETH"]), routes={"ETH": ["aave_oracle:WETHUSD:oracle"]})
    assert by_aave == {"ETH": Decimal(2500)}
    traded = world.ask(
        lambda prices: prices.get_prices(["weETH"]), conversions={"lst:weETH": ["aave_oracle:weETHUSD:oracle"]}
    )
    assert traded == {"weETH": Decimal(2600) * Decimal(2997)}
    marks = {"binance:ETHUSDT-PERP": ["okx:ETHUSDT:perp"]}
    found = world.ask(lambda prices: prices.get_marks([("binance", PERP)]), marks=marks)
    assert found == {("binance", PERP): Decimal(3100)}

    async def twice(prices: PriceProvider) -> int:
        before = world.venues.count(SPOT["binance"])
        await prices.get_prices(["ETH"])
        await prices.get_prices(["ETH"])
        await prices.compared()
        return world.venues.count(SPOT["binance"]) - before

    assert world.ask(twice) == 1
    assert world.ask(twice, cache="0s") == 2


@pytest.mark.parametrize(
    "routing",
    [
        {},
        {"routes": {"ETH": ["okx:ETHUSDC:spot"], "BTC": ["bybit"], "USDT": ["aave_oracle:USDTUSD:oracle"]}},
        {"marks": {"okx:ETHUSDT-PERP": ["bybit:ETHUSDT:perp"]}, "conversions": {"lst:wstETH": ["okx:USDCUSDT:spot"]}},
    ],
)
def test_digits_are_those_of_what_is_recorded_at_the_same_time(world: World, routing: dict[str, Any]) -> None:
    assert world.chain is not None
    world.chain.advance(timedelta(days=10, minutes=17))
    for number, venue in enumerate(SPOT):
        world.venues.set_price("ETHUSDT", f"3000.{number}7", mark=f"3001.{number}9", venue=venue)
    world.venues.set_price("USDCUSDT", "1.0003")
    tokens = [
        "ETH",
        "USDT",
        "BTC",
        "WETH",
        "weETH",
        "aWeETH",
        "awstETH",
        "variableDebtUSDT",
        "variableDebtWETH",
        "aBTC",
    ]
    contracts = [("binance", PERP), ("okx", f"{PERP}:LONG"), ("bybit", "BTCUSDT-PERP")]

    def prices_and_marks(
        source: PriceProvider | AsOfPrices,
    ) -> Awaitable[tuple[dict[str, Decimal], dict[tuple[str, str], Decimal]]]:
        return asyncio.gather(source.get_prices(tokens), source.get_marks(contracts))

    async def recorded(home: Home) -> object:
        report = await record_market_now(home, home.ports(), contracts)
        assert not report.problems
        return await prices_and_marks(AsOfPrices(home.market, home.registry, world.venues.clock))

    with world.home(routing) as home:
        expected = asyncio.run(recorded(home))
    assert world.ask(prices_and_marks, **routing) == expected


def test_what_each_feed_says_is_checked_with_the_connections(world: World) -> None:
    assert world.chain is not None
    place_feed(world.chain, "ETH", "3000.5", world.chain.now)
    with world.home({}) as home:
        findings = {finding.subject: finding for finding in asyncio.run(check_connections(home))}
    assert findings["chainlink ETH"].message.startswith("3000.5 USD, updated at ")
    assert findings["chainlink USDT"].verdict is Verdict.WARNING
    assert "chainlink BTC" not in findings


def test_sources_that_disagree_are_reported(world: World) -> None:
    world.venues.set_price("ETHUSDT", "3300", venue="bybit")

    async def asked(prices: PriceProvider) -> list[tuple[str, str, str]]:
        await prices.get_prices(["ETH"])
        return [(each.asset, each.source, each.other) for each in await prices.compared()]

    assert world.ask(asked, band="0.05") == [("ETH", "binance", "bybit")]
    assert world.ask(asked, band="0.2") == []


def test_a_venue_that_hangs_takes_no_longer_than_its_time(world: World) -> None:
    world.venues.fail(SPOT["binance"], "timeout")
    found = world.ask(lambda prices: prices.get_prices(["ETH"]), timeout="1s")
    assert found == {"ETH": Decimal(2997)}


def test_a_node_that_does_not_answer_leaves_time_for_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert world.chain is not None
    monkeypatch.setenv("BASIS_ETHEREUM__RPC_URLS", f"{NOWHERE} {world.chain.url}")
    assert world.ask(lambda prices: prices.get_prices(["USDT"])) == {"USDT": Decimal("0.999")}


def test_without_a_node_whoever_asks_is_told_what_to_set(no_chain: World) -> None:
    message = told(no_chain, "ETH", "weETH")
    assert "BASIS_ETHEREUM__RPC_URLS" in message
    assert "no price of weETH: lst:weETH: wallet: " in message
    found = no_chain.ask(lambda prices: prices.get_marks([("bybit", PERP)]))
    assert found == {("bybit", PERP): Decimal(3000)}


@pytest.mark.parametrize(
    ("feeds", "complaint"),
    [
        ({"ETX": "0x" + "1" * 40}, "ethereum.chainlink_feeds.ETX: 'ETX' is not a registered token"),
        ({"weETH": "0x" + "1" * 40}, "ethereum.chainlink_feeds.weETH: weETH is converted to ETH and then priced"),
        ({"ETH": "0x12"}, "is not an Ethereum address"),
    ],
)
def test_a_feed_that_cannot_be_right_is_refused_at_once(tmp_path: Path, feeds: dict[str, str], complaint: str) -> None:
    (tmp_path / "basis.yaml").write_text(yaml.safe_dump({"ethereum": {"chainlink_feeds": feeds}}), encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint), open_home(tmp_path):
        pass


def test_feeds_are_those_of_the_chain_with_the_configured_ones(tmp_path: Path) -> None:
    mine = "0x" + "1" * 40

    def feeds(**ethereum: Any) -> dict[str, str]:
        (tmp_path / "basis.yaml").write_text(yaml.safe_dump({"ethereum": ethereum}), encoding="utf-8")
        with open_home(tmp_path) as home:
            return home.settings.chainlink_feeds()

    built_in = feeds()
    assert list(built_in) == ["ETH", "BTC", "USDT"]
    assert feeds(chain_id=5) == {}
    assert feeds(chain_id=5, chainlink_feeds={"EIGEN": mine}) == {"EIGEN": mine}
    assert feeds(chainlink_feeds={"WBTC": mine, "ETH": None}) == {"BTC": mine, "USDT": built_in["USDT"]}
