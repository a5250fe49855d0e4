"""Appending to the ledger: each update once, atomically, durable before the call returns.

Every append runs in one write transaction that begins by locking the portfolio, so sequence numbers have no gaps and
ids stay unique whatever number of processes write. The book at the head is kept in memory between appends and caught
up with what others wrote before anything is validated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from basis_pipeline.domain.changes import BalanceUpdate, Trigger, canonical_content
from basis_pipeline.domain.errors import BookError, DuplicateIdError, LedgerError, LedgerMovedError, UnknownNameError
from basis_pipeline.domain.instants import Clock, iso
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reversal import check_mirror, mirror_image, reversal_id
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, WALLET, Registry
from basis_pipeline.ledger import checkpoints, replay
from basis_pipeline.ledger.database import open_engine, prepare, reading, wait_for_others, writing
from basis_pipeline.ledger.entries import (
    GENESIS_HASH,
    Entry,
    derivative_leg_rows,
    entry_row,
    hash_content,
    make_entry,
    read_entries,
    select_entries,
    token_leg_rows,
)
from basis_pipeline.ledger.prepared import Prepared
from basis_pipeline.ledger.schema import entries, legs, portfolios
from basis_pipeline.ledger.snapshot import LedgerSnapshot, take_snapshot
from basis_pipeline.ledger.terms import Terms, check_same_terms, check_terms

_Known = dict[str, tuple[str, int]]
"""Content hash and sequence of entries by their id."""
_IDS_PER_QUERY = 500

# Built once: on the append path building a statement would take longer than running it.
_LOCK = (
    sa.select(
        portfolios.c.head_sequence,
        portfolios.c.head_hash,
        portfolios.c.last_timestamp,
        portfolios.c.start,
        portfolios.c.restatements,
    )
    .where(portfolios.c.portfolio == sa.bindparam("portfolio"))
    .with_for_update()
)
_KNOWN = sa.select(entries.c.entry_id, entries.c.content_hash, entries.c.sequence).where(
    entries.c.portfolio == sa.bindparam("portfolio")
)
_KNOWN_ONE = _KNOWN.where(entries.c.entry_id == sa.bindparam("entry_id"))
_LOCK_AND_LOOK_UP = Prepared(
    _LOCK.add_columns(
        *(
            sa.select(column)
            .where(entries.c.portfolio == sa.bindparam("portfolio"), entries.c.entry_id == sa.bindparam("entry_id"))
            .scalar_subquery()
            for column in (entries.c.content_hash, entries.c.sequence)
        )
    )
)
_KNOWN_MANY = _KNOWN.where(entries.c.entry_id.in_(sa.bindparam("entry_ids", expanding=True)))
_INSERT_ENTRIES = Prepared(sa.insert(entries))
_INSERT_LEGS = Prepared(sa.insert(legs))
_MOVE_HEAD = Prepared(
    sa.update(portfolios)
    .where(portfolios.c.portfolio == sa.bindparam("name"))
    .values(
        head_sequence=sa.bindparam("sequence"),
        head_hash=sa.bindparam("hash"),
        last_timestamp=sa.bindparam("last"),
        restatements=sa.bindparam("count"),
    )
)


class Receipt(NamedTuple):
    """Where an update stands in the ledger; ``duplicate`` when it was there before with the same content."""

    entry_id: str
    sequence: int
    duplicate: bool


class _Head(NamedTuple):
    sequence: int
    hash: str
    last_timestamp: datetime
    start: datetime
    restatements: int


class _Cached(NamedTuple):
    """A book with every entry up to a sequence, and that entry's hash."""

    sequence: int
    hash: str
    restatements: int
    book: Book


def utc_now() -> datetime:
    """The machine's clock: the one to use unless another is given."""
    return datetime.now(UTC)


