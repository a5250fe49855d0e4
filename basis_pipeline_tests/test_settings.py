"""What a user configures: every error names its key, and a home's settings come from where they should."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.home import open_home
from basis_pipeline.settings import Settings, home_path, load_settings, market_directory

LENDING = "{share_class: USDT, initial_capital: '1000', start: 2024-05-12T01:00:00Z}"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASIS_")]:
        monkeypatch.delenv(name)


def load(home: Path, text: str) -> Settings:
    (home / "basis.yaml").write_text(text, encoding="utf-8")
    return load_settings(home)


def portfolio(**terms: str) -> str:
    given = {"share_class": "USDT", "initial_capital": "'1000'", "start": "2024-05-12T01:00:00Z"} | terms
    return "portfolios: {p: {" + ", ".join(f"{key}: {value}" for key, value in given.items()) + "}}"


WRONG = {
    "an unknown key": ("modee: backtest", "modee: is not a setting"),
    "an unknown key of a portfolio": (portfolio(capital="1"), "portfolios.p.capital: is not a setting"),
    "a missing key": ("portfolios: {p: {share_class: USDT}}", "portfolios.p.start: is missing"),
    "a mode that is none": ("mode: paper", "mode: Input should be 'backtest' or 'live' (got 'paper')"),
    "a float": (portfolio(initial_capital="1000.5"), "portfolios.p.initial_capital: 1000.5 is a float"),
    "not a number": (portfolio(initial_capital="'NaN'"), "portfolios.p.initial_capital: 'NaN' is not a finite"),
    "no capital": (portfolio(initial_capital="0"), "portfolios.p.initial_capital: Input should be greater than 0"),
    "too many decimals": (
        portfolio(initial_capital="'1.0000001'"),
        "portfolios.p.initial_capital: 1.0000001 has more decimal places than USDT (6)",
    ),
    "an unknown share class": (portfolio(share_class="BTC"), "portfolios.p.share_class: Input should be"),
    "a start without zone": (portfolio(start="2024-05-12T01:00:00"), "portfolios.p.start: "),
    "a start that is a day": (portfolio(start="2024-05-12"), "portfolios.p.start: "),
    "a portfolio without terms": ("portfolios: {p: }", "portfolios.p: "),
    "a portfolio without name": (f"portfolios: {{'': {LENDING}}}", "'' is not a name"),
    "a name with a line break": (f'portfolios: {{"a\\nb": {LENDING}}}', "is not a name"),
    "a duration without unit": ("prices: {max_age: 2}", "prices.max_age: 2 is not a duration"),
    "a duration beyond all time": ("prices: {max_age: 99999999999d}", "prices.max_age: '99999999999d' is longer"),
    "no interval": (
        "equity: {update_interval: 0s}",
        "equity.update_interval: must be longer than zero; write a number and a unit such as 30s",
    ),
    "no age at all": ("prices: {max_age_by_name: {ETH: 0s}}", "prices.max_age_by_name.ETH: must be longer than zero"),
    "a token of no kind": ("tokens: {X: {decimals: 1, kind: coin}}", "tokens.X.kind: "),
    "a key given twice": ("mode: backtest\nmode: backtest", "the key 'mode' is given twice"),
    "a key that is a list": ("? [mode]\n: backtest", "a key is not text"),
    "a list of settings": ("- mode", "must be a mapping of settings"),
    "brackets left open": ("portfolios: {", "is not valid YAML"),
}


def account(**given: str) -> str:
    fields = ", ".join(f"{key}: {value}" for key, value in {"portfolio": "p", **given}.items())
    return f"{portfolio()}\naccounts: {{x: {{{fields}}}}}"


ADDRESS = f"'0x{'1' * 40}'"
TWO_PORTFOLIOS_ONE_WALLET = f"""
portfolios: {{p: {LENDING}, q: {LENDING}}}
accounts:
  x: {{portfolio: p, venue: wallet, address: {ADDRESS}}}
  y: {{portfolio: q, venue: wallet, address: {ADDRESS}}}
