"""Tokens, venues and instruments: a closed registry with aliases, extended only by what a user registers.

Every name from outside is made canonical here, once; an unknown one is an error, never an empty answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from basis_pipeline.domain.errors import InputError, UnknownNameError

WALLET = "wallet"
IN_TRANSIT = "in_transit"
EXCHANGES = ("binance", "bybit", "okx")
VENUES = (WALLET, *EXCHANGES, IN_TRANSIT)
VENUE_ALIASES = {"alchemy": WALLET}
SHARE_CLASSES = ("USDT", "ETH")

EXCHANGE_DECIMALS = 18
"""Exchanges keep more digits than a token has on chain; the ledger takes up to 18 there."""


class TokenKind(StrEnum):
    """What a token is, which decides how it is valued and where in equity it belongs."""

    BASE = "base"
    LST = "lst"
    ATOKEN = "atoken"
    DEBT = "debt"
    REWARD = "reward"
    LOCKED = "locked"


ON_CHAIN_ONLY = (TokenKind.ATOKEN, TokenKind.DEBT, TokenKind.LOCKED)
"""Kinds of tokens that no exchange holds."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    ``underlying`` is the next step of its conversion (aWeETH -> weETH -> ETH), None for a token that has a price of
    its own. ``reserve`` names the Aave reserve whose index values an aToken or debt token. ``rate_name`` is the
    conversion rate to the underlying, None where one unit is one unit (WETH, and the rebasing stETH and eETH).
    """

    symbol: str
    kind: TokenKind
    decimals: int
    underlying: str | None = None
    rate_name: str | None = None
    protocol: str = WALLET
    address: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.decimals <= EXCHANGE_DECIMALS:
            raise InputError(f"tokens.{self.symbol}.decimals: {self.decimals} is not between 0 and 18")


class Valuation(NamedTuple):
    """How a token becomes USD: multiply by each named rate, then by the price of ``base``."""

    rate_names: tuple[str, ...]
    base: str


def _a_token(symbol: str, underlying: str, reserve: str, decimals: int, address: str | None = None) -> Token:
    return Token(symbol, TokenKind.ATOKEN, decimals, underlying, f"aave:{reserve}:liquidity", "aave", address)


def _debt_token(symbol: str, underlying: str, reserve: str, decimals: int, address: str | None = None) -> Token:
    return Token(symbol, TokenKind.DEBT, decimals, underlying, f"aave:{reserve}:debt", "aave", address)


# Addresses: Ethereum mainnet, from the token contracts and Aave's address book; live mode checks each at start.
BUILT_IN_TOKENS = (
    Token("ETH", TokenKind.BASE, 18),
    Token("WETH", TokenKind.BASE, 18, "ETH", address="0xC02aaA39b223FE8D0A0e5C4F27eAD9083C756Cc2"),
    Token("USDT", TokenKind.BASE, 6, address="0xdAC17F958D2ee523a2206206994597C13D831ec7"),
    Token("BTC", TokenKind.BASE, 8, address="0x2260FAC5E5542a773Aa44fBCfeDf7C193bc2C599"),
    Token("stETH", TokenKind.LST, 18, "ETH", None, "lido", "0xae7ab96520DE3A18E5e111B5EaAb095312D7fE84"),
    Token("wstETH", TokenKind.LST, 18, "stETH", "lst:wstETH", "lido", "0x7f39C581F595B53c5cb19bD0b3f8dA6c935E2Ca0"),
    Token("eETH", TokenKind.LST, 18, "ETH", None, "etherfi", "0x35fA164735182de50811E8e2E824cFb9B6118ac2"),
    Token("weETH", TokenKind.LST, 18, "eETH", "lst:weETH", "etherfi", "0xCd5fE23C85820F7B72D0926FC9b05b43E359b7ee"),
    _a_token("aWETH", "WETH", "WETH", 18, "0x4d5F47FA6A74757f35C14fD3a6Ef8E3C9BC514E8"),
    _a_token("aUSDT", "USDT", "USDT", 6, "0x23878914EFE38d27C4D67Ab83ed1b93A74D4086a"),
    _a_token("aBTC", "BTC", "WBTC", 8, "0x5Ee5bf7ae06D1Be5997A1A72006FE6C607eC6DE8"),
    _a_token("awstETH", "wstETH", "wstETH", 18, "0x0B925eD163218f6662a35e0f0371Ac234f9E9371"),
    _a_token("aWeETH", "weETH", "weETH", 18, "0xBdfa7b7893081B35Fb54027489e2Bc7A38275129"),
    _debt_token("variableDebtWETH", "WETH", "WETH", 18, "0xeA51d7853EEFb32b6ee06b1C12E6dcCA88Be0fFE"),
    _debt_token("variableDebtUSDT", "USDT", "USDT", 6, "0x6df1C1E379bC5a00a7b4C6e67A203333772f45A8"),
    _debt_token("variableDebtBTC", "BTC", "WBTC", 8, "0x40aAbEf1aa8f0eEc637E0E7d92fbfFB2F26A8b7B"),
    Token("KING", TokenKind.REWARD, 18, protocol="etherfi", address="0x8F08B70456eb22f6109F57b8fafE862ED28E6040"),
    Token("EIGEN", TokenKind.REWARD, 18, address="0xec53bF9167f50cDEB3Ae105f56099aaaB9061F83"),
    Token("ETHFI", TokenKind.REWARD, 18, address="0xFe0c30065B384F05761f15d0CC899D4F9F9Cc0eB"),
    # Claims in the exit queues, in ETH claimable; Lido's contract calls its receipts unstETH.
    Token("unstETH", TokenKind.LOCKED, 18, "ETH", None, "lido", "0x889edC2eDab5f40e902b864aD4d7AdE8E412F9B1"),
    Token("unweETH", TokenKind.LOCKED, 18, "ETH", None, "etherfi", "0x7d5706f6ef3F89B3951E23e557CDFBC3239D4E2c"),
)

BUILT_IN_ALIASES = {
    "ETH_spot": "ETH",
    "BTC_spot": "BTC",
    "USDT_spot": "USDT",
    "aETH": "aWETH",
    "variableDebtETH": "variableDebtWETH",
    "WBTC": "BTC",
}

LINEAR_QUOTES = ("USDT", "USDC")
_INSTRUMENT = re.compile(r"^([A-Z0-9]+?)(USDT|USDC|USD)-PERP(:LONG|:SHORT)?$")
_CCXT = re.compile(r"^([A-Z0-9]+)/([A-Z0-9]+):([A-Z0-9]+)$")
_OKX_SWAP = re.compile(r"^([A-Z0-9]+)-([A-Z0-9]+)-SWAP$")
_BINANCE = re.compile(r"^([A-Z0-9]+?)(USDT|USDC|USD)$")


class Instrument(NamedTuple):
    """A perpetual future: canonical name ``<BASE><QUOTE>-PERP`` with ``:LONG``/``:SHORT`` for hedge-mode legs."""

    name: str
    base: str
    quote: str
    leg: str


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), {k.lower(): k for k in known}, n=1, cutoff=0.6)
    matches = [k for k in known if close and k.lower() == close[0]]
    return f"; did you mean {matches[0]}?" if matches else ""


def canonical_venue(name: object, field_name: str = "venue") -> str:
    """The venue's canonical name for any letter case or alias; unknown venues are refused."""
    if isinstance(name, str):
        lower = name.strip().lower()
        lower = VENUE_ALIASES.get(lower, lower)
        if lower in VENUES:
            return lower
    known = ", ".join(VENUES)
    raise UnknownNameError(f"{field_name}: {name!r} is not a venue; known venues: {known}")


