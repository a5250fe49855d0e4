"""Funds that hold whatever venues can hold, on real parts: their books open, and end up saying what the venues say."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.home import Home, open_home
from basis_pipeline.ledger.verification import verify
from basis_pipeline.live import reconcile_accounts
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline.settings.live import EXCHANGE_PARTS
from basis_pipeline.steps.reconciliation import OpeningRefused, ReconciliationReport
from basis_pipeline_tests.rigs.exchanges import FAULTS
from basis_pipeline_tests.rigs.live_fund import PORTFOLIO, LiveFund, live_fund

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.usefixtures("rigs")]

PARTS = {venue: [part for part in parts if part != "portfolio_margin"] for venue, parts in EXCHANGE_PARTS.items()}
BORROWING = ("cross_margin", "unified", "trading")
UNKNOWN_COINS = ("SOL", "DOGE")
COINS = ("USDT", "ETH", "BTC", "EIGEN", "ETHFI", *UNKNOWN_COINS)
INVERSE = "BTCUSD-PERP"
INSTRUMENTS = ("ETHUSDT-PERP", "ETHUSDT-PERP:LONG", "ETHUSDT-PERP:SHORT", "BTCUSDT-PERP", "ETHUSDC-PERP", INVERSE)
PRICES = {"E": 3000, "B": 60_000}
PATHS = {
    "binance": ("/fapi/v3/account", "/api/v3/account", "/sapi/v1/margin/account"),
    "bybit": ("/v5/account/wallet-balance", "/v5/position/list"),
    "okx": ("/api/v5/account/balance", "/api/v5/account/positions", "/api/v5/asset/balances"),
}
SLOW_FAULTS = {"timeout"}


@pytest.fixture
def fund(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveFund]:
    exact = {venue: {"absolute": "0"} for venue in PARTS}
    rules = {"second_reading_after": "0s", "opening_tolerance": "0.01", "tolerances": exact}
    with live_fund(tmp_path / "home", reconciliation=rules) as fund:
        for name, value in fund.environment.items():
            monkeypatch.setenv(name, value)
        reads_all_parts(fund)
        yield fund


def reads_all_parts(fund: LiveFund) -> None:
    config = configuration(fund)
    for venue, parts in PARTS.items():
        config["accounts"][venue]["parts"] = parts
    configure(fund, config)


def configuration(fund: LiveFund) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((fund.home / CONFIG_NAME).read_text(encoding="utf-8"))
    return config


def configure(fund: LiveFund, config: dict[str, Any]) -> None:
    (fund.home / CONFIG_NAME).write_text(yaml.safe_dump(config), encoding="utf-8")


def reconciled(home: Home) -> ReconciliationReport:
    return asyncio.run(reconcile_accounts(home, home.ports()))


def book_of(home: Home) -> Book:
    return home.ledger.snapshot().book_at(PORTFOLIO, home.clock() + timedelta(days=1)).book


@pytest.mark.parametrize(("share_class", "worth"), [("USDT", "99400"), ("ETH", "33.133333")])
def test_a_fund_with_debts_and_positions_at_its_start_opens_at_what_it_is_worth(
    fund: LiveFund, share_class: str, worth: str
) -> None:
    """97,900 in coins, 9,000 of them owed, and 1,000 of unrealised profit, at 3,000 USDT for an ETH."""
    fund.chain.supply(fund.wallet, "weETH", "5")
    fund.chain.borrow(fund.wallet, "WETH", "2")
    fund.chain.settle()
    fund.binance.set_position("ETHUSDT-PERP:SHORT", "-4", "3100")
    fund.binance.set_position("ETHUSDT-PERP:LONG", "1", "2900")
    fund.okx.set_position("BTCUSDT-PERP", "0.5", "59000")
    fund.okx.set_balance("trading", "BTC", "0.1")
    fund.binance.set_balance("cross_margin", "ETH", "1")
    fund.binance.set_borrowed("cross_margin", "ETH", "3", "0.5")
    config = configuration(fund)
    config["portfolios"][PORTFOLIO] |= {"share_class": share_class, "initial_capital": "1"}
    configure(fund, config)
    with open_home(fund.home) as home, pytest.raises(OpeningRefused, match=f"are worth {worth} {share_class}, but"):
        reconciled(home)
    (fund.home / "ledger.db").unlink()
    config["portfolios"][PORTFOLIO]["initial_capital"] = worth
    configure(fund, config)
    with open_home(fund.home) as home:
        report = reconciled(home)
        assert report.opened == (PORTFOLIO,)
        assert {row.outcome for record in report.accounts for row in record.comparisons} == {Outcome.MATCHED}
        book = book_of(home)
    assert book.balances["binance", "ETH"] == Decimal("-2.5")
    assert {place: position.size for place, position in book.positions.items()} == {
        ("binance", "ETHUSDT-PERP:SHORT"): -4,
        ("binance", "ETHUSDT-PERP:LONG"): 1,
        ("okx", "BTCUSDT-PERP"): Decimal("0.5"),
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_happens_at_the_venues_the_books_follow_and_nothing_is_taken_from_an_account_that_fails(
    fund: LiveFund, seed: int
) -> None:
    chance = random.Random(seed)
    with open_home(fund.home) as home:
        assert reconciled(home).opened == (PORTFOLIO,)
        for number in range(3):
            something_happens(fund, chance)
            broken = chance.choice([None, *PATHS])
            if broken is not None:
                fault = chance.choice(sorted(FAULTS.keys() - SLOW_FAULTS))
                fund.venues.fail(chance.choice(PATHS[broken]), fault)
            before = book_of(home)
            report = reconciled(home)
            assert {record.account.venue for record in report.unavailable} == {broken} - {None}
            assert of_venue(book_of(home), broken) == of_venue(before, broken)
            assert not [record.note for record in report.accounts if record.note]
            fund.venues.heal()
            reconciled(home)
            report = reconciled(home)
            differing = [row for record in report.accounts for row in record.comparisons if row.difference]
            assert all(row.unmapped for row in differing), f"round {number}: {differing}"
            assert_same(fund, book_of(home))
        assert verify(home.ledger.engine).problems == ()


def something_happens(fund: LiveFund, chance: random.Random) -> None:
    """To some coins and positions everywhere: new, changed, gone, borrowed, flat, inverse, unknown."""
    for venue, account in fund.accounts.items():
        for part in PARTS[venue]:
            for coin in chance.sample(COINS, chance.randint(0, 3)):
                account.set_balance(part, coin, chance.choice([Decimal(0), amount(chance), amount(chance)]))
                if part in BORROWING and chance.random() < 0.3:
                    interest = "0" if venue == "bybit" else amount(chance)
                    account.set_borrowed(part, coin, amount(chance), interest)
        for instrument in chance.sample(INSTRUMENTS, 3):
            if chance.random() < 0.3:
                account.close_position(instrument)
            else:
                entry = PRICES[instrument[0]] + chance.randint(-200, 200)
                account.set_position(instrument, size(chance, instrument), str(entry))
    fund.chain.give(fund.wallet, chance.choice(["USDT", "weETH", "BTC", "WETH"]), amount(chance, places=6))
    if chance.random() < 0.5:
        fund.chain.set_eth(fund.wallet, Decimal(chance.randint(10**18, 5 * 10**18)).scaleb(-18))
    if chance.random() < 0.5:
        fund.chain.supply(fund.wallet, "weETH", Decimal(chance.randint(10**17, 10**18)).scaleb(-18))
        fund.chain.borrow(fund.wallet, "WETH", Decimal(chance.randint(1, 10**16)).scaleb(-18))
    fund.chain.settle()


def amount(chance: random.Random, places: int = 8) -> Decimal:
    return Decimal(chance.randint(1, 10 ** chance.randint(1, 6))).scaleb(-chance.randint(0, places))


def size(chance: random.Random, instrument: str) -> Decimal:
    if instrument == INVERSE:
        return Decimal(chance.randint(1, 50))
    hundredths = Decimal(chance.randint(0, 500)).scaleb(-2)
    if instrument.endswith(":LONG"):
        return hundredths
    return -hundredths if instrument.endswith(":SHORT") else hundredths * chance.choice([1, -1])


def of_venue(book: Book, venue: str | None) -> tuple[dict[Any, Any], dict[Any, Any]]:
    return (
        {key: amount for key, amount in book.balances.items() if key[0] == venue},
        {key: position for key, position in book.positions.items() if key[0] == venue},
    )


def assert_same(fund: LiveFund, book: Book) -> None:
    """The books are what the rigs were told to hold."""
    for venue, account in fund.accounts.items():
        cash: dict[str, Decimal] = {}
        for part in PARTS[venue]:
            for coin in account.coins(part):
                held, borrowed, interest = account.held(part, coin)
                cash[coin] = cash.get(coin, Decimal(0)) + held - borrowed - interest
        known = {(venue, coin): amount for coin, amount in cash.items() if amount and coin not in UNKNOWN_COINS}
        balances, positions = of_venue(book, venue)
        assert balances == known
        told = {name: it for name, it in account.positions.items() if it.size and name != INVERSE}
        assert {name: position[:2] for (_, name), position in positions.items()} == {
            name: position[:2] for name, position in told.items()
        }
    for token in fund.chain.registry.tokens.values():
        if token.address is not None and token.symbol in fund.chain.tokens:
            scaled = token.kind.value in ("atoken", "debt")
            units = (fund.chain.scaled_balance_of if scaled else fund.chain.balance_of)(fund.wallet, token.symbol)
            assert book.balances.get(("wallet", token.symbol), 0) == Decimal(units).scaleb(-token.decimals)
