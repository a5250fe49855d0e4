"""A small fund on real parts: a chain with Aave, three exchanges on loopback, Redis, and a home configured for them.

::

    with live_fund(home) as fund:
        fund.chain.supply(fund.wallet, "weETH", "3")
        fund.binance.add("usdm_futures", "USDT", "-12.50")
        subprocess.run([..., "reconcile"], env=fund.environment)

The fund begins with ``HOLDINGS``, which at the rig's prices are worth its initial capital. Secrets are in the
environment only, as in production. Works without pytest; ``RigUnavailable`` and ``FileNotFoundError`` say what a
machine lacks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from basis_pipeline.domain.instants import HOUR, iso
from basis_pipeline.domain.tokens import Registry, TokenKind
from basis_pipeline.settings import CONFIG_NAME, HOME_VARIABLE
from basis_pipeline_tests.rigs.ethereum import AaveChain, aave_chain
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, exchange_venues
from basis_pipeline_tests.rigs.exchanges_accounts import ScriptedAccount
from basis_pipeline_tests.rigs.redis_server import RedisServer

PORTFOLIO = "basis_fund"
CAPITAL = Decimal(100_000)
ETH_PRICE, BTC_PRICE = Decimal(3000), Decimal(60_000)
HOLDINGS: dict[str, dict[str, str]] = {
    "wallet": {"ETH": "2", "USDT": "34000", "weETH": "10"},
    "binance": {"USDT": "18000"},
    "bybit": {"USDT": "6000"},
    "okx": {"USDT": "4400"},
}
"""Worth 99,900 USDT: 62,400 USDT, and 2 ETH and 10 weETH at a rate of 1.05. Setting the fund up has cost the rest."""
WEETH_RATE = "1.05"
_PARTS = {"binance": "usdm_futures", "bybit": "unified", "okx": "trading"}


@dataclass
class LiveFund:
    """A running fund; see the module's description."""

    home: Path
    chain: AaveChain
    venues: ExchangeVenues
    redis: RedisServer
    wallet: str
    accounts: dict[str, ScriptedAccount]
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def binance(self) -> ScriptedAccount:
        return self.accounts["binance"]

    @property
    def bybit(self) -> ScriptedAccount:
        return self.accounts["bybit"]

    @property
    def okx(self) -> ScriptedAccount:
        return self.accounts["okx"]

    def part(self, venue: str) -> str:
        """The part of an exchange account that the fund trades from."""
        return _PARTS[venue]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a `basis` or `dagster` process of this fund."""
        return {**os.environ, HOME_VARIABLE: str(self.home), **self.secrets}

    def set_prices(self, eth: Decimal, btc: Decimal = BTC_PRICE) -> None:
        """Spot and mark everywhere, and what Aave's oracle says."""
        for symbol, price in (("ETHUSDT", eth), ("BTCUSDT", btc)):
            self.venues.set_price(symbol, price)
        self.chain.set_price("WETH", eth)
        self.chain.set_price("BTC", btc)


@contextmanager
def live_fund(
    home: Path,
    *,
    version: str = "v3.6",
    start: datetime | None = None,
    clock: Callable[[], datetime] | None = None,
    **settings: Any,
) -> Iterator[LiveFund]:
    """The fund, holding what it begins with; nothing is in its ledger yet. ``settings`` go into its basis.yaml."""
    with ExitStack() as stack:
        chain = stack.enter_context(aave_chain(version, start=start))
        venues = stack.enter_context(exchange_venues(clock))
        redis = stack.enter_context(RedisServer(password="rig-redis-password"))
        accounts = {
            "binance": venues.account("binance", "rig-binance-key", "rig-binance-secret"),
            "bybit": venues.account("bybit", "rig-bybit-key", "rig-bybit-secret"),
            "okx": venues.account("okx", "rig-okx-key", "rig-okx-secret", "rig-okx-passphrase"),
        }
        secrets = {"BASIS_ETHEREUM__RPC_URLS": chain.url, "BASIS_REDIS_URL": redis.url}
        for name, account in accounts.items():
            secrets[f"BASIS_ACCOUNTS__{name.upper()}__API_KEY"] = account.key
            secrets[f"BASIS_ACCOUNTS__{name.upper()}__SECRET"] = account.secret
        secrets["BASIS_ACCOUNTS__OKX__PASSPHRASE"] = accounts["okx"].passphrase
        fund = LiveFund(home, chain, venues, redis, chain.wallet("fund"), accounts, secrets)
        chain.set_rate("weETH", WEETH_RATE)
        chain.set_price("USDT", "1")
        fund.set_prices(ETH_PRICE)
        for token, amount in HOLDINGS["wallet"].items():
            chain.give(fund.wallet, token, amount)
        for venue, account in accounts.items():
            account.permissions = {"read"}
            for token, amount in HOLDINGS[venue].items():
                account.set_balance(_PARTS[venue], token, amount)
        chain.settle()
        opened = (start or datetime.now(UTC)).replace(minute=0, second=0, microsecond=0) - HOUR
        home.mkdir(parents=True, exist_ok=True)
        (home / CONFIG_NAME).write_text(yaml.safe_dump(configuration(fund, opened, **settings)), encoding="utf-8")
        yield fund


def configuration(fund: LiveFund, start: datetime, **settings: Any) -> dict[str, Any]:
    """The fund's basis.yaml: everything but secrets."""
    accounts: dict[str, Any] = {
        "fund_wallet": {"portfolio": PORTFOLIO, "venue": "wallet", "address": fund.wallet},
        **{name: {"portfolio": PORTFOLIO, "venue": name} for name in fund.accounts},
    }
    return {
        "mode": "live",
        "portfolios": {
            PORTFOLIO: {"share_class": "USDT", "initial_capital": str(CAPITAL), "start": iso(start)},
        },
        "accounts": accounts,
        "ethereum": {
            "chain_id": fund.chain.chain_id,
            "pool_addresses_provider": fund.chain.addresses["provider"],
            "multicall": fund.chain.addresses["multicall"],
            "chainlink_feeds": dict.fromkeys(("ETH", "BTC", "USDT")),
        },
        "exchange_gateway": fund.venues.url,
        "tokens": tokens_of(fund.chain.registry),
        **settings,
    }


def tokens_of(registry: Registry) -> dict[str, Any]:
    """The tokens of a chain as basis.yaml has them."""
    found: dict[str, Any] = {}
    for token in registry.tokens.values():
        settings = {
            "kind": token.kind.value,
            "decimals": token.decimals,
            "address": token.address,
            "underlying": token.underlying,
            "rate": token.rate_name,
            "protocol": token.protocol,
        }
        if token.kind in (TokenKind.ATOKEN, TokenKind.DEBT):
            settings["reserve"] = str(token.rate_name).split(":")[1]
            del settings["rate"]
        found[token.symbol] = {key: value for key, value in settings.items() if value is not None}
    return found