def parse_instrument(name: object, field_name: str = "instrument") -> Instrument:
    """A perpetual by its canonical name, or by ccxt's (``ETH/USDT:USDT``), OKX's or Binance's name for it."""
    if isinstance(name, str):
        text = name.strip()
        if match := _INSTRUMENT.match(text):
            base, quote, leg = match.groups()
            return Instrument(text, base, quote, (leg or "").removeprefix(":"))
        foreign = _CCXT.match(text) or _OKX_SWAP.match(text) or _BINANCE.match(text)
        if foreign:
            base, quote, *settlement = foreign.groups()
            # Quoted in USD, or settled in another coin than quoted in: an inverse contract, whose PnL is not linear.
            if quote in LINEAR_QUOTES and settlement in ([], [quote]):
                return Instrument(f"{base}{quote}-PERP", base, quote, "")
    raise UnknownNameError(
        f"{field_name}: {name!r} is not a linear perpetual; write <BASE><QUOTE>-PERP such as ETHUSDT-PERP "
        "(hedge mode: ETHUSDT-PERP:LONG or :SHORT)"
    )


@dataclass(frozen=True)
class Registry:
    """All tokens the product knows, by canonical symbol and alias."""

    tokens: Mapping[str, Token]
    aliases: Mapping[str, str] = field(default_factory=dict)
    _valuations: dict[str, Valuation] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for alias, symbol in self.aliases.items():
            if symbol not in self.tokens:
                raise InputError(f"aliases.{alias}: {symbol!r} is not a registered token")
            if alias in self.tokens:
                raise InputError(f"aliases.{alias}: {alias} is a token itself and cannot be an alias of {symbol}")
        for symbol in self.tokens:
            self._valuations[symbol] = self._chain(symbol)

    def token(self, name: object, field_name: str = "token") -> Token:
        """The token for a symbol or alias; unknown names are refused with the nearest known one."""
        if isinstance(name, str):
            found = self.tokens.get(name) or self.tokens.get(self.aliases.get(name, ""))
            if found is not None:
                return found
            hint = _suggestion(name, [*self.tokens, *self.aliases])
            raise UnknownNameError(
                f"{field_name}: {name!r} is not a registered token{hint} "
                "(register others under `tokens:` in basis.yaml)"
            )
        raise UnknownNameError(f"{field_name}: {name!r} is not a token symbol")

    def valuation(self, symbol: str) -> Valuation:
        """Conversions first, price second: the rates to apply in order and the token whose price ends the chain."""
        return self._valuations[self.token(symbol).symbol]

    def _chain(self, symbol: str) -> Valuation:
        rates: list[str] = []
        seen = [symbol]
        token = self.token(symbol)
        while token.underlying is not None:
            if token.rate_name is not None:
                rates.append(token.rate_name)
            token = self.token(token.underlying, f"tokens.{token.symbol}.underlying")
            if token.symbol in seen:
                raise InputError(
                    f"tokens.{symbol}.underlying: the chain {' -> '.join(seen)} comes back to {token.symbol}"
                )
            seen.append(token.symbol)
        return Valuation(tuple(rates), token.symbol)

    def extended(self, tokens: Iterable[Token], aliases: Mapping[str, str] | None = None) -> Registry:
        """A registry with a user's tokens and aliases added; a built-in token may be replaced by its symbol."""
        merged = {**self.tokens, **{token.symbol: token for token in tokens}}
        return Registry(merged, {**self.aliases, **(aliases or {})})


def economic_venue(account: str, token: Token) -> str:
    """Where in equity a balance belongs: its protocol for wallet tokens, else the account it is booked on."""
    return token.protocol if account == WALLET else account


DEFAULT_REGISTRY = Registry({token.symbol: token for token in BUILT_IN_TOKENS}, BUILT_IN_ALIASES)
