"""Which series may answer for which name, and in which order.

Only decisions live here, no data: the defaults suit files that hold exchange candles, oracle prices and pool trades,
and every part can be replaced by configuration. Exchanges come before oracles because an oracle series that is
interpolated between daily samples can be far off the market.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from basis_pipeline.domain.errors import InputError

SPOT, ORACLE, DEX, PERP = "spot", "oracle", "dex", "perp"
LIQUIDITY_INDEX, BORROW_INDEX = "liquidity_index", "variable_borrow_index"
RESERVE_VENUE = "aave_reserve"
"""The venue under which the columns of the reserve file appear as series."""

USD = "USD"
_INSTRUMENT = re.compile(r"(?P<symbol>[^:\s-]+)-PERP(?::(?:LONG|SHORT))?")
_RATE_SIDES = {"liquidity": LIQUIDITY_INDEX, "debt": BORROW_INDEX}


class SeriesRef(NamedTuple):
    """One series by venue, symbol and kind; ``symbol`` None means every priced series of the token on that venue."""

    venue: str
    symbol: str | None = None
    kind: str | None = None

    @classmethod
    def parse(cls, text: str) -> SeriesRef:
        """Read ``venue:SYMBOL:kind`` or just ``venue``; anything else is an ``InputError``."""
        parts = text.strip().split(":")
        if all(parts) and len(parts) == 1:
            return cls(parts[0])
        if all(parts) and len(parts) == 3:
            return cls(*parts)
        raise InputError(f"series {text!r}: give 'venue:SYMBOL:kind' (such as bybit:ETHUSDT:spot) or 'venue'")

    def __str__(self) -> str:
        return ":".join(part for part in self if part)

    @property
    def label(self) -> str:
        """How people read it, for example ``bybit ETHUSDT spot``."""
        return " ".join(part for part in self if part)


@dataclass(frozen=True)
class Routing:
    """Routes of prices, marks and rates, and how old an answer may be.

    ``routes``, ``conversions`` and ``marks`` replace the default order for the names they list: by token
    (``ETH``), by rate (``lst:weETH``) and by ``venue:INSTRUMENT`` without leg (``okx:ETHUSDT-PERP``).
    ``max_age_by_name`` takes the same names (instruments without venue) and overrides ``max_age``.
    """

    routes: Mapping[str, tuple[SeriesRef, ...]] = field(default_factory=dict)
    conversions: Mapping[str, tuple[SeriesRef, ...]] = field(default_factory=dict)
    marks: Mapping[str, tuple[SeriesRef, ...]] = field(default_factory=dict)
    max_age: timedelta = timedelta(hours=2)
    """Hourly data bridges one missing hour with this; a longer hole is missing."""
    max_age_by_name: Mapping[str, timedelta] = field(default_factory=dict)
    exchanges: tuple[str, ...] = ("binance", "bybit", "okx")
    exchange_quotes: tuple[str, ...] = ("USDT", "USDC", "USD")
    quotes: tuple[str, ...] = ("USDT", "USDC", "USD", "DAI", "WETH", "ETH", "WBTC", "BTC")
    """Quote currencies by which a symbol is split into base and quote; the longest that fits wins."""
    venues_first: tuple[str, ...] = ("aave_oracle", "derived")
    venues_last: tuple[str, ...] = ("modelled", RESERVE_VENUE)
    """Among the remaining venues of a kind: these first, then the others by name, then these."""
    wrapped: Mapping[str, str] = field(default_factory=lambda: {"WETH": "ETH", "WBTC": "BTC", "cbBTC": "BTC"})
    """Tokens priced as another one, unless they have a route of their own."""
    rebasing: tuple[str, ...] = ("stETH", "eETH")
    """Staking tokens whose balance grows instead of their rate: ``lst:`` of them is exactly 1."""
    reserve_prices: tuple[str, ...] = ("USDT", "USDC")
    """Reserves whose ``price_usd`` is used, as the last source. Stable coins only: the column is interpolated
    between daily samples."""

    def __post_init__(self) -> None:
        for what, table in (("routes", self.routes), ("conversions", self.conversions), ("marks", self.marks)):
            for name, refs in table.items():
                if not refs:
                    raise InputError(f"{what}[{name}]: no source is listed; list one or leave the name out")
                for ref in refs:
                    self._validate(f"{what}[{name}]", ref, priced=what != "conversions")
        for name, age in (("max_age", self.max_age), *self.max_age_by_name.items()):
            if age <= timedelta(0):
                raise InputError(f"{name}: the maximum age {age} must be longer than zero")

    def _validate(self, where: str, ref: SeriesRef, *, priced: bool) -> None:
        if (ref.symbol is None) != (ref.kind is None):
            raise InputError(f"{where}: {ref} must have both a symbol and a kind, or neither")
        if ref.symbol is None:
            if not where.startswith("routes"):
                raise InputError(f"{where}: {ref} must name a series as venue:SYMBOL:kind")
        elif priced and self.split(ref.symbol) is None:
            raise InputError(f"{where}: {ref} ends in no known quote currency ({', '.join(self.quotes)})")

    def split(self, symbol: str) -> tuple[str, str] | None:
        """Base and quote currency of a symbol (``ETHUSDT`` is ETH in USDT); None when no quote is known to fit."""
        for quote in sorted(self.quotes, key=len, reverse=True):
            if symbol.endswith(quote) and len(symbol) > len(quote):
                return symbol[: -len(quote)], quote
        return None

    def priced_as(self, token: str) -> str:
        """The token whose route prices this one: WETH is priced as ETH unless it has its own route."""
        return token if token in self.routes else self.wrapped.get(token, token)

    def age_limit(self, name: str) -> timedelta:
        """How old an observation may be to answer for this token, rate or instrument."""
        return self.max_age_by_name.get(name, self.max_age)

    @property
    def look_back(self) -> timedelta:
        """The longest age any answer may have."""
        return max((self.max_age, *self.max_age_by_name.values()))

    def price_route(self, token: str, catalog: Collection[SeriesRef]) -> list[SeriesRef]:
        """Series to ask for a token's price, in order. Those not in the catalog are kept where people would look."""
        configured = self.routes.get(token)
        if configured is not None:
            return [found for ref in configured for found in self._expand(token, ref, catalog)]
        names = self._names(token)
        route: list[SeriesRef] = []
        for venue in self.exchanges:
            listed = [SeriesRef(venue, token + quote, SPOT) for quote in self.exchange_quotes if quote != token]
            route += [ref for ref in listed if ref in catalog] or listed[:1]
        oracles = self._of(names, (USD,), ORACLE, catalog)
        last = [ref for ref in oracles if ref.venue == RESERVE_VENUE]
        route += [ref for ref in oracles if ref not in last]
        route += [ref for ref in self._of(names, self.quotes, SPOT, catalog) if ref not in route]
        route += self._of(names, self.quotes, DEX, catalog)
        return route + last

    def mark_route(self, venue: str, instrument: str) -> list[SeriesRef]:
        """Series for a perpetual's mark; empty when the name is not ``<BASE><QUOTE>-PERP`` with an optional leg."""
        match = _INSTRUMENT.fullmatch(instrument)
        if match is None or self.split(match["symbol"]) is None:
            return []
        configured = self.marks.get(f"{venue}:{contract(instrument)}")
        return list(configured) if configured is not None else [SeriesRef(venue, match["symbol"], PERP)]

    def rate_route(self, name: str, catalog: Collection[SeriesRef]) -> list[SeriesRef]:
        """Series for a conversion rate, never a traded one by default; empty for constant and for unknown names."""
        configured = self.conversions.get(name)
        if configured is not None:
            return list(configured)
        match name.split(":"):
            case ["aave", reserve, ("liquidity" | "debt") as side] if reserve:
                return [SeriesRef(RESERVE_VENUE, reserve, _RATE_SIDES[side])]
            case ["lst", token] if token and token not in self.rebasing:
                found = [ref for ref in catalog if ref.kind == ORACLE and ref.symbol == token + "ETH"]
                return self._by_venue(found) or [SeriesRef(self.venues_first[0], token + "ETH", ORACLE)]
        return []

    def rate_names(self, catalog: Iterable[SeriesRef]) -> list[str]:
        """Every rate these series can answer, sorted; the constant ones are not among them."""
        names = set(self.conversions)
        for venue, symbol, kind in catalog:
            if venue == RESERVE_VENUE:
                names |= {f"aave:{symbol}:{side}" for side, column in _RATE_SIDES.items() if column == kind}
            elif kind == ORACLE and (parts := self.split(symbol or "")) is not None and parts[1] == "ETH":
                names.add(f"lst:{parts[0]}")
        return sorted(names - {f"lst:{token}" for token in self.rebasing if f"lst:{token}" not in self.conversions})

    def _names(self, token: str) -> tuple[str, ...]:
        return (token, *(wrapped for wrapped, plain in self.wrapped.items() if plain == token))

    def _of(
        self, names: tuple[str, ...], quotes: tuple[str, ...], kind: str, catalog: Collection[SeriesRef]
    ) -> list[SeriesRef]:
        symbols = [name + quote for name in names for quote in quotes if quote not in names]
        found = [ref for ref in catalog if ref.kind == kind and ref.symbol in symbols]
        return self._by_venue(sorted(found, key=lambda ref: symbols.index(ref.symbol or "")))

    def _by_venue(self, refs: list[SeriesRef]) -> list[SeriesRef]:
        def rank(ref: SeriesRef) -> tuple[int, int, str]:
            if ref.venue in self.venues_first:
                return (0, self.venues_first.index(ref.venue), ref.venue)
            if ref.venue in self.venues_last:
                return (2, self.venues_last.index(ref.venue), ref.venue)
            return (1, 0, ref.venue)

        return sorted(refs, key=rank)

    def _expand(self, token: str, ref: SeriesRef, catalog: Collection[SeriesRef]) -> list[SeriesRef]:
        if ref.symbol is not None:
            return [ref]
        here = [known for known in catalog if known.venue == ref.venue]
        names = self._names(token)
        return [found for kind in (SPOT, ORACLE, DEX) for found in self._of(names, self.quotes, kind, here)] or [ref]


def contract(instrument: str) -> str:
    """The instrument without its hedge-mode leg."""
    return instrument.partition(":")[0]
