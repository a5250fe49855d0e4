"""What a portfolio held over a stretch of hours, as runs: a holding is written down once, not once an hour."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from basis_pipeline.domain.tokens import Registry
from basis_pipeline.domain.valuation import Holding, Run, describe_balance, describe_position
from basis_pipeline.steps.cursor import BookCursor, Key


class Held(NamedTuple):
    """What a portfolio held at the hours of a sheet from position ``first`` on, and the ledger sequence at each."""

    first: int
    runs: list[Run]
    sequences: list[int]

    @property
    def end(self) -> int:
        """The position after the last."""
        return self.first + len(self.sequences)

    def between(self, first: int, end: int) -> Held:
        """The part at positions [first, end)."""
        start = max(first, self.first)
        runs = [
            Run(run.holding, max(run.first, start), min(run.end, end))
            for run in self.runs
            if run.first < end and start < run.end
        ]
        return Held(start, runs, self.sequences[start - self.first : max(end - self.first, 0)])


class BookHistory:
    """One portfolio on its way through time, read as runs: what it held, from when to when."""

    def __init__(self, cursor: BookCursor, registry: Registry) -> None:
        self.cursor = cursor
        self._registry = registry
        self._open: dict[Key, tuple[Holding, int]] = {}

    def advance(self, hours: Sequence[datetime]) -> Held:
        """Through the hours, from the portfolio's start on."""
        cursor = self.cursor
        first = sum(1 for hour in hours if hour < cursor.state.start)
        runs: list[Run] = []
        sequences: list[int] = []
        self._open = {}
        self._change({*cursor.book.balances, *cursor.book.positions}, first, runs)
        for position in range(first, len(hours)):
            touched = cursor.advance(hours[position])
            if touched:
                self._change(touched, position, runs)
            sequences.append(cursor.sequence)
        runs += [Run(holding, since, len(hours)) for holding, since in self._open.values() if since < len(hours)]
        return Held(first, runs, sequences)

    def _change(self, touched: Collection[Key], position: int, runs: list[Run]) -> None:
        """End the runs of what changed and begin new ones."""
        for key in touched:
            before = self._open.get(key)
            now = self._describe(key)
            if before is not None:
                holding, since = before
                if holding == now:
                    continue
                if since < position:
                    runs.append(Run(holding, since, position))
            if now is None:
                self._open.pop(key, None)
            else:
                self._open[key] = (now, position)

    def _describe(self, key: Key) -> Holding | None:
        """What is held under the key now, None if nothing."""
        position = self.cursor.book.positions.get(key)
        if position is not None:
            return describe_position(*key, position)
        balance = self.cursor.book.balances.get(key)
        return None if balance is None else describe_balance(*key, balance, self._registry)
