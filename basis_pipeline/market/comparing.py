"""Two sources of one price, compared behind the answer: a difference is reported, and never averaged in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from typing import NamedTuple

from basis_pipeline.domain.numbers import divide, quantize_value, subtract
from basis_pipeline.logs import get_logger
from basis_pipeline.market.answers import Known, Outcome
from basis_pipeline.market.live_routes import Route

_log = get_logger(__name__)


class Discrepancy(NamedTuple):
    """Two sources that are further apart than the band: the one whose price is used, and the one it was compared to.

    ``deviation`` is the distance relative to the price that is used (0.01 is one per cent).
    """

    asset: str
    source: str
    price_usd: Decimal
    other: str
    other_price_usd: Decimal
    deviation: Decimal


class Comparison:
    """Compares each price to that of the next source of its route, in the background."""

    def __init__(
        self, walk: Callable[[Mapping[str, Route]], Awaitable[dict[str, Outcome]]], band: Decimal | None
    ) -> None:
        self._walk = walk
        self._band = band
        self._tasks: set[asyncio.Task[None]] = set()
        self._found: dict[str, Discrepancy] = {}

    @property
    def found(self) -> tuple[Discrepancy, ...]:
        """Where two sources disagreed when they were last compared, by token."""
        return tuple(self._found[name] for name in sorted(self._found))

    def begin(self, outcomes: Mapping[str, Outcome], routes: Mapping[str, Route]) -> None:
        """Start comparing what was just learned."""
        if self._band is None:
            return
        known = {name: each for name, each in outcomes.items() if isinstance(each, Known)}
        task = asyncio.ensure_future(self._compare(known, routes, self._band))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ended(self) -> None:
        """Wait for what is under way."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """End what is under way, and begin nothing more."""
        self._band = None
        for task in self._tasks:
            task.cancel()
        await self.ended()

    async def _compare(self, known: Mapping[str, Known], routes: Mapping[str, Route], band: Decimal) -> None:
        """Nothing is learned where no other source can tell."""
        rest = {name: _after(each.source, routes[name]) for name, each in known.items()}
        for name, other in (await self._walk(rest)).items():
            if isinstance(other, Known):
                self._note(name, known[name], other, band)

    def _note(self, name: str, used: Known, other: Known, band: Decimal) -> None:
        deviation = divide(subtract(used.value, other.value).copy_abs(), used.value)
        if deviation <= band:
            self._found.pop(name, None)
            return
        if name not in self._found:
            _log.warning(
                "sources disagree about a price",
                asset=name,
                used=f"{used.source} {used.value}",
                other=f"{other.source} {other.value}",
                band=str(band),
            )
        self._found[name] = Discrepancy(
            name, used.source, quantize_value(used.value), other.source, quantize_value(other.value), deviation
        )


def _after(source: str, route: Route) -> Route:
    """The part of a route that comes after a source."""
    place = next(number for number, step in enumerate(route, 1) if step.source == source)
    return route[place:]
