"""Books replayed inside a transaction: at the head, around an entry, and from a moment on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.checkpoints import read_book
from basis_pipeline.ledger.entries import Entry, read_entries, select_entries
from basis_pipeline.ledger.schema import checkpoints, entries, legs
from basis_pipeline.ledger.timeline import Timeline


def newest_book(connection: Connection, portfolio: str) -> Book:
    """The book with all entries."""
    book, as_of = _checkpointed(connection, portfolio, None)
    return _apply(book, _by_time(connection, portfolio, as_of))


def carried_on(connection: Connection, portfolio: str, book: Book, sequence: int) -> Book:
    """The book with the entries after the sequence applied, which must all be later than what is in it."""
    return _apply(book, _by_time(connection, portfolio, None, entries.c.sequence > sequence))


def holds(connection: Connection, portfolio: str, sequence: int, own: str) -> bool:
    """Whether the entry of that sequence has that hash: a backup may have been restored under a running process."""
    query = sa.select(entries.c.hash).where(entries.c.portfolio == portfolio, entries.c.sequence == sequence)
    return connection.execute(query).scalar() == own


def timeline_from(connection: Connection, portfolio: str, earliest: datetime) -> Timeline:
    """The history in which an update at ``earliest`` or later can find its place."""
    opening, as_of = _checkpointed(connection, portfolio, earliest)
    return Timeline(opening, ((e.sequence, e.update) for e in _by_time(connection, portfolio, as_of)))


def books_around(connection: Connection, portfolio: str, original: Entry, moment: datetime) -> tuple[Book, Book, Book]:
    """The book right before an entry, right after it, and at a moment not before it."""
    book, as_of = _checkpointed(connection, portfolio, original.update.timestamp)
    before = after = book
    for entry in _by_time(connection, portfolio, as_of, entries.c.timestamp <= moment):
        if entry.sequence == original.sequence:
            before = book.copy()
        _apply(book, [entry])
        if entry.sequence == original.sequence:
            after = book.copy()
    return before, after, book


def _apply(book: Book, found: Iterable[Entry]) -> Book:
    for entry in found:
        book.replay(entry.update.token_changes, entry.update.derivative_changes, entry.update.timestamp)
    return book


def _by_time(
    connection: Connection, portfolio: str, after: datetime | None, *conditions: sa.ColumnElement[bool]
) -> Iterator[Entry]:
    query = select_entries().where(entries.c.portfolio == portfolio, *conditions)
    if after is not None:
        query = query.where(entries.c.timestamp > after)
    return read_entries(connection.execute(query.order_by(entries.c.timestamp, entries.c.sequence, legs.c.leg)))


def _checkpointed(connection: Connection, portfolio: str, before: datetime | None) -> tuple[Book, datetime | None]:
    """The newest checkpointed book strictly before a moment (None: the newest of all), and its time."""
    query = sa.select(checkpoints.c.as_of, checkpoints.c.book).where(checkpoints.c.portfolio == portfolio)
    if before is not None:
        query = query.where(checkpoints.c.as_of < before)
    row = connection.execute(query.order_by(checkpoints.c.as_of.desc()).limit(1)).first()
    return (Book(), None) if row is None else (read_book(row.book), row.as_of)
