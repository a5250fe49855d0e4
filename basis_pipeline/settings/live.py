"""What live mode is configured with: accounts, the Ethereum node, reconciliation.

Secrets are never written into basis.yaml: they come from the environment (``BASIS_ACCOUNTS__<NAME>__API_KEY``) or from
a file that basis.yaml names (``api_key_file``). The loader refuses them in the YAML itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from basis_pipeline.domain.errors import ConfigError, InputError, UnknownNameError
from basis_pipeline.domain.reconciliation import ENTRY_PRICE
from basis_pipeline.domain.tokens import IN_TRANSIT, WALLET, Registry, canonical_venue, parse_instrument
from basis_pipeline.settings.types import CLOSED, Age, Duration, Exact, PortfolioName

EXCHANGE_PARTS: dict[str, tuple[str, ...]] = {
    "binance": ("spot", "funding", "cross_margin", "usdm_futures", "portfolio_margin"),
    "bybit": ("unified", "funding"),
    "okx": ("trading", "funding"),
}
"""The parts of an exchange account that can be read, by venue; together they are one account."""

_DEFAULT_PARTS = {**EXCHANGE_PARTS, "binance": ("spot", "funding", "usdm_futures")}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_ACCOUNT_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def _account_name(name: str) -> str:
    if not _ACCOUNT_NAME.fullmatch(name) or "__" in name:
        raise ValueError(f"{name!r} is no account name; use lower-case letters, digits and single underscores")
    return name


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text):
        # Only its beginning: a private key pasted here by mistake must not end up in a log.
        raise ValueError(
            f"{text[:4]!r}... ({len(text)} characters) is not an Ethereum address; write 0x and 40 hex digits"
        )
    return text


def _venue(name: object) -> str:
    venue = canonical_venue(name)
    if venue == IN_TRANSIT:
        raise InputError(f"{venue} is not an account; give wallet, binance, bybit or okx")
    return venue


def _listed(value: object) -> object:
    """The environment gives a list as text: one a line, or with spaces or commas between; or as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return tuple(value.replace(",", " ").split())


AccountName = Annotated[str, AfterValidator(_account_name)]
Address = Annotated[str, AfterValidator(_address)]


class AccountSettings(BaseModel):
    """A wallet address or an exchange account with read-only keys."""

    model_config = CLOSED

    portfolio: PortfolioName
    venue: Annotated[str, BeforeValidator(_venue)]
    address: Address | None = None
    parts: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_listed)] = ()
    api_key: SecretStr | None = None
    secret: SecretStr | None = None
    passphrase: SecretStr | None = None
    api_key_file: Path | None = None
    secret_file: Path | None = None
    passphrase_file: Path | None = None

    @model_validator(mode="after")
    def _complete(self) -> AccountSettings:
        if self.venue == WALLET:
            if self.address is None:
                raise ValueError("address: is missing; a wallet needs its Ethereum address")
            if self.parts:
                raise ValueError("parts: only exchange accounts have parts")
        elif self.address is not None:
            raise ValueError(f"address: {self.venue} accounts have API keys, not an address")
        else:
            known = EXCHANGE_PARTS[self.venue]
            for part in self.parts:
                if part not in known:
                    raise ValueError(f"parts: {part!r} is not a part of {self.venue}; known: {', '.join(known)}")
            if "portfolio_margin" in self.parts and {"cross_margin", "usdm_futures"} & set(self.parts):
                raise ValueError("parts: portfolio_margin holds cross margin and futures already; leave those out")
        return self

    def parts_read(self) -> tuple[str, ...]:
        """The parts to read: as configured, else the usual ones of the venue."""
        return self.parts or _DEFAULT_PARTS[self.venue]


class EthereumSettings(BaseModel):
    """The Ethereum node and the contracts from which all others are found."""

    model_config = CLOSED

    rpc_urls: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_listed)] = Field(
        default=(), description="nodes in order of preference; secret, because the URL often holds the provider's key"
    )
    rpc_urls_file: Path | None = Field(default=None, description="a file with one URL a line, instead of rpc_urls")
    chain_id: int = 1
    block: Literal["finalized", "safe"] | Annotated[int, Field(ge=0, le=100)] = Field(
        default="finalized", description="the block to read at: finalized, safe, or so many blocks behind the head"
    )
    pool_addresses_provider: Address = "0x2f39d218133AFaB8F2B819B1066c7E434Ad94E9e"
    multicall: Address = "0xcA11bde05977b3631167028862bE2a173976CA11"
    request_timeout: Age = timedelta(seconds=10)
    chainlink_feeds: dict[str, Address | None] = Field(
        default={}, description="Chainlink's USD feeds by token, beside those built in; null: that one is not asked"
    )


