"""Verification: the chain recomputed from what is stored, compared with itself, its head and what was published."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.domain.changes import canonical_content
from basis_pipeline.domain.instants import DAY, day_start, iso
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.ledger.database import reading
from basis_pipeline.ledger.entries import (
    GENESIS_HASH,
    Entry,
    chain_hash,
    hash_content,
    read_entries,
    select_entries,
)
from basis_pipeline.ledger.publications import current_files
from basis_pipeline.ledger.schema import checkpoints, entries, legs, portfolios

_CHUNK = 5000
_SEQUENCES_PER_QUERY = 500
_UNREADABLE = (ValueError, ArithmeticError, TypeError, AttributeError)
"""What reading a value raises that was never written by us: a number that is none, an unknown trigger."""


class Problem(NamedTuple):
    """One finding: the portfolio, the sequence it is about, the entry's id if it has one, and what is wrong."""

    portfolio: str
    sequence: int
    entry_id: str | None
    what: str

    def __str__(self) -> str:
        name = f" ({self.entry_id})" if self.entry_id else ""
        return f"{self.portfolio} entry {self.sequence}{name}: {self.what}"


class _Unreadable(NamedTuple):
    """An entry that cannot be read back, so that nothing but its place in the chain is known."""

    sequence: int
    entry_id: str
    hash: str
    why: str


class Verified(NamedTuple):
    """The outcome of a verification: how many entries were read, and every problem found."""

    entries: int
    problems: tuple[Problem, ...]


