"""What was learned a short while ago, and what is being asked for: nothing is asked twice at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType

from basis_pipeline.domain.quotes import Unavailable
from basis_pipeline.market.answers import Known, Outcome

Fetch = Callable[[list[str]], Awaitable[dict[str, Outcome]]]


class Flights:
    """A cache by name with one flight per name. A flight goes on when one of those who wait for it is cancelled."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._cache: dict[str, Known] = {}
        self._flights: dict[str, asyncio.Task[dict[str, Outcome]]] = {}

    @property
    def known(self) -> Mapping[str, Known]:
        """The newest accepted answer of each name, expired or not."""
        return MappingProxyType(self._cache)

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those that are not known at this moment, each once."""
        now, known = self._monotonic(), self._cache
        return [name for name in dict.fromkeys(names) if (each := known.get(name)) is None or now >= each.expires]

    async def learn(self, names: Iterable[str], fetch: Fetch) -> dict[str, Outcome]:
        """What is known, what others are asking for already, and the rest by one ``fetch``."""
        names = list(dict.fromkeys(names))
        unknown = self.missing(names)
        outcomes: dict[str, Outcome] = {name: self._cache[name] for name in names if name not in unknown}
        flights = {name: self._flights[name] for name in unknown if name in self._flights}
        unknown = [name for name in unknown if name not in flights]
        if unknown:
            task = asyncio.ensure_future(self._fly(unknown, fetch))
            task.add_done_callback(self._land)
            flights |= dict.fromkeys(unknown, task)
            self._flights |= dict.fromkeys(unknown, task)
        if flights:
            await asyncio.wait(set(flights.values()))  # unlike gather, this leaves them alone when it is cancelled
        return outcomes | {name: _outcome(name, task) for name, task in flights.items()}

    async def close(self) -> None:
        """End what is under way."""
        tasks = set(self._flights.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _fly(self, names: list[str], fetch: Fetch) -> dict[str, Outcome]:
        outcomes = await fetch(names)
        self._cache |= {name: each for name, each in outcomes.items() if isinstance(each, Known)}
        return outcomes

    def _land(self, task: asyncio.Task[dict[str, Outcome]]) -> None:
        # Not at the end of the flight: one that is cancelled before its first step never gets there.
        self._flights = {name: each for name, each in self._flights.items() if each is not task}


def _outcome(name: str, flight: asyncio.Task[dict[str, Outcome]]) -> Outcome:
    if flight.cancelled():
        return Unavailable(name, ("closed before there was an answer",))
    return flight.result()[name]
