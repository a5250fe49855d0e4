from __future__ import annotations

import pytest

from basis_pipeline.domain.errors import InputError, UnknownNameError
from basis_pipeline.domain.tokens import (
    DEFAULT_REGISTRY,
    Registry,
    Token,
    TokenKind,
    canonical_venue,
    economic_venue,
    parse_instrument,
)

SPECIFIED = {
    *("ETH", "WETH", "USDT", "BTC", "stETH", "wstETH", "eETH", "weETH", "KING", "EIGEN", "ETHFI"),
    *("aWETH", "aUSDT", "aBTC", "awstETH", "aWeETH", "variableDebtWETH", "variableDebtUSDT", "variableDebtBTC"),
}
USDC = Token("USDC", TokenKind.BASE, 6)
A_USDC = Token("aUSDC", TokenKind.ATOKEN, 6, "USDC", "aave:USDC:liquidity", "aave")


@pytest.mark.parametrize("symbol", sorted(SPECIFIED))
def test_every_token_of_the_specification_is_registered(symbol: str) -> None:
    assert DEFAULT_REGISTRY.token(symbol).symbol == symbol


@pytest.mark.parametrize(
    ("alias", "symbol"),
    [("ETH_spot", "ETH"), ("aETH", "aWETH"), ("variableDebtETH", "variableDebtWETH"), ("WBTC", "BTC")],
)
def test_an_alias_is_made_canonical(alias: str, symbol: str) -> None:
    assert DEFAULT_REGISTRY.token(alias).symbol == symbol


@pytest.mark.parametrize("name", ["DOGE", "eth", "", "ETH ", None, 5, ["ETH"]])
def test_an_unknown_token_is_an_error_never_an_empty_answer(name: object) -> None:
    with pytest.raises(UnknownNameError, match="token"):
        DEFAULT_REGISTRY.token(name)


def test_a_misspelt_token_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UnknownNameError, match=r"did you mean aWeETH\?.*basis.yaml"):
        DEFAULT_REGISTRY.token("aweeth")


@pytest.mark.parametrize(
    ("name", "venue"),
    [
        ("WALLET", "wallet"),
        ("alchemy", "wallet"),
        ("Alchemy", "wallet"),
        ("Binance", "binance"),
        ("OKX", "okx"),
        ("bybit", "bybit"),
        ("IN_TRANSIT", "in_transit"),
        (" wallet ", "wallet"),
    ],
)
def test_a_venue_is_known_in_any_case_and_by_its_alias(name: str, venue: str) -> None:
    assert canonical_venue(name) == venue


@pytest.mark.parametrize("name", ["kraken", "aave", "", None, 1])
def test_an_unknown_venue_is_an_error_that_lists_the_known_ones(name: object) -> None:
    with pytest.raises(UnknownNameError, match="known venues: wallet, binance, bybit, okx, in_transit"):
        canonical_venue(name)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("ETHUSDT-PERP", "ETHUSDT-PERP"),
        ("ETH/USDT:USDT", "ETHUSDT-PERP"),
        ("ETH-USDT-SWAP", "ETHUSDT-PERP"),
        ("ETHUSDT", "ETHUSDT-PERP"),
        ("BTCUSDC-PERP", "BTCUSDC-PERP"),
        ("ETHUSDT-PERP:LONG", "ETHUSDT-PERP:LONG"),
        ("ETHUSDT-PERP:SHORT", "ETHUSDT-PERP:SHORT"),
        ("1000PEPEUSDT", "1000PEPEUSDT-PERP"),
    ],
)
def test_a_perpetual_has_one_name_on_every_exchange(name: str, canonical: str) -> None:
    assert parse_instrument(name).name == canonical


def test_an_instrument_tells_its_base_quote_and_leg() -> None:
    assert parse_instrument("BTCUSDT-PERP:SHORT") == ("BTCUSDT-PERP:SHORT", "BTC", "USDT", "SHORT")