class _Span(NamedTuple):
    """The entries whose timestamp lies in [start, end)."""

    start: datetime
    end: datetime

    def holds(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def overlaps(self, day: date) -> bool:
        return day_start(day) < self.end and self.start < day_start(day) + DAY

    def sequences(self, portfolio: str, above: int = 0) -> sa.Select[Any]:
        """Of these entries, and of the stored entry before and after each of them in the chain."""
        other = entries.alias()
        here = other.c.portfolio == portfolio
        before = sa.select(sa.func.max(other.c.sequence)).where(here, other.c.sequence < entries.c.sequence)
        after = sa.select(sa.func.min(other.c.sequence)).where(here, other.c.sequence > entries.c.sequence)
        inside = (
            sa.select(
                entries.c.sequence, before.scalar_subquery().label("before"), after.scalar_subquery().label("after")
            )
            .where(entries.c.portfolio == portfolio)
            .where(entries.c.timestamp >= self.start, entries.c.timestamp < self.end)
            .cte()
        )
        found = sa.union(*(sa.select(column) for column in inside.c)).subquery()
        return sa.select(found.c.sequence).where(found.c.sequence > above)


class _Walked(NamedTuple):
    """What a walk along a portfolio's chain found, and where it ended."""

    entries: int
    problems: list[Problem]
    sequence: int
    hash: str
    last: datetime


def verify(engine: Engine) -> Verified:
    """Read the whole ledger and report every changed, missing, reordered or cut-off entry."""
    problems: list[Problem] = []
    count = 0
    published = _published_heads(engine)
    with reading(engine) as connection:
        for row in _portfolios(connection):
            walked = _walk(connection, row)
            found = [*walked.problems, *_check_head(row, walked.sequence, walked.hash, walked.last)]
            problems += found or _wrong_checkpoints(connection, row.portfolio)
            count += walked.entries
        problems += _misshapen_legs(connection)
        problems += _not_held(connection, published)
    return Verified(count, tuple(problems))


def verify_between(engine: Engine, start: datetime, end: datetime) -> Verified:
    """Read the entries with a timestamp in [start, end) and their neighbours in the chain, however long it is.

    Reports which of them were changed or do not continue each other, that entries are missing anywhere (by counting),
    and where the ledger contradicts its heads or what was published of these days. Older and newer entries and the
    checkpoints are left to ``verify``.
    """
    span = _Span(start, end)
    problems: list[Problem] = []
    count = 0
    published = _published_heads(engine, span)
    with reading(engine) as connection:
        for row in _portfolios(connection):
            walked = _walk(connection, row, span)
            problems += walked.problems
            problems += _check_extent(connection, row)
            problems += _misshapen_legs(
                connection, legs.c.portfolio == row.portfolio, legs.c.sequence.in_(span.sequences(row.portfolio))
            )
            count += walked.entries
        problems += _not_held(connection, published)
    return Verified(count, tuple(problems))


def _portfolios(connection: Connection) -> Sequence[sa.Row[Any]]:
    return connection.execute(sa.select(portfolios).order_by(portfolios.c.portfolio)).all()


def _walk(connection: Connection, row: sa.Row[Any], span: _Span | None = None) -> _Walked:
    """Check a portfolio's entries by sequence; with a span, those in it, and its neighbours on their own."""
    problems: list[Problem] = []
    count = 0
    previous, expected, last = GENESIS_HASH, 1, row.start
    was_inside = False
    for entry in _chain(connection, row.portfolio, span):
        inside = False
        if isinstance(entry, _Unreadable):
            what = f"its content was changed after it was recorded and cannot be read ({entry.why})"
            problems.append(Problem(row.portfolio, entry.sequence, entry.entry_id, what))
        else:
            inside = span is None or span.holds(entry.update.timestamp)
            if span is not None and not (inside or was_inside):  # what comes before it was not read
                previous, expected = entry.previous_hash, entry.sequence
            problems += _check(entry, previous, expected)
            last = max(last, entry.update.timestamp)
            if entry.sequence == 1:
                problems += _check_terms(row, entry)
        previous, expected, was_inside = entry.hash, entry.sequence + 1, inside
        count += 1
    return _Walked(count, problems, expected - 1, previous, last)


def _check_head(row: sa.Row[Any], sequence: int, own: str, last: datetime | None = None) -> Iterator[Problem]:
    """The head is the end of the chain, and ``last`` (where known) its latest time."""
    if (row.head_sequence, row.head_hash) != (sequence, own):
        what = (
            f"the head is entry {row.head_sequence}, but the chain ends at {sequence}: "
            "entries were cut off or the head was changed"
        )
        yield Problem(row.portfolio, row.head_sequence, None, what)
    elif last is not None and row.last_timestamp != last:
        what = f"last_timestamp was changed: it says {iso(row.last_timestamp)}, the entries reach {iso(last)}"
        yield Problem(row.portfolio, row.head_sequence, None, what)


def _check_extent(connection: Connection, row: sa.Row[Any]) -> Iterator[Problem]:
    """As many entries as the newest one's number, and that one the head. Counting reads only the index."""
    mine = entries.c.portfolio == row.portfolio
    newest = sa.select(entries.c.sequence, entries.c.hash).where(mine).order_by(entries.c.sequence.desc()).limit(1)
    sequence, own = connection.execute(newest).first() or (0, GENESIS_HASH)
    yield from _check_head(row, sequence, own)
    count = connection.execute(sa.select(sa.func.count()).where(mine)).scalar_one()
    if count != sequence:
        what = f"the ledger holds {count} entries up to it: some are missing; `basis verify` names where"
        yield Problem(row.portfolio, sequence, None, what)


def _published_heads(engine: Engine, span: _Span | None = None) -> dict[str, dict[int, str]]:
    """Hashes by portfolio and sequence of what published days were built on, of the span's days or of all."""
    heads: dict[str, dict[int, str]] = {}
    for publication in current_files(engine).files:
        if span is None or span.overlaps(publication.day):
            for portfolio, head in publication.heads.items():
                if head.sequence:
                    heads.setdefault(portfolio, {})[head.sequence] = head.hash
    return heads


def _not_held(connection: Connection, published: dict[str, dict[int, str]]) -> Iterator[Problem]:
    query = sa.select(entries.c.sequence, entries.c.hash)
    for portfolio, heads in sorted(published.items()):
        sequences = sorted(heads)
        held: dict[int, str] = {}
        for first in range(0, len(sequences), _SEQUENCES_PER_QUERY):
            some = entries.c.sequence.in_(sequences[first : first + _SEQUENCES_PER_QUERY])
            rows = connection.execute(query.where(entries.c.portfolio == portfolio, some))
            held.update((row.sequence, row.hash) for row in rows)
        for sequence in sequences:
            if held.get(sequence) != heads[sequence]:
                what = "a published day was built on it, but the ledger no longer holds it"
                yield Problem(portfolio, sequence, None, what)


def _chain(connection: Connection, portfolio: str, span: _Span | None) -> Iterator[Entry | _Unreadable]:
    """Entries by sequence: all, or those of the span and their neighbours.

    What tampering left unreadable is found one by one, and does not hide the rest.
    """
    query = select_entries().where(entries.c.portfolio == portfolio).order_by(entries.c.sequence, legs.c.leg)
    places = (
        sa.select(entries.c.sequence, entries.c.entry_id, entries.c.hash)
        .where(entries.c.portfolio == portfolio)
        .order_by(entries.c.sequence)
        .limit(_CHUNK)
    )

    def above(sequence: int) -> sa.ColumnElement[bool]:
        if span is None:
            return entries.c.sequence > sequence
        # The bound within: beside the list, SQLite would prefer it and read everything that follows.
        return entries.c.sequence.in_(span.sequences(portfolio, above=sequence))

    streaming = connection.execution_options(yield_per=_CHUNK)
    after = 0
    while True:
        try:
            with streaming.execute(query.where(above(after))) as rows:
                for entry in read_entries(rows):
                    after = entry.sequence
                    yield entry
            return
        except _UNREADABLE:
            found = connection.execute(places.where(above(after))).all()
        for sequence, entry_id, own in found:
            after = sequence
            try:
                with connection.execute(query.where(entries.c.sequence == sequence)) as rows:
                    alone = list(read_entries(rows))
            except _UNREADABLE as error:
                yield _Unreadable(sequence, entry_id, own, f"{type(error).__name__}: {error}")
                break
            yield from alone


def _check_terms(row: sa.Row[Any], first: Entry) -> Iterator[Problem]:
    """The portfolio's terms stand in its first entry, which the chain covers."""
    capital = [(c.venue, c.token, c.delta) for c in first.update.token_changes]
    if capital != [(WALLET, row.share_class, row.initial_capital)] or first.update.timestamp != row.start:
        what = "the portfolio's share class, capital or start is not that of its first entry"
        yield Problem(first.portfolio, first.sequence, first.update.id, what)


def _wrong_checkpoints(connection: Connection, portfolio: str) -> Iterator[Problem]:
    """Checkpoints are no part of the chain, but a wrong one would be believed: each must be what a replay gives."""
    query = sa.select(checkpoints).where(checkpoints.c.portfolio == portfolio).order_by(checkpoints.c.as_of)
    stored = connection.execute(query).all()
    by_time = select_entries().where(entries.c.portfolio == portfolio)
    by_time = by_time.order_by(entries.c.timestamp, entries.c.sequence, legs.c.leg)
    book, sequence = Book(), 0
    with connection.execution_options(yield_per=_CHUNK).execute(by_time) as rows:
        replay = read_entries(rows)
        following = next(replay, None)
        for row in stored:
            while following is not None and following.update.timestamp <= row.as_of:
                update = following.update
                book.replay(update.token_changes, update.derivative_changes, update.timestamp)
                sequence = max(sequence, following.sequence)
                following = next(replay, None)
            if (row.sequence, row.book) != (sequence, json.dumps(book.to_json())):
                what = (
                    f"the checkpoint at {iso(row.as_of)} is not what its entries come to; delete it from `checkpoints`"
                )
                yield Problem(portfolio, row.sequence, None, what)


def _misshapen_legs(connection: Connection, *asked: sa.ColumnElement[bool]) -> Iterator[Problem]:
    """What a changed leg can hide from the chain, which reads only the columns of its kind: the others, its number."""
    is_token = legs.c.token.is_not(None)
    token_only = [legs.c.delta, legs.c.new_balance, legs.c.reason]
    fixed = {"portfolio", "sequence", "leg", "venue", "token", *(c.name for c in token_only)}
    perp_only = [column for column in legs.c if column.name not in fixed]
    mixed = sa.case(
        (is_token, sa.or_(*(column.is_not(None) for column in perp_only))),
        else_=sa.or_(*(column.is_not(None) for column in token_only)),
    )
    numbers = sa.func.max(legs.c.leg) != sa.func.count() - 1
    order = sa.func.max(sa.case((is_token, legs.c.leg))) > sa.func.min(sa.case((~is_token, legs.c.leg)))
    query = (
        sa.select(legs.c.portfolio, legs.c.sequence, sa.func.min(entries.c.entry_id))
        .outerjoin_from(
            legs, entries, sa.and_(entries.c.portfolio == legs.c.portfolio, entries.c.sequence == legs.c.sequence)
        )
        .where(*asked)
        .group_by(legs.c.portfolio, legs.c.sequence)
        .having(
            sa.or_(
                sa.func.min(entries.c.entry_id).is_(None),
                sa.func.min(legs.c.leg) != 0,
                numbers,
                order,
                sa.func.max(sa.case((mixed, 1), else_=0)) == 1,
            )
        )
        .order_by(legs.c.portfolio, legs.c.sequence)
    )
    for portfolio, sequence, entry_id in connection.execute(query):
        what = "its legs were changed after it was recorded" if entry_id else "legs are left of an entry that is gone"
        yield Problem(portfolio, sequence, entry_id, what)


def _check(entry: Entry, previous: str, expected: int) -> Iterator[Problem]:
    name = (entry.portfolio, entry.sequence, entry.update.id)
    if entry.sequence != expected:
        gone = (
            f"entry {expected} is"
            if entry.sequence == expected + 1
            else f"entries {expected} to {entry.sequence - 1} are"
        )
        yield Problem(*name, f"{gone} missing before it")
    elif entry.previous_hash != previous:
        yield Problem(*name, "does not continue the entry before it: reordered or replaced")
    try:
        content = canonical_content(entry.update)
        own = chain_hash(entry.portfolio, entry.sequence, entry.recorded_at, entry.update, content, entry.previous_hash)
    except _UNREADABLE as error:
        yield Problem(*name, f"its content was changed after it was recorded and cannot be read ({error})")
        return
    if own != entry.hash or hash_content(content) != entry.content_hash:
        yield Problem(*name, "its content was changed after it was recorded")
