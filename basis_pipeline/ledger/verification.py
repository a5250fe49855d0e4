"""Verification: the chain recomputed from what is stored, compared with itself, its head and what was published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.domain.changes import canonical_content
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
from basis_pipeline.ledger.schema import entries, legs, portfolios


class Problem(NamedTuple):
    """One finding: the portfolio, the sequence it is about, the entry's id if it has one, and what is wrong."""

    portfolio: str
    sequence: int
    entry_id: str | None
    what: str

    def __str__(self) -> str:
        name = f" ({self.entry_id})" if self.entry_id else ""
        return f"{self.portfolio} entry {self.sequence}{name}: {self.what}"


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
            for entry in _chain(connection, row.portfolio):
                problems += _check(entry, previous, expected)
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


def _chain(connection: Connection, portfolio: str) -> Iterator[Entry]:
    query = select_entries().where(entries.c.portfolio == portfolio).order_by(entries.c.sequence, legs.c.leg)
    yield from read_entries(connection.execution_options(yield_per=5000).execute(query))


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
    content = canonical_content(entry.update)
    own = chain_hash(entry.portfolio, entry.sequence, entry.recorded_at, entry.update, content, entry.previous_hash)
    if own != entry.hash or hash_content(content) != entry.content_hash:
        yield Problem(*name, "its content was changed after it was recorded")
