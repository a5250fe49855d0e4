"""A portfolio's book moving forward through time, one instant after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, datetime

from basis_pipeline.domain.instants import DAY, HOUR, day_start
from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.snapshot import LedgerSnapshot, PortfolioState

Key = tuple[str, str]
"""(venue, token) of a balance or (venue, instrument) of a perpetual."""


class BookCursor:
    """The book of one portfolio as of an instant that only moves forward, as far as ``until``.

    Opens at the hour before the first day, so that the first hour can tell what has just ended.
    """

    def __init__(self, snapshot: LedgerSnapshot, portfolio: str, first: date, until: datetime) -> None:
        self.state: PortfolioState = snapshot.state(portfolio)
        opening = day_start(first) - HOUR
        found = snapshot.book_at(portfolio, opening)
        self.book: Book = found.book
        self.sequence = found.sequence
        self._entries: Iterator[Entry] = snapshot.entries(portfolio, opening, until)
        self._next = next(self._entries, None)

    def advance(self, instant: datetime) -> Collection[Key]:
        """Apply every entry with timestamp <= instant; returns what they touched.

        ``sequence`` is the highest among all entries applied so far.
        """
        entry = self._next
        if entry is None or entry.update.timestamp > instant:
            return ()
        touched: set[Key] = set()
        while entry is not None and entry.update.timestamp <= instant:
            update = entry.update
            if update.token_changes or update.derivative_changes:
                self.book.replay(update.token_changes, update.derivative_changes, update.timestamp)
                touched.update((change.venue, change.token) for change in update.token_changes)
                touched.update((change.venue, change.instrument) for change in update.derivative_changes)
            self.sequence = max(self.sequence, entry.sequence)
            entry = next(self._entries, None)
        self._next = entry
        return touched


def open_cursors(snapshot: LedgerSnapshot, first: date, last: date, until: datetime | None = None) -> list[BookCursor]:
    """A cursor per portfolio that has started by the end of the last day, in order of name.

    ``until`` is the last instant they are moved to, by default the last day's last hour.
    """
    end = day_start(last) + DAY
    until = end - HOUR if until is None else until
    started = sorted(name for name, state in snapshot.portfolios.items() if state.start < end)
    return [BookCursor(snapshot, name, first, until) for name in started]
