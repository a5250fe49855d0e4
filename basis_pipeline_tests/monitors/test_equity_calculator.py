"""Equity now has the digits of the pipeline, fails as a whole and says why, and follows the specification's names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain import equity
from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError, VenueError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.numbers import ONE, multiply
from basis_pipeline.domain.observations import Account, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.quotes import Market, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES, Registry, Token, TokenKind
from basis_pipeline.domain.valuation import Sheet, describe_book
from basis_pipeline.home import open_home
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.venue_interfaces import LedgerInterfaces, ledger_interfaces, reading_interfaces
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import START, FixedMarket, deposit, perp, update
from basis_pipeline_tests.domain.strategies import amounts, prices
from basis_pipeline_tests.homes import import_sample, rebuild_days, write_sample_home

MARKET = FixedMarket(
    prices={"ETH": "2900.123456789012345678", "USDT": "0.9993", "BTC": "61000.5", "EIGEN": "3.1", "KING": "55.77"},
    marks={(venue, "ETHUSDT-PERP"): "2901.37" for venue in EXCHANGES},
    rates={
        "aave:WETH:liquidity": "1.021234567890123456789012345",
        "aave:weETH:liquidity": "1.000000000001",
        "aave:USDT:liquidity": "1.1",
        "aave:WETH:debt": "1.031234567890123456789012345",
        "lst:weETH": "1.037654321",
        "lst:wstETH": "1.163",
    },
)


LENT = {"aave:USDT:liquidity": "1.1"}


class MarketPrices:
    """A price provider that answers from a market as of an instant, and remembers what it was asked."""

    def __init__(self, market: Market, at: datetime = START, registry: Registry = DEFAULT_REGISTRY) -> None:
        self.market = market
        self.at = at
        self.registry = registry
        self.asked: list[str] = []

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        self.asked += assets
        found = {asset: self._price(asset) for asset in assets}
        return {asset: price for asset, price in found.items() if price is not None}

    async def get_marks(self, contracts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        marks = {contract: self.market.mark(*contract, self.at) for contract in contracts}
        return {name: mark.price for name, mark in marks.items() if not isinstance(mark, Unavailable)}

    def _price(self, asset: str) -> Decimal | None:
        valuation = self.registry.valuation(asset)
        unit = ONE
        for name in valuation.rate_names:
            rate = self.market.rate(name, self.at)
            if isinstance(rate, Unavailable):
                return None
            unit = multiply(unit, rate.rate)
        quote = self.market.price(valuation.base, self.at)
        return None if isinstance(quote, Unavailable) else multiply(unit, quote.price_usd)


class Specified:
    """A venue with the specification's methods and nothing else; ``fails`` is raised by all of them."""

    def __init__(self, *, fails: Exception | None = None, lst: str = "weETH", **answers: Any) -> None:
        self.fails = fails
        self.lst = lst
        self.answers = answers

    async def _answer(self, name: str, otherwise: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        return self.answers.get(name, otherwise)

    async def get_a_tokens(self) -> Any:
        return await self._answer("a_tokens", {})

    async def get_debt_tokens(self) -> Any:
        return await self._answer("debt_tokens", {})

    async def get_lst_balance(self) -> Any:
        return await self._answer("lst_balance", Decimal(0))

    def get_lst_token(self) -> str:
        return self.lst

    async def get_spot_balances(self) -> Any:
        return await self._answer("spot", {})

    async def get_margin_info(self) -> Any:
        return await self._answer("margin", {})

    async def get_balances(self) -> Any:
        return await self._answer("balances", {})


def calculate(interfaces: Mapping[str, Any], share_class: str = "USDT", market: Market = MARKET) -> EquitySnapshot:
    calculator = EquityCalculator(interfaces, MarketPrices(market), clock=lambda: START)
    return asyncio.run(calculator.calculate_equity(share_class))


def readings_of(book: Book, portfolio: str = "fund") -> list[Reading]:
    """What venues would say that hold just what the book says."""
    readings = []
    for venue in ("wallet", *EXCHANGES):
        account = Account(portfolio, f"{portfolio}-{venue}", venue)
        positions = {
            name: ObservedPosition(position.size, position.entry_price)
            for (where, name), position in book.positions.items()
            if where == venue
        }
        balances = {token: balance for (where, token), balance in book.balances.items() if where == venue}
        readings.append(Reading(account, ReadingStatus.AVAILABLE, START, START, balances, positions))
    return readings


def by_pipeline(book: Book, share_class: str) -> tuple[equity.Equity, dict[str, Decimal], dict[str, Decimal]]:
    sheet = Sheet(MARKET, DEFAULT_REGISTRY, [START])
    lines, missing = sheet.lines(describe_book(book, DEFAULT_REGISTRY), share_class, 0)
    assert not missing
    return equity.total(lines), equity.by_venue(lines), equity.by_asset(lines)


def digits(figures: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: str(value) for name, value in figures.items()}


def test_every_published_hour_of_the_sample_is_told_again_to_the_last_digit(tmp_path: Path) -> None:
    sample = write_sample_home(tmp_path, days=3)
    import_sample(tmp_path, sample)
    rebuild_days(tmp_path)
    reader = Reader.open(tmp_path)
    published = reader.rows("SELECT * FROM equity_snapshots")
    grouped: dict[tuple[str, datetime, str], dict[str, Decimal]] = {}
    for key, view in (("venue", "equity_by_venue"), ("token", "equity_by_asset")):
        for row in reader.rows(f"SELECT * FROM {view}"):
            grouped.setdefault((row["portfolio"], row["as_of"], key), {})[row[key]] = row["value"]
    assert len(published) > 48
    assert {row["portfolio"] for row in published} == {portfolio.name for portfolio in sample.portfolios}
    assert any(row["unrealized_pnl"] for row in published)
    with open_home(tmp_path) as home:
        instants = [row["as_of"] for row in published]
        provider = MarketPrices(home.market.window(min(instants), max(instants)), registry=home.registry)
        for row in published:
            provider.at = row["as_of"]
            interfaces = ledger_interfaces(home.ledger, row["portfolio"], home.registry, clock=lambda: provider.at)
            calculator = EquityCalculator(interfaces, provider, clock=lambda: provider.at)
            found = asyncio.run(calculator.calculate_equity(row["share_class"]))
            assert found.ledger_sequence == row["ledger_sequence"]
            assert (found.as_of, found.timestamp) == (row["as_of"], row["as_of"].timestamp())
            for name in ("total_equity", "unrealized_pnl", "in_transit", "locked", "nav"):
                assert getattr(found, name) == row[name], name
            assert sum(a.value or 0 for a in found.assets if not a.locked) == row["assets"]
            assert sum(d.value or 0 for d in found.debts) == row["debts"]
            where = row["portfolio"], row["as_of"]
            assert found.equity_by_venue == grouped.get((*where, "venue"), {})
            assert found.equity_by_asset == grouped.get((*where, "token"), {})


BALANCES = st.dictionaries(
    st.tuples(st.sampled_from(["binance", "okx"]), st.sampled_from(["ETH", "USDT", "weETH", "EIGEN", "unstETH"])),
    amounts().filter(bool),
    max_size=6,
)
ON_CHAIN = st.dictionaries(
    st.tuples(
        st.just("wallet"),
        st.sampled_from(
            ["ETH", "USDT", "KING", "weETH", "eETH", "stETH", "aWeETH", "aUSDT", "variableDebtWETH", "unstETH"]
        ),
    ),
    amounts("0.000001"),
    max_size=8,
)
UNDER_WAY = st.dictionaries(
    st.tuples(st.just("in_transit"), st.sampled_from(["ETH", "USDT"])), amounts("0.000001"), max_size=2
)
PERPS = st.dictionaries(
    st.tuples(st.sampled_from(EXCHANGES), st.just("ETHUSDT-PERP")),
    st.tuples(amounts("-1000", "1000", 8).filter(bool), prices),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(BALANCES, ON_CHAIN, UNDER_WAY, PERPS, st.sampled_from(["USDT", "ETH"]))
def test_any_book_has_the_digits_of_the_pipeline_by_ledger_and_by_reading(
    on_exchanges: dict[tuple[str, str], Decimal],
    on_chain: dict[tuple[str, str], Decimal],
    under_way: dict[tuple[str, str], Decimal],
    perps: dict[tuple[str, str], tuple[Decimal, Decimal]],
    share_class: str,
) -> None:
    book = Book(
        {**on_exchanges, **on_chain, **under_way},
        {key: PerpPosition(*opened, START, None) for key, opened in perps.items()},
    )
    by_ledger = calculate(
        LedgerInterfaces(lambda: (describe_book(book, DEFAULT_REGISTRY), 7), DEFAULT_REGISTRY), share_class
    )
    assert by_ledger.ledger_sequence == 7
    assert_equal(by_ledger, book, share_class)
    by_reading = calculate(reading_interfaces(readings_of(book), DEFAULT_REGISTRY), share_class)
    assert by_reading.ledger_sequence is None
    assert_equal(by_reading, Book({**on_exchanges, **on_chain}, book.positions), share_class)


def assert_equal(found: EquitySnapshot, book: Book, share_class: str) -> None:
    """The snapshot has the digits that the pipeline gives the book, and adds up exactly."""
    expected, venues, assets = by_pipeline(book, share_class)
    for name in ("total_equity", "unrealized_pnl", "in_transit", "locked", "nav"):
        assert str(getattr(found, name)) == str(getattr(expected, name)), name
    assert digits(found.equity_by_venue) == digits(venues)
    assert digits(found.equity_by_asset) == digits(assets)
    assert sum(map(Fraction, found.equity_by_venue.values())) == Fraction(found.total_equity)
    assert sum(map(Fraction, found.equity_by_asset.values())) == Fraction(found.total_equity)


def test_the_difference_of_ledger_and_reading_is_the_value_of_the_drift(tmp_path: Path) -> None:
    with Ledger(sqlite_url(tmp_path / "ledger.db"), DEFAULT_REGISTRY) as ledger:
        ledger.register(Terms("fund", "USDT", Decimal(1000), START))
        ledger.append("fund", deposit("weETH", "2", minute=1))
        ledger.append("fund", deposit("eETH", "3", minute=2))
        ledger.append("fund", deposit("USDT", "5", venue="in_transit", minute=3))
        opened = perp("OPEN", "-1", fill_price="2900", venue="okx")
        ledger.append("fund", update("PERP_OPENED", opened, minute=4))
        by_ledger = ledger_interfaces(ledger, "fund", DEFAULT_REGISTRY)
        assert sorted(by_ledger) == ["etherfi", "in_transit", "okx", "wallet"]
        tracked = calculate(by_ledger)
        book = ledger.snapshot().book_at("fund", START + HOUR).book
    readings = readings_of(book)
    drifted = replace(readings[0], balances={**readings[0].balances, "USDT": Decimal("990.5")})
    actual = calculate(reading_interfaces([drifted, *readings[1:]], DEFAULT_REGISTRY))
    assert tracked.ledger_sequence == 5
    assert {asset.asset for asset in tracked.assets if asset.venue == "etherfi"} == {"weETH", "eETH"}
    assert actual.total_equity - tracked.total_equity == Decimal("-9.5")
    assert tracked.in_transit == 5
    assert actual.in_transit == 0
    assert tracked.unrealized_pnl == actual.unrealized_pnl == Decimal("-1.37")


def test_the_ledger_s_interfaces_follow_new_entries(tmp_path: Path) -> None:
    with Ledger(sqlite_url(tmp_path / "ledger.db"), DEFAULT_REGISTRY) as ledger:
        ledger.register(Terms("fund", "USDT", Decimal(1000), START))
        interfaces = ledger_interfaces(ledger, "fund", DEFAULT_REGISTRY)
        before = calculate(interfaces)
        ledger.append("fund", deposit("USDT", "0.25", minute=1))
        after = calculate(interfaces)
        assert asyncio.run(interfaces["wallet"].get_balances()) == {"USDT": Decimal("1000.25")}
    assert (before.total_equity, before.ledger_sequence) == (Decimal(1000), 1)
    assert (after.total_equity, after.ledger_sequence) == (Decimal("1000.25"), 2)


def test_the_specification_s_venues_are_valued_in_the_share_class() -> None:
    venues = {
        "aave": Specified(
            a_tokens={"aWETH": Decimal(10)}, debt_tokens={"variableDebtWETH": Decimal(4)}, lst_balance=Decimal(9)
        ),
        "etherfi": Specified(lst_balance=Decimal(2)),
        "binance": Specified(
            spot={"USDT": Decimal(300), "ETH": Decimal(-1)},
            margin={"borrowed_asset": "USDT", "borrowed_amount": Decimal(100)},
        ),
        "alchemy": Specified(balances={"ETH": Decimal(1), "KING": Decimal(0)}),
    }
    market = FixedMarket(
        {"ETH": "3000", "USDT": "0.9"},
        rates={"aave:WETH:liquidity": "1.5", "aave:WETH:debt": "1.25", "lst:weETH": "1.1"},
    )
    found = calculate(venues, "ETH", market)
    assert found.equity_by_venue == {
        "aave": 10,
        "etherfi": Decimal("2.2"),
        "binance": Decimal("-0.94"),
        "alchemy": 1,
    }
    assert found.total_equity == found.nav == Decimal("12.26")
    assert {(debt.venue, debt.asset): debt.value for debt in found.debts} == {
        ("aave", "variableDebtWETH"): 5,
        ("binance", "ETH"): 1,
        ("binance", "USDT"): Decimal("0.03"),
    }
    assert found.debts[0].value_usd == 15000


def test_all_borrowings_of_a_margin_account_count() -> None:
    margin = {"borrowings": {"USDT": Decimal(10), "ETH": Decimal(0)}, "borrowed_asset": "USDT", "borrowed_amount": 9}
    found = calculate({"okx": Specified(spot={"USDT": Decimal(4)}, margin=margin)})
    assert found.total_equity == -6
    assert len(found.debts) == 1


def test_a_plain_interface_of_another_protocol_is_asked_for_all_it_has() -> None:
    spark = Specified(a_tokens={"aUSDT": Decimal(10)}, lst_balance=Decimal(1), lst="stETH")
    found = calculate({"spark": spark}, market=FixedMarket({"ETH": "3000", "USDT": "1"}, rates=LENT))
    assert found.equity_by_asset == {"aUSDT": 11, "stETH": 3000}


def test_nothing_held_is_worth_nothing_and_needs_no_price() -> None:
    provider = MarketPrices(FixedMarket())
    venues = {"binance": Specified(spot={"KING": Decimal(0)}), "lido": Specified(), "aave": Specified()}
    found = asyncio.run(EquityCalculator(venues, provider).calculate_equity("USDT"))
    assert found.total_equity == found.nav == 0
    assert not found.assets
    assert not found.debts
    assert provider.asked == []


def test_a_venue_that_fails_is_named_and_so_is_every_other() -> None:
    venues = {
        "okx": Specified(fails=RuntimeError("https://key:secret@node")),
        "aave": Specified(fails=VenueError("the node does not answer")),
        "wallet": Specified(balances={"USDT": Decimal(1)}),
    }
    with pytest.raises(VenueError) as caught:
        calculate(venues)
    assert "okx: failed with RuntimeError" in str(caught.value)
    assert "aave: the node does not answer" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "wallet" not in str(caught.value)


def test_venues_are_asked_at_the_same_time() -> None:
    class Meeting(Specified):
        """Answers only once all others have been asked as well."""

        def __init__(self, barrier: asyncio.Barrier) -> None:
            super().__init__()
            self.barrier = barrier

        async def _answer(self, name: str, otherwise: Any) -> Any:
            if name == "margin":
                return {}
            await asyncio.wait_for(self.barrier.wait(), 5)
            return {"USDT": Decimal(1)}

    async def main() -> EquitySnapshot:
        barrier = asyncio.Barrier(3)
        venues = {name: Meeting(barrier) for name in ("wallet", "okx", "bybit")}
        return await EquityCalculator(venues, MarketPrices(MARKET)).calculate_equity("USDT")

    assert asyncio.run(main()).total_equity == 3


def test_every_missing_price_is_listed_and_nothing_is_partly_told() -> None:
    book = Book(
        {("wallet", "ETH"): Decimal(1), ("wallet", "KING"): Decimal(1), ("wallet", "EIGEN"): Decimal(1)},
        {("okx", "BTCUSDT-PERP"): PerpPosition(ONE, ONE, START, None)},
    )
    market = FixedMarket({"ETH": "3000", "USDT": "1", "KING": "0"})
    with pytest.raises(MissingPriceError, match="EIGEN, KING, okx BTCUSDT-PERP") as caught:
        calculate(reading_interfaces(readings_of(book), DEFAULT_REGISTRY), market=market)
    assert caught.value.failures == ("EIGEN", "KING", "okx BTCUSDT-PERP")


def test_perpetuals_are_not_valued_without_their_marks() -> None:
    class OnlyPrices:
        async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
            return dict.fromkeys(assets, ONE)

    book = Book({}, {("okx", "ETHUSDT-PERP"): PerpPosition(ONE, ONE, START, None)})
    interfaces = reading_interfaces(readings_of(book), DEFAULT_REGISTRY)
    with pytest.raises(MissingPriceError, match="okx ETHUSDT-PERP"):
        asyncio.run(EquityCalculator(interfaces, OnlyPrices()).calculate_equity("USDT"))


@pytest.mark.parametrize(
    ("venue", "answers", "message"),
    [
        ("okx", {"spot": {"USDT": 1.5}}, "okx: USDT: 1.5 is a float"),
        ("okx", {"spot": ["USDT"]}, "okx: list is not a mapping"),
        ("okx", {"margin": None}, "okx: get_margin_info: NoneType is not a mapping"),
        ("okx", {"margin": {"borrowed_amount": 1}}, "borrowed_asset is missing"),
        (
            "aave",
            {"debt_tokens": {"variableDebtWETH": Decimal(-1)}},
            "aave: variableDebtWETH: a debt of -1 is negative",
        ),
    ],
)
def test_what_a_venue_cannot_mean_is_refused(venue: str, answers: dict[str, Any], message: str) -> None:
    with pytest.raises(VenueError, match=message):
        calculate({venue: Specified(**answers)})


def test_a_venue_of_which_nothing_can_be_asked_is_refused() -> None:
    with pytest.raises(VenueError, match="mystery: has neither get_a_tokens"):
        calculate({"mystery": object()})


def test_an_inexact_price_and_an_unknown_share_class_are_refused() -> None:
    class Inexact:
        async def get_prices(self, assets: list[str]) -> dict[str, Any]:
            return dict.fromkeys(assets, 1.5)

    calculator = EquityCalculator({"wallet": Specified(balances={"USDT": Decimal(1)})}, Inexact())
    with pytest.raises(InputError, match=r"price of USDT: 1.5 is a float"):
        asyncio.run(calculator.calculate_equity("USDT"))
    with pytest.raises(InputError, match="share_class: 'BTC'"):
        asyncio.run(calculator.calculate_equity("BTC"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"status": ReadingStatus.UNAVAILABLE, "error": "timed out"}, "okx: fund-okx: timed out"),
        ({"unmapped": {"DOGE": Decimal(7)}}, "holds 7 DOGE, which is not registered"),
        ({"positions": {"ETHUSDT-PERP": ObservedPosition(ONE, None)}}, "does not tell the entry price of ETHUSDT-PERP"),
    ],
)
def test_a_reading_without_a_value_fails_with_its_venue(changed: dict[str, Any], message: str) -> None:
    readings = readings_of(Book({("wallet", "USDT"): Decimal(1)}))
    okx = replace(next(reading for reading in readings if reading.account.venue == "okx"), **changed)
    with pytest.raises(VenueError, match=message):
        calculate(reading_interfaces([readings[0], okx], DEFAULT_REGISTRY))


