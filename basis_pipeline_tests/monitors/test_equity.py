"""Equity put together from a home: the pipeline's in a backtest, that of now when live, and what drift is worth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import ConfigError, MissingPriceError, UnknownNameError, VenueError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.home import open_home
from basis_pipeline.monitors.equity import (
    Drift,
    EquityOfBoth,
    calculate_drift,
    drift_lines,
    open_equity,
    open_equity_of_both,
    open_equity_of_venues,
)
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.venue_interfaces import reading_interfaces
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import START
from basis_pipeline_tests.homes import import_sample, rebuild_days, write_sample_home
from basis_pipeline_tests.live_homes import ACCOUNT, CAPITAL, PART, PORTFOLIO, LiveHome, live_home, write_live_home
from basis_pipeline_tests.monitors.valued import MARKET, MarketPrices, calculate, readings_of

LENDING, NEUTRAL = "sample_usdt_lending", "sample_usdt_neutral"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of three days, imported and rebuilt."""
    home = tmp_path_factory.mktemp("sample")
    import_sample(home, write_sample_home(home, days=3))
    rebuild_days(home)
    return home


def equity_at(home: Path, portfolio: str, hours_before_the_end: float | None = None) -> EquitySnapshot:
    """Equity by the home's ledger, some hours before market data ends, or by a clock that is past the end."""

    async def calculate() -> EquitySnapshot:
        with open_home(home) as opened:
            end = opened.history.span()[1]
        moment = end + timedelta(days=99) if hours_before_the_end is None else end - HOUR * hours_before_the_end
        with open_home(home, clock=lambda: moment) as opened:
            async with open_equity(opened, portfolio) as calculator:
                return await calculator.calculate_equity("USDT")

    return asyncio.run(calculate())


@pytest.mark.parametrize("hours", [None, 0, 1, 30])
def test_a_backtest_has_the_pipeline_s_equity_at_its_clock_and_its_last_when_that_is_past_the_end(
    sample: Path, hours: int | None
) -> None:
    found = equity_at(sample, NEUTRAL, hours)
    [row] = Reader.open(sample).rows(
        "SELECT * FROM equity_snapshots WHERE portfolio = ? ORDER BY as_of DESC LIMIT 1 OFFSET ?", [NEUTRAL, hours or 0]
    )
    assert found.as_of == row["as_of"]
    for name in ("total_equity", "unrealized_pnl", "in_transit", "locked", "nav", "ledger_sequence"):
        assert getattr(found, name) == row[name], name


def test_between_two_hours_what_was_known_last_counts(sample: Path) -> None:
    at_the_hour, later = equity_at(sample, LENDING, 2), equity_at(sample, LENDING, 1.5)
    assert later.as_of - at_the_hour.as_of == HOUR / 2
    assert (later.total_equity, later.ledger_sequence) == (at_the_hour.total_equity, at_the_hour.ledger_sequence)


def test_a_portfolio_that_is_not_there_is_named_before_anything_is_opened(sample: Path) -> None:
    with pytest.raises(UnknownNameError, match="'nobody' is not in the ledger"):
        equity_at(sample, "nobody")


def test_a_backtest_has_no_venues(sample: Path) -> None:
    async def open_venues() -> None:
        with open_home(sample) as home:
            async with open_equity_of_venues(home, NEUTRAL):
                pass

    with pytest.raises(ConfigError, match="venues need `mode: live`"):
        asyncio.run(open_venues())


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveHome]:
    routes = {"USDT": ["binance:USDTUSD:spot"], "ETH": ["binance:ETHUSDT:spot"]}
    with live_home(tmp_path / "home", monkeypatch, prices={"routes": routes}) as home:
        home.venues.set_price("USDTUSD", "0.5")
        yield home


def test_live_equity_by_ledger_and_by_venues_differ_by_the_value_of_the_drift(live: LiveHome) -> None:
    live.account.add(PART, "USDT", "-100")
    live.account.set_balance(PART, "ETH", "2")

    async def both() -> tuple[EquitySnapshot, EquitySnapshot, Drift]:
        with open_home(live.path) as home:
            async with open_equity_of_both(home, PORTFOLIO) as calculators:
                tracked = await calculators.by_ledger.calculate_equity("USDT")
                actual = await calculators.by_venues.calculate_equity("USDT")
                assert sorted(calculators.by_venues.venue_interfaces) == ["binance"]
                return tracked, actual, await calculate_drift(calculators, "USDT")

    tracked, actual, drift = asyncio.run(both())
    assert (tracked.total_equity, tracked.ledger_sequence) == (CAPITAL, 2)
    assert (actual.total_equity, actual.ledger_sequence) == (CAPITAL - 100 + 6000, None)
    assert drift.total_equity == actual.total_equity - tracked.total_equity == sum(line.value for line in drift.lines)
    assert [line[:4] for line in drift.lines] == [
        ("binance", "ETH", Decimal(0), Decimal(2)),
        ("binance", "USDT", CAPITAL, CAPITAL - 100),
    ]


