"""What venues said and what comparing it with the ledger came to: facts, appended and never changed.

A reading is stored with everything the venue told, decimals as text, its raw answer compressed. Of the reconciliations
of an hour the last one counts; what an earlier one adjusted is in the ledger itself.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from basis_pipeline.domain.errors import LedgerError
from basis_pipeline.domain.instants import iso, parse_instant
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.observations import Account, Block, Health, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.reconciliation import UNEXPLAINED, Comparison, Outcome
from basis_pipeline.ledger.database import reading as read_transaction
from basis_pipeline.ledger.database import writing
from basis_pipeline.ledger.schema import entries, readings, reconciliations

_MICROSECOND = timedelta(microseconds=1)
_IDS_PER_QUERY = 500


class AccountRecord(NamedTuple):
    """What one account came to.

    ``readings`` are the ids of all its readings of this run, ``judged`` the one that was compared. ``status``,
    ``error`` and ``observed_at`` are that reading's. ``entry_id`` is the adjustment's, ``note`` why there was none
    where one was due.
    """

    account: Account
    status: ReadingStatus
    observed_at: datetime
    error: str | None
    readings: tuple[int, ...]
    judged: int
    comparisons: tuple[Comparison, ...]
    entry_id: str | None = None
    note: str = ""

    @property
    def unexplained(self) -> tuple[Comparison, ...]:
        """The keys on which ledger and venue differ without explanation, adjusted or not."""
        return tuple(each for each in self.comparisons if each.outcome in UNEXPLAINED)


class ReconciliationRecord(NamedTuple):
    """What reconciling one portfolio came to; ``skew`` is the time between its first and its last reading."""

    hour: datetime
    reconciled_at: datetime
    portfolio: str
    skew: timedelta
    ledger_sequence: int
    accounts: tuple[AccountRecord, ...]
    notes: tuple[str, ...] = ()


def record_readings(engine: Engine, hour: datetime, attempt: int, found: Sequence[Reading]) -> list[int]:
    """Store the readings and return their ids, in their order. ``attempt`` 2 is a second look at drift."""
    with writing(engine) as connection:
        return [_insert(connection, hour, attempt, each) for each in found]


def record_reconciliations(engine: Engine, records: Sequence[ReconciliationRecord]) -> None:
    """Store what the portfolios came to, all or none."""
    if not records:
        return
    with writing(engine) as connection:
        connection.execute(
            sa.insert(reconciliations),
            [
                {
                    "hour": each.hour,
                    "reconciled_at": each.reconciled_at,
                    "portfolio": each.portfolio,
                    "skew_us": each.skew // _MICROSECOND,
                    "ledger_sequence": each.ledger_sequence,
                    "outcomes": _record_to_json(each),
                }
                for each in records
            ],
        )


def reconciliations_between(engine: Engine, first: datetime, end: datetime) -> list[ReconciliationRecord]:
    """What counts for the hours with ``first <= hour < end``: the last record of each hour and portfolio."""
    span = sa.and_(reconciliations.c.hour >= first, reconciliations.c.hour < end)
    return _last_of(engine, span, reconciliations.c.hour, reconciliations.c.portfolio)


def latest_reconciliations(engine: Engine) -> list[ReconciliationRecord]:
    """The newest record of each portfolio, by name."""
    return _last_of(engine, sa.true(), reconciliations.c.portfolio)


def last_reconciled_hour(engine: Engine) -> datetime | None:
    """The newest hour with a record; None if there never was one."""
    query = sa.select(reconciliations.c.hour).order_by(reconciliations.c.hour.desc()).limit(1)
    with read_transaction(engine) as connection:
        return connection.execute(query).scalar()


def readings_by_id(engine: Engine, ids: Collection[int]) -> dict[int, Reading]:
    """The stored readings, without their raw answers."""
    wanted = sorted(ids)
    columns = [column for column in readings.c if column is not readings.c.raw]
    found: dict[int, Reading] = {}
    with read_transaction(engine) as connection:
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            query = sa.select(*columns).where(readings.c.id.in_(wanted[start : start + _IDS_PER_QUERY]))
            found.update({row.id: _reading(row) for row in connection.execute(query)})
    return found


def raw_answer(engine: Engine, reading_id: int) -> str:
    """What the venue answered, as it was stored with the reading."""
    with read_transaction(engine) as connection:
        text = connection.execute(sa.select(readings.c.raw).where(readings.c.id == reading_id)).scalar()
    if text is None:
        raise LedgerError(f"reading {reading_id} does not exist; see the column readings of a reconciliation")
    return zlib.decompress(base64.b64decode(text)).decode()


def next_adjustment_id(engine: Engine, account: Account, hour: datetime) -> str:
    """``recon:<portfolio>:<account>:<hour>:<n>`` with the first ``n`` that is not taken."""
    number = 1
    with read_transaction(engine) as connection:
        while True:
            name = f"{_adjustment_prefix(account, hour)}{number}"
            query = sa.select(entries.c.sequence).where(
                entries.c.portfolio == account.portfolio, entries.c.entry_id == name
            )
            if connection.execute(query).first() is None:
                return name
            number += 1


def adjustment_ids(engine: Engine, account: Account, hour: datetime) -> list[str]:
    """The entries by which the hour's reconciliations, all of them, adjusted the account; in the ledger's order."""
    query = (
        sa.select(entries.c.entry_id)
        .where(
            entries.c.portfolio == account.portfolio,
            entries.c.entry_id.startswith(_adjustment_prefix(account, hour), autoescape=True),
        )
        .order_by(entries.c.sequence)
    )
    with read_transaction(engine) as connection:
        return list(connection.execute(query).scalars())


def _adjustment_prefix(account: Account, hour: datetime) -> str:
    return f"recon:{account.portfolio}:{account.name}:{hour:%Y-%m-%dT%H}:"


def _insert(connection: Connection, hour: datetime, attempt: int, each: Reading) -> int:
    block = each.block
    result = connection.execute(
        sa.insert(readings),
        {
            "hour": hour,
            "portfolio": each.account.portfolio,
            "account": each.account.name,
            "venue": each.account.venue,
            "attempt": attempt,
            "status": each.status.value,
            "error": None if each.error is None else _storable(each.error),
            "started_at": each.started_at,
            "observed_at": each.observed_at,
            "venue_time": each.venue_time,
            "block_number": None if block is None else block.number,
            "block_hash": None if block is None else block.hash,
            "block_time": None if block is None else block.time,
            "observations": _observations_to_json(each),
            "raw": base64.b64encode(zlib.compress(_storable(each.raw).encode())).decode(),
        },
    )
    (number,) = result.inserted_primary_key or (0,)
    return int(number)


def _reading(row: Any) -> Reading:
    told = json.loads(row.observations)
    health = told["health"]
    block = None if row.block_number is None else Block(row.block_number, row.block_hash, row.block_time)
    return Reading(
        account=Account(row.portfolio, row.account, row.venue),
        status=ReadingStatus(row.status),
        started_at=row.started_at,
        observed_at=row.observed_at,
        balances=_amounts(told["balances"]),
        positions={
            name: ObservedPosition(Decimal(size), _number(price), _number(notional))
            for name, (size, price, notional) in told["positions"].items()
        },
        debts=_amounts(told["debts"]),
        unmapped=_amounts(told["unmapped"]),
        health=None if health is None else Health(*(_number(value) for value in health)),
        block=block,
        venue_time=row.venue_time,
        error=row.error,
    )


def _observations_to_json(each: Reading) -> str:
    told = {
        "balances": _texts(each.balances),
        "positions": {
            name: [canonical(p.size), _text(p.entry_price), _text(p.notional_usd)]
            for name, p in sorted(each.positions.items())
        },
        "debts": _texts(each.debts),
        "unmapped": _texts(each.unmapped),
        "health": None if each.health is None else [_text(value) for value in each.health],
    }
    return json.dumps(told, separators=(",", ":"))


def _record_to_json(record: ReconciliationRecord) -> str:
    accounts = [
        {
            "account": each.account.name,
            "venue": each.account.venue,
            "status": each.status.value,
            "observed_at": iso(each.observed_at),
            "error": each.error,
            "readings": each.readings,
            "judged": each.judged,
            "comparisons": [
                [c.key, canonical(c.tracked), _text(c.actual), _text(c.tolerance), c.outcome.value, c.adjusted]
                for c in each.comparisons
            ],
            "entry_id": each.entry_id,
            "note": each.note,
        }
        for each in record.accounts
    ]
    return json.dumps({"accounts": accounts, "notes": record.notes}, separators=(",", ":"))


def _record(row: Any) -> ReconciliationRecord:
    outcomes = json.loads(row.outcomes)
    accounts = tuple(
        AccountRecord(
            Account(row.portfolio, each["account"], each["venue"]),
            ReadingStatus(each["status"]),
            parse_instant(each["observed_at"], "observed_at"),
            each["error"],
            tuple(each["readings"]),
            each["judged"],
            tuple(
                Comparison(key, Decimal(tracked), _number(actual), _number(tolerance), Outcome(outcome), adjusted)
                for key, tracked, actual, tolerance, outcome, adjusted in each["comparisons"]
            ),
            each["entry_id"],
            each["note"],
        )
        for each in outcomes["accounts"]
    )
    skew = row.skew_us * _MICROSECOND
    notes = tuple(outcomes["notes"])
    return ReconciliationRecord(row.hour, row.reconciled_at, row.portfolio, skew, row.ledger_sequence, accounts, notes)


def _last_of(engine: Engine, condition: Any, *keys: sa.Column[Any]) -> list[ReconciliationRecord]:
    newest = sa.select(sa.func.max(reconciliations.c.id)).where(condition).group_by(*keys)
    query = sa.select(reconciliations).where(reconciliations.c.id.in_(newest)).order_by(*keys)
    with read_transaction(engine) as connection:
        return [_record(row) for row in connection.execute(query)]


def _storable(text: str) -> str:
    """The text as every database takes it: a venue may answer with halves of characters or a NUL."""
    return text.encode(errors="backslashreplace").decode().replace("\x00", "\\x00")


def _texts(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {name: canonical(amount) for name, amount in sorted(amounts.items())}


def _amounts(texts: Mapping[str, str]) -> dict[str, Decimal]:
    return {name: Decimal(text) for name, text in texts.items()}


def _text(number: Decimal | None) -> str | None:
    return None if number is None else canonical(number)


def _number(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
