from __future__ import annotations

from datetime import datetime
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basis_pipeline.domain import equity
from basis_pipeline.domain.equity import Equity, changed_enough
from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.quotes import Quote, Rate, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry, Token, TokenKind
from basis_pipeline.domain.valuation import Line, Missing, Run, Sheet, describe_balance, describe_book
from basis_pipeline_tests.builders import START, FixedMarket, equity_by
from basis_pipeline_tests.domain.strategies import amounts, prices

PRICES = {"ETH": "3000", "BTC": "60000", "USDT": "0.999", "EIGEN": "4", "ETHFI": "3", "KING": "1500"}
RATES = {
    "aave:weETH:liquidity": "1.05",
    "aave:WETH:debt": "1.045678901234567890123456789",
    "aave:USDT:liquidity": "1.1",
    "lst:weETH": "1.03",
    "lst:wstETH": "1.17",
}
MARKET = FixedMarket(PRICES, {("binance", "ETHUSDT-PERP"): "3010"}, RATES)


def value(
    book: Book, share_class: str = "USDT", market: FixedMarket = MARKET, registry: Registry = DEFAULT_REGISTRY
) -> tuple[list[Line], list[Missing]]:
    return Sheet(market, registry, [START]).lines(describe_book(book, registry), share_class, 0)


def lines(book: Book, share_class: str = "USDT", market: FixedMarket = MARKET) -> list[Line]:
    found, missing = value(book, share_class, market)
    assert missing == []
    return found


def line(venue: str, symbol: str, amount: str, share_class: str = "USDT") -> Line:
    (found,) = lines(Book({(venue, symbol): Decimal(amount)}), share_class)
    return found


def short(size: str = "-8.562", entry: str = "2920", **at: str) -> Book:
    key = (at.get("venue", "binance"), at.get("on", "ETHUSDT-PERP"))
    return Book(positions={key: PerpPosition(Decimal(size), Decimal(entry), START, Decimal(25000))})


def test_an_atoken_on_an_lst_is_scaled_times_index_times_redemption_rate_times_ether() -> None:
    found = line("wallet", "aWeETH", "95.24")
    assert found.value_usd == Decimal("95.24") * Decimal("1.05") * Decimal("1.03") * 3000
    assert (found.rate, found.price_usd) == (Decimal("1.05") * Decimal("1.03"), Decimal(3000))
    assert (found.account, found.venue, found.underlying, found.side) == ("wallet", "aave", "ETH", "asset")


@given(
    st.integers(1, 10**38 - 1), st.integers(10**27, 9 * 10**27), st.integers(10**27, 2 * 10**27), st.integers(1, 10**24)
)
def test_a_value_is_the_unrounded_product_rounded_once(scaled: int, index: int, rate: int, price: int) -> None:
    def text(number: int, places: int) -> str:
        return f"{number // 10**places}.{number % 10**places:0{places}d}"

    market = FixedMarket(
        {"ETH": text(price, 18), "USDT": "1"},
        rates={"aave:weETH:liquidity": text(index, 27), "lst:weETH": text(rate, 27)},
    )
    book = Book({("wallet", "aWeETH"): Decimal(text(scaled, 18))})
    with localcontext(prec=7):  # the thread's own context must not matter
        (found,) = lines(book, market=market)
    exact = Fraction(scaled, 10**18) * Fraction(index, 10**27) * Fraction(rate, 10**27) * Fraction(price, 10**18)
    # Three factors exceed the context's 78 digits only beyond any balance that exists: 10^20 tokens.
    assert abs(Fraction(found.value_usd) - exact) <= Fraction(1, 2 * 10**18) + exact * Fraction(1, 10**77)


def test_a_value_in_share_class_divides_by_the_price_of_its_currency() -> None:
    assert line("wallet", "ETH", "2", "ETH").value == 2
    assert line("wallet", "USDT", "999", "USDT").value == 999
    assert line("wallet", "USDT", "6000", "ETH").value == Decimal("1.998")
    assert line("wallet", "ETH", "0.999", "USDT").value == 3000


