"""Whatever a fund holds, and however it changes: equity now has the digits that the pipeline gives the same book."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from basis_pipeline.domain import equity
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES, Token, TokenKind
from basis_pipeline.domain.valuation import Sheet, describe_book
from basis_pipeline.market.provider import PriceProvider
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.venue_interfaces import LedgerInterfaces, reading_interfaces
from basis_pipeline_tests.builders import START, FixedMarket, equity_by
from basis_pipeline_tests.domain.strategies import amounts, prices
from basis_pipeline_tests.monitors.valued import MarketPrices, readings_of

USERS_TOKENS = (
    Token("rETH", TokenKind.LST, 18, "ETH", "lst:rETH", "rocketpool"),
    Token("awrETH", TokenKind.ATOKEN, 18, "rETH", "aave:rETH:liquidity", "spark"),
    Token("owedUSDT", TokenKind.DEBT, 6, "USDT", None, "wallet"),
    Token("owedETH", TokenKind.DEBT, 18, "ETH", "aave:spark:debt", "spark"),
    Token("queueBTC", TokenKind.LOCKED, 8, "BTC", None, "wallet"),
    Token("GOLD", TokenKind.REWARD, 0, None, None, "aave"),
    Token("vault ₿", TokenKind.BASE, 8, "BTC", None, "a vault"),
)
REGISTRY = DEFAULT_REGISTRY.extended(USERS_TOKENS)
SYMBOLS = sorted(REGISTRY.tokens)
BASES = sorted({REGISTRY.valuation(symbol).base for symbol in SYMBOLS})
RATES = sorted({name for symbol in SYMBOLS for name in REGISTRY.valuation(symbol).rate_names})
INSTRUMENTS = ("ETHUSDT-PERP", "ETHUSDT-PERP:LONG", "ETHUSDT-PERP:SHORT", "BTCUSDT-PERP", "GOLDUSD-PERP")

ON_CHAIN = st.dictionaries(
    st.tuples(st.just("wallet"), st.sampled_from(SYMBOLS)), amounts("0.000000000000000001", "100000", 18), max_size=10
)
ON_EXCHANGES = st.dictionaries(
    st.tuples(st.sampled_from(EXCHANGES), st.sampled_from(SYMBOLS)), amounts(places=18).filter(bool), max_size=8
)
UNDER_WAY = st.dictionaries(
    st.tuples(st.just("in_transit"), st.sampled_from(SYMBOLS)), amounts(places=18).filter(bool), max_size=2
)
PERPETUALS = st.dictionaries(
    st.tuples(st.sampled_from(EXCHANGES), st.sampled_from(INSTRUMENTS)),
    st.tuples(amounts("-1000", "1000", 8).filter(bool), prices),
    max_size=4,
)


class Case(NamedTuple):
    """What is held at the prices of a moment."""

    book: Book
    market: FixedMarket
    share_class: str


@st.composite
def markets(draw: st.DrawFn) -> FixedMarket:
    rates = amounts("0.5", "3", 27)
    marks = {(venue, name): str(draw(prices)) for venue in EXCHANGES for name in INSTRUMENTS}
    return FixedMarket(
        {token: str(draw(prices)) for token in BASES},
        {(venue, name): marks[venue, name.partition(":")[0]] for venue, name in marks},  # legs share their contract's
        {name: str(draw(rates)) for name in RATES},
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    balances = {**draw(ON_CHAIN), **draw(ON_EXCHANGES), **draw(UNDER_WAY)}
    opened = draw(PERPETUALS)
    book = Book(balances, {key: PerpPosition(*position, START, None) for key, position in opened.items()})
    return Case(book, draw(markets()), draw(st.sampled_from(["USDT", "ETH"])))


def assert_like_the_pipeline(found: EquitySnapshot, book: Book, case: Case) -> None:
    """The snapshot has the digits that the pipeline gives the book, and adds up exactly."""
    sheet = Sheet(case.market, REGISTRY, [START])
    lines, missing = sheet.lines(describe_book(book, REGISTRY), case.share_class, 0)
    assert not missing
    expected = equity.total(lines)
    for name in ("total_equity", "unrealized_pnl", "in_transit", "locked", "nav"):
        assert str(getattr(found, name)) == str(getattr(expected, name)), name
    assert texts(found.equity_by_venue) == texts(equity_by("venue", lines))
    assert texts(found.equity_by_asset) == texts(equity_by("token", lines))
    assert sum(map(Fraction, found.equity_by_venue.values())) == Fraction(found.total_equity)
    assert sum(map(Fraction, found.equity_by_asset.values())) == Fraction(found.total_equity)
    listed = {(line.side, line.venue, line.token): (line.amount, line.value_usd, line.value) for line in lines}
    told = {
        ("locked" if a.locked else "asset", a.venue, a.asset): (a.amount, a.value_usd, a.value) for a in found.assets
    }
    told |= {("debt", d.venue, d.asset): (d.amount, _minus(d.value_usd), _minus(d.value)) for d in found.debts}
    assert told == {key: listed[key] for key in listed if key[0] in ("asset", "debt", "locked")}


def _minus(value: Decimal | None) -> Decimal:
    assert value is not None
    return value.copy_negate()  # a minus sign would round to 28 digits


def texts(figures: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: str(value) for name, value in figures.items()}


@settings(max_examples=150, deadline=None)
@given(st.lists(cases(), min_size=1, max_size=3))
def test_a_calculator_over_the_ledger_follows_every_change_with_the_digits_of_the_pipeline(history: list[Case]) -> None:
    """One calculator, asked again and again while holdings, prices and the share class change, or only the holdings."""
    now = history[0]
    interfaces = LedgerInterfaces(lambda: (describe_book(now.book, REGISTRY), 7), REGISTRY)
    prices_now = MarketPrices(now.market, registry=REGISTRY)
    calculator = EquityCalculator(interfaces, prices_now, clock=lambda: START)
    held = [history[0]._replace(book=case.book) for case in history]
    for case in [*history, *held]:
        now, prices_now.market = case, case.market
        found = asyncio.run(calculator.calculate_equity(case.share_class))
        assert found.ledger_sequence == 7
        assert_like_the_pipeline(found, case.book, case)


@settings(max_examples=75, deadline=None)
@given(cases())
def test_what_the_venues_say_has_the_digits_of_the_pipeline_and_knows_nothing_under_way(case: Case) -> None:
    interfaces = reading_interfaces(readings_of(case.book), REGISTRY)
    calculator = EquityCalculator(interfaces, MarketPrices(case.market, registry=REGISTRY), clock=lambda: START)
    found = asyncio.run(calculator.calculate_equity(case.share_class))
    assert found.ledger_sequence is None
    there = Book(
        {key: held for key, held in case.book.balances.items() if key[0] != "in_transit"}, dict(case.book.positions)
    )
    assert_like_the_pipeline(found, there, case)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_the_live_price_provider_comes_to_the_same_digits(case: Case) -> None:
    """Warm and cold, from a venue that tells the same prices, rates and marks."""
    venues = {venue: TellsAll(venue, case.market) for venue in ("wallet", *EXCHANGES)}
    provider = PriceProvider(venues, REGISTRY, band=None, ttl=timedelta(hours=1))
    interfaces = LedgerInterfaces(lambda: (describe_book(case.book, REGISTRY), 7), REGISTRY)

    async def twice() -> list[EquitySnapshot]:
        calculator = EquityCalculator(interfaces, provider, clock=lambda: START)
        return [await calculator.calculate_equity(case.share_class) for _ in range(2)]

    cold, warm = asyncio.run(twice())
    assert cold == warm
    assert_like_the_pipeline(warm, case.book, case)


class TellsAll:
    """A venue that tells in USD, or in a contract's settlement coin, what a market has."""

    def __init__(self, name: str, market: FixedMarket) -> None:
        self.name = name
        self.market = market

    async def get_prices(self, assets: list[str]) -> dict[str, Any]:
        return {asset: self.market.price(asset, START).price for asset in assets}  # type: ignore[union-attr]

    async def get_rates(self, names: list[str]) -> dict[str, Any]:
        return {name: self.market.rate(name, START).rate for name in names}  # type: ignore[union-attr]

    async def get_marks(self, instruments: list[str]) -> dict[str, Any]:
        return {name: self.market.mark(self.name, name, START).price for name in instruments}  # type: ignore[union-attr]
