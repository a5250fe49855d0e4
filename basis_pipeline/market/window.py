"""A span of history that answers as of any instant in it: the newest observation known by then, or why there is none.

A stamp is the instant at which a value became known, so an observation answers from its own stamp on and never
before. Sources are asked in order; one that has nothing, is too old, not positive or says two things at once is
passed over, and the reason is kept for whoever ends up without an answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import repeat
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import (
    CONTEXT,
    ONE,
    VALUE_QUANTUM,
    ZERO,
    canonical,
    multiply,
    quantize_rate,
    quantize_value,
)
from basis_pipeline.domain.quotes import Quote, QuoteColumn, Rate, Unavailable
from basis_pipeline.market.plans import MICROSECOND, Plan, Plans, Source
from basis_pipeline.market.routing import USD, SeriesRef
from basis_pipeline.market.store import Store, StoredSeries

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RATE_PLACES = 27


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // MICROSECOND


def from_us(us: int) -> datetime:
    """The UTC datetime of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=us)


def describe_span(span: timedelta) -> str:
    """A length of time for people: ``5 h``, ``2 h 30 min``, ``3 d 1 h``."""
    seconds = span // timedelta(seconds=1)
    parts = [
        f"{count} {unit}"
        for count, unit in (
            (seconds // 86_400, "d"),
            (seconds // 3_600 % 24, "h"),
            (seconds // 60 % 60, "min"),
            (seconds % 60, "s"),
        )
        if count
    ]
    return " ".join(parts[:2]) or "0 s"


class _Exact(NamedTuple):
    """An answer before rounding: USD per unit, the value as quoted, and the oldest stamp it rests on."""

    usd: Decimal
    price: Decimal
    currency: str
    label: str
    stamp_us: int


_Observed: TypeAlias = tuple[Decimal, int]
_Tried: TypeAlias = tuple[str, ...]


class _Slice:
    """The part of one series that a window can see, plus the one observation before it (to say how old it is)."""

    __slots__ = ("places", "stamps", "values")

    def __init__(self, stored: StoredSeries, first_us: int, last_us: int) -> None:
        start = max(int(np.searchsorted(stored.times, first_us, side="left")) - 1, 0)
        end = int(np.searchsorted(stored.times, last_us, side="right"))
        self.stamps: list[int] = stored.times[start:end].tolist()
        values = stored.values.slice(start, max(end - start, 0))
        self.values = list(map(Decimal, values.cast(pa.string()).to_pylist()))
        self.places: int = values.type.scale

    def contradicts_itself(self, position: int) -> bool:
        """Whether another observation with the same stamp has another value; ``position`` is the last of them."""
        before = position - 1
        while before >= 0 and self.stamps[before] == self.stamps[position]:
            if self.values[before] != self.values[position]:
                return True
            before -= 1
        return False


class _Moment:
    """The instant asked about and what was answered for it: every name is worked out once per instant."""

    __slots__ = ("at", "exact", "marks", "prices", "rates", "us")

    def __init__(self, at: datetime, us: int) -> None:
        self.at = at
        self.us = us
        self.exact: dict[str, _Exact | _Tried] = {}
        self.prices: dict[str, Quote | Unavailable] = {}
        self.marks: dict[tuple[str, str], Quote | Unavailable] = {}
        self.rates: dict[str, Rate | Unavailable] = {}


class _Dense(NamedTuple):
    """Usable observations stamped exactly at each of some instants: USD per unit unrounded, and as quoted."""

    usd: list[Decimal]
    values: list[Decimal]
    currency: str
    label: str


class _Column:
    """Consecutive instants asked about together, and what was found for them."""

    __slots__ = ("dense", "instants", "quotes", "stamps")

    def __init__(self, instants: list[datetime], stamps: list[int]) -> None:
        self.instants = instants
        self.stamps = stamps
        self.dense: dict[str, _Dense | None] = {}
        self.quotes: dict[str, QuoteColumn | None] = {}


class MarketWindow:
    """The ``Market`` of history for instants from ``first`` to ``last``; an instant outside is an ``InputError``.

    Answers of the latest instant asked are kept; ask hour by hour, all names of an hour together.
    """

    def __init__(self, store: Store, plans: Plans, first: datetime, last: datetime) -> None:
        self.first = first
        self.last = last
        self._store = store
        self._plans = plans
        self._first_us = to_us(first)
        self._last_us = to_us(last)
        self._slices: dict[SeriesRef, _Slice | None] = {}
        self._latest: _Moment | None = None
        self._column: _Column | None = None

    def price(self, token: str, at: datetime) -> Quote | Unavailable:
        """USD price of a token; its quote currency is converted by that currency's own route as of the same instant."""
        moment = self._moment(at)
        answer = moment.prices.get(token)
        if answer is None:
            exact = self._exact(token, moment, ())
            answer = moment.prices[token] = self._quote(token, exact, moment)
        return answer

    def mark(self, venue: str, instrument: str, at: datetime) -> Quote | Unavailable:
        """Mark of a perpetual, by default from its own venue only; both hedge-mode legs share one mark."""
        moment = self._moment(at)
        answer = moment.marks.get((venue, instrument))
        if answer is None:
            name = f"{venue} {instrument}"
            plan = self._plans.mark(venue, instrument)
            found: _Exact | _Tried
            if plan.sources:
                found = self._first_of(plan, moment, ())
            else:
                found = (f"{instrument} is not of the form <BASE><QUOTE>-PERP with a known quote currency",)
            answer = moment.marks[venue, instrument] = self._quote(name, found, moment)
        return answer

    def rate(self, name: str, at: datetime) -> Rate | Unavailable:
        """A conversion rate; ``lst:`` of a rebasing token is 1 because its balance grows instead."""
        moment = self._moment(at)
        answer = moment.rates.get(name)
        if answer is None:
            answer = moment.rates[name] = self._rate(name, moment)
        return answer

    def all_quotes(self, at: datetime) -> Iterator[tuple[str, str, str, Quote]]:
        """(symbol, kind, venue, quote) of every priced series with a usable observation, unique on the first three."""
        moment = self._moment(at)
        for symbol, kind, venue, plan in self._plans.shown:
            answer = self._quote(symbol, self._first_of(plan, moment, ()), moment)
            if isinstance(answer, Quote):
                yield symbol, kind, venue, answer

    def all_rates(self, at: datetime) -> Iterator[tuple[str, Rate]]:
        """(name, rate) of every conversion rate with a usable observation; constant ones are not listed."""
        for name in self._plans.rate_names:
            answer = self.rate(name, at)
            if isinstance(answer, Rate):
                yield name, answer

    def prices(self, token: str, instants: Sequence[datetime]) -> QuoteColumn | None:
        """``price`` at each instant, where every series it needs has a sound observation at each of them."""
        column = self._instants(instants)
        token = self._plans.routing.priced_as(token)
        if token not in column.quotes:
            dense = self._dense_price(token, column, ())
            column.quotes[token] = None if dense is None else _quotes(dense)
        return column.quotes[token]

    def marks(self, venue: str, instrument: str, instants: Sequence[datetime]) -> QuoteColumn | None:
        """``mark`` at each instant, like ``prices``."""
        dense = self._dense(self._plans.mark(venue, instrument), self._instants(instants), ())
        return None if dense is None else _quotes(dense)

    def rates(self, name: str, instants: Sequence[datetime]) -> list[Decimal] | None:
        """``rate`` at each instant, like ``prices``."""
        found = self._dense_values(self._plans.rate(name), self._instants(instants))
        if found is None:
            return None
        source, values = found
        part = self._slices[source.ref]
        return [quantize_rate(value) for value in values] if part and part.places > _RATE_PLACES else values

    def _instants(self, instants: Sequence[datetime]) -> _Column:
        if self._column is None or self._column.instants != instants:
            stamps = [to_us(at) for at in instants]
            if not stamps:
                raise InputError("instants: none are given")
            if not self._first_us <= min(stamps) <= max(stamps) <= self._last_us:
                raise InputError(
                    f"instants: {iso(instants[0])} to {iso(instants[-1])} are not all inside the loaded window "
                    f"{iso(self.first)} to {iso(self.last)}"
                )
            self._column = _Column(list(instants), stamps)
        return self._column

    def _dense_price(self, token: str, column: _Column, path: tuple[str, ...]) -> _Dense | None:
        token = self._plans.routing.priced_as(token)
        if token not in column.dense:
            plan = self._plans.price(token)
            cyclic = plan.cyclic or token in path
            column.dense[token] = None if cyclic else self._dense(plan, column, (*path, token))
        return column.dense[token]

    def _dense(self, plan: Plan, column: _Column, path: tuple[str, ...]) -> _Dense | None:
        found = self._dense_values(plan, column)
        if found is None:
            return None
        source, values = found
        if source.quote == USD:
            return _Dense(values, values, USD, source.label)
        unit = self._dense_price(source.quote, column, path)
        if unit is None:
            return None
        return _Dense(list(map(multiply, values, unit.usd)), values, source.quote, source.label)

    def _dense_values(self, plan: Plan, column: _Column) -> tuple[Source, list[Decimal]] | None:
        """The first existing source and its values, if it has one sound observation at exactly each instant.

        None sends the caller the long way, instant by instant, which knows about age, duplicates and fallbacks.
        """
        stamps = column.stamps
        for source in plan.sources:
            part = self._load(source.ref)
            if part is None:
                continue
            start = bisect_left(part.stamps, stamps[0])
            end = start + len(stamps)
            followed_by_another = part.stamps[end : end + 1] == stamps[-1:]
            if followed_by_another or part.stamps[start:end] != stamps:
                return None
            values = part.values[start:end]
            return None if min(values) <= ZERO else (source, values)
        return None

    def _moment(self, at: datetime) -> _Moment:
        latest = self._latest
        if latest is not None and (latest.at is at or latest.at == at):
            return latest
        if at.tzinfo is None:
            raise InputError(f"at: {at} has no time zone; the market answers for UTC instants")
        us = to_us(at)
        if not self._first_us <= us <= self._last_us:
            raise InputError(f"at: {iso(at)} is outside the loaded window {iso(self.first)} to {iso(self.last)}")
        self._latest = moment = _Moment(at, us)
        return moment

    def _quote(self, name: str, found: _Exact | _Tried, moment: _Moment) -> Quote | Unavailable:
        if not isinstance(found, _Exact):
            return Unavailable(name, found)
        usd, price, currency, label, stamp = found
        price_usd = quantize_value(usd)
        if price_usd <= ZERO:
            return Unavailable(name, (f"{label}: {usd} USD is below the smallest price that can be stored, 1e-18",))
        return Quote(price_usd, price, currency, label, moment.at if stamp == moment.us else from_us(stamp))

    def _exact(self, token: str, moment: _Moment, path: tuple[str, ...]) -> _Exact | _Tried:
        token = self._plans.routing.priced_as(token)
        found = moment.exact.get(token)
        if found is not None:
            return found
        if token == USD:
            return _Exact(ONE, ONE, USD, "unit of account", moment.us)
        if token in path:
            return (f"its route comes back to {token} ({' in '.join((*path, token))})",)
        plan = self._plans.price(token)
        found = self._first_of(plan, moment, (*path, token))
        if not plan.cyclic:
            moment.exact[token] = found
        return found

    def _first_of(self, plan: Plan, moment: _Moment, path: tuple[str, ...]) -> _Exact | _Tried:
        """The first source with a usable value and a USD price for its quote currency."""
        tried: list[str] = []
        for source in plan.sources:
            observed = self._observe(source, plan.age_limit_us, moment)
            if isinstance(observed, str):
                tried.append(observed)
                continue
            value, stamp = observed
            if source.quote == USD:
                return _Exact(value, value, USD, source.label, stamp)
            unit = self._exact(source.quote, moment, path)
            if isinstance(unit, _Exact):
                usd = multiply(value, unit.usd)
                return _Exact(usd, value, source.quote, source.label, min(stamp, unit.stamp_us))
            tried.append(f"{source.label}: no USD price of {source.quote} ({'; '.join(unit)})")
        return tuple(tried)

    def _rate(self, name: str, moment: _Moment) -> Rate | Unavailable:
        plan = self._plans.rate(name)
        if not plan.sources:
            if name in self._plans.constant_rates:
                return Rate(ONE, "rebasing token", moment.at)
            form = "aave:<reserve>:liquidity, aave:<reserve>:debt or lst:<token>"
            return Unavailable(name, (f"{name} is no rate; rates are {form}",))
        tried: list[str] = []
        for source in plan.sources:
            observed = self._observe(source, plan.age_limit_us, moment)
            if isinstance(observed, str):
                tried.append(observed)
                continue
            value, stamp = observed
            part = self._slices[source.ref]
            if part is not None and part.places > _RATE_PLACES:
                value = quantize_rate(value)
            return Rate(value, source.label, moment.at if stamp == moment.us else from_us(stamp))
        return Unavailable(name, tuple(tried))

    def _observe(self, source: Source, age_limit_us: int, moment: _Moment) -> _Observed | str:
        """The newest usable value of one series, or why there is none."""
        part = self._slices.get(source.ref)
        if part is None:
            part = self._load(source.ref)
            if part is None:
                return f"{source.label}: no such series"
        stamps = part.stamps
        position = bisect_right(stamps, moment.us) - 1
        if position < 0:
            return f"{source.label}: no observation"
        stamp = stamps[position]
        if moment.us - stamp > age_limit_us:
            age, limit = (describe_span(timedelta(microseconds=us)) for us in (moment.us - stamp, age_limit_us))
            return f"{source.label}: {iso(from_us(stamp))} is {age} old (limit {limit})"
        if position and stamps[position - 1] == stamp and part.contradicts_itself(position):
            return f"{source.label}: two different values at {iso(from_us(stamp))}"
        value = part.values[position]
        if value <= ZERO:
            return f"{source.label}: {canonical(value)} at {iso(from_us(stamp))} is not positive"
        return value, stamp

    def _load(self, ref: SeriesRef) -> _Slice | None:
        if ref not in self._slices:
            stored = self._store.series.get(ref)
            oldest = self._first_us - self._plans.look_back_us
            self._slices[ref] = None if stored is None else _Slice(stored, oldest, self._last_us)
        return self._slices[ref]


def _quotes(dense: _Dense) -> QuoteColumn | None:
    """The observations as quotes; None when one is too small to be stored, which only the long way can explain."""
    rounded = list(map(CONTEXT.quantize, dense.usd, repeat(VALUE_QUANTUM)))
    return None if min(rounded) <= ZERO else QuoteColumn(rounded, dense.values, dense.currency)