"""
WRONG |= {
    "an account on no venue": (account(venue="kraken"), "accounts.x.venue: 'kraken' is not a venue"),
    "an account in transit": (account(venue="in_transit"), "accounts.x.venue: in_transit is not an account"),
    "a wallet without address": (account(venue="wallet"), "accounts.x: address: is missing"),
    "a wallet with parts": (account(venue="wallet", address=ADDRESS, parts="[spot]"), "only exchange accounts have"),
    "an exchange with an address": (
        account(venue="okx", address=ADDRESS),
        "okx accounts have API keys, not an address",
    ),
    "a part of another venue": (account(venue="okx", parts="[spot]"), "'spot' is not a part of okx; known: trading"),
    "margin counted twice": (
        account(venue="binance", parts="[portfolio_margin, usdm_futures]"),
        "portfolio_margin holds cross margin and futures already",
    ),
    "an account name in capitals": (
        account(venue="okx").replace("{x:", "{OKX:"),
        "'OKX' is no account name; use lower-case letters",
    ),
    "a tolerance below zero": (
        "reconciliation: {tolerances: {okx: {absolute: '-1'}}}",
        "reconciliation.tolerances.okx.absolute: Input should be greater than or equal to 0",
    ),
    "a tolerance of a venue that there is not": (
        "reconciliation: {tolerances: {kraken: {absolute: '1'}}}",
        "reconciliation.tolerances.kraken: 'kraken' is not a venue",
    ),
    "a tolerance where nothing is read": (
        "reconciliation: {tolerances: {in_transit: {absolute: '1'}}}",
        "reconciliation.tolerances.in_transit: in_transit is not an account",
    ),
    "a tolerance of a token that there is not": (
        "reconciliation: {tolerances: {'binance:USTD': {absolute: '1'}}}",
        "reconciliation.tolerances.binance:USTD: 'USTD' is neither a registered token nor a perpetual of binance",
    ),
    "a tolerance of a perpetual in a wallet": (
        "reconciliation: {tolerances: {'wallet:ETHUSDT-PERP': {absolute: '1'}}}",
        "'ETHUSDT-PERP' is neither a registered token nor a perpetual of wallet",
    ),
    "a tolerance of a token's entry price": (
        "reconciliation: {tolerances: {'okx:ETH/entry_price': {relative: '0.1'}}}",
        "'ETH/entry_price' is neither",
    ),
    "a tolerance twice": (
        "reconciliation: {tolerances: {'wallet:aWETH': {absolute: '1'}, 'WALLET:aETH': {absolute: '2'}}}",
        "reconciliation.tolerances.WALLET:aETH: is wallet:aWETH by another name",
    ),
    "drift that is ignored": ("reconciliation: {on_drift: ignore}", "reconciliation.on_drift: Input should be"),
    "a block of no kind": ("ethereum: {block: latest}", "ethereum.block."),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_setting_is_named_with_its_file(tmp_path: Path, case: str) -> None:
    text, message = WRONG[case]
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)
    assert str(tmp_path / "basis.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ("{routes: {ETH: ['bybit:ETHUSDT']}}", "prices.routes: series 'bybit:ETHUSDT'"),
        ("{routes: {ETH: []}}", "prices.routes[ETH]: no source"),
        ("{marks: {'okx:ETHUSDT-PERP': [okx]}}", "prices.marks[okx:ETHUSDT-PERP]: okx must name a series"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_by_its_key(tmp_path: Path, prices: str, message: str) -> None:
    load(tmp_path, f"prices: {prices}\nmarket_data: market")
    with open_home(tmp_path) as home, pytest.raises(ConfigError) as caught:
        _ = home.market
    assert message in str(caught.value)


def test_settings_may_share_a_part_by_a_yaml_anchor(tmp_path: Path) -> None:
    shared = f"portfolios:\n  a: &a {LENDING}\n  b: {{<<: *a, initial_capital: '2'}}\n"
    settings = load(tmp_path, shared)
    assert settings.portfolios["a"].initial_capital == Decimal(1000)
    assert settings.portfolios["b"].initial_capital == Decimal(2)
    assert settings.portfolios["b"].start == settings.portfolios["a"].start


def test_the_home_is_what_was_given_then_the_environment_then_data(monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_path() == Path("data")
    monkeypatch.setenv("BASIS_HOME", "books")
    assert home_path() == Path("books")
    assert home_path("other") == Path("other")


def test_the_config_file_may_lie_elsewhere_and_its_paths_go_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "etc" / "funds.yaml"
    elsewhere.parent.mkdir()
    elsewhere.write_text("market_data: market", encoding="utf-8")
    home = tmp_path / "home"
    monkeypatch.setenv("BASIS_CONFIG", str(elsewhere))
    assert market_directory(load_settings(home), home) == elsewhere.parent / "market"


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_MARKET_DATA", "/there")
    assert load(tmp_path, "market_data: here").market_data == Path("/there")


def test_two_homes_in_one_process_keep_to_themselves(tmp_path: Path) -> None:
    for name, capital in (("one", "1"), ("two", "2")):
        (tmp_path / name).mkdir()
        load(tmp_path / name, portfolio(initial_capital=f"'{capital}'"))
    with open_home(tmp_path / "one") as one, open_home(tmp_path / "two") as two:
        held = [
            home.ledger.snapshot().book_at("p", home.settings.portfolios["p"].start).book.balances
            for home in (one, two)
        ]
    assert held == [{("wallet", "USDT"): Decimal(1)}, {("wallet", "USDT"): Decimal(2)}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (account(portfolio="q", venue="okx"), "accounts.x.portfolio: 'q' is not configured; there are p"),
        (
            f"{portfolio()}\naccounts: {{x: {{portfolio: p, venue: okx}}, y: {{portfolio: p, venue: okx}}}}",
            "accounts.y: p has x on okx already; give it a portfolio of its own",
        ),
        (TWO_PORTFOLIOS_ONE_WALLET, "accounts.y.address: is the address of x too; it would be counted twice"),
    ],
)
def test_accounts_that_do_not_fit_together_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    assert message in str(caught.value)


def test_the_environment_may_set_one_field_of_an_account_and_choose_its_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_ACCOUNTS__X__PARTS", "spot funding")
    found = load(tmp_path, account(venue="binance")).accounts["x"]
    assert (found.venue, found.parts_read()) == ("binance", ("spot", "funding"))
    monkeypatch.delenv("BASIS_ACCOUNTS__X__PARTS")
    assert load(tmp_path, account(venue="binance")).accounts["x"].parts_read() == ("spot", "funding", "usdm_futures")
