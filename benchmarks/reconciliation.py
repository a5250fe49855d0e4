"""Reconciling a live fund: four venues and forty tokens, against the slowest venue's own chain of requests.

Everything is real and on loopback: a node with an Aave market, three exchanges spoken to by unmodified ccxt, a ledger.
Every answer comes ``LATENCY_S`` late. The bare side sends the same requests through the same libraries, in as few
rounds as the venue's protocol needs (what depends on an answer comes after it, everything else at once), and looks at
none of the answers. Contract sizes are known on both sides; rate limiters, whose waiting is the venues' own rule, are
off on both. "A new process" opens its connections and checks the chain's contracts; it is what each run of the hourly
job is.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import yaml
from eth_typing import URI
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint

from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.observations import VenueReader
from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.domain.tokens import Token, TokenKind
from basis_pipeline.home import Home, open_home
from basis_pipeline.live import open_readers, rules_of
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline.steps.reconciliation import reconcile
from basis_pipeline.venues.exchanges.connection import (
    Answer,
    Connection,
    Credentials,
    close_exchange,
    open_exchange,
)
from basis_pipeline.venues.exchanges.reader import ExchangeReader
from basis_pipeline_tests.rigs.ethereum import RigUnavailable
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy, node_proxy
from basis_pipeline_tests.rigs.live_fund import CAPITAL, PORTFOLIO, LiveFund, configuration, live_fund
from benchmarks.data import Data
from benchmarks.measure import Figure

TIMES_MAX = 1.3
LATENCY_S = 0.3
TOKENS = 40
RECENT_UPDATES = 10_000

NEW, KEPT = "in a new process", "with kept connections"

Side = Callable[[], Awaitable[object]]
Round = Sequence[Side]
"""Requests that need nothing of each other."""


@dataclass(frozen=True)
class _Bench:
    fund: LiveFund
    home: Home
    node: NodeProxy


def measure(_data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    try:
        with _bench(folder / "home") as bench:
            yield from _figures(bench, 3 if quick else 9)
    except (RigUnavailable, FileNotFoundError) as missing:
        print(f"  {missing}")


def _figures(bench: _Bench, times: int) -> Iterator[Figure]:
    yield asyncio.run(_chain_requests(bench))
    yield from _ratios(bench, times, "")
    _trade(bench, RECENT_UPDATES)
    yield from _ratios(bench, times, f", {RECENT_UPDATES:,} updates")


async def _chain_requests(bench: _Bench) -> Figure:
    async with open_readers(bench.home) as readers:
        counts = []
        for _ in range(2):
            bench.node.requests.clear()
            await _reconcile(bench, readers)
            counts.append(Counter(bench.node.requests))
    first, second = counts
    detail = f"all requests: {_counted(second)}; in a new process: {_counted(first)}"
    return Figure("eth_call requests of a reading", second["eth_call"], "", detail, at_most=1)


def _counted(requests: Counter[str]) -> str:
    return ", ".join(f"{count} {method}" for method, count in sorted(requests.items()))


def _ratios(bench: _Bench, times: int, more: str) -> Iterator[Figure]:
    taken = asyncio.run(_turns(bench, times))
    medians = {name: median(seconds) for name, seconds in taken.items()}
    venues = [name for name in taken if name not in (NEW, KEPT)]
    slowest = max(venues, key=lambda venue: medians[venue])
    bare = ", ".join(f"{venue} {medians[venue]:.3f} s" for venue in venues)
    for name in (NEW, KEPT):
        ratio = median(a / b for a, b in zip(taken[name], taken[slowest], strict=True))
        detail = f"ours {medians[name]:.3f} s; {bare}"
        yield Figure(f"{name}{more}, over the {slowest}", ratio, "×", detail, at_most=TIMES_MAX)


async def _turns(bench: _Bench, times: int) -> dict[str, list[float]]:
    """Seconds of each side, in turns: ours with new and with kept connections, and each venue by itself."""
    taken: dict[str, list[float]] = {}
    async with open_readers(bench.home) as kept, AsyncExitStack() as stack:
        venues = await _bare_rounds(bench, kept, stack)
        with _late(bench):
            for _ in range(times):
                sides: dict[str, Side] = {
                    NEW: partial(_reconcile_anew, bench),
                    KEPT: partial(_reconcile, bench, kept),
                    **{venue: partial(_ask, rounds) for venue, rounds in venues.items()},
                }
                for name, side in sides.items():
                    began = perf_counter()
                    await side()
                    taken.setdefault(name, []).append(perf_counter() - began)
    return taken


@contextmanager
def _late(bench: _Bench) -> Iterator[None]:
    bench.node.latency = bench.fund.venues.latency = LATENCY_S
    try:
        yield
    finally:
        bench.node.latency = bench.fund.venues.latency = 0.0


async def _reconcile_anew(bench: _Bench) -> None:
    async with open_readers(bench.home) as readers:
        await _reconcile(bench, readers)


async def _reconcile(bench: _Bench, readers: Sequence[VenueReader]) -> None:
    for reader in readers:
        for connection in reader.connections if isinstance(reader, ExchangeReader) else ():
            connection.exchange.enableRateLimit = False
    report = await reconcile(bench.home.ports(), readers, rules_of(bench.home.settings))
    found = {row.outcome for account in report.accounts for row in account.comparisons}
    if found != {Outcome.MATCHED} or len(report.accounts) != 4 or report.unavailable:
        raise RuntimeError(f"a reconciliation without drift came to {found}: comparing its speed means nothing")


async def _ask(rounds: Sequence[Round]) -> None:
    for requests in rounds:
        await asyncio.gather(*(request() for request in requests))


async def _bare_rounds(
    bench: _Bench, readers: Sequence[VenueReader], stack: AsyncExitStack
) -> dict[str, Sequence[Round]]:
    """What a reconciliation asks of each venue, to be asked again by itself."""
    asked: dict[str, list[tuple[str, Any]]] = {
        reader.accounts[0].venue: _overheard(reader) for reader in readers if isinstance(reader, ExchangeReader)
    }
    await _reconcile(bench, readers)  # checks the contracts
    for each in (bench.node.asked, *asked.values()):
        each.clear()
    await _reconcile(bench, readers)
    provider = AsyncHTTPProvider(URI(bench.node.url))
    stack.push_async_callback(provider.disconnect)
    found: dict[str, Sequence[Round]] = {"chain": _chain_rounds(provider, bench.node.asked)}
    for venue, requests in asked.items():
        account = bench.fund.accounts[venue]
        credentials = Credentials(account.key, account.secret, account.passphrase)
        exchange = open_exchange(venue, credentials, bench.fund.venues.url)
        exchange.enableRateLimit = False
        stack.push_async_callback(close_exchange, exchange)
        found[venue] = [[partial(getattr(exchange, method), params) for method, params in requests]]
    return found


def _overheard(reader: ExchangeReader) -> list[tuple[str, Any]]:
    """Method and parameters of whatever the reader asks from now on."""
    found: list[tuple[str, Any]] = []

    def listen(connection: Connection) -> None:
        plain = connection.ask

        async def ask(what: str, method: str, params: Any = None) -> Answer:
            found.append((method, params))
            return await plain(what, method, params)

        connection.ask = ask  # type: ignore[method-assign]

    for connection in reader.connections:
        listen(connection)
    return found


def _chain_rounds(provider: AsyncHTTPProvider, asked: Sequence[tuple[str, list[Any]]]) -> list[Round]:
    """Which block, then everything at that block, then whether it still stands."""
    call = next(number for number, (method, _) in enumerate(asked) if method == "eth_call")
    rounds = [asked[:call], asked[call : call + 1], asked[call + 1 :]]
    return [[partial(provider.make_request, RPCEndpoint(method), params) for method, params in one] for one in rounds]


@contextmanager
def _bench(home: Path) -> Iterator[_Bench]:
    """The fund with all that it holds in its ledger, of ``TOKENS`` tokens."""
    with live_fund(home) as fund, node_proxy(fund.chain.url) as node:
        _hold(fund, _more_tokens(fund))
        start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR
        (home / CONFIG_NAME).write_text(yaml.safe_dump(configuration(fund, start)), encoding="utf-8")
        os.environ.update({**fund.secrets, "BASIS_ETHEREUM__RPC_URLS": node.url})
        try:
            with open_home(home) as opened:
                asyncio.run(_open_books(opened, start))
                yield _Bench(fund, opened, node)
        finally:
            for name in fund.secrets:
                del os.environ[name]


async def _open_books(home: Home, start: datetime) -> None:
    """Write down as held what is held, as if it had been so from the start."""
    async with open_readers(home) as readers:
        readings = [reading for reader in readers for reading in await reader.read()]
    held = {(each.account.venue, token): amount for each in readings for token, amount in each.balances.items()}
    held["wallet", "USDT"] -= CAPITAL
    legs = [{"venue": venue, "token": token, "delta": amount} for (venue, token), amount in held.items()]
    payload = {"id": "holdings", "timestamp": start, "trigger": "HOURLY_RECONCILIATION", "token_changes": legs}
    home.ledger.append(PORTFOLIO, parse_update(payload, home.registry))


def _more_tokens(fund: LiveFund) -> list[str]:
    """As many new tokens on the chain as the registry lacks."""
    registry = fund.chain.registry
    names = [f"RIG{number}" for number in range(TOKENS - len(registry.tokens))]
    for name in names:
        fund.chain.tokens[name] = fund.chain.new_token(name)
    placed = [Token(name, TokenKind.BASE, 18, address=fund.chain.tokens[name]) for name in names]
    fund.chain.registry = registry.extended(placed)
    return names


def _hold(fund: LiveFund, tokens: Sequence[str]) -> None:
    """Something of every token in the wallet, collateral and a loan, and some of them on each exchange."""
    fund.chain.supply(fund.wallet, "weETH", "3")
    fund.chain.borrow(fund.wallet, "WETH", "1")
    for name in tokens:
        fund.chain.give(fund.wallet, name, "5")
    fund.chain.settle()
    for venue, account in fund.accounts.items():
        for name in ("ETH", "BTC", *tokens[:8]):
            account.set_balance(fund.part(venue), name, "7")


def _trade(bench: _Bench, count: int) -> None:
    """So many updates within some of the last minutes, which come to nothing."""
    first = datetime.now(UTC) - timedelta(minutes=10)
    places = [("wallet", "ETH"), ("binance", "USDT"), ("bybit", "ETH"), ("okx", "BTC")]
    updates = []
    for number in range(count // 2):
        venue, token = places[number % len(places)]
        moment = first + number * timedelta(minutes=5) / (count // 2)
        for trigger, delta in (("DEPOSIT", "1"), ("WITHDRAWAL", "-1")):
            leg = {"venue": venue, "token": token, "delta": delta}
            payload = {"id": f"{trigger}-{number}", "timestamp": moment, "trigger": trigger, "token_changes": [leg]}
            updates.append(parse_update(payload))
    bench.home.ledger.append_many(PORTFOLIO, updates)