def test_each_calculation_reads_the_venues_anew(live: LiveHome) -> None:
    async def twice() -> list[Decimal]:
        with open_home(live.path) as home:
            async with open_equity_of_venues(home, PORTFOLIO) as calculator:
                found = []
                for _ in range(2):
                    found.append((await calculator.calculate_equity("USDT")).total_equity)
                    live.account.add(PART, "USDT", "1")
                return found

    assert asyncio.run(twice()) == [CAPITAL, CAPITAL + 1]


def test_a_venue_that_cannot_be_read_is_named_with_its_account(live: LiveHome) -> None:
    live.venues.fail("/fapi/v3/account", "500")

    async def read() -> None:
        with open_home(live.path) as home:
            async with open_equity_of_venues(home, PORTFOLIO) as calculator:
                await calculator.calculate_equity("USDT")

    with pytest.raises(VenueError, match=f"binance: {ACCOUNT}: "):
        asyncio.run(read())


def test_without_accounts_there_is_nothing_to_compare(tmp_path: Path) -> None:
    home = write_live_home(tmp_path / "home", "http://127.0.0.1:1", accounts={})

    async def open_both() -> None:
        with open_home(home) as opened:
            async with open_equity_of_both(opened, PORTFOLIO):
                pass

    with pytest.raises(ConfigError, match=f"accounts: {PORTFOLIO} has none to read"):
        asyncio.run(open_both())


BOOK = Book(
    {("wallet", "weETH"): Decimal(2), ("wallet", "unstETH"): Decimal(1), ("okx", "USDT"): Decimal(-50)},
    {("okx", "ETHUSDT-PERP"): PerpPosition(Decimal(-1), Decimal(2900), START, None)},
)


def by_venues(book: Book) -> dict[str, object]:
    return reading_interfaces(readings_of(book), DEFAULT_REGISTRY)


def test_drift_is_told_by_venue_and_asset_the_largest_first_with_debts_and_what_is_locked() -> None:
    changed = Book(
        {("wallet", "weETH"): Decimal(1), ("wallet", "unstETH"): Decimal("1.5"), ("okx", "USDT"): Decimal(50)},
        {("okx", "ETHUSDT-PERP"): PerpPosition(Decimal(-2), Decimal(2900), START, None)},
    )
    tracked, actual = calculate(by_venues(BOOK)), calculate(by_venues(changed))
    lines = drift_lines(tracked, actual)
    assert [line[:4] for line in lines] == [
        ("etherfi", "weETH", Decimal(2), Decimal(1)),
        ("lido", "unstETH", Decimal(1), Decimal("1.5")),
        ("okx", "USDT", Decimal(-50), Decimal(50)),
        ("okx", "ETHUSDT-PERP", Decimal(-1), Decimal(-2)),
    ]
    assert lines[2].value == 100
    assert lines[0].value == -tracked.equity_by_venue["etherfi"] / 2
    assert Drift(tracked, actual, lines).unrealized_pnl == lines[3].value == Decimal("-1.37")
    assert drift_lines(tracked, tracked) == ()


def test_a_perpetual_that_nobody_knows_of_is_drift_though_it_has_made_no_profit() -> None:
    mark = MARKET.mark("okx", "ETHUSDT-PERP", START)
    opened = Book({}, {("okx", "ETHUSDT-PERP"): PerpPosition(Decimal(3), mark.price, START, None)})
    dearer = Book({}, {("okx", "ETHUSDT-PERP"): PerpPosition(Decimal(3), mark.price + 1, START, None)})
    nothing, now, then = (calculate(by_venues(book)) for book in (Book(), opened, dearer))
    assert drift_lines(nothing, now) == (("okx", "ETHUSDT-PERP", 0, 3, 0),)
    assert drift_lines(now, then) == (("okx", "ETHUSDT-PERP", 3, 3, -3),)
    assert drift_lines(now, now) == ()


def test_drift_is_valued_at_one_price_however_fast_prices_move() -> None:
    class Restless(MarketPrices):
        """Each time it is asked every price is another one."""

        async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
            return {name: price + len(self.asked) for name, price in (await super().get_prices(assets)).items()}

        async def get_marks(self, contracts: object) -> dict[tuple[str, str], Decimal]:
            self.asked.append("mark")
            return {("okx", "ETHUSDT-PERP"): Decimal(2900 + len(self.asked))}

    prices = Restless(MARKET)
    same = [EquityCalculator(by_venues(BOOK), prices) for _ in range(2)]
    drift = asyncio.run(calculate_drift(EquityOfBoth(*same), "USDT"))
    assert (drift.total_equity, drift.unrealized_pnl, drift.lines) == (0, 0, ())
    assert prices.asked.count("mark") == 1
    assert prices.asked.count("weETH") == 1


def test_drift_cannot_be_told_where_a_price_is_missing() -> None:
    book = Book({("wallet", "ETHFI"): Decimal(1)})
    both = EquityOfBoth(*[EquityCalculator(by_venues(each), MarketPrices(MARKET)) for each in (BOOK, book)])
    with pytest.raises(MissingPriceError, match="ETHFI"):
        asyncio.run(calculate_drift(both, "USDT"))
