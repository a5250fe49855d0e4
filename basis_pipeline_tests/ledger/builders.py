"""Builders of the ledger tests, and what several of them ask a ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import count

import sqlalchemy as sa

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import BookError, LateEntryError
from basis_pipeline.domain.positions import Book
from basis_pipeline.ledger.entries import Entry
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.ledger.verification import Verified, verify
from basis_pipeline_tests.builders import START, update, wallet

FUND = "fund"
_portfolios = count(1)


def terms(portfolio: str = FUND, share_class: str = "USDT", capital: str = "1000") -> Terms:
    return Terms(portfolio, share_class, Decimal(capital), START)


def fresh_portfolio(ledger: Ledger) -> str:
    """A portfolio nobody used yet, with its capital."""
    name = f"fund-{next(_portfolios)}"
    ledger.register(terms(name))
    return name


def deposits(number: int, *, first_minute: int = 1, prefix: str = "deposit") -> list[BalanceUpdate]:
    """One USDT a minute."""
    return [
        update("DEPOSIT", wallet("USDT", "1"), minute=first_minute + n, entry_id=f"{prefix}-{first_minute + n}")
        for n in range(number)
    ]


def stored(ledger: Ledger, portfolio: str = FUND) -> list[Entry]:
    """All entries, by sequence."""
    return sorted(ledger.snapshot().entries(portfolio, None, None), key=lambda entry: entry.sequence)


def ids(ledger: Ledger, portfolio: str = FUND) -> list[str]:
    return [entry.update.id for entry in stored(ledger, portfolio)]


def replayed(entries: Iterable[Entry]) -> Book:
    """The book by replaying entries in order of time, every check on, without any checkpoint."""
    book = Book()
    for entry in sorted(entries, key=lambda entry: (entry.update.timestamp, entry.sequence)):
        book.apply(entry.update.model_copy(update={"token_changes": _unchecked(entry.update)}))
    return book


def _unchecked(accepted: BalanceUpdate) -> tuple[object, ...]:
    """Its token legs without ``new_balance``, which held at acceptance and need not after a late entry."""
    return tuple(change.model_copy(update={"new_balance": None}) for change in accepted.token_changes)


def problems(ledger: Ledger) -> list[str]:
    return [str(problem) for problem in checked(ledger).problems]


def checked(ledger: Ledger) -> Verified:
    return verify(ledger.engine)


@contextmanager
def unguarded(ledger: Ledger) -> Iterator[sa.Connection]:
    """A connection of someone who goes round the ledger, foreign keys switched off."""
    with ledger.engine.connect() as connection:
        sqlite = ledger.engine.dialect.name == "sqlite"
        if sqlite:
            connection.exec_driver_sql("COMMIT")  # the setting has no effect within a transaction
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF" if sqlite else "SET session_replication_role = replica")
        if sqlite:
            connection.exec_driver_sql("BEGIN")
        yield connection
        connection.commit()
        connection.exec_driver_sql("PRAGMA foreign_keys=ON" if sqlite else "SET session_replication_role = origin")
        connection.commit()


def tamper(ledger: Ledger, *statements: str) -> None:
    with unguarded(ledger) as connection:
        for statement in statements:
            assert connection.execute(sa.text(statement)).rowcount > 0, statement


def append_what_fits(ledger: Ledger, portfolio: str, updates: Sequence[BalanceUpdate]) -> list[BalanceUpdate]:
    """Append in this order, trying refused ones again as long as anything is accepted; what was accepted."""
    accepted: list[BalanceUpdate] = []
    waiting = list(updates)
    while True:
        refused = []
        for each in waiting:
            try:
                ledger.append(portfolio, each)
            except (BookError, LateEntryError):
                refused.append(each)
            else:
                accepted.append(each)
        if len(refused) == len(waiting):
            return accepted
        waiting = refused