def test_an_unread_wallet_fails_the_snapshot() -> None:
    unread = Reading.unavailable(Account("fund", "main", "wallet"), "no node", START, START)
    with pytest.raises(VenueError, match="wallet: main: no node"):
        calculate(reading_interfaces([unread], DEFAULT_REGISTRY))


def test_readings_of_two_portfolios_or_twice_of_one_venue_are_refused() -> None:
    mine, theirs = readings_of(Book()), readings_of(Book(), "other")
    with pytest.raises(InputError, match="fund and other"):
        reading_interfaces([mine[0], theirs[1]], DEFAULT_REGISTRY)
    with pytest.raises(InputError, match="more than one of wallet"):
        reading_interfaces([mine[0], mine[0]], DEFAULT_REGISTRY)


def test_the_one_staking_token_is_told_as_specified_and_two_are_never_one() -> None:
    async def asked(*tokens: str) -> tuple[Decimal, str | None]:
        book = Book({("wallet", token): Decimal(2) for token in (*tokens, "KING")})
        venue = reading_interfaces(readings_of(book), DEFAULT_REGISTRY)["etherfi"]
        return await venue.get_lst_balance(), venue.get_lst_token()

    assert asyncio.run(asked()) == (Decimal(0), None)
    assert asyncio.run(asked("weETH")) == (Decimal(2), "weETH")
    with pytest.raises(BasisError, match="ask get_lst_balances"):
        asyncio.run(asked("weETH", "eETH"))


def test_a_protocol_and_a_debt_that_a_user_registered_count() -> None:
    registry = DEFAULT_REGISTRY.extended(
        [
            Token("rETH", TokenKind.LST, 18, "ETH", None, "rocketpool"),
            Token("owedUSDT", TokenKind.DEBT, 6, "USDT", None, "wallet"),
        ]
    )
    book = Book({("wallet", "rETH"): Decimal(1), ("wallet", "owedUSDT"): Decimal(100)})
    provider = MarketPrices(FixedMarket({"ETH": "3000", "USDT": "1"}), registry=registry)
    interfaces = reading_interfaces(readings_of(book), registry)
    found = asyncio.run(EquityCalculator(interfaces, provider).calculate_equity("USDT"))
    assert found.equity_by_venue == {"rocketpool": 3000, "wallet": -100}
