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
from functools import reduce
from itertools import repeat
from typing import NamedTuple

from basis_pipeline.domain.numbers import (
    CONTEXT,
    ONE,
    VALUE_QUANTUM,
    divide,
    multiply,
    quantize_rate,
)
from basis_pipeline.domain.positions import Book, PerpKey, PerpPosition
from basis_pipeline.domain.quotes import ColumnMarket, Market, Unavailable
from basis_pipeline.domain.tokens import IN_TRANSIT, Registry, TokenKind, Valuation, economic_venue, parse_instrument


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
    """What stays the same about a balance or a perpetual while the book does not change.

    ``amount`` is positive for assets and debts and the signed size for a perpetual; ``signed_amount`` is negative for
    a debt. ``entry_price`` is None for a balance.
    """

    account: str
    venue: str
    token: str
    underlying: str
    side: str
    amount: Decimal
    signed_amount: Decimal
    entry_price: Decimal | None


class Missing(NamedTuple):
    """A token, instrument or rate that could not be valued at an instant, and what was tried."""

    instant: datetime
    name: str
    tried: str


class Run(NamedTuple):
    """A holding that stays the same over the positions [first, end) of a sheet."""

    holding: Holding
    first: int
    end: int


class Span(NamedTuple):
    """A run with its value at each position, in share-class currency: negative for a debt, PnL for a perpetual."""

    run: Run
    value: list[Decimal]


class Figures(NamedTuple):
    """The other figures of a run at each position, as ``equity_positions`` has them."""

    rate: list[Decimal]
    price_usd: list[Decimal]
    value_usd: list[Decimal]


def describe_balance(account: str, symbol: str, balance: Decimal, registry: Registry) -> Holding:
    """A balance with its side, its place in equity and its underlying."""
    token = registry.token(symbol)
    if account == IN_TRANSIT:
        side = Side.IN_TRANSIT
    elif token.kind is TokenKind.LOCKED:
        side = Side.LOCKED
    elif token.kind is TokenKind.DEBT or balance < 0:
        side = Side.DEBT
    else:
        side = Side.ASSET
    amount = balance.copy_abs() if side is Side.DEBT else balance
    signed = amount.copy_negate() if side is Side.DEBT else balance
    underlying = registry.valuation(symbol).base
    return Holding(account, economic_venue(account, token), symbol, underlying, side.value, amount, signed, None)


def describe_position(venue: str, name: str, position: PerpPosition) -> Holding:
    """A perpetual position; its value is its unrealized PnL."""
    base = parse_instrument(name).base
    return Holding(venue, venue, name, base, Side.PERP.value, position.size, position.size, position.entry_price)


def describe_book(book: Book, registry: Registry) -> list[Holding]:
    """Everything the book holds, balances first, in order of place and name."""
    balances = [describe_balance(*key, balance, registry) for key, balance in sorted(book.balances.items())]
    return balances + [describe_position(*key, position) for key, position in sorted(book.positions.items())]


