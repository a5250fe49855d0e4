"""The composition root of live mode: settings and secrets in, readers of venues and sources of prices out.

Commands, Dagster and the monitors all come through here. Secrets are read when a connection is opened and are kept by
nothing else. Venue libraries are imported inside the functions, because they load slowly.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.observations import Account, Finding, QuoteSource, Reading, VenueReader, Verdict
from basis_pipeline.domain.reconciliation import Rules, Tolerance
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.home import Home
from basis_pipeline.settings import Settings, config_path
from basis_pipeline.settings.secrets import reveal
from basis_pipeline.steps.opening import is_unopened
from basis_pipeline.steps.ports import Ports
from basis_pipeline.steps.reading_accounts import read_accounts
from basis_pipeline.steps.reconciliation import ReconciliationReport, reconcile
from basis_pipeline.steps.recording import RecordingReport, record_market, wanted_now

if TYPE_CHECKING:
    from basis_pipeline.market.provider import PriceProvider
    from basis_pipeline.venues.ethereum.chain import Chain
    from basis_pipeline.venues.ethereum.prices import ChainlinkPrices, ChainPrices

MARKETS_FOLDER = "markets"
"""Where in the home the exchanges' contract sizes are kept, so that not every reading asks for them."""

_SHARE_OF_ONE = 0.9
"""The part of a venue's time to answer that one symbol may take, so that the others are still told."""


def rules_of(settings: Settings) -> Rules:
    """How the settings want reconciliation to judge."""
    given = settings.reconciliation
    return Rules(
        on_drift=given.on_drift,
        deadline=given.deadline,
        skew_max=given.skew_max,
        settle_window=given.settle_window,
        transfer_window=given.transfer_window,
        second_reading_after=given.second_reading_after,
        opening_tolerance=given.opening_tolerance,
        tolerances={key: Tolerance(each.absolute, each.relative) for key, each in settings.tolerances().items()},
    )


@dataclass(frozen=True)
class Unopened:
    """Accounts whose connection could not be prepared, a missing key say. The other accounts must not suffer."""

    accounts: Sequence[Account]
    reason: str
    clock: Clock

    async def read(self) -> Sequence[Reading]:
        """Every account is unavailable, for this reason."""
        now = self.clock()
        return [Reading.unavailable(account, self.reason, now, now) for account in self.accounts]

    async def check(self) -> Sequence[Finding]:
        """One finding for each account."""
        return [Finding(account.name, Verdict.FAILED, self.reason) for account in self.accounts]

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def open_readers(home: Home, portfolio: str | None = None) -> AsyncIterator[list[VenueReader]]:
    """Readers of all configured accounts, or of one portfolio's; closed when the block ends.

    One reader for all wallets, one for each exchange account. An account that lacks a key gets a reader that says so.
    """
    accounts = [
        Account(given.portfolio, name, given.venue)
        for name, given in home.settings.accounts.items()
        if portfolio in (None, given.portfolio)
    ]
    wallets = [account for account in accounts if account.venue == WALLET]
    async with AsyncExitStack() as stack:
        exchanges = [account for account in accounts if account not in wallets]
        readers = [_prepared(home, [account], partial(_exchange, home, account)) for account in exchanges]
        if wallets:
            readers.insert(0, _prepared(home, wallets, partial(_ethereum, home, wallets)))
        for reader in readers:
            stack.push_async_callback(reader.close)
        yield readers


def _prepared(home: Home, accounts: Sequence[Account], prepare: Callable[[], VenueReader]) -> VenueReader:
    try:
        return prepare()
    except ConfigError as error:
        return Unopened(accounts, str(error), home.clock)


def _ethereum(home: Home, wallets: Sequence[Account]) -> VenueReader:
    from basis_pipeline.venues.ethereum.reader import EthereumReader

    addresses = {account: home.settings.accounts[account.name].address or "" for account in wallets}
    return EthereumReader(addresses, _chain(home))


