"""What tokens are worth now, asked of venues: one after the other for each token, cached for a short while.

The rules are those of the valuation. A token with an underlying is converted first and priced second, an exchange's
price in USDT is multiplied by the price of USDT, and an answer that is stale, not positive or not exact is none.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError
from basis_pipeline.domain.instants import Clock, iso
from basis_pipeline.domain.numbers import VALUE_LIMIT, ZERO, divide, multiply, quantize_rate, quantize_value, subtract
from basis_pipeline.domain.quotes import AHEAD_MAX, Quote, Quoted, Rate, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry
from basis_pipeline.logs import get_logger
from basis_pipeline.market.routing import USD, Routing
from basis_pipeline.market.window import describe_span

CHAIN = ("wallet", "alchemy")
"""The names under which the on-chain interface may be handed over."""

_URL = re.compile(r"\w+://\S+")
_TEXT_MAX = 300
_log = get_logger(__name__)


class Discrepancy(NamedTuple):
    """Two sources that are further apart than the band: the one whose price is used, and the one it was compared to.

    ``deviation`` is the distance relative to the price that is used (0.01 is one per cent).
    """

    asset: str
    source: str
    price_usd: Decimal
    other: str
    other_price_usd: Decimal
    deviation: Decimal


class _Known(NamedTuple):
    """An accepted answer: USD per unit or a rate, unrounded, and until when on the monotonic clock it may be used."""

    value: Decimal
    source: str
    expires: float


_Outcome = _Known | Unavailable
_Route = list[tuple[str, Any]]
_Fetch = Callable[[list[str]], Awaitable[dict[str, _Outcome]]]


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PriceProvider:
    """Prices in USD from venue interfaces by name.

    ``binance``, ``bybit`` and ``okx`` are asked in this order, then the chain (``wallet`` or ``alchemy``), each only
    for the tokens that nobody before it could tell; the quote currencies of exchanges (USDT) are asked of the chain
    first. Conversion rates come from interfaces that have ``get_rates``, the chain before the others, never from an
    exchange. ``routing`` gives the order of exchanges, the quote currencies and the age limits by token or rate.

    A price answers for ``ttl`` on the ``monotonic`` clock, or until it is too old if that is sooner. Calls that need
    the same token at the same time share one request, which goes on when one of them is cancelled. A venue that takes
    longer than ``timeout`` is passed over.

    Behind the answer, each price is compared to that of the next source; where they differ by more than ``band``
    (None: no comparison), ``discrepancies`` says so and a warning is logged. The price stays that of the first source.
    To be used from one event loop at a time.
    """

    def __init__(
        self,
        venue_interfaces: Mapping[str, Any],
        registry: Registry = DEFAULT_REGISTRY,
        routing: Routing | None = None,
        *,
        ttl: timedelta = timedelta(seconds=30),
        timeout: timedelta = timedelta(seconds=10),
        band: Decimal | None = Decimal("0.01"),
        monotonic: Callable[[], float] = time.monotonic,
        clock: Clock = _utc_now,
    ) -> None:
        if ttl < timedelta(0):
            raise InputError(f"ttl: {ttl} is negative; give zero to ask every time")
        if timeout <= timedelta(0):
            raise InputError(f"timeout: {timeout} must be longer than zero")
        if band is not None and not (band.is_finite() and band > ZERO):
            raise InputError(f"band: {band} must be positive, such as 0.01 for one per cent, or None")
        self.venue_interfaces = venue_interfaces
        self._registry = registry
        self._routing = Routing() if routing is None else routing
        self._ttl = ttl
        self._timeout = timeout
        self._band = band
        self._monotonic = monotonic
        self._clock = clock
        self._cache: dict[str, _Known] = {}
        self._flights: dict[str, asyncio.Task[dict[str, _Outcome]]] = {}
        self._comparisons: set[asyncio.Task[None]] = set()
        self._discrepancies: dict[str, Discrepancy] = {}

    async def get_prices(self, assets: Iterable[str]) -> dict[str, Decimal]:
        """USD per unit of each asset, by the name it was asked with; all of them or ``MissingPriceError``.

        Units are the ledger's: scaled ones for a- and debt tokens. A base token's price is rounded to 18 places,
        a converted one is the unrounded product. ``UnknownNameError`` for a name that is not registered.
        """
        if isinstance(assets, str):
            raise InputError(f"assets: {assets!r} is one name; give a list of names")
        valuations = {asset: self._registry.valuation(asset) for asset in assets}
        bases = {asset: self._routing.priced_as(valuation.base) for asset, valuation in valuations.items()}
        parts = await asyncio.gather(
            self._learn([base for base in bases.values() if self._is_currency(base)], self._fetch_currencies),
            self._learn([base for base in bases.values() if not self._is_currency(base)], self._fetch_tokens),
            self._learn([name for each in valuations.values() for name in each.rate_names], self._fetch_rates),
        )
        outcomes = {name: outcome for part in parts for name, outcome in part.items()}
        prices: dict[str, Decimal] = {}
        gaps: list[Unavailable] = []
        for asset, valuation in valuations.items():
            steps = {name: outcomes[name] for name in (*valuation.rate_names, bases[asset])}
            failed = {name: step for name, step in steps.items() if isinstance(step, Unavailable)}
            if failed:
                gaps.append(_gap(asset, failed))
            else:
                # The cache, not the outcome: a token's price rests on the price of USDT that is there now.
                price = quantize_value(self._cache[bases[asset]].value)
                rates = [quantize_rate(self._cache[name].value) for name in valuation.rate_names]
                prices[asset] = multiply(reduce(multiply, rates), price) if rates else price
        if gaps:
            message = "; ".join(f"no price of {gap.name}: {gap.describe()}" for gap in gaps)
            raise MissingPriceError(message, tuple(gaps))
        return prices

    @property
    def discrepancies(self) -> tuple[Discrepancy, ...]:
        """Where two sources disagreed when they were last compared, by token."""
        return tuple(self._discrepancies[name] for name in sorted(self._discrepancies))

    async def compared(self) -> tuple[Discrepancy, ...]:
        """``discrepancies``, once the comparisons that are under way have ended."""
        if self._comparisons:
            await asyncio.wait(self._comparisons)
        return self.discrepancies

    async def _learn(self, names: Iterable[str], fetch: _Fetch) -> dict[str, _Outcome]:
        """What is cached, what others are asking for already, and the rest by one ``fetch``."""
        now = self._monotonic()
        outcomes: dict[str, _Outcome] = {}
        flights: dict[str, asyncio.Task[dict[str, _Outcome]]] = {}
        unknown: list[str] = []
        for name in dict.fromkeys(names):
            known = self._cache.get(name)
            if known is not None and now < known.expires:
                outcomes[name] = known
            elif name in self._flights:
                flights[name] = self._flights[name]
            else:
                unknown.append(name)
        if unknown:
            task = asyncio.ensure_future(self._fly(unknown, fetch))
            task.add_done_callback(self._land)
            flights |= dict.fromkeys(unknown, task)
            self._flights |= dict.fromkeys(unknown, task)
        if flights:
            await asyncio.wait(set(flights.values()))  # unlike gather, this leaves them alone when it is cancelled
        outcomes |= {name: task.result()[name] for name, task in flights.items()}
        return outcomes

    async def _fly(self, names: list[str], fetch: _Fetch) -> dict[str, _Outcome]:
        outcomes = await fetch(names)
        self._cache |= {name: each for name, each in outcomes.items() if isinstance(each, _Known)}
        return outcomes

    def _land(self, task: asyncio.Task[dict[str, _Outcome]]) -> None:
        # Not at the end of the flight: one that is cancelled before its first step never gets there.
        self._flights = {name: each for name, each in self._flights.items() if each is not task}

    async def _fetch_tokens(self, names: list[str]) -> dict[str, _Outcome]:
        route = self._exchanges() + self._chain()
        outcomes = await self._prices(names, route)
        if self._band is not None:
            known = {name: each for name, each in outcomes.items() if isinstance(each, _Known)}
            comparison = asyncio.ensure_future(self._compare(known, route, self._band))
            self._comparisons.add(comparison)
            comparison.add_done_callback(self._comparisons.discard)
        return outcomes

    async def _fetch_currencies(self, names: list[str]) -> dict[str, _Outcome]:
        return await self._prices(names, self._chain() + self._exchanges())

    async def _fetch_rates(self, names: list[str]) -> dict[str, _Outcome]:
        others = [each for each in self.venue_interfaces.items() if each[0] not in (*self._routing.exchanges, *CHAIN)]
        route = [each for each in self._chain() + others if hasattr(each[1], "get_rates")]
        return await self._walk(names, route, "get_rates")

    async def _prices(self, names: list[str], route: _Route) -> dict[str, _Outcome]:
        return await self._walk(names, route, "get_prices")

    async def _walk(self, names: list[str], route: _Route, method: str) -> dict[str, _Outcome]:
        """Ask each source of the route for what nobody before it could tell."""
        known: dict[str, _Outcome] = {}
        tried: dict[str, list[str]] = {name: [] for name in names}
        for source, interface in route:
            left = [name for name in names if name not in known]
            if not left:
                break
            asked = self._monotonic()  # before the answer, however long it takes
            answer = await self._ask(interface, method, left)
            for name in left:
                judged = answer if isinstance(answer, str) else await self._judge(name, source, answer.get(name), asked)
                if isinstance(judged, str):
                    tried[name].append(f"{source}: {judged}")
                else:
                    known[name] = judged
        return {name: known.get(name) or Unavailable(name, tuple(tried[name])) for name in names}

    async def _ask(self, interface: Any, method: str, names: list[str]) -> Mapping[str, Any] | str:
        """The answer of an interface, or why there is none. It is someone else's code, so that anything may fail."""

        async def call() -> Any:
            return await getattr(interface, method)(list(names))

        seconds = self._timeout.total_seconds()
        answers: tuple[Any] = await asyncio.gather(asyncio.wait_for(call(), seconds), return_exceptions=True)
        answer = answers[0]
        if isinstance(answer, TimeoutError):
            return f"no answer within {seconds:g} s"
        if isinstance(answer, BasisError):
            return str(answer)
        if isinstance(answer, BaseException):
            text = _URL.sub("(address left out)", str(answer))[:_TEXT_MAX]  # an address may hold a key
            return f"{type(answer).__name__}: {text}" if text else type(answer).__name__
        return answer if isinstance(answer, Mapping) else f"answered a {type(answer).__name__}, not prices by name"

    async def _judge(self, name: str, source: str, answer: object, asked: float) -> _Known | str:
        """The answer as USD per unit (or as a rate), or what is wrong with it."""
        if answer is None:
            return f"does not know {name}"
        value, currency, observed_at = _parts(answer)
        wrong = _wrong_number(value)
        if wrong is not None:
            return wrong
        number = Decimal(value)
        expires = asked + self._ttl.total_seconds()
        if observed_at is not None:
            if not isinstance(observed_at, datetime) or observed_at.tzinfo is None:
                return f"its time {observed_at!r} has no time zone"
            age, limit = self._clock() - observed_at, self._routing.age_limit(name)
            if age > limit:
                return f"{iso(observed_at)} is {describe_span(age)} old (limit {describe_span(limit)})"
            if age < -AHEAD_MAX:
                return f"{iso(observed_at)} is in the future"
            expires = min(expires, asked + (limit - age).total_seconds())
        if currency != USD:
            if self._is_currency(name) or not self._is_currency(currency):
                return f"quotes {currency}, which is not converted to USD here"
            unit = (await self._learn([currency], self._fetch_currencies))[currency]
            if isinstance(unit, Unavailable):
                return f"no USD price of {currency} ({unit.describe()})"
            number, expires = multiply(number, unit.value), min(expires, unit.expires)
        if quantize_value(number) <= ZERO:
            return f"{number} is below the smallest price that can be stored, 1e-18"
        return _Known(number, source, expires)

    async def _compare(self, known: Mapping[str, _Known], route: _Route, band: Decimal) -> None:
        """Compare each price to the next source that can tell one; nothing is learned where there is none."""
        sources = [source for source, _ in route]
        for source in dict.fromkeys(each.source for each in known.values()):
            names = [name for name, each in known.items() if each.source == source]
            others = await self._prices(names, route[sources.index(source) + 1 :])
            for name, other in others.items():
                if isinstance(other, _Known):
                    self._note(name, known[name], other, band)

    def _note(self, name: str, used: _Known, other: _Known, band: Decimal) -> None:
        deviation = divide(subtract(used.value, other.value).copy_abs(), used.value)
        if deviation <= band:
            self._discrepancies.pop(name, None)
            return
        if name not in self._discrepancies:
            _log.warning(
                "sources disagree about a price",
                asset=name,
                used=f"{used.source} {used.value}",
                other=f"{other.source} {other.value}",
                band=str(band),
            )
        self._discrepancies[name] = Discrepancy(
            name, used.source, quantize_value(used.value), other.source, quantize_value(other.value), deviation
        )

    def _is_currency(self, name: str) -> bool:
        return name in self._routing.exchange_quotes

    def _exchanges(self) -> _Route:
        return [
            (name, self.venue_interfaces[name]) for name in self._routing.exchanges if name in self.venue_interfaces
        ]

    def _chain(self) -> _Route:
        return [(name, self.venue_interfaces[name]) for name in CHAIN if name in self.venue_interfaces][:1]


def _gap(asset: str, failed: Mapping[str, Unavailable]) -> Unavailable:
    if list(failed) == [asset]:
        return failed[asset]
    return Unavailable(asset, tuple(f"{name}: {step.describe()}" for name, step in failed.items()))


def _parts(answer: object) -> tuple[Any, str, Any]:
    """Number, currency and time of what an interface answered."""
    match answer:
        case Quote(price_usd=value, observed_at=at):
            return value, USD, at
        case Quoted(price=value, currency=currency, observed_at=at):
            return value, currency, at
        case Rate(rate=value, observed_at=at):
            return value, USD, at
    return answer, USD, None


def _wrong_number(value: object) -> str | None:
    if not isinstance(value, Decimal):
        return f"answered {value!r:.100}, a {type(value).__name__}; only a Decimal is exact"
    if not value.is_finite():
        return f"answered {value}, not a finite number"
    if value <= ZERO:
        return f"answered {value}, not positive"
    if value >= VALUE_LIMIT:
        return f"answered {value:.3E}, too large to be stored"
    return None
