"""What a portfolio holds, in memory: kept up with the ledger entry by entry, shown in the specification's form."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import ZERO, canonical
from basis_pipeline.domain.positions import BalanceKey, Book, PerpKey
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, WALLET
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.outbox import entries_between

WALLET_TOKENS = (
    "ETH",
    "USDT",
    "BTC",
    "weETH",
    "wstETH",
    "aWeETH",
    "awstETH",
    "aUSDT",
    "aBTC",
    "variableDebtWETH",
    "variableDebtUSDT",
    "variableDebtBTC",
    "KING",
    "EIGEN",
    "ETHFI",
)
"""Shown in every snapshot, at zero if nothing is held."""
EXCHANGE_TOKENS = ("USDT", "ETH", "BTC")
_CATCH_UP_MAX = 500
"""Entries more than that are not replayed one by one: the ledger's checkpoints are faster."""

Snapshot = dict[str, Any]
_Section = dict[str, Any]


class PositionState:
    """The holdings of one portfolio after the entry with ``sequence``; 0 is before its first entry.

    ``timestamp`` is the time of the newest entry, ``last_updated`` when the last one was recorded. The sections are
    changed in place, so that a view of them stays current.
    """

    def __init__(self, portfolio: str) -> None:
        self.portfolio = portfolio
        self.sequence = 0
        self.timestamp: datetime | None = None
        self.last_updated: datetime | None = None
        self.wallet: _Section = dict.fromkeys(WALLET_TOKENS, ZERO)
        self.in_transit: _Section = {}
        self.cex_accounts: dict[str, _Section] = {venue: dict.fromkeys(EXCHANGE_TOKENS, ZERO) for venue in EXCHANGES}
        self.perp_positions: dict[str, _Section] = {venue: {} for venue in EXCHANGES}
        self._book = Book()
        self._restatements = 0
        self._texts: dict[int, str] = {}

    @property
    def book(self) -> Book:
        """What is held, not to be changed by others."""
        return self._book

    def begin(self, share_class: str, capital: Decimal, moment: datetime) -> None:
        """The capital as it will be, for a portfolio that is not in the ledger yet."""
        self._replace(Book({(WALLET, share_class): capital}))
        self.last_updated = moment

    def try_out(self, update: BalanceUpdate) -> None:
        """``BookError`` if the update cannot be applied to what is held; nothing changes."""
        self._book.copy().apply(update)

    def follows(self, update: BalanceUpdate, sequence: int) -> bool:
        """Whether the accepted update is the next entry, and not earlier than any before it."""
        return sequence == self.sequence + 1 and self.timestamp is not None and update.timestamp >= self.timestamp

    def accept(self, update: BalanceUpdate, sequence: int, recorded_at: datetime) -> None:
        """Apply an entry that ``follows``."""
        self._book.replay(update.token_changes, update.derivative_changes, update.timestamp)
        self._show_balances({(c.venue, c.token) for c in update.token_changes})
        self._show_positions({(c.venue, c.instrument) for c in update.derivative_changes})
        self.sequence, self.timestamp, self.last_updated = sequence, update.timestamp, recorded_at

    def catch_up(self, ledger: Ledger) -> None:
        """Take in what was written to the ledger since; nothing happens while it does not have the portfolio."""
        found = ledger.snapshot()
        state = found.portfolios.get(self.portfolio)
        if state is None or state.head.sequence == self.sequence:
            return
        head = state.head.sequence
        in_order = self.sequence > 0 and state.restatements == self._restatements
        if in_order and 0 < head - self.sequence <= _CATCH_UP_MAX:
            new = entries_between(ledger.engine, self.portfolio, self.sequence, head)
            for entry in sorted(new, key=lambda entry: (entry.update.timestamp, entry.sequence)):
                self.accept(entry.update, entry.sequence, entry.recorded_at)
        else:
            self._replace(found.book_at(self.portfolio, state.last_timestamp).book)
            new = entries_between(ledger.engine, self.portfolio, head - 1, head)
        self.sequence, self.timestamp, self.last_updated = head, state.last_timestamp, new[-1].recorded_at
        self._restatements = state.restatements

    def snapshot(self) -> Snapshot:
        """A deep copy in the specification's form."""
        return {
            "portfolio": self.portfolio,
            "ledger_sequence": self.sequence,
            "timestamp": None if self.timestamp is None else iso(self.timestamp),
            "last_updated": None if self.last_updated is None else iso(self.last_updated),
            "wallet": self.wallet.copy(),
            "in_transit": self.in_transit.copy(),
            "cex_accounts": {venue: section.copy() for venue, section in self.cex_accounts.items()},
            "perp_positions": {
                venue: {instrument: dict(position) for instrument, position in section.items()}
                for venue, section in self.perp_positions.items()
            },
        }

    def json(self) -> str:
        """``to_json(snapshot())``, of which only what changed is written anew."""
        moment = "null" if self.timestamp is None else f'"{iso(self.timestamp)}"'
        changed = "null" if self.last_updated is None else f'"{iso(self.last_updated)}"'
        accounts = ",".join(f'"{venue}":{self._text(section)}' for venue, section in self.cex_accounts.items())
        perps = ",".join(f'"{venue}":{self._text(section)}' for venue, section in self.perp_positions.items())
        return (
            f'{{"portfolio":{json.dumps(self.portfolio)},"ledger_sequence":{self.sequence},"timestamp":{moment},'
            f'"last_updated":{changed},"wallet":{self._text(self.wallet)},"in_transit":{self._text(self.in_transit)},'
            f'"cex_accounts":{{{accounts}}},"perp_positions":{{{perps}}}}}'
        )

    def _replace(self, book: Book) -> None:
        balances = {*self._book.balances, *book.balances}
        positions = {*self._book.positions, *book.positions}
        self._book = book
        self._show_balances(balances)
        self._show_positions(positions)

    def _show_balances(self, keys: Collection[BalanceKey]) -> None:
        for venue, token in keys:
            section, always = self._balances(venue)
            balance = self._book.balances.get((venue, token))
            if balance is not None:
                section[token] = balance
            elif token in always:
                section[token] = ZERO
            else:
                section.pop(token, None)
            self._texts.pop(id(section), None)

    def _show_positions(self, keys: Collection[PerpKey]) -> None:
        for venue, instrument in keys:
            section = self.perp_positions[venue]
            position = self._book.positions.get((venue, instrument))
            if position is None:
                section.pop(instrument, None)
            else:
                entered = iso(position.entry_timestamp)
                section[instrument] = MappingProxyType({**position._asdict(), "entry_timestamp": entered})
            self._texts.pop(id(section), None)

    def _balances(self, venue: str) -> tuple[_Section, tuple[str, ...]]:
        """Where the balances of a venue are shown, and which of them at zero."""
        if venue == WALLET:
            return self.wallet, WALLET_TOKENS
        if venue == IN_TRANSIT:
            return self.in_transit, ()
        return self.cex_accounts[venue], EXCHANGE_TOKENS

    def _text(self, section: _Section) -> str:
        """A section as JSON, kept until it changes."""
        text = self._texts.get(id(section))
        if text is None:
            text = self._texts[id(section)] = to_json(section)
        return text


def to_json(snapshot: Mapping[str, Any]) -> str:
    """A snapshot, or a part of one, as JSON: amounts as decimal strings, never with an exponent."""
    return json.dumps(snapshot, default=_jsonable, separators=(",", ":"))


def _jsonable(value: object) -> object:
    if isinstance(value, Decimal):
        return canonical(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not part of a snapshot")
