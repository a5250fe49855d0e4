"""The specification's venue interfaces, over the ledger and over a live reading: what an equity calculator asks.

Both describe their holdings as the pipeline does, so the difference of two snapshots is the value of the drift. They
hold amounts only; prices come from a price provider.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from basis_pipeline.domain.errors import InputError, VenueError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import ZERO, add, canonical
from basis_pipeline.domain.observations import Reading
from basis_pipeline.domain.positions import PerpPosition
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, WALLET, Registry, TokenKind
from basis_pipeline.domain.valuation import Holding, Side, describe_balance, describe_book, describe_position
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.monitors.state import PositionState


class OpenPosition(NamedTuple):
    """A perpetual: signed base units and entry price in the settlement coin."""

    size: Decimal
    entry_price: Decimal


@dataclass(frozen=True)
class OtherHoldings:
    """What the specification's methods have no place for; amounts in ledger units, positions by instrument."""

    assets: Mapping[str, Decimal] = field(default_factory=dict)
    debts: Mapping[str, Decimal] = field(default_factory=dict)
    locked: Mapping[str, Decimal] = field(default_factory=dict)
    positions: Mapping[str, OpenPosition] = field(default_factory=dict)


class Moment(NamedTuple):
    """Interfaces that all tell of the same state, and the ledger sequence that it has (None: not the ledger's)."""

    interfaces: Mapping[str, Any]
    ledger_sequence: int | None


class MomentSource(Protocol):
    """Interfaces of which one moment can be had: what changes meanwhile is in all of them or in none."""

    async def moment(self) -> Moment:
        """The interfaces as of now."""
        ...


class _Venue:
    """The holdings of one venue."""

    def __init__(self, holdings: Iterable[Holding], registry: Registry) -> None:
        self._holdings = tuple(holdings)
        self._registry = registry

    def _amounts(self, side: Side, kinds: Collection[TokenKind] = tuple(TokenKind)) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for holding in self._holdings:
            if holding.side == side and self._registry.token(holding.token).kind in kinds:
                known = found.get(holding.token)  # of the wallet, where a user placed the token at an exchange
                found[holding.token] = holding.amount if known is None else add(known, holding.amount)
        return found

    def _positions(self) -> dict[str, OpenPosition]:
        return {
            holding.token: OpenPosition(holding.amount, holding.entry_price)
            for holding in self._holdings
            if holding.entry_price is not None
        }


class ProtocolVenue(_Venue):
    """Tokens of a protocol in the wallet: Aave, Lido, EtherFi or one that the user registered."""

    async def get_a_tokens(self) -> dict[str, Decimal]:
        """Scaled balance by aToken."""
        return self._amounts(Side.ASSET, (TokenKind.ATOKEN,))

    async def get_debt_tokens(self) -> dict[str, Decimal]:
        """Scaled debt by debt token, positive."""
        return self._amounts(Side.DEBT)

    async def get_lst_balances(self) -> dict[str, Decimal]:
        """Balance by staking token: there may be more than one, such as stETH beside wstETH."""
        return self._amounts(Side.ASSET, (TokenKind.LST,))

    async def get_lst_balance(self) -> Decimal:
        """The balance of the one staking token; ``VenueError`` where there are more."""
        return sum((await self.get_lst_balances()).values(), ZERO) if self.get_lst_token() else ZERO

    def get_lst_token(self) -> str | None:
        """The one staking token that is held, None if none is; ``VenueError`` where there are more."""
        held = list(self._amounts(Side.ASSET, (TokenKind.LST,)))
        if len(held) > 1:
            raise VenueError(f"holds {', '.join(held)}, which are not one staking token; ask get_lst_balances")
        return held[0] if held else None

    async def get_other_holdings(self) -> OtherHoldings:
        """Rewards, and what waits in withdrawal queues."""
        others = set(TokenKind) - {TokenKind.ATOKEN, TokenKind.LST}
        return OtherHoldings(assets=self._amounts(Side.ASSET, others), locked=self._amounts(Side.LOCKED))


class WalletVenue(_Venue):
    """Tokens in the wallet that belong to no protocol; or what is under way between venues."""

    async def get_balances(self) -> dict[str, Decimal]:
        """Balance by token."""
        return {**self._amounts(Side.ASSET), **self._amounts(Side.IN_TRANSIT)}

    async def get_other_holdings(self) -> OtherHoldings:
        """What a user registered as debt or as locked without saying of which protocol."""
        return OtherHoldings(debts=self._amounts(Side.DEBT), locked=self._amounts(Side.LOCKED))


class ExchangeVenue(_Venue):
    """An exchange account. Of a token that is both held and borrowed it tells the difference, as the ledger does."""

    async def get_spot_balances(self) -> dict[str, Decimal]:
        """Balance by token, where it is above zero."""
        return self._amounts(Side.ASSET)

    async def get_margin_info(self) -> dict[str, dict[str, Decimal]]:
        """``borrowings`` by token, positive."""
        return {"borrowings": self._amounts(Side.DEBT)}

    async def get_other_holdings(self) -> OtherHoldings:
        """Perpetuals, and claims in withdrawal queues that are booked here."""
        return OtherHoldings(locked=self._amounts(Side.LOCKED), positions=self._positions())