class Sheet:
    """Values holdings at a list of instants against one market.

    Positions are indices into the instants. What a unit of a token is worth is worked out once per position and
    serves every holding of every portfolio.
    """

    def __init__(self, market: Market, registry: Registry, instants: Sequence[datetime]) -> None:
        self.instants = instants
        self.market = market
        self.columns = market if isinstance(market, ColumnMarket) else None
        self.registry = registry
        self._units: dict[str, _Units] = {}
        self._share_units: dict[tuple[str, str], _ShareUnits] = {}
        self._marks: dict[PerpKey, _Marks] = {}

    def value(self, runs: Iterable[Run], share_class: str) -> tuple[list[Span], list[Missing]]:
        """A span per run. A run with a gap is never valued at zero: its gaps are returned instead, each once."""
        runs = list(runs)
        self._look_up(runs, share_class)
        spans: list[Span] = []
        missing: dict[Missing, None] = {}
        for run in runs:
            gaps = self._gaps(run, share_class)
            if gaps:
                missing.update(dict.fromkeys(gaps))
            else:
                spans.append(Span(run, self._value(run, share_class)))
        return spans, list(missing)

    def lines(self, holdings: Iterable[Holding], share_class: str, position: int) -> tuple[list[Line], list[Missing]]:
        """The holdings at one position, one line each."""
        spans, missing = self.value([Run(holding, position, position + 1) for holding in holdings], share_class)
        return [_line(span, self.figures(span.run)) for span in spans], missing

    def figures(self, run: Run) -> Figures:
        """The other figures of a run that ``value`` could value."""
        holding, first, end = run
        value_usd = self._value(run, USD)
        if holding.entry_price is not None:
            return Figures([ONE] * (end - first), self._mark(holding).price_usd[first:end], value_usd)
        units = self.units(holding.token)
        return Figures([quantize_rate(rate) for rate in units.rate[first:end]], units.price_usd[first:end], value_usd)

    def units(self, token: str) -> _Units:
        """The column of a token's units."""
        column = self._units.get(token)
        if column is None:
            column = self._units[token] = _Units(self, token)
        return column

    def marks(self, venue: str, instrument: str) -> _Marks:
        """The column of a perpetual's marks on its venue."""
        key = (venue, instrument)
        column = self._marks.get(key)
        if column is None:
            column = self._marks[key] = _Marks(self, *key)
        return column

    def _look_up(self, runs: Sequence[Run], currency: str) -> None:
        """Ask for each column once over all its runs, not run by run: a balance may change every few hours."""
        ranges: dict[_Column, tuple[int, int]] = {}
        for holding, first, end in runs:
            columns: list[_Column] = [self._share_unit(holding, currency)]
            if holding.entry_price is not None:
                columns.append(self._mark(holding))
            for column in columns:
                start, stop = ranges.get(column, (first, end))
                ranges[column] = (min(start, first), max(stop, end))
        for column, (start, stop) in ranges.items():
            column.gaps(start, stop)

    def _share_unit(self, holding: Holding, currency: str) -> _ShareUnits:
        # The PnL of a linear contract is in its settlement coin and converts by that coin's price.
        token = holding.token if holding.entry_price is None else parse_instrument(holding.token).quote
        column = self._share_units.get((token, currency))
        if column is None:
            column = self._share_units[token, currency] = _ShareUnits(self, token, currency)
        return column

    def _mark(self, holding: Holding) -> _Marks:
        return self.marks(holding.account, holding.token)

    def _gaps(self, run: Run, currency: str) -> list[Missing]:
        """What is missing to value the run."""
        holding, first, end = run
        gaps = [] if holding.entry_price is None else self._mark(holding).gaps(first, end)
        return gaps or self._share_unit(holding, currency).gaps(first, end)

    def _value(self, run: Run, currency: str) -> list[Decimal]:
        """amount x unit, rounded; for a perpetual the amount is its PnL, (mark - entry price) x signed size."""
        holding, first, end = run
        units = self._share_unit(holding, currency).known(first, end)
        amounts: Iterable[Decimal] = repeat(holding.signed_amount)
        if holding.entry_price is not None:
            moves = map(CONTEXT.subtract, self._mark(holding).price[first:end], repeat(holding.entry_price))
            amounts = map(CONTEXT.multiply, moves, repeat(holding.signed_amount))
        # The innermost loop of the product, hence in C.
        return list(map(CONTEXT.quantize, map(CONTEXT.multiply, amounts, units), repeat(VALUE_QUANTUM)))


class _Column:
    """What is known of one name at each position of a sheet, looked up once and only where it was asked for.

    A token may have no price before the hour at which it is first held, so nothing is looked up ahead.
    """

    __slots__ = ("_asked", "_missing", "_sheet")

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet
        self._asked = bytearray(len(sheet.instants))
        self._missing: dict[int, Missing] = {}

    def gaps(self, first: int, end: int) -> list[Missing]:
        """Look up [first, end) where that was not done before, and return what is missing there."""
        start = self._asked.find(0, first, end)
        if start >= 0:
            stop = self._asked.rfind(0, first, end) + 1
            self._find(start, stop)
            self._asked[start:stop] = b"\x01" * (stop - start)
        if not self._missing:
            return []
        return [gap for position, gap in sorted(self._missing.items()) if first <= position < end]

    def _find(self, first: int, end: int) -> None:
        raise NotImplementedError


