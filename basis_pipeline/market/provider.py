"""What tokens are worth now, asked of venues: one after the other for each token, cached for a short while.

The rules are those of the valuation. A token with an underlying is converted first and priced second, an exchange's
price in USDT is multiplied by the price of USDT, and an answer that is stale, not positive or not exact is none.
``live_routes`` says who is asked, ``asking`` asks, ``answers`` judges what comes back, ``flights`` keeps it and
``comparing`` holds it against the next source.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import ONE, ZERO, add, multiply, quantize_rate, quantize_value
from basis_pipeline.domain.quotes import Basket, Quoted, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry, canonical_venue, parse_instrument
from basis_pipeline.market.answers import Known, Outcome, told
from basis_pipeline.market.asking import Asking, Subject
from basis_pipeline.market.comparing import Comparison, Discrepancy
from basis_pipeline.market.flights import Fetch, Flights
from basis_pipeline.market.live_routes import LiveRoutes
from basis_pipeline.market.routing import USD, Routing, contract
from basis_pipeline.market.wanted import NOT_ON_EXCHANGES

__all__ = ["Discrepancy", "Observed", "PriceProvider"]


class Observed(NamedTuple):
    """Where a price, a rate or a mark comes from that was used last.

    ``name`` is a base token (``value`` in USD), a rate's name, or ``venue:INSTRUMENT`` (in its settlement coin).
    ``observed_at`` is the venue's time, None where it told none; ``fetched_at`` is when it was asked.
    """

    name: str
    value: Decimal
    source: str
    observed_at: datetime | None
    fetched_at: datetime


_NEVER = (ZERO, -math.inf)
"""What is not ready, and has always been expired."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PriceProvider:
    """Prices in USD from venue interfaces by name.

    ``binance``, ``bybit`` and ``okx`` are asked in this order, then the chain (``wallet`` or ``alchemy``, then
    ``chainlink``), each only for the tokens that nobody before it could tell; USDT, in which exchanges quote, is asked
    of the chain first. Conversion rates come from interfaces that have ``get_rates``, the chain before the others,
    never from an exchange, and marks from the contract's own venue. KING is asked of the chain alone, and may be told
    by what it is redeemed for. ``routing`` gives the order of exchanges, the quote currencies, the age limits by name,
    and the routes that replace these defaults.

    A price answers for ``ttl`` on the ``monotonic`` clock, or until it is too old if that is sooner. Calls that need
    the same name at the same time share one request, which goes on when one of them is cancelled. A venue that takes
    longer than ``timeout`` is passed over.

    Behind the answer, each price is compared to that of the next source; where they differ by more than ``band``
    (None: no comparison), ``discrepancies`` says so and a warning is logged. The price stays that of the first source.
    To be used from one event loop at a time, and closed where requests may be under way at the end.
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
        self._routes = LiveRoutes(venue_interfaces, self._routing)
        self._asking = Asking(timeout, ttl, monotonic, clock)
        self._flights = Flights(monotonic)
        self._monotonic = monotonic
        self._ready: dict[str, tuple[Decimal, float]] = {}
        limit = self._routing.age_limit
        self._price = Subject(self._accept_price, limit, in_usd=True, worth=self._worth)
        self._rate = Subject(_accept_rate, limit, in_usd=False)
        self._mark = Subject(_accept_mark, lambda key: limit(_instrument(key)), in_usd=False)
        self._comparison = Comparison(lambda routes: self._asking.walk(routes, self._price), band)

    async def get_prices(self, assets: Iterable[str]) -> dict[str, Decimal]:
        """USD per unit of each asset, by the name it was asked with; all of them or ``MissingPriceError``.

        Units are the ledger's: scaled ones for a- and debt tokens. A base token's price is rounded to 18 places,
        a converted one is the unrounded product. ``UnknownNameError`` for a name that is not registered.
        """
        if isinstance(assets, str):
            raise InputError(f"assets: {assets!r} is one name; give a list of names")
        assets = list(assets)
        ready = self._ready_prices(assets)
        if ready is not None:
            return ready
        valuations = {asset: self._registry.valuation(asset) for asset in assets}
        bases = {asset: self._routing.priced_as(valuation.base) for asset, valuation in valuations.items()}
        parts = await asyncio.gather(
            *(self._learn(names, self._fetch_prices) for names in self._by_rank(bases.values())),
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
                # What is known, not the outcome: a token's price rests on the price of USDT that is there now.
                known = [self._flights.known[name] for name in (*valuation.rate_names, bases[asset])]
                rates, price = [quantize_rate(each.value) for each in known[:-1]], quantize_value(known[-1].value)
                prices[asset] = multiply(reduce(multiply, rates), price) if rates else price
                self._ready[asset] = prices[asset], min(each.expires for each in known)
        _refuse_gaps("price", gaps)
        return prices

    def _ready_prices(self, assets: list[str]) -> dict[str, Decimal] | None:
        """The prices that were worked out before, where nothing that they rest on has expired since."""
        now, prices = self._monotonic(), {}
        for asset in assets:
            prices[asset], expires = self._ready.get(asset, _NEVER)
            if now >= expires:
                return None
        return prices

    async def get_marks(self, contracts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        """The mark of each (venue, instrument) in the contract's settlement coin, unrounded; all of them or an error.

        Both hedge-mode legs of a contract have its mark. ``MissingPriceError`` lists what failed, ``UnknownNameError``
        is for a venue or an instrument that there is none of.
        """
        keys = {each: _key(*each) for each in contracts}
        outcomes = await self._learn(keys.values(), self._fetch_marks)
        gaps: list[Unavailable] = []
        marks: dict[tuple[str, str], Decimal] = {}
        for (venue, instrument), key in keys.items():
            outcome = outcomes[key]
            if isinstance(outcome, Unavailable):
                gaps.append(Unavailable(f"{venue} {instrument}", outcome.tried))
            else:
                marks[venue, instrument] = outcome.value
        _refuse_gaps("mark", gaps)
        return marks

    @property
    def observed(self) -> tuple[Observed, ...]:
        """What every price, rate and mark rests on that was learned so far, the newest of each, by name."""
        known = self._flights.known
        return tuple(Observed(name, *known[name][:-1]) for name in sorted(known))

    @property
    def discrepancies(self) -> tuple[Discrepancy, ...]:
        """Where two sources disagreed when they were last compared, by token."""
        return self._comparison.found

    async def compared(self) -> tuple[Discrepancy, ...]:
        """``discrepancies``, once the comparisons that are under way have ended."""
        await self._comparison.ended()
        return self.discrepancies

    async def close(self) -> None:
        """End the requests that are under way; the interfaces are closed by whoever opened them."""
        await self._comparison.close()
        await self._flights.close()

    def _by_rank(self, tokens: Iterable[str]) -> list[list[str]]:
        """The tokens in parts of which none waits for a price of itself: a price in USDT needs that of USDT."""
        parts: dict[int, list[str]] = {}
        for token in tokens:
            parts.setdefault(self._routes.rank(token), []).append(token)
        return list(parts.values())

    async def _learn(self, names: Iterable[str], fetch: Fetch) -> dict[str, Outcome]:
        return await self._flights.learn(names, fetch)

    async def _fetch_prices(self, names: list[str]) -> dict[str, Outcome]:
        routes = {name: self._routes.price(name) for name in names}
        outcomes = await self._asking.walk(routes, self._price)
        self._comparison.begin(outcomes, routes)
        return outcomes

    async def _fetch_rates(self, names: list[str]) -> dict[str, Outcome]:
        routes = {name: self._routes.rate(name) for name in names if not self._routes.is_constant(name)}
        outcomes = await self._asking.walk(routes, self._rate)
        one = Known(ONE, "rebasing token", None, self._asking.clock(), math.inf)
        return outcomes | {name: one for name in names if name not in outcomes}

    async def _fetch_marks(self, keys: list[str]) -> dict[str, Outcome]:
        routes = {key: self._routes.mark(key.partition(":")[0], _instrument(key)) for key in keys}
        return await self._asking.walk(routes, self._mark)

    async def _accept_price(self, name: str, currency: str, known: Known) -> Known | str:
        """The price in USD, by that of the currency it is told in."""
        if currency not in ("", USD):
            if currency not in self._routes.currencies(name):
                return f"quotes {currency}, which is not converted to USD here"
            priced_as = self._routing.priced_as(currency)
            unit = (await self._learn([priced_as], self._fetch_prices))[priced_as]
            if isinstance(unit, Unavailable):
                return f"no USD price of {currency} ({unit.describe()})"
            value, expires = multiply(known.value, unit.value), min(known.expires, unit.expires)
            known = known._replace(value=value, expires=expires)
        return _storable(known)

    async def _worth(self, name: str, basket: Basket) -> tuple[Quoted, float] | str:
        """What a share of a vault is redeemed for, at the prices of its tokens, and until when those hold."""
        if name not in NOT_ON_EXCHANGES or NOT_ON_EXCHANGES & set(basket.amounts):
            return f"is told to be {', '.join(basket.amounts)}; only a share of a vault is, and of others than vaults"
        amounts = {token: told(amount, in_usd=True) for token, amount in basket.amounts.items()}
        wrong = [f"{amount} of {token}" for token, amount in amounts.items() if isinstance(amount, str)]
        if wrong or not amounts:
            return f"is redeemed for nothing that can be counted ({', '.join(wrong)})"
        try:
            prices = await self.get_prices(amounts)
        except BasisError as error:
            return f"is redeemed for {', '.join(amounts)}: {error}"
        usd = reduce(add, (multiply(basket.amounts[token], price) for token, price in prices.items()))
        return Quoted(usd, USD, basket.observed_at), min(self._ready[token][1] for token in amounts)


async def _accept_rate(_name: str, _currency: str, known: Known) -> Known | str:
    if quantize_rate(known.value) <= ZERO:
        return f"{known.value} is below the smallest rate that can be stored, 1e-27"
    return known


async def _accept_mark(key: str, currency: str, known: Known) -> Known | str:
    settlement = parse_instrument(_instrument(key)).quote
    if currency not in ("", settlement):
        return f"quotes {currency}, but the contract settles in {settlement}"
    return _storable(known)


def _storable(known: Known) -> Known | str:
    if quantize_value(known.value) <= ZERO:
        return f"{known.value} is below the smallest price that can be stored, 1e-18"
    return known


def _key(venue: str, instrument: str) -> str:
    """Under which a contract's mark is kept, whatever leg it is for."""
    return f"{canonical_venue(venue)}:{contract(parse_instrument(instrument).name)}"


def _instrument(key: str) -> str:
    return key.partition(":")[2]


def _gap(asset: str, failed: Mapping[str, Unavailable]) -> Unavailable:
    if list(failed) == [asset]:
        return failed[asset]
    return Unavailable(asset, tuple(f"{name}: {step.describe()}" for name, step in failed.items()))


def _refuse_gaps(what: str, gaps: list[Unavailable]) -> None:
    if gaps:
        message = "; ".join(f"no {what} of {gap.name}: {gap.describe()}" for gap in gaps)
        raise MissingPriceError(message, tuple(gaps))
