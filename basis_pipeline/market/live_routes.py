"""Whom to ask for what is wanted now, and in which order: the routing as it applies to live interfaces.

A configured series (``bybit:ETHUSDT:spot``) is asked of the interface that tells it: the exchange of that name, or the
one whose ``venues`` has it. A series that no interface tells (a pool's trades, say, which only files have) is passed
over with that reason, as one that is missing in a file is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from basis_pipeline.market.routing import PERP, USD, Routing, SeriesRef
from basis_pipeline.market.wanted import NOT_ON_EXCHANGES

CHAIN = ("wallet", "alchemy")
"""The names under which the on-chain interface may be handed over."""
CHAINLINK = "chainlink"
"""Chainlink's feeds have a name of their own, so that errors and comparisons tell them from Aave's oracle."""


class Step(NamedTuple):
    """One interface to ask by one of its methods, for ``question``; ``interface`` None: nobody tells of ``source``.

    ``currency`` is what the question says that a bare number is in (empty: it does not say).
    """

    source: str
    interface: Any
    method: str
    question: Hashable
    currency: str = ""


Route = tuple[Step, ...]


def by_interface(routes: Mapping[str, Route]) -> list[dict[str, Route]]:
    """The names in groups whose routes go by the same interfaces, each of which is asked for a group at once."""
    groups: dict[tuple[tuple[str, str], ...], dict[str, Route]] = {}
    for name, route in routes.items():
        groups.setdefault(tuple((step.source, step.method) for step in route), {})[name] = route
    return list(groups.values())


class LiveRoutes:
    """The routes over interfaces by name."""

    def __init__(self, interfaces: Mapping[str, Any], routing: Routing) -> None:
        self._interfaces = interfaces
        self._routing = routing
        self._ranks: dict[str, int] = {}

    def price(self, token: str) -> Route:
        """Exchanges in order and then the chain.

        The currency in which exchanges quote first has the chain before them, and what exchanges list by the name of
        another coin has the chain alone.
        """
        configured = self._routing.routes.get(token)
        if configured is not None:
            return tuple(self._priced(token, ref) for ref in configured)
        exchanges, chain = self._exchanges(), self._chain()
        if token in NOT_ON_EXCHANGES:
            names = chain
        else:
            names = chain + exchanges if token == self._first_currency else exchanges + chain
        return tuple(self._step(name, "get_prices", token) for name in names)

    def mark(self, venue: str, instrument: str) -> Route:
        """The contract's own venue, unless another is configured; ``instrument`` has no leg."""
        return tuple(self._marked(ref) for ref in self._routing.mark_route(venue, instrument))

    def rate(self, name: str) -> Route:
        """The chain and then whoever else has rates, but no exchange: a traded rate only where it is configured."""
        configured = self._routing.conversions.get(name)
        if configured is not None:
            return tuple(self._series(ref) for ref in configured)
        others = [each for each in self._interfaces if each not in (*self._routing.exchanges, *CHAIN, CHAINLINK)]
        able = [each for each in self._chain() + others if hasattr(self._interfaces[each], "get_rates")]
        return tuple(self._step(each, "get_rates", name) for each in able)

    def is_constant(self, rate: str) -> bool:
        """Whether the rate is 1 always, because the token's balance grows instead."""
        return rate in {f"lst:{token}" for token in self._routing.rebasing} - set(self._routing.conversions)

    def currencies(self, token: str) -> set[str]:
        """Those in which a price of the token may be told, USD apart, as each is converted by its own price.

        Left out are those whose own route comes back to the token.
        """
        return {each for each in self._quoted_in(token) if not self._leads_to(token, self._priced_as(each), set())}

    def rank(self, token: str) -> int:
        """Above that of every token by whose price it may be valued: none waits for another of its own rank."""
        if token in NOT_ON_EXCHANGES:
            return sys.maxsize  # by what its vault holds, which may be any token
        found = self._ranks.get(token)
        if found is None:
            below = (self.rank(self._priced_as(each)) for each in self.currencies(token))
            found = self._ranks[token] = 1 + max(below, default=-1)
        return found

    @property
    def _first_currency(self) -> str:
        return self._routing.exchange_quotes[0]

    @property
    def _priced_as(self) -> Callable[[str], str]:
        return self._routing.priced_as

    def _quoted_in(self, token: str) -> set[str]:
        quotes = self._routing.exchange_quotes
        by_default = set(quotes[: quotes.index(token)] if token in quotes else quotes) - {USD}
        configured = self._routing.routes.get(token)
        if configured is None:
            return by_default
        found = {self._quote(ref) for ref in configured if ref.symbol is not None}
        return (found | (by_default if any(ref.symbol is None for ref in configured) else set())) - {USD}

    def _leads_to(self, token: str, start: str, seen: set[str]) -> bool:
        if start == token:
            return True
        if start in seen:
            return False
        seen.add(start)
        return any(self._leads_to(token, self._priced_as(each), seen) for each in self._quoted_in(start))

    def _exchanges(self) -> list[str]:
        return [name for name in self._routing.exchanges if name in self._interfaces]

    def _chain(self) -> list[str]:
        return [name for name in CHAIN if name in self._interfaces][:1] + [CHAINLINK] * (CHAINLINK in self._interfaces)

    def _step(self, name: str, method: str, question: Hashable) -> Step:
        return Step(name, self._interfaces[name], method, question)

    def _owner(self, venue: str) -> Any:
        if venue in self._interfaces:
            return self._interfaces[venue]
        return next((each for each in self._interfaces.values() if venue in getattr(each, "venues", ())), None)

    def _series(self, ref: SeriesRef) -> Step:
        return Step(ref.label, self._owner(ref.venue), "get_series", ref, self._quote(ref))

    def _quote(self, ref: SeriesRef) -> str:
        """The currency in which a series of prices is; empty for rates and indices."""
        return (self._routing.split(ref.symbol or "") or ("", ""))[1]

    def _priced(self, token: str, ref: SeriesRef) -> Step:
        return Step(ref.venue, self._owner(ref.venue), "get_prices", token) if ref.symbol is None else self._series(ref)

    def _marked(self, ref: SeriesRef) -> Step:
        if ref.kind != PERP:
            return self._series(ref)
        return Step(ref.venue, self._owner(ref.venue), "get_marks", f"{ref.symbol}-PERP")
