"""The instants a step works through, fixed when it begins: a market that is being recorded goes on meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.quotes import AskableDay
from basis_pipeline.ledger.publications import MarketMark
from basis_pipeline.steps.ports import DayRange, MarketSource


@dataclass(frozen=True)
class Timeline:
    """The instants of each day: 24 hours of a past one, what has passed of the current one and its latest instant."""

    days: Mapping[date, AskableDay]

    def of(self, days: Sequence[date]) -> list[datetime]:
        """The instants of these days, ascending."""
        return [instant for day in days for instant in self.days[day].instants]

    @property
    def last(self) -> datetime | None:
        """The last instant of all; None when no day has any."""
        return max((day.instants[-1] for day in self.days.values() if day.instants), default=None)

    @cached_property
    def marks(self) -> dict[date, MarketMark]:
        """What the rows of each day will have been built from; nothing for days that rest on files."""
        return {
            day: MarketMark(known.facts, iso(known.instants[-1]) if known.instants else "")
            for day, known in self.days.items()
            if known.facts
        }


def timeline_of(market: MarketSource, days: DayRange) -> Timeline:
    """The instants of the days as of now."""
    return Timeline(market.days(days.first, days.last))
