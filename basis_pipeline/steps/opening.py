"""The first start: books that hold nothing but the initial capital are opened with what is really there.

The capital of a fund that begins live is not where INITIAL_CAPITAL put it: it lies on exchanges, in positions and in
lending. The first reading of all of a portfolio's accounts says where, and entries move it there, once its value
is what was configured. Afterwards every difference is drift.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.equity import total
from basis_pipeline.domain.errors import ReconciliationError, UpdateError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import ZERO, canonical, multiply, subtract
from basis_pipeline.domain.observations import Account, Reading, ReadingStatus
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.reconciliation import OPENING_BALANCE, Rules, adjustment, compare, track
from basis_pipeline.domain.tokens import WALLET
from basis_pipeline.domain.valuation import Sheet, describe_book
from basis_pipeline.ledger.snapshot import LedgerSnapshot
from basis_pipeline.steps.ports import Ports

INITIAL_CAPITAL_ALONE = 1
"""The head of a ledger that holds nothing but the initial capital."""


def is_unopened(snapshot: LedgerSnapshot, portfolio: str) -> bool:
    """Whether the ledger knows nothing of the portfolio but its initial capital."""
    return snapshot.state(portfolio).head.sequence == INITIAL_CAPITAL_ALONE


def open_books(
    ports: Ports, snapshot: LedgerSnapshot, portfolio: str, readings: Mapping[int, Reading], rules: Rules
) -> tuple[str, ...]:
    """Append the opening entries of all accounts, or none; returns what could not be opened.

    ``readings`` are the portfolio's, all available, by their ids. The entries are stamped with the earliest of
    their times, so that no hour shows a part of the portfolio and no reading is from before the opening. Raises
    ``ReconciliationError`` when what is there cannot be held or is not worth the configured capital,
    ``LedgerMovedError`` when somebody else wrote first.
    """
    moment = min(reading.as_of for reading in readings.values())
    book = snapshot.book_at(portfolio, moment).book
    capital = book.balances[(WALLET, snapshot.state(portfolio).share_class)]
    try:
        updates, left_out = _opening_entries(ports, book, portfolio, readings, moment, rules)
        for update in updates:
            book.apply(update)
    except UpdateError as error:
        raise ReconciliationError(
            f"{portfolio}: the ledger cannot hold what its accounts say, so its books are not opened: {error}"
        ) from None
    _check_worth(ports, snapshot, portfolio, book, capital, list(readings.values()), rules)
    ports.ledger.append_many(portfolio, updates, expected_head=INITIAL_CAPITAL_ALONE)
    return left_out


def _opening_entries(
    ports: Ports, book: Book, portfolio: str, readings: Mapping[int, Reading], moment: datetime, rules: Rules
) -> tuple[list[BalanceUpdate], tuple[str, ...]]:
    updates: list[BalanceUpdate] = []
    left_out: list[str] = []
    looks = [(reading, f"{OPENING_BALANCE} reading {number}") for number, reading in readings.items()]
    if all(reading.account.venue != WALLET for reading in readings.values()):
        # The initial capital is in the wallet; without an account there, nobody says that it is not.
        nowhere = Account(portfolio, "initial_capital", WALLET)
        looks.append((Reading(nowhere, ReadingStatus.AVAILABLE, moment, moment), OPENING_BALANCE))
    for reading, reason in looks:
        tracked = track(book, [], reading.account.venue, moment, rules)
        found = compare(tracked, reading, rules, ports.registry)
        keys = [row.key for row in found if row.difference and not row.unmapped]
        name = f"opening:{portfolio}:{reading.account.name}"
        entry = adjustment(tracked, reading, keys, name, reason, ports.registry, moment)
        updates.append(entry.update)
        left_out.extend(entry.left_out)
    return updates, tuple(left_out)


def _check_worth(
    ports: Ports,
    snapshot: LedgerSnapshot,
    portfolio: str,
    book: Book,
    capital: Decimal,
    readings: Sequence[Reading],
    rules: Rules,
) -> None:
    """``ReconciliationError`` unless the book is worth the capital, within the opening tolerance."""
    share_class = snapshot.state(portfolio).share_class
    # A block may carry a time a little after ours, and its prices with it.
    at = max(max(reading.observed_at, reading.as_of) for reading in readings)
    sheet = Sheet(ports.market.window(at, at), ports.registry, [at])
    lines, missing = sheet.lines(describe_book(book, ports.registry), share_class, 0)
    if missing:
        named = "; ".join(f"{gap.name} (tried {gap.tried})" for gap in missing)
        raise ReconciliationError(
            f"{portfolio}: its accounts cannot be valued at {iso(at)}, so its books are not opened: no usable price of "
            f"{named}. Record market data first, then reconcile again; nothing was written"
        )
    worth = total(lines).nav
    allowed = multiply(rules.opening_tolerance, capital)
    if subtract(worth, capital).copy_abs() > allowed:
        raise ReconciliationError(
            f"{portfolio}: its accounts are worth {_round(worth)} {share_class}, but its initial capital is "
            f"{canonical(capital)} {share_class}, and `reconciliation.opening_tolerance` allows a difference of "
            f"{_round(allowed)}. Check that every account is listed under `accounts:`, or start a portfolio whose "
            "`initial_capital` is what is there; nothing was written"
        )


def _round(amount: Decimal) -> str:
    return canonical(amount.quantize(Decimal("0.000001")) if amount else ZERO)