@pytest.mark.parametrize(
    ("venue", "symbol", "amount", "expected"),
    [
        ("wallet", "variableDebtWETH", "10", ("wallet", "aave", "debt", 10)),
        ("bybit", "USDT", "-500", ("bybit", "bybit", "debt", 500)),
        ("bybit", "USDT", "500", ("bybit", "bybit", "asset", 500)),
        ("in_transit", "USDT", "500", ("in_transit", "in_transit", "in_transit", 500)),
        ("wallet", "unstETH", "5", ("wallet", "lido", "locked", 5)),
        ("wallet", "wstETH", "5", ("wallet", "lido", "asset", 5)),
        ("wallet", "KING", "5", ("wallet", "etherfi", "asset", 5)),
    ],
)
def test_a_holding_stands_on_its_side_of_the_balance_sheet(
    venue: str, symbol: str, amount: str, expected: tuple[str, str, str, int]
) -> None:
    found = line(venue, symbol, amount)
    assert (found.account, found.venue, found.side, found.amount) == expected
    assert (found.value < 0) == (found.side == "debt")


def test_a_perp_s_value_is_its_unrealized_pnl_in_the_settlement_coin() -> None:
    (found,) = lines(short())
    pnl_usdt = (Decimal(3010) - 2920) * Decimal("-8.562")
    assert found.value_usd == pnl_usdt * Decimal("0.999")
    assert found.value == pnl_usdt
    assert (found.side, found.amount, found.rate, found.underlying) == ("perp", Decimal("-8.562"), 1, "ETH")


def test_the_reported_notional_never_enters_a_value() -> None:
    position = PerpPosition(Decimal(-1), Decimal(3000), START, None)
    with_notional = position._replace(notional_usd=Decimal(10**9))
    key = ("binance", "ETHUSDT-PERP")
    assert lines(Book(positions={key: position})) == lines(Book(positions={key: with_notional}))


@pytest.mark.parametrize(
    ("book", "market", "name", "tried"),
    [
        (Book({("wallet", "BTC"): Decimal(1)}), FixedMarket({"USDT": "1"}), "BTC", "binance: no such series"),
        (
            Book({("wallet", "aWeETH"): Decimal(1)}),
            FixedMarket(PRICES, rates={"lst:weETH": "1"}),
            "aWeETH",
            "aave:weETH:liquidity: files: no such rate",
        ),
        (
            Book({("wallet", "aWeETH"): Decimal(1)}),
            FixedMarket(PRICES, rates={"aave:weETH:liquidity": "1"}),
            "aWeETH",
            "lst:weETH: files: no such rate",
        ),
        (Book({("wallet", "ETH"): Decimal(1)}), FixedMarket({"ETH": "3000"}), "USDT", "binance: no such series"),
        (short(venue="okx"), MARKET, "okx ETHUSDT-PERP", "okx: no such series"),
        (
            short(),
            FixedMarket({"ETH": "1"}, {("binance", "ETHUSDT-PERP"): "1"}),
            "USDT",
            "binance: no such series",
        ),
    ],
)
def test_what_cannot_be_valued_is_listed_never_zero(book: Book, market: FixedMarket, name: str, tried: str) -> None:
    found, missing = value(book, market=market)
    assert found == []
    assert missing == [Missing(START, name, tried)]


def test_every_missing_holding_is_listed_and_the_others_are_still_valued() -> None:
    book = Book({("wallet", "BTC"): Decimal(1), ("okx", "KING"): Decimal(1), ("wallet", "ETH"): Decimal(1)})
    found, missing = value(book, market=FixedMarket({"ETH": "3000", "USDT": "1"}))
    assert [each.token for each in found] == ["ETH"]
    assert {each.name for each in missing} == {"BTC", "KING"}


def test_a_settlement_coin_nobody_registered_is_missing_and_does_not_stop_the_others() -> None:
    book = short(on="ETHUSDC-PERP")
    book.balances["wallet", "ETH"] = Decimal(1)
    found, missing = value(book, market=FixedMarket(PRICES, {("binance", "ETHUSDC-PERP"): "3010"}))
    assert [each.token for each in found] == ["ETH"]
    assert [each.name for each in missing] == ["USDC"]


def test_a_mark_in_another_coin_than_the_contract_settles_in_is_missing() -> None:
    class QuotedInEther(FixedMarket):
        def mark(self, venue: str, instrument: str, at: datetime) -> Quote | Unavailable:
            return Quote(Decimal(1), Decimal(1), "ETH", "binance", at)

    found, missing = value(short(), market=QuotedInEther(PRICES))
    assert found == []
    assert "quotes ETH, but the contract settles in USDT" in missing[0].tried


def test_an_empty_book_needs_no_price_and_is_worth_nothing() -> None:
    assert value(Book(), market=FixedMarket()) == ([], [])
    assert equity.total([]) == Equity(*[Decimal(0)] * 7)


