"""Where an update belongs in time: validation of entries that arrive late.

A timeline is the part of a portfolio's history from some moment on, indexed by what each entry touched. An update is
validated at its own place (after every entry with the same or an earlier timestamp), then everything after it is
asked whether it still holds: no wallet overdrawn later, no CLOSE of what is no longer open.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from basis_pipeline.domain.changes import BalanceUpdate, DerivativeChange
from basis_pipeline.domain.errors import BookError, LateEntryError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import ZERO, add, canonical, subtract
from basis_pipeline.domain.positions import BalanceKey, Book, PerpKey, PerpPosition, impossible, next_position


class _Balance(NamedTuple):
    """The balance after one entry."""

    timestamp: datetime
    sequence: int
    entry_id: str
    balance: Decimal


class _Perp(NamedTuple):
    """The derivative legs of one entry on one instrument."""

    timestamp: datetime
    sequence: int
    entry_id: str
    changes: tuple[DerivativeChange, ...]


Place = tuple[datetime, int]


def _place(record: _Balance | _Perp) -> Place:
    return record.timestamp, record.sequence


class Timeline:
    """The history of a portfolio after ``opening``, which holds everything before it."""

    def __init__(self, opening: Book, later: Iterable[tuple[int, BalanceUpdate]]) -> None:
        self._opening = opening
        self._balances: dict[BalanceKey, list[_Balance]] = {}
        self._perps: dict[PerpKey, list[_Perp]] = {}
        self.book = opening.copy()
        for sequence, update in later:
            self.book.replay(update.token_changes, update.derivative_changes, update.timestamp)
            for key in {(c.venue, c.token) for c in update.token_changes}:
                balance = self.book.balances.get(key, ZERO)
                self._balances.setdefault(key, []).append(_Balance(update.timestamp, sequence, update.id, balance))
            self._add_perps(sequence, update)

    def insert(self, sequence: int, update: BalanceUpdate) -> None:
        """Accept the update at its own place, or raise and change nothing.

        Raises ``BookError`` when it does not fit where it belongs, ``LateEntryError`` naming the later entry that it
        would make impossible.
        """
        place = (update.timestamp, sequence)
        balance_keys = {(c.venue, c.token) for c in update.token_changes}
        perp_keys = {(c.venue, c.instrument) for c in update.derivative_changes}
        before = {key: self._balance_at(key, place) for key in balance_keys}
        here = Book(
            {key: balance for key, balance in before.items() if balance},
            {key: position for key in perp_keys if (position := self._position_at(key, place)) is not None},
        )
        here.apply(update)
        moved = {key: subtract(here.balances.get(key, ZERO), before[key]) for key in balance_keys}
        for key, delta in moved.items():
            self._check_later_balances(key, place, delta, update)
        final = {key: self._check_later_positions(key, place, here.positions.get(key), update) for key in perp_keys}
        for key in balance_keys:
            self._shift(key, place, moved[key], here.balances.get(key, ZERO), update.id)
        self._add_perps(sequence, update)
        self.book.tokens.commit({key: add(self.book.balances.get(key, ZERO), delta) for key, delta in moved.items()})
        self.book.derivatives.commit(final)

    def _add_perps(self, sequence: int, update: BalanceUpdate) -> None:
        by_key: dict[PerpKey, list[DerivativeChange]] = {}
        for change in update.derivative_changes:
            by_key.setdefault((change.venue, change.instrument), []).append(change)
        for key, changes in by_key.items():
            record = _Perp(update.timestamp, sequence, update.id, tuple(changes))
            insort(self._perps.setdefault(key, []), record, key=_place)

    def _balance_at(self, key: BalanceKey, place: Place) -> Decimal:
        history = self._balances.get(key, [])
        index = bisect_right(history, place, key=_place)
        return history[index - 1].balance if index else self._opening.balances.get(key, ZERO)

    def _position_at(self, key: PerpKey, place: Place) -> PerpPosition | None:
        position = self._opening.positions.get(key)
        for record in self._perps.get(key, []):
            if _place(record) > place:
                break
            for change in record.changes:
                position = next_position(position, change, record.timestamp, record.entry_id)
        return position

    def _check_later_balances(self, key: BalanceKey, place: Place, delta: Decimal, update: BalanceUpdate) -> None:
        venue, token = key
        if not delta:
            return
        history = self._balances.get(key, [])
        for record in history[bisect_right(history, place, key=_place) :]:
            balance = add(record.balance, delta)
            if problem := impossible(venue, balance):
                raise LateEntryError(
                    f"{update.id} ({iso(update.timestamp)}) would leave {venue} {token} at {canonical(balance)} after "
                    f"the later entry {record.entry_id} ({iso(record.timestamp)}), and {problem}; correct or reverse "
                    "that entry first"
                )

    def _check_later_positions(
        self, key: PerpKey, place: Place, position: PerpPosition | None, update: BalanceUpdate
    ) -> PerpPosition | None:
        history = self._perps.get(key, [])
        for record in history[bisect_right(history, place, key=_place) :]:
            try:
                for change in record.changes:
                    position = next_position(position, change, record.timestamp, "derivative_changes")
            except BookError as error:
                raise LateEntryError(
                    f"{update.id} ({iso(update.timestamp)}) would make the later entry {record.entry_id} "
                    f"({iso(record.timestamp)}) impossible: {error}"
                ) from error
        return position

    def _shift(self, key: BalanceKey, place: Place, delta: Decimal, balance: Decimal, entry_id: str) -> None:
        history = self._balances.setdefault(key, [])
        index = bisect_right(history, place, key=_place)
        if delta:
            history[index:] = [record._replace(balance=add(record.balance, delta)) for record in history[index:]]
        history.insert(index, _Balance(*place, entry_id, balance))