class Ledger:
    """The append-only ledger behind one database URL. Use it as a context manager, or ``close`` it."""

    def __init__(self, url: str, registry: Registry = DEFAULT_REGISTRY, clock: Clock = utc_now) -> None:
        self.registry = registry
        self._clock = clock
        self._books: dict[str, _Cached] = {}
        self.engine = open_engine(url)
        try:
            prepare(self.engine)
        except BaseException:
            self.engine.dispose()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    def snapshot(self) -> LedgerSnapshot:
        """The ledger as it stands now, for reading."""
        return take_snapshot(self.engine)

    def register(self, terms: Terms) -> None:
        """Make sure the portfolio exists with these terms; its INITIAL_CAPITAL entry is written once.

        Raises ``LedgerError`` when the ledger has other terms for it.
        """
        check_terms(terms)
        query = sa.select(portfolios).where(portfolios.c.portfolio == terms.portfolio)
        with reading(self.engine) as connection:  # the usual case: readers of a home must not wait for its writers
            found = connection.execute(query).first()
        if found is not None:
            check_same_terms(terms, found)
            return
        with self._writing(terms.portfolio) as connection:
            found = connection.execute(query).first()
            if found is None:
                wait_for_others(connection)
                found = connection.execute(query).first()
            if found is not None:
                check_same_terms(terms, found)
                return
            connection.execute(
                sa.insert(portfolios),
                {
                    **terms._asdict(),
                    "head_sequence": 0,
                    "head_hash": GENESIS_HASH,
                    "last_timestamp": terms.start,
                    "restatements": 0,
                },
            )
            update = parse_update(
                {
                    "id": f"initial-capital:{terms.portfolio}",
                    "timestamp": terms.start,
                    "trigger": Trigger.INITIAL_CAPITAL,
                    "token_changes": [
                        {
                            "venue": WALLET,
                            "token": terms.share_class,
                            "delta": terms.initial_capital,
                            "reason": Trigger.INITIAL_CAPITAL.value,
                        }
                    ],
                },
                self.registry,
            )
            head = _Head(0, GENESIS_HASH, terms.start, terms.start, 0)
            self._append(connection, terms.portfolio, head, [update], {})

    def append(self, portfolio: str, update: BalanceUpdate, *, wait: bool = True) -> Receipt:
        """Accept one update, or raise and change nothing. Committed and synced when it returns.

        Without ``wait``, ``LedgerBusyError`` at once where another process is writing (SQLite).
        """
        return self.append_many(portfolio, [update], wait=wait)[0]

    def append_many(
        self,
        portfolio: str,
        updates: Sequence[BalanceUpdate],
        *,
        expected_head: int | None = None,
        wait: bool = True,
    ) -> list[Receipt]:
        """Accept all updates in one transaction, or none of them.

        The error of a refused update carries its position in ``updates`` as ``error.position``. With ``expected_head``,
        ``LedgerMovedError`` if the portfolio's newest entry is another one: the updates followed from a book that is
        no longer the newest.
        """
        with self._writing(portfolio, wait=wait) as connection:
            if len(updates) == 1 and connection.dialect.name == "sqlite":
                head, known = self._lock_and_look_up(connection, portfolio, updates[0].id)
            else:
                head = self._lock(connection, portfolio)
                known = _known_ids(connection, portfolio, [update.id for update in updates])
            if expected_head is not None and head.sequence != expected_head:
                raise LedgerMovedError(
                    f"{portfolio}: the newest entry is {head.sequence}, not {expected_head}; read the ledger again"
                )
            return self._append(connection, portfolio, head, updates, known)

    def reverse(self, portfolio: str, entry_id: str, timestamp: datetime | None = None) -> Receipt:
        """Post the mirror image of an entry, by default at the entry's own time, so that its effect never was.

        Reversing the same entry again is a duplicate and changes nothing.
        """
        with self._writing(portfolio) as connection:
            head = self._lock(connection, portfolio)
            original = self._entry(connection, portfolio, entry_id)
            if original.update.trigger is Trigger.INITIAL_CAPITAL:
                raise LedgerError(f"{entry_id}: the initial capital cannot be reversed; record a WITHDRAWAL instead")
            known = _known_ids(connection, portfolio, [reversal_id(entry_id)])
            if known:
                existing = self._entry(connection, portfolio, *known)
                if existing.update.reverses == entry_id:
                    return Receipt(existing.update.id, existing.sequence, True)
            happened = original.update.timestamp
            moment = happened if timestamp is None else timestamp
            if moment < happened:
                raise LedgerError(f"{entry_id}: happened at {iso(happened)} and cannot be reversed as of {iso(moment)}")
            books = replay.books_around(connection, portfolio, original, moment)
            update = mirror_image(original.update, *books, moment)
            self._check_not_set_later(connection, portfolio, update)
            return self._append(connection, portfolio, head, [update], known)[0]

    def _check_not_set_later(self, connection: Connection, portfolio: str, mirror: BalanceUpdate) -> None:
        """A later reversal put the position back to a size that still counts what this one takes away."""
        places = [
            sa.and_(legs.c.venue == c.venue, legs.c.instrument == c.instrument) for c in mirror.derivative_changes
        ]
        query = (
            sa.select(entries.c.entry_id, entries.c.timestamp)
            .join(legs, sa.and_(entries.c.portfolio == legs.c.portfolio, entries.c.sequence == legs.c.sequence))
            .where(entries.c.portfolio == portfolio, entries.c.timestamp > mirror.timestamp)
            .where(entries.c.reverses.is_not(None), sa.or_(sa.false(), *places))
            .order_by(entries.c.timestamp.desc())
            .limit(1)
        )
        if (later := connection.execute(query).first()) is not None:
            raise BookError(
                f"{mirror.reverses}: its position was set again by {later.entry_id} at {iso(later.timestamp)}; "
                "reverse it as of that time or later"
            )

    def entry(self, portfolio: str, entry_id: str) -> Entry:
        """One entry by its id."""
        with reading(self.engine) as connection:
            return self._entry(connection, portfolio, entry_id)

    def _entry(self, connection: Connection, portfolio: str, entry_id: str) -> Entry:
        query = select_entries().where(entries.c.portfolio == portfolio, entries.c.entry_id == entry_id)
        for entry in read_entries(connection.execute(query.order_by(legs.c.leg))):
            return entry
        raise LedgerError(f"{entry_id!r} is not an entry of {portfolio}; see the column entry_id of balance_changes")

    @contextmanager
    def _writing(self, portfolio: str, *, wait: bool = True) -> Iterator[Connection]:
        try:
            with writing(self.engine, wait=wait) as connection:
                yield connection
        except BaseException:
            # The book in memory may hold updates whose transaction did not commit.
            self._books.pop(portfolio, None)
            raise

    def _lock(self, connection: Connection, portfolio: str) -> _Head:
        row = connection.execute(_LOCK, {"portfolio": portfolio}).first()
        if row is None:
            raise _unknown_portfolio(portfolio)
        return _Head(*row)

    def _lock_and_look_up(self, connection: Connection, portfolio: str, entry_id: str) -> tuple[_Head, _Known]:
        """``_lock`` and ``_known_ids`` in one statement, for the path that an update waits on.

        SQLite only: PostgreSQL answers a subquery from before it got the lock.
        """
        row = _LOCK_AND_LOOK_UP.first(connection, {"portfolio": portfolio, "entry_id": entry_id})
        if row is None:
            raise _unknown_portfolio(portfolio)
        *head, content, sequence = row
        return _Head(*head), {} if content is None else {entry_id: (content, sequence)}

    def _append(
        self, connection: Connection, portfolio: str, head: _Head, updates: Sequence[BalanceUpdate], known: _Known
    ) -> list[Receipt]:
        contents = [canonical_content(update) for update in updates]
        receipts, fresh = _sort_out_duplicates(portfolio, updates, contents, head.sequence, known)
        if not fresh:
            return receipts
        news = [updates[position] for position in fresh]
        for update, position in zip(news, fresh, strict=True):
            if update.trigger is Trigger.INITIAL_CAPITAL and head.sequence:
                capital = BookError(
                    f"{update.id}: {portfolio} has its initial capital (initial-capital:{portfolio}); "
                    "record money that comes in later as DEPOSIT"
                )
                raise _at(capital, position)
            if update.reverses is not None:
                self._check_reversal(connection, portfolio, update, news, position)
        last = head.last_timestamp
        ordered = True
        for update in news:
            ordered = ordered and update.timestamp >= last
            last = max(last, update.timestamp)
        earliest = min(update.timestamp for update in news)
        restated = earliest < head.last_timestamp
        if restated:
            checkpoints.drop_from(connection, portfolio, earliest)
        if ordered:
            book, found = self._accept_in_order(connection, portfolio, head, news, fresh)
        else:
            book, found = self._accept_late(connection, portfolio, head, earliest, news, fresh)
        recorded_at = self._clock()
        previous = head.hash
        entry_rows = []
        token_legs: list[dict[str, object]] = []
        derivative_legs: list[dict[str, object]] = []
        for number, position in enumerate(fresh, start=1):
            entry = make_entry(
                portfolio, head.sequence + number, recorded_at, updates[position], contents[position], previous
            )
            previous = entry.hash
            entry_rows.append(entry_row(entry))
            token_legs.extend(token_leg_rows(entry))
            derivative_legs.extend(derivative_leg_rows(entry))
        _INSERT_ENTRIES.run(connection, entry_rows)
        _INSERT_LEGS.run(connection, token_legs)
        _INSERT_LEGS.run(connection, derivative_legs)
        checkpoints.insert(connection, portfolio, found)
        new_head = head.sequence + len(fresh)
        moved = {
            "name": portfolio,
            "sequence": new_head,
            "hash": previous,
            "last": last,
            "count": head.restatements + restated,
        }
        _MOVE_HEAD.run(connection, [moved])
        self._books[portfolio] = _Cached(new_head, previous, head.restatements + restated, book)
        return receipts

    def _check_reversal(
        self,
        connection: Connection,
        portfolio: str,
        update: BalanceUpdate,
        batch: Sequence[BalanceUpdate],
        position: int,
    ) -> None:
        try:
            original = next((u for u in batch if u.id == update.reverses), None)
            if original is None:
                original = self._entry(connection, portfolio, str(update.reverses)).update
            check_mirror(update, original)
        except (BookError, LedgerError) as error:
            raise _at(error, position) from None

    def _accept_in_order(
        self,
        connection: Connection,
        portfolio: str,
        head: _Head,
        updates: Sequence[BalanceUpdate],
        positions: Sequence[int],
    ) -> tuple[Book, list[checkpoints.Checkpoint]]:
        book = self._head_book(connection, portfolio, head)
        trail = checkpoints.Trail(portfolio, head.last_timestamp)
        for number, (update, position) in enumerate(zip(updates, positions, strict=True)):
            if update.timestamp < head.start:
                raise _at(_too_early(update, head.start), position)
            trail.before(update.timestamp, book, head.sequence + number)
            try:
                book.apply(update)
            except BookError as error:
                raise _at(error, position) from None
        return book, trail.found

    def _accept_late(
        self,
        connection: Connection,
        portfolio: str,
        head: _Head,
        earliest: datetime,
        updates: Sequence[BalanceUpdate],
        positions: Sequence[int],
    ) -> tuple[Book, list[checkpoints.Checkpoint]]:
        timeline = replay.timeline_from(connection, portfolio, earliest)
        for number, (update, position) in enumerate(zip(updates, positions, strict=True), start=1):
            if update.timestamp < head.start:
                raise _at(_too_early(update, head.start), position)
            try:
                timeline.insert(head.sequence + number, update)
            except (BookError, LedgerError) as error:
                raise _at(error, position) from None
        return timeline.book, []

    def _head_book(self, connection: Connection, portfolio: str, head: _Head) -> Book:
        """The book with all entries, from memory where it is current, else caught up from the database."""
        cached = self._books.pop(portfolio, None)
        if cached is not None and (cached.sequence, cached.hash) == (head.sequence, head.hash):
            return cached.book
        if (
            cached is not None
            and cached.restatements == head.restatements
            and replay.holds(connection, portfolio, cached.sequence, cached.hash)
        ):
            # Only entries later than everything in the book were added since.
            return replay.carried_on(connection, portfolio, cached.book, cached.sequence)
        return replay.newest_book(connection, portfolio)


