"""Prices, marks and rates as of an instant, and the protocol by which a market answers for them.

The valuation asks a ``Market``; whether history files or recorded live quotes answer is not its business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol, runtime_checkable

AHEAD_MAX = timedelta(minutes=1)
"""How far a source's clock may be ahead of ours; what claims to be from later than that is not recorded."""


class Quote(NamedTuple):
    """What one source said of one price.

    ``price_usd`` is USD per unit, rounded half even to 18 places; ``price`` is the same in ``currency``, as quoted
    (for a perpetual: the contract's settlement coin). ``observed_at`` is when the value was known at the source.
    """

    price_usd: Decimal
    price: Decimal
    currency: str
    source: str
    observed_at: datetime


class Rate(NamedTuple):
    """A conversion rate (index or redemption rate; at most 27 places) with its source."""

    rate: Decimal
    source: str
    observed_at: datetime


class Quoted(NamedTuple):
    """A price as a venue quotes it: ``currency`` per unit (USDT, USD), with the time it was known at the venue."""

    price: Decimal
    currency: str
    observed_at: datetime


class SeriesValue(NamedTuple):
    """The newest value of a series and when it was known there; a price is in the currency that its symbol ends in."""

    value: Decimal
    observed_at: datetime


class Basket(NamedTuple):
    """What one share of a vault is redeemed for, fees deducted: positive amounts by token, with the vault's time."""

    amounts: Mapping[str, Decimal]
    observed_at: datetime


class Unavailable(NamedTuple):
    """No usable answer: what was asked for, and what was tried with the reason each attempt failed."""

    name: str
    tried: tuple[str, ...]

    def describe(self) -> str:
        return "; ".join(self.tried) if self.tried else "no source is configured"


class Market(Protocol):
    """Answers as of an instant: the newest observation known at that instant, if it is fresh and positive."""

    def price(self, token: str, at: datetime) -> Quote | Unavailable:
        """USD price of a base token (ETH, BTC, USDT, KING ...); derived tokens go by conversion first."""
        ...

    def mark(self, venue: str, instrument: str, at: datetime) -> Quote | Unavailable:
        """Mark of a perpetual on its own venue; ``price`` is in the contract's settlement coin."""
        ...

    def rate(self, name: str, at: datetime) -> Rate | Unavailable:
        """``aave:<reserve>:liquidity``, ``aave:<reserve>:debt`` or ``lst:<token>``."""
        ...


class PriceInterface(Protocol):
    """A venue that can be asked what tokens are worth now.

    A plain Decimal is USD per unit as of now. A venue that quotes in another currency, or knows how old its price is,
    answers ``Quoted``; ``Quote`` counts by its ``price_usd``. A share of a vault may be answered as a ``Basket``, which
    is worth what its tokens are worth. What it does not know it leaves out, and where it knows why, it answers
    ``Unavailable`` with the reason.
    """

    async def get_prices(self, assets: list[str]) -> Mapping[str, Decimal | Quoted | Quote | Basket | Unavailable]:
        """Prices by canonical symbol of base tokens."""
        ...


class RateInterface(Protocol):
    """A venue that knows conversion rates; names are those of ``Market.rate``."""

    async def get_rates(self, names: list[str]) -> Mapping[str, Decimal | Rate | Unavailable]:
        """Rates by name; what it does not know it leaves out."""
        ...


class MarkInterface(Protocol):
    """A venue that knows the marks of its perpetuals; a plain Decimal is in the contract's settlement coin."""

    async def get_marks(self, instruments: list[str]) -> Mapping[str, Decimal | Quoted | Quote | Unavailable]:
        """Marks by canonical instrument without hedge-mode leg; what it does not know it leaves out."""
        ...


SeriesName = tuple[str, str, str]
"""Venue, symbol and kind of a market series, such as ``("bybit", "ETHUSDT", "spot")``."""


class SeriesInterface(Protocol):
    """A venue that can be asked for single series, which is what configured routes name.

    ``venues`` are those of the series that it tells, where they are others than its own name.
    """

    async def get_series(self, names: list[SeriesName]) -> Mapping[SeriesName, SeriesValue | Unavailable]:
        """The newest value of each series; what it does not know it leaves out."""
        ...


class AskableDay(NamedTuple):
    """The instants of a day at which a market can be asked, ascending.

    ``facts`` is how many recorded observations its answers may rest on: it only grows, and the day's answers stay the
    same until it does. 0 where nothing is recorded because files answer.
    """

    instants: Sequence[datetime]
    facts: int = 0


class WantedSeries(NamedTuple):
    """A series to be recorded from an exchange's public endpoints; ``kind`` is ``spot`` or ``perp`` (a mark price).

    ``required``: something is configured or held that needs just this one. The others are alternatives: a venue that
    does not list one is asked no more, and the next venue answers for it.
    """

    venue: str
    symbol: str
    kind: str
    required: bool


class QuoteColumn(NamedTuple):
    """Sound quotes at consecutive instants, all of one currency: ``Quote.price_usd`` and ``Quote.price`` of each."""

    price_usd: list[Decimal]
    price: list[Decimal]
    currency: str


@runtime_checkable
class ColumnMarket(Market, Protocol):
    """A market that can answer for many instants at once, with the same numbers as instant by instant.

    None means that some instant has no plain answer: ask for each to learn why, or what stands in for it.
    """

    def prices(self, token: str, instants: Sequence[datetime]) -> QuoteColumn | None:
        """``price`` at each instant."""
        ...

    def marks(self, venue: str, instrument: str, instants: Sequence[datetime]) -> QuoteColumn | None:
        """``mark`` at each instant."""
        ...

    def rates(self, name: str, instants: Sequence[datetime]) -> list[Decimal] | None:
        """``rate`` at each instant."""
        ...
