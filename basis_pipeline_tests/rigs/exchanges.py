"""Binance, Bybit and OKX on loopback, as unmodified ccxt speaks to them; importable without pytest.

::

    with exchange_venues() as venues:                       # a thread of its own; venues.url is the `gateway`
        fund = venues.account("binance", "key", "secret")   # OKX: a passphrase too
        fund.set_balance("spot", "USDT", "100")             # parts as in basis.yaml; `add` for the difference
        fund.set_borrowed("cross_margin", "ETH", "2", interest="0.01")
        fund.set_position("ETHUSDT-PERP", "-1.5", "3000")   # signed base units; ETHUSDT-PERP:LONG in hedge mode,
                                                            # BTCUSD-PERP (in contracts) for an inverse one
        venues.set_price("ETHUSDT", "3000.10", mark="3000.20")   # all venues, or venue="okx"; at=... for the past

* **Accounts**: the paths of `SIGNED` in `exchanges_accounts`. Every one checks the venue's signature and the age of its
  timestamp by this machine's clock plus ``venues.clock_skew``. ``account.permissions`` (of read, trade, withdraw) shows
  in the key's own description.
* **Market**: time, instruments, tickers, premium index and candles (spot and mark), from ``set_price`` alone: a candle
  opens with the price known at its start and closes with the last one before its end; before the first price the first
  one holds. Payload times come from the ``clock`` given to ``exchange_venues`` (default: now), so that a simulated day
  has its own time; time endpoints and signatures follow the real clock. ``venues.set_contract`` sizes an OKX contract.
* **Recorded answers**: ``venues.answer("/api/v3/account", payload)`` serves that JSON; signatures are still checked.
* **Faults**: ``venues.fail(path, fault, times=None)`` for one of ``FAULTS`` or an ``Answer`` of your own;
  ``venues.alter(path, change)`` passes the payload through a function; ``venues.heal()`` ends both.
  ``venues.latency`` (seconds) delays every answer.
* **Log**: ``venues.requests`` (newest last) and ``venues.count(path)``.

``path`` is always the venue's own, for example ``/v5/position/list``; it must match whole, or with a `*` at its end.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from aiohttp import web

from basis_pipeline_tests.rigs import exchanges_accounts, exchanges_market
from basis_pipeline_tests.rigs.exchanges_accounts import ScriptedAccount, Signed, refusal, signature_problem
from basis_pipeline_tests.rigs.exchanges_market import Prices

HOSTS = {"binance.com": "binance", "bybit.com": "bybit", "okx.com": "okx"}


class Request(NamedTuple):
    """One request that arrived: where it was meant for and what it was answered with (0: nothing)."""

    venue: str
    method: str
    host: str
    path: str
    query: str
    status: int


class Answer(NamedTuple):
    """A whole HTTP answer, to be served instead of the real one."""

    status: int
    body: str
    content_type: str = "application/json"
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


_PAGE = "<html><head><title>Attention</title></head><body><h1>Please try again</h1></body></html>"

FAULTS: dict[str, Answer | None] = {
    "empty": Answer(200, "{}"),
    "null": Answer(200, "null"),
    "list": Answer(200, "[]"),
    "text": Answer(200, '"maintenance"'),
    "html": Answer(200, _PAGE, "text/html"),
    "html_error": Answer(502, _PAGE, "text/html"),
    "500": Answer(500, '{"code":-1000,"msg":"An unknown error occurred"}'),
    "503": Answer(503, "Service Unavailable", "text/plain"),
    "truncated": None,  # JSON that ends half way
    "cut": None,  # a connection that ends half way
    "reset": None,  # a connection closed without an answer
    "timeout": None,  # no answer
    "429": None,  # too many requests, in the venue's own words
    "418": None,  # this address is banned, in the venue's own words
    "bad_signature": None,  # the venue's own words for it
    "clock": None,  # the venue's own words for a timestamp it does not accept
}
"""What can be made to go wrong, by name."""


@dataclass
class _Fault:
    path: str
    fault: str | Answer
    times: int | None


def _matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


@dataclass
class ExchangeVenues:
    """The three venues and everything that can be done to them; see the module's documentation."""

    clock: Callable[[], datetime]
    url: str = ""
    latency: float = 0.0
    clock_skew: float = 0.0
    requests: list[Request] = field(default_factory=list)
    accounts: dict[tuple[str, str], ScriptedAccount] = field(default_factory=dict)
    _answers: dict[str, Any] = field(default_factory=dict)
    _faults: list[_Fault] = field(default_factory=list)
    _changes: dict[str, Callable[[Any], Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prices = Prices(self.clock)

    def account(self, venue: str, key: str, secret: str, passphrase: str = "") -> ScriptedAccount:
        """A new, empty account that this key opens."""
        account = ScriptedAccount(venue, key, secret, passphrase, self.prices)
        self.accounts[venue, key] = account
        return account

    def set_price(
        self,
        symbol: str,
        spot: str | Decimal,
        mark: str | Decimal | None = None,
        venue: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """A price from now (or ``at``) on, at one venue or all; the perpetual's mark is the spot price if not given."""
        self.prices.set(symbol, Decimal(spot), Decimal(spot if mark is None else mark), venue, at)

    def set_contract(self, inst_id: str, ct_val: str, ct_mult: str = "1") -> None:
        """The size of an OKX contract."""
        self.prices.contracts[inst_id] = (ct_val, ct_mult)

    def answer(self, path: str, payload: Any) -> None:
        """Serve this payload at the path, whatever the accounts hold."""
        self._answers[path] = payload

    def alter(self, path: str, change: Callable[[Any], Any]) -> None:
        """Serve what ``change`` makes of the payload."""
        self._changes[path] = change

    def fail(self, path: str, fault: str | Answer, times: int | None = None) -> None:
        """Let requests to the path fail, ``times`` of them or all."""
        if isinstance(fault, str) and fault not in FAULTS:
            raise ValueError(f"{fault!r} is no fault; there are {', '.join(FAULTS)}")
        self._faults.append(_Fault(path, fault, times))

    def heal(self) -> None:
        """No more faults, altered and recorded answers."""
        self._faults.clear()
        self._changes.clear()
        self._answers.clear()

    def count(self, path: str) -> int:
        """How many requests the path had."""
        return sum(_matches(path, request.path) for request in list(self.requests))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request as the venue would, or as it was told to fail."""
        host, _, rest = request.path.removeprefix("/").partition("/")
        path = f"/{rest}"
        venue = next((name for domain, name in HOSTS.items() if host.endswith(domain)), "")
        arrived = Request(venue, request.method, host, path, request.query_string, 0)
        position = len(self.requests)
        self.requests.append(arrived)
        if self.latency:
            await asyncio.sleep(self.latency)
        response = await self._respond(request, venue, host, path)
        if position < len(self.requests):
            self.requests[position] = arrived._replace(status=response.status)
        return response

    async def _respond(self, request: web.Request, venue: str, host: str, path: str) -> web.StreamResponse:
        fault = self._next_fault(path)
        if isinstance(fault, Answer):
            return _response(fault)
        if fault == "reset":
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if fault == "timeout":
            await asyncio.sleep(3600)
        if fault in {"429", "418", "bad_signature", "clock"}:
            return _response(Answer(*refusal(venue, fault)))
        if isinstance(fault, str) and (served := FAULTS[fault]) is not None:
            return _response(served)
        answer = await self._answer(request, venue, host, path)
        if fault == "truncated":
            return _response(answer._replace(body=answer.body[: len(answer.body) // 2]))
        if fault == "cut":
            return await _cut(request, answer.body)
        return _response(answer)

    def _next_fault(self, path: str) -> str | Answer | None:
        for fault in self._faults:
            if _matches(fault.path, path):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self._faults.remove(fault)
                return fault.fault
        return None

    async def _answer(self, request: web.Request, venue: str, host: str, path: str) -> Answer:
        raw_query = request.raw_path.partition("?")[2]
        body = await request.text()
        query = {**request.query, **(await request.post() if request.method == "POST" else {})}
        build = exchanges_accounts.SIGNED.get((request.method, host, path))
        if build is not None:
            signed = Signed(venue, request.method, path, raw_query, body, dict(request.headers))
            account, problem = signature_problem(signed, self.accounts, self.clock_skew)
            if problem is not None or account is None:
                return Answer(*refusal(venue, problem or "key"))
            payload = self._answers[path] if path in self._answers else build(account, query)
        else:
            if path not in self._answers and (host, path) not in exchanges_market.PUBLIC:
                return Answer(404, '{"code":"404","msg":"no such path on this rig"}')
            try:
                payload = (
                    self._answers[path]
                    if path in self._answers
                    else exchanges_market.PUBLIC[host, path](self.prices, query, self.clock_skew)
                )
            except KeyError:  # a symbol without a price is not listed
                return Answer(*refusal(venue, "symbol"))
        for pattern, change in self._changes.items():
            if _matches(pattern, path):
                payload = change(payload)
        return Answer(200, json.dumps(payload, separators=(",", ":")))


def _response(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status, text=answer.body, content_type=answer.content_type, headers=answer.headers or None
    )


async def _cut(request: web.Request, body: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2].encode())
    if request.transport is not None:
        request.transport.abort()
    return response


@contextmanager
def exchange_venues(clock: Callable[[], datetime] | None = None, port: int = 0) -> Iterator[ExchangeVenues]:
    """The venues on a free port of 127.0.0.1 (or ``port``), served by a thread until the block ends."""
    venues = ExchangeVenues(clock or (lambda: datetime.now(UTC)))
    ready = threading.Event()
    failure: list[OSError] = []
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", venues.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        venues.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    def serve() -> None:
        asyncio.set_event_loop(loop)
        try:
            runner = loop.run_until_complete(start())
        except OSError as error:
            failure.append(error)
            ready.set()
            loop.close()
            return
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=serve, name="exchange-venues", daemon=True)
    thread.start()
    ready.wait()
    if failure:
        raise failure[0]
    try:
        yield venues
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