@pytest.mark.parametrize(
    "name",
    ["", "ETH", "ETHUSDT-240628", "ETHUSDT_PERP", "ETHUSDT-PERP:BOTH", "ETH/EUR:EUR", None, 3],
)
def test_what_is_not_a_perpetual_is_refused(name: object) -> None:
    with pytest.raises(UnknownNameError, match="is not a linear perpetual"):
        parse_instrument(name)


@pytest.mark.parametrize("name", ["ETH/USD:ETH", "ETH-USD-SWAP", "ETH/USDT:ETH"])
def test_inverse_and_quanto_contracts_are_refused_because_their_pnl_is_not_linear(name: str) -> None:
    with pytest.raises(UnknownNameError, match="is not a linear perpetual"):
        parse_instrument(name)


@pytest.mark.parametrize(
    ("symbol", "rates", "base"),
    [
        ("ETH", (), "ETH"),
        ("WETH", (), "ETH"),
        ("stETH", (), "ETH"),
        ("wstETH", ("lst:wstETH",), "ETH"),
        ("aWeETH", ("aave:weETH:liquidity", "lst:weETH"), "ETH"),
        ("variableDebtBTC", ("aave:WBTC:debt",), "BTC"),
        ("aUSDT", ("aave:USDT:liquidity",), "USDT"),
        ("KING", (), "KING"),
    ],
)
def test_a_token_converts_step_by_step_before_it_is_priced(symbol: str, rates: tuple[str, ...], base: str) -> None:
    assert DEFAULT_REGISTRY.valuation(symbol) == (rates, base)


@pytest.mark.parametrize(
    ("account", "symbol", "venue"),
    [
        ("wallet", "aWeETH", "aave"),
        ("wallet", "variableDebtUSDT", "aave"),
        ("wallet", "wstETH", "lido"),
        ("wallet", "weETH", "etherfi"),
        ("wallet", "KING", "etherfi"),
        ("wallet", "USDT", "wallet"),
        ("bybit", "weETH", "bybit"),
        ("in_transit", "ETH", "in_transit"),
    ],
)
def test_a_balance_belongs_to_its_protocol_or_its_exchange(account: str, symbol: str, venue: str) -> None:
    assert economic_venue(account, DEFAULT_REGISTRY.token(symbol)) == venue


def test_a_user_can_register_a_token_and_the_atoken_on_it() -> None:
    registry = DEFAULT_REGISTRY.extended([USDC, A_USDC], {"USD Coin": "USDC"})
    assert registry.valuation("aUSDC") == (("aave:USDC:liquidity",), "USDC")
    assert registry.token("USD Coin") is USDC
    with pytest.raises(UnknownNameError):
        DEFAULT_REGISTRY.token("USDC")


@pytest.mark.parametrize(
    ("tokens", "aliases", "why"),
    [
        ([A_USDC], {}, "tokens.aUSDC.underlying: 'USDC' is not a registered token"),
        ([USDC], {"dollar": "USD"}, "aliases.dollar: 'USD' is not a registered token"),
        ([], {"ETH": "WETH"}, "aliases.ETH: ETH is a token itself"),
        (
            [Token("one", TokenKind.LST, 18, "two"), Token("two", TokenKind.LST, 18, "one")],
            {},
            "comes back to one",
        ),
    ],
)
def test_a_registration_that_leads_nowhere_is_refused(tokens: list[Token], aliases: dict[str, str], why: str) -> None:
    with pytest.raises(InputError, match=why):
        DEFAULT_REGISTRY.extended(tokens, aliases)


@pytest.mark.parametrize("decimals", [-1, 19])
def test_decimals_outside_what_the_ledger_keeps_are_refused(decimals: int) -> None:
    with pytest.raises(InputError, match="not between 0 and 18"):
        Token("X", TokenKind.BASE, decimals)


def test_a_registry_knows_nothing_but_what_it_was_given() -> None:
    assert set(Registry({"USDC": USDC}).tokens) == {"USDC"}
