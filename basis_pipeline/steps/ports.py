"""What a step works with. ``home.open_home`` builds it from the settings; tests build it by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Protocol

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import Clock, days_between
from basis_pipeline.domain.quotes import AskableDay, Market, Quote, Rate
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.ledger.ledger import Ledger, utc_now
from basis_pipeline.warehouse.garbage import GRACE

Progress = Callable[[str, int, int], None]
"""Called with the step's name, the days done and the days in all."""


class ListedMarket(Market, Protocol):
    """A market that can also list everything it knows at an instant."""

    def all_quotes(self, at: datetime) -> Iterator[tuple[str, str, str, Quote]]:
        """(symbol, kind, venue, quote) of every series with a usable observation."""
        ...

    def all_rates(self, at: datetime) -> Iterator[tuple[str, Rate]]:
        """(name, rate) of every conversion rate with a usable observation."""
        ...


class MarketSource(Protocol):
    """Where a step gets the market of a span of time: history files, or recorded live quotes."""

    def window(self, first: datetime, last: datetime) -> ListedMarket:
        """The market for instants from first to last, both included."""
        ...

    def days(self, first: date, last: date) -> Mapping[date, AskableDay]:
        """The instants of every day from first to last at which it can be asked; the same until there are new facts."""
        ...


def no_progress(_step: str, _done: int, _total: int) -> None:
    """The default: nobody watches."""


@dataclass(frozen=True)
class Ports:
    """The home's directory, its ledger, its market and the tokens they speak of."""

    home: Path
    ledger: Ledger
    market: MarketSource
    registry: Registry
    clock: Clock = utc_now
    progress: Progress = no_progress
    superseded_files_kept: timedelta = GRACE


@dataclass(frozen=True)
class DayRange:
    """Days from ``first`` to ``last``, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InputError(f"the last day {self.last} is before the first day {self.first}")

    def __iter__(self) -> Iterator[date]:
        return days_between(self.first, self.last)

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def chunks(self, size: int) -> Iterator[list[date]]:
        """Consecutive runs of at most ``size`` days: what is held in memory at once."""
        days = list(self)
        for start in range(0, len(days), size):
            yield days[start : start + size]