class _Units(_Column):
    """One unit of a token: unrounded ``rate`` to its underlying, ``price_usd`` of that, unrounded value in ``usd``."""

    __slots__ = ("_token", "price_usd", "rate", "usd")

    def __init__(self, sheet: Sheet, token: str) -> None:
        super().__init__(sheet)
        self._token = token
        size = len(sheet.instants)
        self.rate = [ONE] * size
        self.price_usd = [ONE] * size
        self.usd = [ONE] * size

    def _find(self, first: int, end: int) -> None:
        sheet, token = self._sheet, self._token
        instants = sheet.instants[first:end]
        if token == USD:
            return
        if token not in sheet.registry.tokens:  # the settlement coin of a perpetual, say
            advice = "it is not registered; register it under `tokens:` in basis.yaml"
            self._missing.update({first + n: Missing(at, token, advice) for n, at in enumerate(instants)})
            return
        valuation = sheet.registry.valuation(token)
        if sheet.columns is not None:
            quotes = sheet.columns.prices(valuation.base, instants)
            steps = [sheet.columns.rates(name, instants) for name in valuation.rate_names]
            known = [step for step in steps if step is not None]
            if quotes is not None and len(known) == len(steps):
                self.price_usd[first:end] = self.usd[first:end] = quotes.price_usd
                if known:
                    rate = reduce(lambda product, step: list(map(CONTEXT.multiply, product, step)), known)
                    self.rate[first:end] = rate
                    self.usd[first:end] = map(CONTEXT.multiply, rate, quotes.price_usd)
                return
        for position in range(first, end):
            self._find_one(position, valuation)

    def _find_one(self, position: int, valuation: Valuation) -> None:
        market, instant = self._sheet.market, self._sheet.instants[position]
        rate = ONE
        for name in valuation.rate_names:
            step = market.rate(name, instant)
            if isinstance(step, Unavailable):
                self._missing[position] = Missing(instant, self._token, f"{name}: {step.describe()}")
                return
            rate = multiply(rate, step.rate)
        quote = market.price(valuation.base, instant)
        if isinstance(quote, Unavailable):
            self._missing[position] = Missing(instant, self._token, quote.describe())
            return
        self.rate[position] = rate
        self.price_usd[position] = quote.price_usd
        self.usd[position] = multiply(rate, quote.price_usd)


class _ShareUnits(_Column):
    """One unit of a token in a currency, unrounded."""

    __slots__ = ("_currency", "_token", "_units")

    def __init__(self, sheet: Sheet, token: str, currency: str) -> None:
        super().__init__(sheet)
        self._token = token
        self._currency = currency
        self._units = [ONE] * len(sheet.instants)

    def known(self, first: int, end: int) -> list[Decimal]:
        """The units where ``gaps`` found none missing."""
        self.gaps(first, end)
        return self._units[first:end]

    def _find(self, first: int, end: int) -> None:
        token, share = self._sheet.units(self._token), self._sheet.units(self._currency)
        gaps = token.gaps(first, end) + share.gaps(first, end)
        if not gaps:
            if token is not share:
                self._units[first:end] = map(CONTEXT.divide, token.usd[first:end], share.usd[first:end])
            return
        missing = {gap.instant: gap for gap in reversed(gaps)}
        for position in range(first, end):
            gap = missing.get(self._sheet.instants[position])
            if gap is None:
                self._units[position] = divide(token.usd[position], share.usd[position])
            else:
                self._missing[position] = gap


class _Marks(_Column):
    """The mark of a perpetual on its own venue: ``price`` in the settlement coin, and ``price_usd``."""

    __slots__ = ("_instrument", "_settlement", "_venue", "price", "price_usd")

    def __init__(self, sheet: Sheet, venue: str, instrument: str) -> None:
        super().__init__(sheet)
        self._venue = venue
        self._instrument = instrument
        self._settlement = parse_instrument(instrument).quote
        self.price = [ONE] * len(sheet.instants)
        self.price_usd = [ONE] * len(sheet.instants)

    def _find(self, first: int, end: int) -> None:
        sheet = self._sheet
        if sheet.columns is not None:
            quotes = sheet.columns.marks(self._venue, self._instrument, sheet.instants[first:end])
            if quotes is not None and quotes.currency == self._settlement:
                self.price[first:end] = quotes.price
                self.price_usd[first:end] = quotes.price_usd
                return
        for position in range(first, end):
            self._find_one(position)

    def _find_one(self, position: int) -> None:
        instant = self._sheet.instants[position]
        name = f"{self._venue} {self._instrument}"
        mark = self._sheet.market.mark(self._venue, self._instrument, instant)
        if isinstance(mark, Unavailable):
            self._missing[position] = Missing(instant, name, mark.describe())
        elif mark.currency != self._settlement:
            tried = f"{mark.source} quotes {mark.currency}, but the contract settles in {self._settlement}"
            self._missing[position] = Missing(instant, name, tried)
        else:
            self.price[position] = mark.price
            self.price_usd[position] = mark.price_usd


def _line(span: Span, figures: Figures) -> Line:
    holding = span.run.holding
    return Line(*holding[:6], figures.rate[0], figures.price_usd[0], figures.value_usd[0], span.value[0])
