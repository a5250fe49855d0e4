"""From a holding to its value: token -> underlying -> USD -> share class, line by line.

The conversion of a token and its price are looked up once per instant and serve every portfolio at that instant.
Values use the unrounded product amount x rates x price and are rounded once, half even, to 18 places.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from basis_pipeline.domain.numbers import (
    CONTEXT,
    ONE,
    VALUE_QUANTUM,
    divide,
    multiply,
    quantize_rate,
    subtract,
)
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.quotes import Market, Unavailable
from basis_pipeline.domain.tokens import IN_TRANSIT, Registry, TokenKind, economic_venue, parse_instrument


class Side(StrEnum):
    """Which part of the balance sheet a line belongs to; only asset and debt are in ``total_equity``."""

    ASSET = "asset"
    DEBT = "debt"
    PERP = "perp"
    IN_TRANSIT = "in_transit"
    LOCKED = "locked"


_PERP = Side.PERP.value


class Line(NamedTuple):
    """One valued holding, in the order of the table ``equity_positions``.

    ``amount`` is positive for assets and debts and the signed size for a perp; ``rate`` converts the token to its
    underlying; ``value_usd`` and ``value`` (share-class currency) are negative for debts, unrealized PnL for perps.
    """

    account: str
    venue: str
    token: str
    underlying: str
    side: str
    amount: Decimal
    rate: Decimal
    price_usd: Decimal
    value_usd: Decimal
    value: Decimal


class Holding(NamedTuple):
    """What stays the same about a balance between changes of the book: where it belongs and its sign."""

    account: str
    venue: str
    token: str
    underlying: str
    side: str
    amount: Decimal
    signed_amount: Decimal


class PerpHolding(NamedTuple):
    """What stays the same about a perpetual position between changes of the book."""

    venue: str
    instrument: str
    base: str
    quote: str
    position: PerpPosition


class Unit(NamedTuple):
    """One unit of a token at an instant: ``rate`` and ``price_usd`` as stored, the other two unrounded."""

    rate: Decimal
    price_usd: Decimal
    value_usd: Decimal
    value: Decimal


class Missing(NamedTuple):
    """A token, instrument or rate that could not be valued at an instant, and what was tried."""

    instant: datetime
    name: str
    tried: str


def describe_book(book: Book, registry: Registry) -> tuple[list[Holding], list[PerpHolding]]:
    """The book's holdings with side, economic venue and underlying; done once per change of the book, not per hour."""
    holdings = []
    for (account, symbol), balance in sorted(book.balances.items()):
        token = registry.token(symbol)
        if account == IN_TRANSIT:
            side = Side.IN_TRANSIT
        elif token.kind is TokenKind.LOCKED:
            side = Side.LOCKED
        elif token.kind is TokenKind.DEBT:
            side = Side.DEBT
        else:
            side = Side.DEBT if balance < 0 else Side.ASSET
        amount = balance.copy_abs() if side is Side.DEBT else balance
        signed = amount.copy_negate() if side is Side.DEBT else balance
        underlying = registry.valuation(symbol).base
        holdings.append(
            Holding(account, economic_venue(account, token), symbol, underlying, side.value, amount, signed)
        )
    perps = []
    for (venue, name), position in sorted(book.positions.items()):
        instrument = parse_instrument(name)
        perps.append(PerpHolding(venue, name, instrument.base, instrument.quote, position))
    return holdings, perps


