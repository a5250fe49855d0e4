"""Entries as rows and back, and the hashes that chain them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from basis_pipeline.domain.changes import (
    Action,
    BalanceUpdate,
    DerivativeChange,
    DerivativeData,
    TokenChange,
    Trigger,
)
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.ledger.schema import entries, legs

GENESIS_HASH = "0" * 64
"""The hash before a portfolio's first entry."""


class Entry(NamedTuple):
    """One accepted update as the ledger holds it."""

    portfolio: str
    sequence: int
    recorded_at: datetime
    update: BalanceUpdate
    content_hash: str
    previous_hash: str
    hash: str


def hash_content(content: str) -> str:
    """SHA-256 of an update's canonical content, hexadecimal."""
    return hashlib.sha256(content.encode()).hexdigest()


def chain_hash(
    portfolio: str, sequence: int, recorded_at: datetime, update: BalanceUpdate, content: str, previous_hash: str
) -> str:
    """SHA-256 over every stored field of the entry and the hash before it, hexadecimal."""
    checks = [None if c.new_balance is None else canonical(c.new_balance) for c in update.token_changes]
    stored = json.dumps([portfolio, sequence, iso(recorded_at), checks, previous_hash], separators=(",", ":"))
    return hashlib.sha256(f"{stored}\n{content}".encode()).hexdigest()


def entry_row(entry: Entry) -> dict[str, Any]:
    """The row of ``entries``."""
    update = entry.update
    return {
        "portfolio": entry.portfolio,
        "sequence": entry.sequence,
        "entry_id": update.id,
        "timestamp": update.timestamp,
        "recorded_at": entry.recorded_at,
        "trigger": update.trigger.value,
        "reverses": update.reverses,
        "content_hash": entry.content_hash,
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def token_leg_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """The rows of ``legs`` for its token legs, in their order; the columns of derivative legs stay null."""
    for number, change in enumerate(entry.update.token_changes):
        yield {
            "portfolio": entry.portfolio,
            "sequence": entry.sequence,
            "leg": number,
            "venue": change.venue,
            "token": change.token,
            "delta": change.delta,
            "new_balance": change.new_balance,
            "reason": change.reason,
        }


def derivative_leg_rows(entry: Entry) -> Iterator[dict[str, Any]]:
    """The rows of ``legs`` for its derivative legs, in their order, numbered after the token legs."""
    for number, change in enumerate(entry.update.derivative_changes, start=len(entry.update.token_changes)):
        yield {
            "portfolio": entry.portfolio,
            "sequence": entry.sequence,
            "leg": number,
            "venue": change.venue,
            "instrument": change.instrument,
            "action": change.action.value,
            **{name: getattr(change.data, name) for name in _DATA_FIELDS},
        }


def select_entries() -> sa.Select[Any]:
    """Entries joined with their legs; the caller adds the condition and the order, which must end in ``legs.leg``."""
    return sa.select(
        entries.c.portfolio,
        entries.c.sequence,
        entries.c.recorded_at,
        entries.c.entry_id,
        entries.c.timestamp,
        entries.c.trigger,
        entries.c.reverses,
        entries.c.content_hash,
        entries.c.previous_hash,
        entries.c.hash,
        legs.c.venue,
        legs.c.token,
        legs.c.delta,
        legs.c.new_balance,
        legs.c.reason,
        legs.c.instrument,
        legs.c.action,
        legs.c.size,
        legs.c.entry_price,
        legs.c.entry_timestamp,
        legs.c.notional_usd,
        legs.c.fill_size,
        legs.c.fill_price,
        legs.c.fee,
        legs.c.realized_pnl,
    ).outerjoin_from(
        entries, legs, sa.and_(entries.c.portfolio == legs.c.portfolio, entries.c.sequence == legs.c.sequence)
    )


_VENUE = 10  # position of legs.venue in select_entries


def read_entries(rows: Iterable[Sequence[Any]]) -> Iterator[Entry]:
    """Entries from the rows of ``select_entries``, in the order they come."""
    head: tuple[Any, ...] | None = None
    tokens: list[TokenChange] = []
    perps: list[DerivativeChange] = []
    for row in rows:
        if head is None or row[1] != head[1] or row[0] != head[0]:
            if head is not None:
                yield _entry(head, tokens, perps)
            head, tokens, perps = tuple(row[:_VENUE]), [], []
        venue = row[_VENUE]
        if venue is None:
            continue
        token, delta, new_balance, reason, instrument, action = row[_VENUE + 1 : _VENUE + 7]
        if token is not None:
            # Validated when it was accepted; validating again would only cost time.
            tokens.append(
                TokenChange.model_construct(
                    venue=venue, token=token, delta=delta, new_balance=new_balance, reason=reason
                )
            )
        else:
            data = dict(zip(_DATA_FIELDS, row[_VENUE + 7 :], strict=True))
            perps.append(
                DerivativeChange.model_construct(
                    venue=venue,
                    instrument=instrument,
                    action=Action(action),
                    data=DerivativeData.model_construct(**data),
                )
            )
    if head is not None:
        yield _entry(head, tokens, perps)


_DATA_FIELDS = (
    "size",
    "entry_price",
    "entry_timestamp",
    "notional_usd",
    "fill_size",
    "fill_price",
    "fee",
    "realized_pnl",
)


def _entry(head: tuple[Any, ...], tokens: list[TokenChange], perps: list[DerivativeChange]) -> Entry:
    portfolio, sequence, recorded_at, entry_id, timestamp, trigger, reverses, content, previous, own = head
    update = BalanceUpdate.model_construct(
        id=entry_id,
        timestamp=timestamp,
        trigger=Trigger(trigger),
        token_changes=tuple(tokens),
        derivative_changes=tuple(perps),
        reverses=reverses,
    )
    return Entry(portfolio, sequence, recorded_at, update, content, previous, own)


def make_entry(
    portfolio: str, sequence: int, recorded_at: datetime, update: BalanceUpdate, content: str, previous_hash: str
) -> Entry:
    """A new entry with its hashes; ``content`` is the update's canonical content."""
    own = chain_hash(portfolio, sequence, recorded_at, update, content, previous_hash)
    return Entry(portfolio, sequence, recorded_at, update, hash_content(content), previous_hash, own)