def test_an_atoken_a_user_registered_is_valued_by_its_own_index() -> None:
    registry = DEFAULT_REGISTRY.extended(
        [Token("USDC", TokenKind.BASE, 6), Token("aUSDC", TokenKind.ATOKEN, 6, "USDC", "aave:USDC:liquidity", "aave")]
    )
    market = FixedMarket({"USDC": "1.001", "USDT": "1"}, rates={"aave:USDC:liquidity": "1.2"})
    (found,), _ = value(Book({("wallet", "aUSDC"): Decimal(10)}), market=market, registry=registry)
    assert (found.venue, found.underlying, found.value_usd) == ("aave", "USDC", Decimal("12.012"))


class HourlyMarket(FixedMarket):
    """ETH at 1000 plus the hour, the index growing by a hundredth an hour; nothing is known at some hours."""

    def __init__(self, unknown: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.unknown = unknown
        self.asked: list[tuple[int, str]] = []

    def price(self, token: str, at: datetime) -> Quote | Unavailable:
        hour = (at - START) // HOUR
        self.asked.append((hour, token))
        if hour in self.unknown:
            return Unavailable(token, ("binance: stale",))
        close = Decimal(1000 + hour) if token == "ETH" else Decimal(1)
        return Quote(close, close, "USD", "binance", at)

    def rate(self, name: str, at: datetime) -> Rate | Unavailable:
        return Rate(1 + Decimal((at - START) // HOUR) / 100, "files", at)


INSTANTS = [START + HOUR * number for number in range(24)]
LENT = describe_balance("wallet", "aWETH", Decimal("95.24"), DEFAULT_REGISTRY)


def lent(first: int, end: int) -> list[Run]:
    return [Run(LENT, first, end)]


def test_a_scaled_balance_stays_constant_while_its_value_grows_with_the_index() -> None:
    sheet = Sheet(HourlyMarket(), DEFAULT_REGISTRY, INSTANTS)
    (span,), missing = sheet.value(lent(0, 24), "USDT")
    assert missing == []
    assert span.run.holding.amount == Decimal("95.24")
    indices = [1 + Decimal(hour) / 100 for hour in range(24)]
    assert sheet.figures(span.run).rate == indices
    assert span.value == [Decimal("95.24") * index * (1000 + hour) for hour, index in enumerate(indices)]


@given(st.integers(0, 23), st.integers(1, 24))
def test_a_range_of_instants_is_valued_as_each_of_them_alone(first: int, size: int) -> None:
    end = min(24, first + size)
    sheet = Sheet(HourlyMarket(), DEFAULT_REGISTRY, INSTANTS)
    (span,), _ = sheet.value(lent(first, end), "ETH")
    rates, prices_usd, values_usd = sheet.figures(span.run)
    for position in range(end - first):
        alone = Sheet(HourlyMarket(), DEFAULT_REGISTRY, [INSTANTS[first + position]])
        ((line,), _) = alone.lines([LENT], "ETH", 0)
        figures = (rates[position], prices_usd[position], values_usd[position], span.value[position])
        assert figures == (line.rate, line.price_usd, line.value_usd, line.value)


def test_a_gap_in_the_range_makes_the_holding_missing_at_just_those_instants() -> None:
    sheet = Sheet(HourlyMarket(unknown=(3, 5, 20)), DEFAULT_REGISTRY, INSTANTS)
    spans, missing = sheet.value(lent(2, 12), "ETH")
    assert spans == []
    assert {each.instant for each in missing} == {INSTANTS[3], INSTANTS[5]}
    spans, missing = sheet.value(lent(6, 12), "ETH")
    assert (len(spans), missing) == (1, [])


def test_each_instant_is_asked_once_for_all_portfolios_and_only_where_needed() -> None:
    market = HourlyMarket()
    sheet = Sheet(market, DEFAULT_REGISTRY, INSTANTS)
    both = describe_book(Book({("wallet", "ETH"): Decimal(1), ("okx", "ETH"): Decimal(2)}), DEFAULT_REGISTRY)
    for share_class in ("USDT", "ETH", "USDT"):
        sheet.value([Run(holding, 3, 5) for holding in both], share_class)
    assert sorted(market.asked) == [(3, "ETH"), (3, "USDT"), (4, "ETH"), (4, "USDT")]


BALANCES = st.dictionaries(
    st.tuples(
        st.sampled_from(["wallet", "binance", "okx", "in_transit"]), st.sampled_from(["ETH", "USDT", "weETH", "EIGEN"])
    ),
    amounts().filter(bool),
    max_size=8,
)
DEBTS = st.dictionaries(
    st.tuples(st.just("wallet"), st.sampled_from(["variableDebtWETH", "aUSDT", "aWeETH", "unstETH"])),
    amounts("0.000001"),
    max_size=4,
)


@given(BALANCES, DEBTS, st.none() | st.tuples(amounts().filter(bool), prices), st.sampled_from(["USDT", "ETH"]))
def test_the_total_is_the_sum_by_venue_is_the_sum_by_asset_exactly(
    held: dict[tuple[str, str], Decimal],
    on_chain: dict[tuple[str, str], Decimal],
    perp: tuple[Decimal, Decimal] | None,
    share_class: str,
) -> None:
    book = Book({key: abs(amount) if key[0] in ("wallet", "in_transit") else amount for key, amount in held.items()})
    book.balances.update(on_chain)
    if perp is not None:
        book.positions["binance", "ETHUSDT-PERP"] = PerpPosition(*perp, START, None)
    found = lines(book, share_class)
    total = equity.total(found)
    for field in ("venue", "token"):
        assert sum(map(Fraction, equity_by(field, found).values())) == Fraction(total.total_equity)
    assert Fraction(total.assets) - Fraction(total.debts) == Fraction(total.total_equity)
    assert sum(Fraction(each.value) for each in found) == Fraction(total.nav)
    assert total.assets >= 0 <= total.debts
    assert Fraction(total.nav) == sum(
        map(Fraction, (total.total_equity, total.unrealized_pnl, total.in_transit, total.locked))
    )


def test_totals_over_a_range_are_the_total_at_each_instant() -> None:
    book = Book({("wallet", "aWETH"): Decimal("95.24"), ("okx", "ETH"): Decimal(-3), ("in_transit", "ETH"): Decimal(1)})
    holdings = describe_book(book, DEFAULT_REGISTRY)
    sheet = Sheet(HourlyMarket(), DEFAULT_REGISTRY, INSTANTS)
    # One holding ends before the others: its later hours count nothing.
    runs = [Run(holding, 2, 24 if number else 10) for number, holding in enumerate(holdings)]
    spans, _ = sheet.value(runs, "USDT")
    at_each_hour = [
        equity.total(sheet.lines((r.holding for r in runs if r.first <= hour < r.end), "USDT", hour)[0])
        for hour in range(2, 24)
    ]
    assert list(map(Equity._make, zip(*equity.totals(spans, 2, 24), strict=True))) == at_each_hour


def test_only_assets_and_debts_are_equity_and_the_rest_stands_beside_it() -> None:
    book = Book(
        {
            ("wallet", "ETH"): Decimal(1),
            ("wallet", "variableDebtWETH"): Decimal(0),
            ("bybit", "USDT"): Decimal(-1000),
            ("in_transit", "USDT"): Decimal(50),
            ("wallet", "unstETH"): Decimal(2),
        },
        {("binance", "ETHUSDT-PERP"): PerpPosition(Decimal(-1), Decimal(3000), START, None)},
    )
    market = FixedMarket({"ETH": "3000", "USDT": "1"}, {("binance", "ETHUSDT-PERP"): "3010"}, RATES)
    figures = equity.total(lines(book, market=market))
    assert figures == tuple(map(Decimal, (2000, 3000, 1000, -10, 50, 6000, 8040)))


@pytest.mark.parametrize(("owed", "expected"), [("-3000", 0), ("-5000", -2000)])
def test_zero_and_negative_equity_are_legal(owed: str, expected: int) -> None:
    book = Book({("wallet", "ETH"): Decimal(1), ("okx", "USDT"): Decimal(owed)})
    market = FixedMarket({"ETH": "3000", "USDT": "1"})
    assert equity.total(lines(book, market=market)).total_equity == expected


@pytest.mark.parametrize(
    ("value_", "last", "enough"),
    [
        ("1001", "1000", False),  # exactly the threshold is not beyond it
        ("1001.000000000000000001", "1000", True),
        ("998.9", "1000", True),
        ("-1001.1", "-1000", True),
        ("-1000.9", "-1000", False),
        ("0.9", "0", False),  # below the floor's own threshold
        ("1.1", "0", True),
        ("0", "0", False),
    ],
)
def test_a_change_is_told_beyond_the_threshold_of_the_last_notified_value(value_: str, last: str, enough: bool) -> None:
    assert changed_enough(Decimal(value_), Decimal(last), Decimal("0.001"), Decimal(1000)) is enough


def test_a_negative_threshold_or_floor_is_refused() -> None:
    with pytest.raises(InputError, match="must not be negative"):
        changed_enough(Decimal(1), Decimal(1), Decimal("-0.001"), Decimal(1))
