"""Routing compiled once against the series that exist: which to read for a name, in which order, with which limit."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from basis_pipeline.domain.tokens import BUILT_IN_ALIASES
from basis_pipeline.market.routing import DEX, ORACLE, PERP, SPOT, USD, Routing, SeriesRef, contract

MICROSECOND = timedelta(microseconds=1)
_SHOWN_KINDS = {SPOT: "spot", ORACLE: "oracle", DEX: "dex", PERP: "perp_mark"}


class Source(NamedTuple):
    """One series to try; ``quote`` is the currency its values are in (empty for rates)."""

    ref: SeriesRef
    label: str
    quote: str


class Plan(NamedTuple):
    """Sources in order. ``cyclic``: some route below needs a name above it, so inner answers depend on the asker."""

    sources: tuple[Source, ...]
    age_limit_us: int
    cyclic: bool = False


class Shown(NamedTuple):
    """One row of the ``prices`` projection: sources that may fill it, the preferred first."""

    symbol: str
    kind: str
    venue: str
    plan: Plan


class Plans:
    """Plans by name, made on first use. A pure function of routing and catalog, so sharing it is safe."""

    def __init__(self, routing: Routing, catalog: tuple[SeriesRef, ...]) -> None:
        self.routing = routing
        self.look_back_us = routing.look_back // MICROSECOND
        self._catalog = catalog
        self._known = frozenset(catalog)
        self._prices: dict[str, Plan] = {}
        self._marks: dict[tuple[str, str], Plan] = {}
        self._rates: dict[str, Plan] = {}
        self.rate_names = routing.rate_names(catalog)
        self.constant_rates = {f"lst:{token}" for token in routing.rebasing} - set(routing.conversions)
        self.shown = self._shown()

    def price(self, token: str) -> Plan:
        plan = self._prices.get(token)
        if plan is None:
            sources = self._direct_sources(token)
            plan = self._prices[token] = self._plan(token, sources, cyclic=self._meets_itself(token, ()))
        return plan

    def mark(self, venue: str, instrument: str) -> Plan:
        plan = self._marks.get((venue, instrument))
        if plan is None:
            refs = self.routing.mark_route(venue, instrument)
            plan = self._marks[venue, instrument] = self._plan(contract(instrument), self._sources(refs))
        return plan

    def rate(self, name: str) -> Plan:
        plan = self._rates.get(name)
        if plan is None:
            refs = self.routing.rate_route(name, self._catalog)
            sources = tuple(Source(ref, ref.label, "") for ref in refs)
            plan = self._rates[name] = self._plan(name, sources)
        return plan

    def _plan(self, name: str, sources: tuple[Source, ...], *, cyclic: bool = False) -> Plan:
        return Plan(sources, self.routing.age_limit(name) // MICROSECOND, cyclic)

    def _direct_sources(self, token: str) -> tuple[Source, ...]:
        return self._sources(self.routing.price_route(token, self._catalog))

    def _sources(self, refs: list[SeriesRef]) -> tuple[Source, ...]:
        split = self.routing.split
        return tuple(Source(ref, ref.label, (split(ref.symbol or "") or ("", ""))[1]) for ref in refs)

    def _meets_itself(self, token: str, path: tuple[str, ...]) -> bool:
        if token in path:
            return True
        path = (*path, token)
        quotes = {source.quote for source in self._direct_sources(token) if source.ref in self._known} - {USD}
        return any(self._meets_itself(self.routing.priced_as(quote), path) for quote in quotes)

    def _shown(self) -> tuple[Shown, ...]:
        groups: dict[tuple[str, str, str], list[Source]] = {}
        order = self.routing.exchange_quotes
        for ref in self._catalog:
            parts = self.routing.split(ref.symbol or "")
            if ref.kind not in _SHOWN_KINDS or parts is None:
                continue
            base, quote = parts
            if ref.kind == ORACLE and quote != USD:
                continue  # a ratio of two tokens is a conversion rate, not a price
            kind = "modelled" if ref.venue == "modelled" else _SHOWN_KINDS[ref.kind]
            name = f"{ref.symbol}-PERP" if ref.kind == PERP else BUILT_IN_ALIASES.get(base, base)
            groups.setdefault((name, kind, ref.venue), []).append(Source(ref, ref.label, quote))

        def rank(source: Source) -> tuple[int, str]:
            return (order.index(source.quote) if source.quote in order else len(order), source.label)

        return tuple(
            Shown(*key, self._plan(key[0], tuple(sorted(sources, key=rank)))) for key, sources in sorted(groups.items())
        )
