"""Verification: the chain recomputed from what is stored, compared with itself, its head and what was published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.domain.changes import canonical_content
from basis_pipeline.domain.instants import iso
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


def verify(engine: Engine) -> Verified:
    """Read the whole ledger and report every changed, missing, reordered or cut-off entry."""
    problems: list[Problem] = []
    count = 0
    known: dict[tuple[str, int], str] = {}
    published = _published_heads(engine)
    with reading(engine) as connection:
        for row in connection.execute(sa.select(portfolios).order_by(portfolios.c.portfolio)).all():
            previous, expected = GENESIS_HASH, 1
            last = row.start
            for entry in _chain(connection, row.portfolio):
                if isinstance(entry, _Unreadable):
                    what = f"its content was changed after it was recorded and cannot be read ({entry.why})"
                    problems.append(Problem(row.portfolio, entry.sequence, entry.entry_id, what))
                else:
                    problems += _check(entry, previous, expected)
                    last = max(last, entry.update.timestamp)
                    if entry.sequence == 1:
                        problems += _check_terms(row, entry)
                if (row.portfolio, entry.sequence) in published:
                    known[(row.portfolio, entry.sequence)] = entry.hash
                previous, expected = entry.hash, entry.sequence + 1
                count += 1
            if (row.head_sequence, row.head_hash) != (expected - 1, previous):
                problems.append(
                    Problem(
                        row.portfolio,
                        row.head_sequence,
                        None,
                        f"the head is entry {row.head_sequence}, but the chain ends at {expected - 1}: "
                        "entries were cut off or the head was changed",
                    )
                )
            elif row.last_timestamp != last:
                what = f"last_timestamp was changed: it says {iso(row.last_timestamp)}, the entries reach {iso(last)}"
                problems.append(Problem(row.portfolio, row.head_sequence, None, what))
            if not any(problem.portfolio == row.portfolio for problem in problems):
                problems += _wrong_checkpoints(connection, row.portfolio)
        problems += _misshapen_legs(connection)
    problems += [
        Problem(portfolio, sequence, None, "a published day was built on it, but the ledger no longer holds it")
        for (portfolio, sequence), own in sorted(published.items())
        if sequence and known.get((portfolio, sequence)) != own
    ]
    return Verified(count, tuple(problems))


def _published_heads(engine: Engine) -> dict[tuple[str, int], str]:
    return {
        (portfolio, head.sequence): head.hash
        for publication in current_files(engine).files
        for portfolio, head in publication.heads.items()
    }


def _chain(connection: Connection, portfolio: str) -> Iterator[Entry | _Unreadable]:
    """Every entry by sequence. What tampering left unreadable is found one by one, and does not hide the rest."""
    query = select_entries().where(entries.c.portfolio == portfolio).order_by(entries.c.sequence, legs.c.leg)
    places = (
        sa.select(entries.c.sequence, entries.c.entry_id, entries.c.hash)
        .where(entries.c.portfolio == portfolio)
        .order_by(entries.c.sequence)
        .limit(_CHUNK)
    )
    streaming = connection.execution_options(yield_per=_CHUNK)
    after = 0
    while True:
        try:
            with streaming.execute(query.where(entries.c.sequence > after)) as rows:
                for entry in read_entries(rows):
                    after = entry.sequence
                    yield entry
            return
        except _UNREADABLE:
            found = connection.execute(places.where(entries.c.sequence > after)).all()
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


def _misshapen_legs(connection: Connection) -> Iterator[Problem]:
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