class UnreadVenue:
    """An account that could not be read: whatever is asked of it fails, with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def get_balances(self) -> dict[str, Decimal]:
        raise VenueError(self._reason)

    async def get_spot_balances(self) -> dict[str, Decimal]:
        raise VenueError(self._reason)


class LedgerInterfaces(Mapping[str, Any]):
    """The interfaces of one portfolio by venue, each asked of the ledger anew; ``moment`` has them all as of one entry.

    Iterating gives the venues that hold something.
    """

    def __init__(self, book: Callable[[], tuple[Sequence[Holding], int]], registry: Registry) -> None:
        self._book = book
        self._registry = registry

    async def moment(self) -> Moment:
        """The book of now, read outside the event loop's thread."""
        holdings, sequence = await asyncio.to_thread(self._book)
        return Moment(_by_venue(holdings, self._registry), sequence)

    def __getitem__(self, venue: str) -> Any:
        return self._now()[venue]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> dict[str, Any]:
        return _by_venue(self._book()[0], self._registry)


def ledger_interfaces(
    ledger: Ledger, portfolio: str, registry: Registry, *, clock: Clock | None = None
) -> LedgerInterfaces:
    """What the portfolio holds by its ledger, up to the newest entry, or up to what ``clock`` tells.

    ``UnknownNameError`` when the ledger does not have the portfolio by the time it is asked.
    """
    return LedgerInterfaces(_Books(ledger, portfolio, registry, clock), registry)


class _Books:
    """A portfolio's holdings and the sequence they stand on. Between two calls only what is new is read."""

    def __init__(self, ledger: Ledger, portfolio: str, registry: Registry, clock: Clock | None) -> None:
        self._ledger = ledger
        self._portfolio = portfolio
        self._registry = registry
        self._clock = clock
        self._state = PositionState(portfolio)
        self._newest: tuple[Sequence[Holding], int] = ((), 0)
        self._one_at_a_time = threading.Lock()

    def __call__(self) -> tuple[Sequence[Holding], int]:
        with self._one_at_a_time:
            until = None if self._clock is None else self._clock()
            self._state.catch_up(self._ledger)
            last = self._state.timestamp
            if last is None or (until is not None and until < last):
                snapshot = self._ledger.snapshot()
                found = snapshot.book_at(self._portfolio, until or snapshot.state(self._portfolio).last_timestamp)
                return describe_book(found.book, self._registry), found.sequence
            if self._newest[1] != self._state.sequence:
                self._newest = describe_book(self._state.book, self._registry), self._state.sequence
            return self._newest


def reading_interfaces(readings: Iterable[Reading], registry: Registry) -> dict[str, Any]:
    """What the accounts of one portfolio hold by their venues.

    Nothing is under way in it: no venue tells of that. A venue that was not read, or that holds what cannot be valued
    (an unregistered asset, a perpetual without entry price), fails when it is asked. ``InputError`` for readings of
    several portfolios, or two of one venue.
    """
    readings = list(readings)
    portfolios = sorted({reading.account.portfolio for reading in readings})
    if len(portfolios) > 1:
        raise InputError(f"readings: are of {' and '.join(portfolios)}; give those of one portfolio")
    venues = [reading.account.venue for reading in readings]
    if twice := sorted({venue for venue in venues if venues.count(venue) > 1}):
        raise InputError(f"readings: there is more than one of {', '.join(twice)}; give the newest of each")
    holdings: list[Holding] = []
    unread: dict[str, UnreadVenue] = {}
    for reading in readings:
        if (reason := _unusable(reading)) is not None:
            unread[reading.account.venue] = UnreadVenue(f"{reading.account.name}: {reason}")
        else:
            holdings += _described(reading, registry)
    return {**_by_venue(holdings, registry), **unread}


def _unusable(reading: Reading) -> str | None:
    """Why the reading has no value, or None if it has one."""
    if not reading.available:
        return reading.error or "it could not be read"
    unknown = [f"{canonical(amount)} {asset}" for asset, amount in sorted(reading.unmapped.items()) if amount]
    if unknown:
        return f"holds {', '.join(unknown)}, which is not registered; register it under `tokens:` in basis.yaml"
    without = [name for name, position in reading.positions.items() if position.size and position.entry_price is None]
    if without:
        return f"does not tell the entry price of {', '.join(sorted(without))}, so its profit is not known"
    return None


def _described(reading: Reading, registry: Registry) -> list[Holding]:
    venue = reading.account.venue
    found = [describe_balance(venue, token, held, registry) for token, held in reading.balances.items() if held]
    for name, position in reading.positions.items():
        if position.size and position.entry_price is not None:
            opened = PerpPosition(position.size, position.entry_price, reading.as_of, position.notional_usd)
            found.append(describe_position(venue, name, opened))
    return found


def _by_venue(holdings: Iterable[Holding], registry: Registry) -> dict[str, Any]:
    grouped: dict[str, list[Holding]] = {}
    for holding in holdings:
        grouped.setdefault(holding.venue, []).append(holding)
    return {venue: _kind_of(venue)(held, registry) for venue, held in grouped.items()}


def _kind_of(venue: str) -> type[_Venue]:
    if venue in EXCHANGES:
        return ExchangeVenue
    return WalletVenue if venue in (WALLET, IN_TRANSIT) else ProtocolVenue