def _chain(home: Home, answered_within: timedelta | None = None) -> Chain:
    """The chain as it is configured, read with wallets or without.

    Where it must be ``answered_within`` a time, no node may take more than its share of it, so that the last one still
    has a chance.
    """
    from basis_pipeline.venues.ethereum.chain import Chain

    given, urls = home.settings.ethereum, rpc_urls(home)
    timeout = given.request_timeout
    return Chain(
        home.registry,
        urls,
        home.clock,
        chain_id=given.chain_id,
        block=given.block,
        pool_addresses_provider=given.pool_addresses_provider,
        multicall=given.multicall,
        request_timeout=timeout if answered_within is None else min(timeout, answered_within / len(urls)),
    )


def rpc_urls(home: Home) -> list[str]:
    """The Ethereum nodes in order of preference; ``ConfigError`` when none are configured."""
    given = home.settings.ethereum
    if given.rpc_urls:
        return [url.get_secret_value() for url in given.rpc_urls]
    text = reveal(None, given.rpc_urls_file, "ethereum.rpc_urls", _base(home))
    return [line.strip() for line in text.splitlines() if line.strip()]


def _exchange(home: Home, account: Account) -> VenueReader:
    from basis_pipeline.venues.exchanges.connection import Credentials
    from basis_pipeline.venues.exchanges.reader import exchange_reader

    given, key = home.settings.accounts[account.name], f"accounts.{account.name}"
    base = _base(home)
    return exchange_reader(
        account=account,
        parts=given.parts_read(),
        credentials=Credentials(
            api_key=reveal(given.api_key, given.api_key_file, f"{key}.api_key", base),
            secret=reveal(given.secret, given.secret_file, f"{key}.secret", base),
            passphrase=reveal(given.passphrase, given.passphrase_file, f"{key}.passphrase", base)
            if account.venue == "okx"
            else "",
        ),
        registry=home.registry,
        gateway=home.settings.exchange_gateway,
        clock=home.clock,
        markets_cache=home.path / MARKETS_FOLDER / f"{account.venue}.json",
    )


@asynccontextmanager
async def open_quote_sources(home: Home, held: Sequence[tuple[str, str]] = ()) -> AsyncIterator[list[QuoteSource]]:
    """Each exchange that is to tell prices or marks, which needs no key, and the chain where a node is configured.

    ``held`` are (venue, instrument) that need a mark though the ledger does not know of them yet. Closed when the block
    ends.
    """
    from basis_pipeline.venues.ethereum.quotes import ChainQuotes
    from basis_pipeline.venues.quotes import exchange_quotes

    gateway, given = home.settings.exchange_gateway, home.settings.ethereum
    async with AsyncExitStack() as stack:
        sources: list[QuoteSource] = []
        if given.rpc_urls or given.rpc_urls_file:
            sources.append(ChainQuotes(_chain(home)))
        for venue, series in wanted_now(home.ports(), home.routing, held).items():
            sources.append(exchange_quotes(venue, series, gateway, home.clock))
        for source in sources:
            stack.push_async_callback(source.close)
        yield sources


@dataclass(frozen=True)
class _NoChain:
    """A chain that cannot be asked for prices, because of a setting that is missing or wrong."""

    reason: str

    async def get_prices(self, _assets: list[str]) -> NoReturn:
        raise ConfigError(self.reason)

    async def get_rates(self, _names: list[str]) -> NoReturn:
        raise ConfigError(self.reason)

    async def close(self) -> None:
        """Nothing is open."""


