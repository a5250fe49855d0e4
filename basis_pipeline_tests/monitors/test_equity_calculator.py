"""Equity now has the digits of the pipeline, fails as a whole and says why, and follows the specification's names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError, VenueError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.numbers import ONE
from basis_pipeline.domain.observations import Account, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Token, TokenKind
from basis_pipeline.domain.valuation import describe_book
from basis_pipeline.home import open_home
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot
from basis_pipeline.monitors.venue_interfaces import LedgerInterfaces, ledger_interfaces, reading_interfaces
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.builders import START, FixedMarket, deposit, perp, update
from basis_pipeline_tests.homes import import_sample, rebuild_days, write_sample_home
from basis_pipeline_tests.monitors.valued import MARKET, MarketPrices, Specified, calculate, readings_of

LENT = {"aave:USDT:liquidity": "1.1"}


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
            assert sum(each.unrealized_pnl for each in found.futures) == row["unrealized_pnl"]
            where = row["portfolio"], row["as_of"]
            assert found.equity_by_venue == grouped.get((*where, "venue"), {})
            assert found.equity_by_asset == grouped.get((*where, "token"), {})


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
    [future] = tracked.futures
    assert (future.venue, future.instrument, future.size) == ("okx", "ETHUSDT-PERP", -1)
    assert (future.entry_price, future.mark) == (2900, Decimal("2901.37"))


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


@pytest.mark.parametrize(
    ("balance", "borrowings", "amount", "owed"),
    [
        ("4", {"ETH": 1}, "9", {"USDT": 9, "ETH": 1}),
        ("4", {"USDT": 10}, "9", {"USDT": 10}),
        ("4", {}, "0.00", {}),
        ("-100", {}, "50", {"USDT": 100}),
        ("-100", {"USDT": 50}, "50", {"USDT": 100}),
        ("-100", {"USDT": 100}, "0", {"USDT": 100}),
    ],
)
def test_a_debt_told_in_several_ways_is_the_largest_told_and_none_is_left_out(
    balance: str, borrowings: dict[str, int], amount: str, owed: dict[str, int]
) -> None:
    margin = {"borrowings": borrowings, "borrowed_amount": amount, "borrowed_asset": "USDT"}
    found = calculate({"okx": Specified(spot={"USDT": Decimal(balance)}, margin=margin)})
    assert {debt.asset: debt.amount for debt in found.debts} == owed
    assert len(found.debts) == len(owed)


@pytest.mark.parametrize(("name", "method"), [("Binance", "spot"), ("ALCHEMY", "balances"), (" Aave ", "debt_tokens")])
def test_venues_are_known_in_any_letter_case_and_keep_the_name_they_were_given(name: str, method: str) -> None:
    venue = Specified(lst="stETH", lst_balance=Decimal(1), **{method: {"USDT": Decimal(7)}})
    found = calculate({name: venue})
    assert [(each.asset, each.venue) for each in (*found.assets, *found.debts)] == [("USDT", name)]


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


class Slow(Specified):
    """A venue that waits for something before each answer."""

    def __init__(self, wait: Callable[[], Awaitable[object]], **answers: Any) -> None:
        super().__init__(**answers)
        self.wait = wait

    async def _answer(self, name: str, otherwise: Any) -> Any:
        await self.wait()
        return await super()._answer(name, otherwise)


def test_venues_that_wait_do_so_at_the_same_time_wherever_they_stand_and_keep_their_order() -> None:
    async def main() -> EquitySnapshot:
        barrier = asyncio.Barrier(2)
        held = {"balances": {"USDT": Decimal(1)}}
        venues = {
            "lido": Specified(lst_balance=Decimal(1), lst="stETH"),
            "wallet": Slow(barrier.wait, **held),
            "etherfi": Specified(lst_balance=Decimal(1)),
            "in_transit": Slow(barrier.wait, **held),
            "alchemy": Specified(balances={"BTC": Decimal(1)}),
        }
        return await EquityCalculator(venues, MarketPrices(MARKET)).calculate_equity("USDT")

    found = asyncio.run(asyncio.wait_for(main(), 5))
    assert [asset.asset for asset in found.assets] == ["stETH", "USDT", "weETH", "BTC"]
    assert found.in_transit == 1


def test_a_venue_that_fails_later_is_named_beside_one_that_failed_at_once() -> None:
    async def late() -> None:
        await asyncio.sleep(0)
        raise ConnectionResetError("https://key:secret@node")

    with pytest.raises(VenueError, match=r"okx: no key; .*aave: failed with ConnectionResetError") as caught:
        calculate({"okx": Specified(fails=VenueError("no key")), "wallet": Specified(), "aave": Slow(late)})
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, VenueError)


def test_a_venue_may_limit_its_own_time_and_may_be_cancelled_from_within() -> None:
    async def too_long() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    async def cancelled() -> None:
        asked = asyncio.ensure_future(asyncio.Event().wait())
        asked.cancel()
        await asked

    venues = {"wallet": Slow(too_long), "okx": Slow(cancelled), "lido": Slow(too_long), "bybit": Specified()}
    with pytest.raises(VenueError) as caught:
        calculate(venues)
    told = "wallet: failed with TimeoutError; okx: was cancelled from within; lido: failed with TimeoutError"
    assert str(caught.value) == f"{told}; equity cannot be told without"


@pytest.mark.parametrize("order", [("okx", "bybit", "wallet"), ("wallet", "bybit", "okx")])
def test_a_calculation_that_is_cancelled_lets_go_of_every_venue(order: tuple[str, ...]) -> None:
    async def main() -> None:
        reached, freed = [], []

        async def forever() -> None:
            reached.append(1)
            try:
                await asyncio.Event().wait()
            finally:
                freed.append(1)

        venues = {venue: Specified() if venue == "bybit" else Slow(forever) for venue in order}
        calculator = EquityCalculator(venues, MarketPrices(MARKET))
        calculating = asyncio.create_task(calculator.calculate_equity("USDT"))
        async with asyncio.timeout(5):
            while len(reached) < 2:
                await asyncio.sleep(0)
        calculating.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calculating
        assert len(freed) == 2
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_nobody_is_asked_any_more_when_the_process_is_to_end() -> None:
    class Quits(BaseException):
        """What ends a process: Ctrl-C is one."""

    class Quitting(Specified):
        async def _answer(self, name: str, otherwise: Any) -> Any:
            raise Quits

    async def main() -> list[object]:
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
        calculator = EquityCalculator({"wallet": Quitting(), "okx": Specified()}, MarketPrices(MARKET))
        with pytest.raises(BaseExceptionGroup) as caught:
            await calculator.calculate_equity("USDT")
        assert caught.group_contains(Quits)
        await asyncio.sleep(0)
        return troubles

    assert asyncio.run(main()) == []


def test_nothing_is_left_behind_of_a_calculation_in_which_nobody_waits() -> None:
    async def main() -> None:
        calculator = EquityCalculator({"wallet": Specified(balances={"USDT": Decimal(1)})}, MarketPrices(MARKET))
        await calculator.calculate_equity("USDT")
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_is_borrowed_is_counted_once_though_a_venue_tells_of_it_twice() -> None:
    margin = {"borrowings": {"ETH": Decimal(3), "BTC": Decimal(0)}}
    spot = {"USDT": Decimal(9000), "ETH": Decimal(-3), "BTC": Decimal(-1)}
    market = FixedMarket({"ETH": "1000", "BTC": "2000", "USDT": "1"})
    found = calculate({"bybit": Specified(spot=spot, margin=margin)}, market=market)
    assert {debt.asset: debt.amount for debt in found.debts} == {"ETH": 3, "BTC": 1}
    assert found.total_equity == 4000


def test_a_token_that_a_user_placed_at_an_exchange_counts_beside_the_one_held_there() -> None:
    registry = DEFAULT_REGISTRY.extended([Token("bETH", TokenKind.LST, 18, "ETH", None, "binance")])
    book = Book({("wallet", "bETH"): Decimal(1), ("binance", "bETH"): Decimal(2)})
    provider = MarketPrices(FixedMarket({"ETH": "3000", "USDT": "1"}), registry=registry)
    interfaces = LedgerInterfaces(lambda: (describe_book(book, registry), 1), registry)
    found = asyncio.run(EquityCalculator(interfaces, provider).calculate_equity("USDT"))
    assert found.equity_by_venue == {"binance": 9000}


def test_snapshots_share_what_did_not_change_and_nobody_can_change_it() -> None:
    wallet = Specified(balances={"ETH": Decimal(1), "USDT": Decimal(5)})
    calculator = EquityCalculator({"wallet": wallet}, MarketPrices(MARKET))

    async def twice() -> list[EquitySnapshot]:
        first = await calculator.calculate_equity("USDT")
        wallet.answers["balances"]["USDT"] = Decimal(6)
        return [first, await calculator.calculate_equity("USDT")]

    before, after = asyncio.run(twice())
    assert before.assets[0] is after.assets[0]
    assert [asset.amount for asset in (before.assets[1], after.assets[1])] == [5, 6]
    assert after.total_equity - before.total_equity == 1
    with pytest.raises(ValidationError, match="frozen"):
        after.assets[0].amount = Decimal(7)


def test_every_missing_price_is_listed_and_nothing_is_partly_told() -> None:
    book = Book(
        {("wallet", "ETH"): Decimal(1), ("wallet", "KING"): Decimal(1), ("wallet", "EIGEN"): Decimal(1)},
        {("okx", "BTCUSDT-PERP"): PerpPosition(ONE, ONE, START, None)},
    )
    market = FixedMarket({"ETH": "3000", "USDT": "1", "KING": "0"})
    with pytest.raises(MissingPriceError, match="EIGEN, KING, okx BTCUSDT-PERP") as caught:
        calculate(reading_interfaces(readings_of(book), DEFAULT_REGISTRY), market=market)
    assert caught.value.failures == ("EIGEN", "KING", "okx BTCUSDT-PERP")


@pytest.mark.parametrize("price", ["NaN", "sNaN", "Infinity", "0", "-1"])
def test_what_is_no_price_above_zero_is_missing(price: str) -> None:
    class Odd:
        async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
            return {asset: Decimal(price if asset == "ETH" else 1) for asset in assets}

    calculator = EquityCalculator({"wallet": Specified(balances={"ETH": ONE, "USDT": ONE})}, Odd())
    with pytest.raises(MissingPriceError, match="no usable price for ETH; "):
        asyncio.run(calculator.calculate_equity("USDT"))


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
        (
            "okx",
            {"margin": {"borrowed_amount": 1}},
            "okx: get_margin_info: borrowed_amount is 1, but borrowed_asset is None",
        ),
        (
            "okx",
            {"margin": {"borrowed_amount": 1.5, "borrowed_asset": "ETH"}},
            "okx: .*borrowed_amount: 1.5 is a float",
        ),
        ("lido", {"lst_balance": Decimal(2), "lst": None}, "lido: get_lst_token: None is no token, .* is 2"),
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
