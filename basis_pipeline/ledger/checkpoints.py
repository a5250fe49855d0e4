"""Checkpoints of the book: a cache that keeps the cost of "the state at T" independent of the history's length.

A checkpoint holds every entry with timestamp <= ``as_of``. An entry that arrives at or before it makes it wrong, so
the append that brings such an entry drops the checkpoints from its time on, in the same transaction, and counts a
restatement; a reader saves what it built only if no restatement came in between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.database import reading, writing
from basis_pipeline.ledger.schema import checkpoints, portfolios

INTERVAL = 256
"""Entries between checkpoints: replaying so many takes a few milliseconds."""


class Checkpoint(NamedTuple):
    """The book with every entry up to and including ``as_of``; ``sequence`` is the highest among them."""

    as_of: datetime
    sequence: int
    book: Book


class Trail:
    """Collects checkpoints while entries pass by in order of time."""

    def __init__(self, portfolio: str, last_timestamp: datetime | None) -> None:
        self.portfolio = portfolio
        self.found: list[Checkpoint] = []
        self._last = last_timestamp
        self._passed = 0

    def before(self, timestamp: datetime, book: Book, sequence: int) -> None:
        """Call before applying an entry: a checkpoint can only stand where time moves on."""
        if self._passed >= INTERVAL and self._last is not None and timestamp > self._last:
            self.found.append(Checkpoint(self._last, sequence, book.copy()))
            self._passed = 0
        self._passed += 1
        self._last = timestamp


def newest(engine: Engine, portfolio: str, instant: datetime, head_sequence: int) -> Checkpoint | None:
    """The newest checkpoint at or before the instant that holds nothing beyond the head."""
    query = (
        sa.select(checkpoints.c.as_of, checkpoints.c.sequence, checkpoints.c.book)
        .where(
            checkpoints.c.portfolio == portfolio,
            checkpoints.c.as_of <= instant,
            checkpoints.c.sequence <= head_sequence,
        )
        .order_by(checkpoints.c.as_of.desc())
        .limit(1)
    )
    with reading(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else Checkpoint(row.as_of, row.sequence, read_book(row.book))


def read_book(text: str) -> Book:
    """The book of a stored checkpoint."""
    return Book.from_json(json.loads(text))


def save(engine: Engine, portfolio: str, found: Sequence[Checkpoint], restatements: int) -> None:
    """Keep what a reader built, unless the portfolio was restated since the reader took its snapshot."""
    if not found:
        return
    with writing(engine) as connection:
        query = sa.select(portfolios.c.restatements).where(portfolios.c.portfolio == portfolio).with_for_update()
        if connection.execute(query).scalar() != restatements:
            return
        have = {
            row.as_of
            for row in connection.execute(
                sa.select(checkpoints.c.as_of).where(
                    checkpoints.c.portfolio == portfolio, checkpoints.c.as_of >= found[0].as_of
                )
            )
        }
        insert(connection, portfolio, [checkpoint for checkpoint in found if checkpoint.as_of not in have])


def insert(connection: Connection, portfolio: str, found: Sequence[Checkpoint]) -> None:
    """Store checkpoints inside the caller's transaction."""
    if found:
        connection.execute(
            sa.insert(checkpoints),
            [
                {"portfolio": portfolio, "as_of": c.as_of, "sequence": c.sequence, "book": json.dumps(c.book.to_json())}
                for c in found
            ],
        )


def drop_from(connection: Connection, portfolio: str, timestamp: datetime) -> None:
    """Forget every checkpoint that an entry with this timestamp belongs into."""
    connection.execute(
        sa.delete(checkpoints).where(checkpoints.c.portfolio == portfolio, checkpoints.c.as_of >= timestamp)
    )
