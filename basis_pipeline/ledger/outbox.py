"""How far each portfolio's entries are published, and the entries that are still to be.

The entries themselves are the outbox: whatever follows the cursor is due. Redis keeps the cursor that orders
publishing; the one here is written a little later, so that an update does not pay for a second sync, and is where
publishing resumes when Redis has lost its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.ledger.database import reading, writing
from basis_pipeline.ledger.entries import Entry, read_entries, select_entries
from basis_pipeline.ledger.schema import entries, legs, outbox, portfolios


class PublishingState(NamedTuple):
    """How publishing of one portfolio stands, for people. ``published_*`` lag behind Redis by about a second."""

    portfolio: str
    head_sequence: int
    published_sequence: int
    published_at: datetime | None
    failed_at: datetime | None
    error: str | None

    @property
    def pending(self) -> int:
        """How many entries no subscriber was told of yet."""
        return max(0, self.head_sequence - self.published_sequence)

    @property
    def failing(self) -> bool:
        """Whether the last attempt failed."""
        return self.failed_at is not None and (self.published_at is None or self.published_at < self.failed_at)


def publishing_state(engine: Engine) -> list[PublishingState]:
    """Every portfolio that a live monitor ever began to publish, by name."""
    query = (
        sa.select(
            portfolios.c.portfolio,
            portfolios.c.head_sequence,
            outbox.c.published_sequence,
            outbox.c.published_at,
            outbox.c.failed_at,
            outbox.c.error,
        )
        .join(outbox, outbox.c.portfolio == portfolios.c.portfolio)
        .order_by(portfolios.c.portfolio)
    )
    with reading(engine) as connection:
        return [PublishingState(*row) for row in connection.execute(query)]


def begin(engine: Engine, portfolio: str) -> int:
    """The sequence up to which the portfolio is published.

    Publishing begins with the entry that is newest at that time: what is older is history, which nobody subscribed to.
    """
    with reading(engine) as connection:
        found = _cursor(connection, portfolio)
    if found is not None:
        return found
    with writing(engine) as connection:
        head = _locked_head(connection, portfolio)
        found = _cursor(connection, portfolio)
        if found is None:
            found = max(0, head - 1)
            connection.execute(sa.insert(outbox), {"portfolio": portfolio, "published_sequence": found})
        return found


def note_published(engine: Engine, portfolio: str, sequence: int, moment: datetime) -> None:
    """Entries up to the sequence are published; a higher one noted before stays, unless the ledger ends below it."""
    with writing(engine) as connection:
        head = _locked_head(connection, portfolio)
        known = _cursor(connection, portfolio) or 0
        _change(connection, portfolio, published_sequence=min(head, max(known, sequence)), published_at=moment)


def note_failure(engine: Engine, portfolio: str, moment: datetime, error: str) -> None:
    """Publishing failed; ``error`` says why, without the URL."""
    with writing(engine) as connection:
        _change(connection, portfolio, failed_at=moment, error=error)


def entries_between(engine: Engine, portfolio: str, after: int, until: int) -> list[Entry]:
    """The entries with ``after < sequence <= until``, in that order: as they were recorded."""
    query = (
        select_entries()
        .where(entries.c.portfolio == portfolio, entries.c.sequence > after, entries.c.sequence <= until)
        .order_by(entries.c.sequence, legs.c.leg)
    )
    with reading(engine) as connection:
        return list(read_entries(connection.execute(query)))


def _cursor(connection: Connection, portfolio: str) -> int | None:
    query = sa.select(outbox.c.published_sequence).where(outbox.c.portfolio == portfolio)
    return connection.execute(query).scalar()


def _locked_head(connection: Connection, portfolio: str) -> int:
    query = sa.select(portfolios.c.head_sequence).where(portfolios.c.portfolio == portfolio).with_for_update()
    return connection.execute(query).scalar() or 0


def _change(connection: Connection, portfolio: str, **values: Any) -> None:
    connection.execute(sa.update(outbox).where(outbox.c.portfolio == portfolio).values(**values))
