"""Reading the ledger: a snapshot is what it held when the snapshot was taken, whatever is appended meanwhile.

Entries are immutable, so "sequence at most the head I saw" is a perfect snapshot without holding a transaction open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from basis_pipeline.domain.errors import UnknownNameError
from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger import checkpoints
from basis_pipeline.ledger.database import reading
from basis_pipeline.ledger.entries import Entry, read_entries, select_entries
from basis_pipeline.ledger.schema import entries, legs, portfolios
from basis_pipeline.ledger.types import UtcTime


class Head(NamedTuple):
    """The newest entry of a portfolio's chain."""

    sequence: int
    hash: str


class PortfolioState(NamedTuple):
    """A portfolio's terms and the head of its chain, as of the snapshot."""

    portfolio: str
    share_class: str
    start: datetime
    head: Head
    last_timestamp: datetime
    restatements: int


class BookAt(NamedTuple):
    """A book, and the highest sequence among the entries in it."""

    book: Book
    sequence: int


class LedgerSnapshot:
    """The ledger as it stood at one moment."""

    def __init__(self, engine: Engine, states: Mapping[str, PortfolioState]) -> None:
        self._engine = engine
        self.portfolios = dict(states)

    def state(self, portfolio: str) -> PortfolioState:
        """The portfolio's terms and head; unknown portfolios are refused."""
        try:
            return self.portfolios[portfolio]
        except KeyError:
            known = ", ".join(sorted(self.portfolios)) or "none yet"
            raise UnknownNameError(f"portfolio: {portfolio!r} is not in the ledger; it holds {known}") from None

    def heads(self) -> dict[str, Head]:
        return {name: state.head for name, state in self.portfolios.items()}

    def entries(
        self, portfolio: str, after: datetime | None, until: datetime | None, *, as_recorded: bool = False
    ) -> Iterator[Entry]:
        """Entries with ``after < timestamp <= until`` (None: unbounded) in order of (timestamp, sequence).

        ``as_recorded`` gives them in order of sequence instead: late entries where they arrived.
        """
        state = self.state(portfolio)
        query = select_entries().where(entries.c.portfolio == portfolio, entries.c.sequence <= state.head.sequence)
        if after is not None:
            query = query.where(entries.c.timestamp > after)
        if until is not None:
            query = query.where(entries.c.timestamp <= until)
        order = () if as_recorded else (entries.c.timestamp,)
        query = query.order_by(*order, entries.c.sequence, legs.c.leg)
        with (
            reading(self._engine) as connection,
            connection.execution_options(yield_per=5000).execute(query) as rows,  # closed when the caller stops early
        ):
            yield from read_entries(rows)

    def recorded_after(self, portfolio: str, sequence: int) -> list[tuple[int, datetime]]:
        """(sequence, timestamp) of the entries recorded after the sequence, in the order they were recorded."""
        query = (
            sa.select(entries.c.sequence, entries.c.timestamp)
            .where(
                entries.c.portfolio == portfolio,
                entries.c.sequence > sequence,
                entries.c.sequence <= self.state(portfolio).head.sequence,
            )
            .order_by(entries.c.sequence)
        )
        with reading(self._engine) as connection:
            return [(row.sequence, row.timestamp) for row in connection.execute(query)]

    def newest_until(self, portfolio: str, instant: datetime) -> int:
        """The highest sequence among the entries with ``timestamp <= instant``, 0 if there are none."""
        query = sa.select(sa.func.max(entries.c.sequence)).where(
            entries.c.portfolio == portfolio,
            entries.c.sequence <= self.state(portfolio).head.sequence,
            entries.c.timestamp <= instant,
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() or 0

    def continues(self, portfolio: str, head: Head) -> bool:
        """Whether this was the portfolio's head once: not so after a backup was restored and written on."""
        query = sa.select(entries.c.hash).where(entries.c.portfolio == portfolio, entries.c.sequence == head.sequence)
        with reading(self._engine) as connection:
            return connection.execute(query).scalar() == head.hash

    def earliest_after(self, portfolio: str, sequence: int) -> datetime | None:
        """The earliest timestamp among the entries recorded after the sequence; None if there are none."""
        return self._earliest(portfolio, sequence, sa.true())

    def any_after(self, portfolio: str, sequence: int, start: datetime, end: datetime) -> bool:
        """Whether an entry recorded after the sequence has ``start <= timestamp < end``."""
        between = sa.and_(entries.c.timestamp >= start, entries.c.timestamp < end)
        return self._earliest(portfolio, sequence, between) is not None

    def _earliest(self, portfolio: str, sequence: int, condition: sa.ColumnElement[bool]) -> datetime | None:
        head = self.state(portfolio).head.sequence
        query = sa.select(sa.func.min(entries.c.timestamp, type_=UtcTime)).where(
            entries.c.portfolio == portfolio, entries.c.sequence > sequence, entries.c.sequence <= head, condition
        )
        with reading(self._engine) as connection:
            return connection.execute(query).scalar()

    def book_at(self, portfolio: str, instant: datetime) -> BookAt:
        """The book with every entry up to and including the instant.

        Starts from the newest usable checkpoint, so the cost does not grow with the history; a long replay leaves
        checkpoints behind for the next reader.
        """
        state = self.state(portfolio)
        found = checkpoints.newest(self._engine, portfolio, instant, state.head.sequence)
        book, sequence = (Book(), 0) if found is None else (found.book, found.sequence)
        trail = checkpoints.Trail(portfolio, found.as_of if found else None)
        for entry in self.entries(portfolio, found.as_of if found else None, instant):
            trail.before(entry.update.timestamp, book, sequence)
            book.replay(entry.update.token_changes, entry.update.derivative_changes, entry.update.timestamp)
            sequence = max(sequence, entry.sequence)
        checkpoints.save(self._engine, portfolio, trail.found, state.restatements)
        return BookAt(book, sequence)


def take_snapshot(engine: Engine) -> LedgerSnapshot:
    """The heads of all portfolios, read in one transaction."""
    with reading(engine) as connection:
        rows = connection.execute(sa.select(portfolios).order_by(portfolios.c.portfolio)).all()
    return LedgerSnapshot(
        engine,
        {
            row.portfolio: PortfolioState(
                row.portfolio,
                row.share_class,
                row.start,
                Head(row.head_sequence, row.head_hash),
                row.last_timestamp,
                row.restatements,
            )
            for row in rows
        },
    )
