"""What a portfolio held over a stretch of hours, as runs: a holding is written down once, not once an hour."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from basis_pipeline.domain.positions import PerpPosition
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.domain.valuation import Holding, Run, describe_balance, describe_position
from basis_pipeline.steps.cursor import BookCursor


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
        self._version = cursor.book.version
        self._seen: dict[tuple[str, str], Decimal | PerpPosition] = {}
        self._open: dict[tuple[str, str], tuple[Holding, int]] = {}

    def advance(self, hours: Sequence[datetime]) -> Held:
        """Through the hours, from the portfolio's start on."""
        first = sum(1 for hour in hours if hour < self.cursor.state.start)
        runs: list[Run] = []
        sequences: list[int] = []
        self._seen, self._open = {}, {}
        self._compare(first, runs)
        for position in range(first, len(hours)):
            self.cursor.advance(hours[position])
            if self.cursor.book.version != self._version:
                self._compare(position, runs)
            sequences.append(self.cursor.sequence)
        runs += [Run(holding, since, len(hours)) for holding, since in self._open.values() if since < len(hours)]
        return Held(first, runs, sequences)

    def _compare(self, position: int, runs: list[Run]) -> None:
        """End the runs of what changed and begin new ones."""
        book = self.cursor.book
        self._version = book.version
        now: dict[tuple[str, str], Decimal | PerpPosition] = {**book.balances, **book.positions}
        for key, before in self._seen.items():
            if now.get(key) != before:
                holding, since = self._open.pop(key)
                if since < position:
                    runs.append(Run(holding, since, position))
        for key, held in now.items():
            if key not in self._open:
                self._open[key] = (self._describe(key, held), position)
        self._seen = now

    def _describe(self, key: tuple[str, str], held: Decimal | PerpPosition) -> Holding:
        if isinstance(held, PerpPosition):
            return describe_position(*key, held)
        return describe_balance(*key, held, self._registry)
