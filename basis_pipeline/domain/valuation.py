"""From a holding to its value: token -> underlying -> USD -> share class, line by line.

A ``Sheet`` covers a list of instants (a day's hours, or just one). What a unit of a token is worth is looked up once
per instant and serves every portfolio; a holding that does not change is valued as a column.
Values use the unrounded product amount x rates x price and are rounded once, half even, to 18 places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from basis_pipeline.domain.numbers import (
    CONTEXT,
    ONE,
    VALUE_QUANTUM,
    ZERO,
    divide,
    multiply,
    quantize_rate,
    quantize_value,
    subtract,
)
from basis_pipeline.domain.positions import Book, PerpKey, PerpPosition
from basis_pipeline.domain.quotes import Market, Unavailable
from basis_pipeline.domain.tokens import IN_TRANSIT, Registry, TokenKind, economic_venue, parse_instrument


class Side(StrEnum):
    """Which part of the balance sheet a line belongs to; only asset and debt are in ``total_equity``."""

    ASSET = "asset"
    DEBT = "debt"
    PERP = "perp"
    IN_TRANSIT = "in_transit"
    LOCKED = "locked"


USD = "USD"
"""The unit of account itself, for contracts that settle in it."""


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


class Described(NamedTuple):
    """A book's holdings, ready to be valued."""

    holdings: list[Holding]
    perps: list[PerpHolding]


class Missing(NamedTuple):
    """A token, instrument or rate that could not be valued at an instant, and what was tried."""

    instant: datetime
    name: str
    tried: str


def describe_book(book: Book, registry: Registry) -> Described:
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
    return Described(holdings, perps)


class Span(NamedTuple):
    """One holding valued at consecutive instants: what stays the same, and a column per figure that does not."""

    account: str
    venue: str
    token: str
    underlying: str
    side: str
    amount: Decimal
    rate: Sequence[Decimal]
    price_usd: Sequence[Decimal]
    value_usd: Sequence[Decimal]
    value: Sequence[Decimal]

    def line(self, position: int) -> Line:
        """The holding at one of the instants."""
        figures = (self.rate, self.price_usd, self.value_usd, self.value)
        same = (self.account, self.venue, self.token, self.underlying, self.side, self.amount)
        return Line(*same, *(figure[position] for figure in figures))


class _Column:
    """What the market says of one name at each instant of a sheet, as far as it was asked."""

    __slots__ = ("asked", "missing", "name")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.asked = bytearray(size)
        self.missing: dict[int, Missing] = {}

    def gaps(self, first: int, end: int) -> list[Missing]:
        return [gap for position, gap in sorted(self.missing.items()) if first <= position < end]

    def ask(self, market: Market, registry: Registry, instant: datetime, position: int) -> None:
        raise NotImplementedError


class _TokenColumn(_Column):
    """One unit of a token: its rate to the underlying, the underlying's price, and its unrounded value in USD."""

    __slots__ = ("in_share_class", "price_usd", "rate", "usd")

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, size)
        self.rate = [ONE] * size
        self.price_usd = [ONE] * size
        self.usd = [ONE] * size
        self.in_share_class: dict[str, tuple[bytearray, list[Decimal]]] = {}

    def ask(self, market: Market, registry: Registry, instant: datetime, position: int) -> None:
        if self.name == USD:
            return
        if self.name not in registry.tokens:  # the settlement coin of a perpetual, say
            advice = "it is not registered; register it under `tokens:` in basis.yaml"
            self.missing[position] = Missing(instant, self.name, advice)
            return
        valuation = registry.valuation(self.name)
        rate = ONE
        for name in valuation.rate_names:
            step = market.rate(name, instant)
            if isinstance(step, Unavailable):
                self.missing[position] = Missing(instant, self.name, f"{name}: {step.describe()}")
                return
            rate = multiply(rate, step.rate)
        quote = market.price(valuation.base, instant)
        if isinstance(quote, Unavailable):
            self.missing[position] = Missing(instant, self.name, quote.describe())
            return
        self.rate[position] = quantize_rate(rate)
        self.price_usd[position] = quote.price_usd
        self.usd[position] = multiply(rate, quote.price_usd)

    def units(self, share: _TokenColumn, first: int, end: int) -> list[Decimal]:
        """One unit in the share class, unrounded; the caller made sure that neither column has a gap there."""
        known, units = self.in_share_class.setdefault(
            share.name, (bytearray(len(self.asked)), [ZERO] * len(self.asked))
        )
        for position in range(first, end):
            if not known[position]:
                units[position] = divide(self.usd[position], share.usd[position])
                known[position] = 1
        return units[first:end]