def _sort_out_duplicates(
    portfolio: str, updates: Sequence[BalanceUpdate], contents: Sequence[str], head_sequence: int, known: _Known
) -> tuple[list[Receipt], list[int]]:
    """Receipts for all updates, and the positions of those that are new."""
    known = dict(known)
    receipts = []
    fresh = []
    sequence = head_sequence
    for position, (update, content) in enumerate(zip(updates, contents, strict=True)):
        same = known.get(update.id)
        if same is None:
            sequence += 1
            fresh.append(position)
            known[update.id] = (hash_content(content), sequence)
            receipts.append(Receipt(update.id, sequence, False))
        elif same[0] == hash_content(content):
            receipts.append(Receipt(update.id, same[1], True))
        else:
            error = DuplicateIdError(
                f"id: {update.id!r} is entry {same[1]} of {portfolio} already, with other content; "
                "give this update an id of its own, or reverse the entry first"
            )
            raise _at(error, position)
    return receipts, fresh


def _unknown_portfolio(portfolio: str) -> UnknownNameError:
    return UnknownNameError(f"portfolio: {portfolio!r} is not in the ledger; add it under `portfolios:` in basis.yaml")


def _known_ids(connection: Connection, portfolio: str, ids: list[str]) -> _Known:
    """Content hash and sequence of those ids that are in the ledger."""
    if len(ids) == 1:
        rows = connection.execute(_KNOWN_ONE, {"portfolio": portfolio, "entry_id": ids[0]}).all()
    else:
        rows = []
        for start in range(0, len(ids), _IDS_PER_QUERY):
            batch = {"portfolio": portfolio, "entry_ids": ids[start : start + _IDS_PER_QUERY]}
            rows.extend(connection.execute(_KNOWN_MANY, batch))
    return {row[0]: (row[1], row[2]) for row in rows}


def _at(error: Exception, position: int) -> Exception:
    error.position = position  # type: ignore[attr-defined]
    return error


def _too_early(update: BalanceUpdate, start: datetime) -> BookError:
    return BookError(f"timestamp: {iso(update.timestamp)} is before the portfolio's start {iso(start)}")
