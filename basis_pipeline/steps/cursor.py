"""A portfolio's book moving forward through time, one instant after the other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime

from basis_pipeline.domain.instants import DAY, HOUR, day_start
from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.snapshot import LedgerSnapshot, PortfolioState


class BookCursor:
    """The book of one portfolio as of an instant that only moves forward.

    Opens at the hour before the first day, so that the first hour can tell what has just ended.
    """

    def __init__(self, snapshot: LedgerSnapshot, portfolio: str, first: date, last: date) -> None:
        self.state: PortfolioState = snapshot.state(portfolio)
        opening = day_start(first) - HOUR
        found = snapshot.book_at(portfolio, opening)
        self.book: Book = found.book
        self.sequence = found.sequence
        self._entries: Iterator[Entry] = snapshot.entries(portfolio, opening, day_start(last) + DAY - HOUR)
        self._next = next(self._entries, None)

    def advance(self, instant: datetime) -> None:
        """Apply every entry with timestamp <= instant; ``sequence`` is the highest among those applied."""
        entry = self._next
        while entry is not None and entry.update.timestamp <= instant:
            update = entry.update
            self.book.replay(update.token_changes, update.derivative_changes, update.timestamp)
            self.sequence = max(self.sequence, entry.sequence)
            entry = next(self._entries, None)
        self._next = entry


def open_cursors(snapshot: LedgerSnapshot, first: date, last: date) -> list[BookCursor]:
    """A cursor per portfolio that has started by the end of the last day, in order of name."""
    end = day_start(last) + DAY
    started = sorted(name for name, state in snapshot.portfolios.items() if state.start < end)
    return [BookCursor(snapshot, name, first, last) for name in started]