@asynccontextmanager
async def open_prices(home: Home) -> AsyncIterator[PriceProvider]:
    """Prices of now from every exchange, which needs no key, and from the chain; closed when the block ends.

    Their connections belong to the event loop in which they are first used; another loop opens prices of its own.
    ``prices:`` of the settings says how long a price is kept, how old it may be and by which routes it is asked for.
    Without a usable node no rate is known and no price in USDT becomes USD; whoever asks is told which setting to mend.
    """
    from basis_pipeline.market.live_routes import CHAINLINK
    from basis_pipeline.market.provider import PriceProvider
    from basis_pipeline.venues.quotes import exchange_prices

    given = home.settings.prices
    async with AsyncExitStack() as stack:
        interfaces: dict[str, Any] = {}
        for venue in home.routing.exchanges:
            interfaces[venue] = exchange_prices(venue, home.settings.exchange_gateway, given.timeout * _SHARE_OF_ONE)
            stack.push_async_callback(interfaces[venue].close)
        chain = _chain_prices(home)
        stack.push_async_callback(chain.close)
        interfaces[WALLET] = chain
        if not isinstance(chain, _NoChain):
            interfaces[CHAINLINK] = chain.chainlink
        prices = PriceProvider(
            interfaces,
            home.registry,
            home.routing,
            ttl=given.cache,
            timeout=given.timeout,
            band=given.band,
            clock=home.clock,
        )
        stack.push_async_callback(prices.close)
        yield prices


def _chain_prices(home: Home) -> ChainPrices | _NoChain:
    try:
        chain = _chain(home, home.settings.prices.timeout)
    except ConfigError as error:
        return _NoChain(str(error))
    from basis_pipeline.venues.ethereum.prices import ChainPrices

    return ChainPrices(chain, home.settings.chainlink_feeds())


def _base(home: Home) -> Path:
    """Where relative paths of the settings start."""
    return config_path(home.path).parent


def redis_url(home: Home) -> str | None:
    """Where monitors publish; None when nothing is configured."""
    given = home.settings
    if given.redis_url is None and given.redis_url_file is None:
        return None
    return reveal(given.redis_url, given.redis_url_file, "redis_url", _base(home))


async def reconcile_accounts(home: Home, ports: Ports, portfolio: str | None = None) -> ReconciliationReport:
    """Read the accounts now, all or one portfolio's, compare them with the ledger and adjust it as the settings say.

    Before books are opened the market is recorded, because opening values what is there; what is there is read for it
    once more, because only the accounts know which positions need a mark.
    """
    snapshot, rules = ports.ledger.snapshot(), rules_of(home.settings)
    concerned = {account.portfolio for account in home.settings.accounts.values()}
    async with open_readers(home, portfolio) as readers:
        if any(is_unopened(snapshot, name) for name in concerned if portfolio in (None, name)):
            found = await read_accounts(readers, rules.deadline, ports.clock)
            held = [(reading.account.venue, instrument) for reading in found for instrument in reading.positions]
            await record_market_now(home, ports, held)
        return await reconcile(ports, readers, rules)


async def record_market_now(home: Home, ports: Ports, held: Sequence[tuple[str, str]] = ()) -> RecordingReport:
    """Ask every source of prices what is new, and keep it. ``held`` as in ``open_quote_sources``."""
    async with open_quote_sources(home, held) as sources:
        return await record_market(ports, sources)


async def check_connections(home: Home) -> list[Finding]:
    """What every reader and every source of prices says of its connection, all asked at once, each with a deadline."""
    deadline_s = home.settings.reconciliation.deadline.total_seconds()
    async with open_readers(home) as readers, open_quote_sources(home) as sources, AsyncExitStack() as stack:
        asked: dict[str, VenueReader | QuoteSource | ChainlinkPrices] = {
            ", ".join(account.name for account in reader.accounts): reader for reader in readers
        }
        if any(account.venue == WALLET for reader in readers for account in reader.accounts):
            sources = [source for source in sources if source.name != "ethereum"]  # the reader of wallets checks it
        asked.update({f"{source.name} prices": source for source in sources})
        chain = _chain_prices(home)
        stack.push_async_callback(chain.close)
        if not isinstance(chain, _NoChain):
            asked["chainlink"] = chain.chainlink
        found = await asyncio.gather(*(_checked(name, each, deadline_s) for name, each in asked.items()))
        return [finding for findings in found for finding in findings]


async def _checked(
    name: str, connection: VenueReader | QuoteSource | ChainlinkPrices, deadline_s: float
) -> Sequence[Finding]:
    try:
        return await asyncio.wait_for(connection.check(), deadline_s)
    except TimeoutError:
        return [Finding(name, Verdict.FAILED, f"no answer within {deadline_s:g} s", "try again; check the network")]
