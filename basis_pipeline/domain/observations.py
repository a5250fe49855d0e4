"""What venues and markets said: readings, market observations, and the protocols by which they are read.

A reading is a fact: what an account held at a moment, or that it could not be learned. A reading that failed is never
zero and never flat; it says why. Nothing here decides what follows from a reading: that is ``reconciliation``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable


class Account(NamedTuple):
    """A wallet address or an exchange account. It belongs to exactly one portfolio."""

    portfolio: str
    name: str
    venue: str


class ReadingStatus(StrEnum):
    """Whether a reading learned what the account holds."""

    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


class Block(NamedTuple):
    """The block that a chain reading is pinned to; ``hash`` with 0x, ``time`` the block's own."""

    number: int
    hash: str
    time: datetime


class ObservedPosition(NamedTuple):
    """A perpetual as the venue reports it: signed base units, entry price in the quote currency (None: not told)."""

    size: Decimal
    entry_price: Decimal | None
    notional_usd: Decimal | None = None


class Health(NamedTuple):
    """How near to liquidation an account is; None where it has no meaning (no debt: no health factor).

    ``ltv`` is debt over collateral and ``margin_ratio`` maintenance margin over margin balance, as fractions of one.
    """

    ltv: Decimal | None = None
    health_factor: Decimal | None = None
    margin_ratio: Decimal | None = None


class MarketObservation(NamedTuple):
    """One value of one market series (see ``market.routing.SeriesRef``): a price, a mark, an index or a rate.

    ``observed_at`` is when the value was known at its source (a candle's closing time, a block's time, a venue's own
    time); ``fetched_at`` is when we had it.
    """

    venue: str
    symbol: str
    kind: str
    value: Decimal
    observed_at: datetime
    fetched_at: datetime


@dataclass(frozen=True)
class Reading:
    """One look at one account.

    ``balances`` are ledger units by canonical token: scaled for a- and debt tokens, cash less borrowings (so possibly
    negative) on exchanges. A token or instrument that is absent is held at zero. ``debts`` repeats what of a balance
    is borrowed, interest included, positive. ``unmapped`` are assets that the registry does not know, by the venue's
    own name for them. ``raw`` is the venue's answer as JSON text, without any secret.
    """

    account: Account
    status: ReadingStatus
    started_at: datetime
    observed_at: datetime
    balances: Mapping[str, Decimal] = field(default_factory=dict)
    positions: Mapping[str, ObservedPosition] = field(default_factory=dict)
    debts: Mapping[str, Decimal] = field(default_factory=dict)
    unmapped: Mapping[str, Decimal] = field(default_factory=dict)
    health: Health | None = None
    block: Block | None = None
    venue_time: datetime | None = None
    error: str | None = None
    raw: str = ""
    market: tuple[MarketObservation, ...] = ()
    """Rates and prices that came with the same answer (same block)."""

    @property
    def available(self) -> bool:
        return self.status is ReadingStatus.AVAILABLE

    @property
    def as_of(self) -> datetime:
        """The moment the reading describes: its block's time, else when the answer arrived."""
        return self.observed_at if self.block is None else self.block.time

    @classmethod
    def unavailable(
        cls, account: Account, error: str, started_at: datetime, observed_at: datetime, raw: str = ""
    ) -> Reading:
        """A reading that failed; ``error`` says what was asked and what came back, without any secret."""
        return cls(account, ReadingStatus.UNAVAILABLE, started_at, observed_at, error=error, raw=raw)


class Verdict(StrEnum):
    """How a check of a connection ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(NamedTuple):
    """One line of `basis doctor`: what was checked, how it stands, and what to do about it (empty if nothing)."""

    subject: str
    verdict: Verdict
    message: str
    remedy: str = ""


class VenueReader(Protocol):
    """One connection to a venue, for all accounts that share it (wallets on one node, or one exchange account)."""

    @property
    def accounts(self) -> Sequence[Account]:
        """The accounts it reads."""
        ...

    async def read(self) -> Sequence[Reading]:
        """One reading per account. Failures of the venue are in the readings and never raised."""
        ...

    async def check(self) -> Sequence[Finding]:
        """Everything `basis doctor` wants to know of this connection: access, permissions, clock, contracts."""
        ...

    async def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        ...


class QuoteSource(Protocol):
    """A source of live market observations: an exchange's public endpoints, or contracts on chain."""

    @property
    def name(self) -> str:
        """How people call it, for example ``binance``."""
        ...

    async def observe(self, since: datetime) -> Sequence[MarketObservation]:
        """What is newest now, and what became known after ``since`` as far as the source can still tell.

        ``VenueError`` when nothing can be learned; one series that fails is left out and reported by ``problems``.
        """
        ...

    @property
    def problems(self) -> Sequence[str]:
        """What the last ``observe`` could not learn, a line each; empty if it learned everything."""
        ...

    async def check(self) -> Sequence[Finding]:
        """Reachable, and every series it is asked for exists there."""
        ...

    async def close(self) -> None:
        """Let go of the connection; safe to call twice."""
        ...


@runtime_checkable
class PastSource(QuoteSource, Protocol):
    """A source that can tell what it would have said at a past hour, at the cost of requests for each hour."""

    @property
    def venues(self) -> Collection[str]:
        """The venues under which its observations are recorded."""
        ...

    def at_hours(self, hours: Sequence[datetime]) -> AsyncIterator[Sequence[MarketObservation]]:
        """What was newest at each of these full hours, as far as the source can still tell, hour after hour.

        To be asked after ``observe``; ``problems`` then covers both. ``VenueError`` when it cannot go on: what it said
        before that stands.
        """
        ...