class _MarkColumn(_Column):
    """The mark of a perpetual: in its settlement coin, and in USD."""

    __slots__ = ("currency", "instrument", "price", "price_usd", "venue")

    def __init__(self, venue: str, instrument: str, size: int) -> None:
        super().__init__(f"{venue} {instrument}", size)
        self.venue = venue
        self.instrument = instrument
        self.currency = parse_instrument(instrument).quote
        self.price = [ONE] * size
        self.price_usd = [ONE] * size

    def ask(self, market: Market, registry: Registry, instant: datetime, position: int) -> None:
        mark = market.mark(self.venue, self.instrument, instant)
        if isinstance(mark, Unavailable):
            self.missing[position] = Missing(instant, self.name, mark.describe())
        elif mark.currency != self.currency:
            tried = f"{mark.source} quotes {mark.currency}, but the contract settles in {self.currency}"
            self.missing[position] = Missing(instant, self.name, tried)
        else:
            self.price[position] = mark.price
            self.price_usd[position] = mark.price_usd


class Sheet:
    """Values holdings at a list of instants against one market; what it looked up serves every portfolio.

    Positions are indices into the instants; ranges of them are [first, end).
    """

    def __init__(self, market: Market, registry: Registry, instants: Sequence[datetime]) -> None:
        self._market = market
        self._registry = registry
        self._instants = instants
        self._tokens: dict[str, _TokenColumn] = {}
        self._marks: dict[PerpKey, _MarkColumn] = {}

    def value(self, described: Described, share_class: str, first: int, end: int) -> tuple[list[Span], list[Missing]]:
        """A span per holding; those with a gap anywhere in the range are returned as missing, never as zero."""
        share = self._token(share_class)
        tokens = [self._token(holding.token) for holding in described.holdings]
        marks = [self._mark(perp) for perp in described.perps]
        settlements = [self._token(mark.currency) for mark in marks]
        self._look_up({share, *tokens, *marks, *settlements}, first, end)
        spans: list[Span] = []
        missing: list[Missing] = []
        for holding, token in zip(described.holdings, tokens, strict=True):
            if gaps := _gaps((token, share), first, end):
                missing += gaps
            else:
                spans.append(_holding_span(holding, token, share, first, end))
        for perp, mark, settlement in zip(described.perps, marks, settlements, strict=True):
            if gaps := _gaps((mark, settlement, share), first, end):
                missing += gaps
            else:
                spans.append(_perp_span(perp, mark, settlement, share, first, end))
        return spans, list(dict.fromkeys(missing))

    def _look_up(self, columns: set[_TokenColumn | _MarkColumn], first: int, end: int) -> None:
        """Ask what was not asked before, instant by instant: a market answers all names of one instant best."""
        open_columns = [c for c in columns if c.asked.count(b"\x00", first, end)]
        if not open_columns:
            return
        for position in range(first, end):
            instant = self._instants[position]
            for column in open_columns:
                if not column.asked[position]:
                    column.ask(self._market, self._registry, instant, position)
                    column.asked[position] = 1

    def _token(self, name: str) -> _TokenColumn:
        column = self._tokens.get(name)
        if column is None:
            column = self._tokens[name] = _TokenColumn(name, len(self._instants))
        return column

    def _mark(self, perp: PerpHolding) -> _MarkColumn:
        key = (perp.venue, perp.instrument)
        column = self._marks.get(key)
        if column is None:
            column = self._marks[key] = _MarkColumn(*key, len(self._instants))
        return column


def _gaps(columns: Iterable[_Column], first: int, end: int) -> list[Missing]:
    return [gap for column in columns if column.missing for gap in column.gaps(first, end)]


def _holding_span(holding: Holding, token: _TokenColumn, share: _TokenColumn, first: int, end: int) -> Span:
    times, quantize, quantum, signed = CONTEXT.multiply, CONTEXT.quantize, VALUE_QUANTUM, holding.signed_amount
    return Span(
        *holding[:6],
        token.rate[first:end],
        token.price_usd[first:end],
        [quantize(times(signed, unit), quantum) for unit in token.usd[first:end]],
        [quantize(times(signed, unit), quantum) for unit in token.units(share, first, end)],
    )


def _perp_span(
    perp: PerpHolding, mark: _MarkColumn, settlement: _TokenColumn, share: _TokenColumn, first: int, end: int
) -> Span:
    """Linear contracts: PnL = (mark - entry) x signed size in the settlement coin, converted by that coin's price."""
    size, entry = perp.position.size, perp.position.entry_price
    pnl = [multiply(subtract(price, entry), size) for price in mark.price[first:end]]
    return Span(
        perp.venue,
        perp.venue,
        perp.instrument,
        perp.base,
        Side.PERP.value,
        size,
        [ONE] * (end - first),
        mark.price_usd[first:end],
        [quantize_value(multiply(a, unit)) for a, unit in zip(pnl, settlement.usd[first:end], strict=True)],
        [quantize_value(multiply(a, unit)) for a, unit in zip(pnl, settlement.units(share, first, end), strict=True)],
    )