class ToleranceSettings(BaseModel):
    """How far a venue and the ledger may be apart: the larger of both allowances counts."""

    model_config = CLOSED

    absolute: Annotated[Exact, Field(ge=0)] = Decimal(0)
    relative: Annotated[Exact, Field(ge=0, lt=1)] = Decimal(0)


class ReconciliationSettings(BaseModel):
    """How the hourly reconciliation judges and what it does about drift."""

    model_config = CLOSED

    on_drift: Literal["adjust", "alert"] = "adjust"
    deadline: Age = timedelta(seconds=30)
    skew_max: Age = timedelta(seconds=30)
    settle_window: Duration = timedelta(minutes=15)
    transfer_window: Duration = timedelta(hours=24)
    second_reading_after: Duration = timedelta(seconds=5)
    opening_tolerance: Annotated[Exact, Field(ge=0, lt=1)] = Decimal("0.01")
    tolerances: dict[str, ToleranceSettings] = Field(
        default={}, description="by `venue:TOKEN`, `venue:INSTRUMENT`, `venue:INSTRUMENT/entry_price` or `venue`"
    )


CHAINLINK_FEEDS = {
    1: {
        "ETH": "0x5f4eC3Df9cbd43714FE2740f5E3616155c5b8419",
        "BTC": "0xF4030086522a5bEEa4988F8cA5B36dbC97BeE88c",
        "USDT": "0x3E7d1eAB13ad0104d2750B8863b489D65364e32D",
    }
}
"""The aggregators that are asked unless the settings say otherwise, by chain id."""


def chainlink_feeds(given: EthereumSettings, registry: Registry) -> dict[str, str]:
    """The aggregators to ask, by canonical token. ``InputError`` for a token that has no price of its own."""
    found: dict[str, str | None] = dict(CHAINLINK_FEEDS.get(given.chain_id, {}))
    for name, address in given.chainlink_feeds.items():
        where = f"ethereum.chainlink_feeds.{name}"
        symbol = registry.token(name, where).symbol
        base = registry.valuation(symbol).base
        if base != symbol:
            raise InputError(f"{where}: {symbol} is converted to {base} and then priced; give the feed of {base}")
        found[symbol] = address
    return {token: address for token, address in found.items() if address is not None}


def canonical_tolerances(given: Mapping[str, ToleranceSettings], registry: Registry) -> dict[str, ToleranceSettings]:
    """The tolerances under the names that reconciliation uses, whatever spelling or alias they were given by.

    ``InputError`` for a venue, token or instrument that there is none of, and for two spellings of one: a tolerance
    that nothing ever asks for would be taken to hold.
    """
    found: dict[str, ToleranceSettings] = {}
    spelled: dict[str, str] = {}
    for key, tolerance in given.items():
        where = f"reconciliation.tolerances.{key}"
        name = _tolerance_name(key, where, registry)
        if name in found:
            raise InputError(f"{where}: is {spelled[name]} by another name; keep one of them")
        found[name], spelled[name] = tolerance, key
    return found


def _tolerance_name(key: str, where: str, registry: Registry) -> str:
    place, _, what = key.partition(":")
    venue = canonical_venue(place, where)
    if venue == IN_TRANSIT:
        raise InputError(f"{where}: {venue} is not an account, so nothing is compared there")
    if place == key:
        return venue
    if what in registry.tokens or what in registry.aliases:
        return f"{venue}:{registry.token(what).symbol}"
    instrument = what.removesuffix(ENTRY_PRICE)
    try:
        name = parse_instrument(instrument).name
    except UnknownNameError:
        name = ""
    if not name or venue == WALLET:
        raise InputError(
            f"{where}: {what!r} is neither a registered token nor a perpetual of {venue}; write {venue}:USDT, or for "
            "an exchange okx:ETHUSDT-PERP or okx:ETHUSDT-PERP/entry_price"
        )
    return f"{venue}:{name}{what.removeprefix(instrument)}"


def check_accounts(accounts: Mapping[str, AccountSettings], portfolios: Collection[str]) -> None:
    """Every account belongs to a configured portfolio, and a portfolio has one account per venue.

    The ledger keeps one balance per portfolio, venue and token, so two accounts there could not be told apart.
    """
    taken: dict[tuple[str, str], str] = {}
    addresses: dict[str, str] = {}
    for name, account in accounts.items():
        if account.portfolio not in portfolios:
            known = ", ".join(portfolios) or "none yet"
            raise ConfigError(f"accounts.{name}.portfolio: {account.portfolio!r} is not configured; there are {known}")
        place = (account.portfolio, account.venue)
        if place in taken:
            raise ConfigError(
                f"accounts.{name}: {account.portfolio} has {taken[place]} on {account.venue} already; give it a "
                "portfolio of its own"
            )
        taken[place] = name
        if account.address is not None:
            other = addresses.setdefault(account.address.lower(), name)
            if other != name:
                raise ConfigError(f"accounts.{name}.address: is the address of {other} too; it would be counted twice")