class InstantValuer:
    """Values holdings at one instant in one share class; units are shared through ``Valuer``."""

    __slots__ = ("_instant", "_market", "_registry", "_share_class", "_share_price", "_units", "_units_usd")

    def __init__(
        self, market: Market, registry: Registry, instant: datetime, share_class: str, units_usd: UnitsUsd
    ) -> None:
        self._market = market
        self._registry = registry
        self._instant = instant
        self._share_class = share_class
        self._units_usd = units_usd
        self._units: dict[str, Unit | Missing] = {}
        self._share_price = units_usd.price(share_class)

    def lines(self, holdings: Iterable[Holding], perps: Iterable[PerpHolding]) -> tuple[list[Line], list[Missing]]:
        """One line per holding; holdings that cannot be valued are returned as missing, never as zero."""
        lines: list[Line] = []
        missing: list[Missing] = []
        times, quantize, quantum = CONTEXT.multiply, CONTEXT.quantize, VALUE_QUANTUM
        units = self._units
        for account, venue, token, underlying, side, amount, signed in holdings:
            unit = units.get(token) or self._unit(token)
            if isinstance(unit, Missing):
                missing.append(unit)
                continue
            lines.append(
                Line(
                    account,
                    venue,
                    token,
                    underlying,
                    side,
                    amount,
                    unit.rate,
                    unit.price_usd,
                    quantize(times(signed, unit.value_usd), quantum),
                    quantize(times(signed, unit.value), quantum),
                )
            )
        for perp in perps:
            line = self._perp_line(perp)
            if isinstance(line, Missing):
                missing.append(line)
            else:
                lines.append(line)
        return lines, missing

    def _unit(self, token: str) -> Unit | Missing:
        unit_usd = self._units_usd.unit(token)
        unit: Unit | Missing
        if isinstance(unit_usd, Missing):
            unit = unit_usd
        elif isinstance(self._share_price, Missing):
            unit = self._share_price
        else:
            rate, price_usd, value_usd = unit_usd
            unit = Unit(quantize_rate(rate), price_usd, value_usd, divide(value_usd, self._share_price))
        self._units[token] = unit
        return unit

    def _perp_line(self, perp: PerpHolding) -> Line | Missing:
        mark = self._market.mark(perp.venue, perp.instrument, self._instant)
        if isinstance(mark, Unavailable):
            return Missing(self._instant, f"{perp.venue} {perp.instrument}", mark.describe())
        # Linear contracts: PnL is in the settlement coin and converts by that coin's price.
        settlement = self._units_usd.price(mark.currency)
        if isinstance(settlement, Missing):
            return settlement
        if isinstance(self._share_price, Missing):
            return self._share_price
        position = perp.position
        pnl_usd = multiply(multiply(subtract(mark.price, position.entry_price), position.size), settlement)
        return Line(
            perp.venue,
            perp.venue,
            perp.instrument,
            perp.base,
            _PERP,
            position.size,
            ONE,
            mark.price_usd,
            CONTEXT.quantize(pnl_usd, VALUE_QUANTUM),
            CONTEXT.quantize(divide(pnl_usd, self._share_price), VALUE_QUANTUM),
        )


class UnitsUsd:
    """USD value of one unit of each token at one instant, looked up once for all portfolios."""

    __slots__ = ("_instant", "_market", "_registry", "_units")

    def __init__(self, market: Market, registry: Registry, instant: datetime) -> None:
        self._market = market
        self._registry = registry
        self._instant = instant
        self._units: dict[str, tuple[Decimal, Decimal, Decimal] | Missing] = {}

    def price(self, token: str) -> Decimal | Missing:
        """USD per unit of a token, conversions included."""
        if token == "USD":
            return ONE
        unit = self.unit(token)
        return unit if isinstance(unit, Missing) else unit[2]

    def unit(self, token: str) -> tuple[Decimal, Decimal, Decimal] | Missing:
        """(rate, price of the underlying, unrounded value of one unit), or what is missing."""
        unit = self._units.get(token)
        if unit is None:
            unit = self._units[token] = self._look_up(token)
        return unit

    def _look_up(self, token: str) -> tuple[Decimal, Decimal, Decimal] | Missing:
        if token not in self._registry.tokens:  # the settlement coin of a perpetual, say
            return Missing(self._instant, token, "it is not registered; register it under `tokens:` in basis.yaml")
        valuation = self._registry.valuation(token)
        rate = ONE
        for name in valuation.rate_names:
            step = self._market.rate(name, self._instant)
            if isinstance(step, Unavailable):
                return Missing(self._instant, token, f"{name}: {step.describe()}")
            rate = multiply(rate, step.rate)
        quote = self._market.price(valuation.base, self._instant)
        if isinstance(quote, Unavailable):
            return Missing(self._instant, token, quote.describe())
        return rate, quote.price_usd, multiply(rate, quote.price_usd)


class Valuer:
    """Valuation against one market: hands out an ``InstantValuer`` per instant and share class."""

    def __init__(self, market: Market, registry: Registry) -> None:
        self._market = market
        self._registry = registry
        self._instant: datetime | None = None
        self._units_usd: UnitsUsd | None = None
        self._by_share_class: dict[str, InstantValuer] = {}

    def at(self, instant: datetime, share_class: str) -> InstantValuer:
        """The valuer for an instant; asking for the same instant again reuses what was looked up."""
        if self._units_usd is None or instant != self._instant:
            self._instant = instant
            self._units_usd = UnitsUsd(self._market, self._registry, instant)
            self._by_share_class = {}
        valuer = self._by_share_class.get(share_class)
        if valuer is None:
            valuer = InstantValuer(self._market, self._registry, instant, share_class, self._units_usd)
            self._by_share_class[share_class] = valuer
        return valuer
