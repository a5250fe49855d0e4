"""Recording the live market: every source is asked what is new, and what it says is kept before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.instants import HOUR, first_hour_at_or_after
from basis_pipeline.domain.observations import MarketObservation, PastSource, QuoteSource
from basis_pipeline.domain.quotes import WantedSeries
from basis_pipeline.ledger import market_observations
from basis_pipeline.logs import get_logger
from basis_pipeline.market.recorded import FILLED_WITHIN
from basis_pipeline.market.routing import Routing
from basis_pipeline.market.wanted import wanted_series
from basis_pipeline.steps.ports import Ports

DEADLINE = timedelta(seconds=30)
JUST_BEFORE = timedelta(seconds=1)
READINGS = "readings"
"""The name under which observations that came with readings of accounts are reported."""
NEAR_ENOUGH = timedelta(minutes=30)
"""An hour that was observed so shortly before is not asked for again; the chain is read a quarter of an hour back."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class SourceReport:
    """What one source brought: values learned, how many of them were new, and what it could not say, a line each."""

    name: str
    learned: int
    new: int
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordingReport:
    """What all sources brought, in the order they were given."""

    sources: tuple[SourceReport, ...]

    @property
    def learned(self) -> int:
        return sum(source.learned for source in self.sources)

    @property
    def new(self) -> int:
        return sum(source.new for source in self.sources)

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for source in self.sources for problem in source.problems)


async def record_market(
    ports: Ports,
    sources: Sequence[QuoteSource],
    *,
    extra: Sequence[MarketObservation] = (),
    deadline: timedelta = DEADLINE,
) -> RecordingReport:
    """Ask all sources at once and record what they say, with ``extra`` from elsewhere (readings of the chain, say).

    A source that fails or does not answer in time has that as its problem, and never holds up the others. What one
    missed is asked again with the next recording, for as long as it can be filled in. Filling in past hours one by one
    has a deadline of its own, so that it never costs the newest values.
    """
    gaps = await asyncio.to_thread(_gaps, ports, sources)
    told = await asyncio.gather(*(_ask(source, gap, deadline) for source, gap in zip(sources, gaps, strict=True)))
    found = [(source.name, *answer) for source, answer in zip(sources, told, strict=True)]
    if extra:
        found.append((READINGS, list(extra), []))
    return await asyncio.to_thread(_record, ports, found)


def wanted_now(ports: Ports, routing: Routing, held: Iterable[tuple[str, str]] = ()) -> dict[str, list[WantedSeries]]:
    """The series to record from each exchange: prices of all tokens, marks of what is or was held of late.

    ``held`` are further (venue, instrument) of which the ledger does not know yet.
    """
    return wanted_series(routing, ports.registry, sorted({*_instruments(ports), *held}))


def _instruments(ports: Ports) -> Iterator[tuple[str, str]]:
    """(venue, instrument) of every perpetual that was held since holes can still be filled in."""
    snapshot = ports.ledger.snapshot()
    since = ports.clock() - FILLED_WITHIN
    for portfolio in snapshot.portfolios:
        yield from snapshot.book_at(portfolio, since).book.positions
        for entry in snapshot.entries(portfolio, since, None):
            yield from ((change.venue, change.instrument) for change in entry.update.derivative_changes)


class _Gap(NamedTuple):
    """What a source is to fill in: everything since a moment, and, if it is asked for single hours, these."""

    since: datetime
    hours: list[datetime]


def _gaps(ports: Ports, sources: Sequence[QuoteSource]) -> list[_Gap]:
    """Since the first of a source's series that still answers fell silent, and the hours near which none was heard.

    A series that told its newest value but not the close of an hour counts as silent since before that hour.
    """
    now = ports.clock()
    oldest = now - FILLED_WITHIN
    bounds = market_observations.bounds(ports.ledger.engine)
    if bounds is None:
        return [_Gap(oldest, []) for _ in sources]
    first = first_hour_at_or_after(max(oldest, bounds.began))
    heard = market_observations.between(ports.ledger.engine, first - NEAR_ENOUGH, now)
    hours = [first + HOUR * n for n in range((now - first) // HOUR + 1)]
    return [_gap(source, heard, hours, oldest) for source in sources]


def _gap(source: QuoteSource, heard: Sequence[MarketObservation], hours: list[datetime], oldest: datetime) -> _Gap:
    venues = source.venues if isinstance(source, PastSource) else (source.name,)
    times: dict[tuple[str, ...], set[datetime]] = {}
    for each in heard:
        if each.venue in venues:
            times.setdefault(each[:3], set()).add(each.observed_at)
    silent = [max(of_series) for of_series in times.values()]
    if isinstance(source, PastSource):
        every = {time for of_series in times.values() for time in of_series}
        missed = [hour for hour in hours if not any(hour - NEAR_ENOUGH < time <= hour for time in every)]
        return _Gap(min(silent, default=oldest), missed)
    for of_series in times.values():
        began = min(of_series)
        silent += [hour - JUST_BEFORE for hour in hours if hour > began and hour not in of_series][:1]
    return _Gap(min(silent, default=oldest), [])


async def _ask(source: QuoteSource, gap: _Gap, deadline: timedelta) -> tuple[list[MarketObservation], list[str]]:
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            observed = list(await source.observe(gap.since))
    except TimeoutError:
        return [], [f"{source.name}: did not answer within {deadline.total_seconds():g} s"]
    except (BasisError, OSError) as error:
        return [], [str(error)]
    newest = max((each.observed_at for each in observed), default=gap.since)
    hours = [hour for hour in gap.hours if hour <= newest]
    failed = await _fill_in(source, hours, observed, deadline) if hours and isinstance(source, PastSource) else []
    return observed, [*source.problems, *failed]


async def _fill_in(
    source: PastSource, hours: Sequence[datetime], observed: list[MarketObservation], deadline: timedelta
) -> list[str]:
    """Add what the source says of these hours to what was observed, and return what went wrong."""
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            async for found in source.at_hours(hours):
                observed += found
    except TimeoutError:
        limit = f"{deadline.total_seconds():g} s"
        return [f"{source.name}: missed hours were not all filled in within {limit}; the next recording goes on"]
    except (BasisError, OSError) as error:
        return [str(error)]
    return []


def _record(ports: Ports, found: Sequence[tuple[str, list[MarketObservation], list[str]]]) -> RecordingReport:
    reports = []
    for name, observed, problems in found:
        usable = []
        for each in observed:
            reason = market_observations.refusal(each)
            if reason is None:
                usable.append(each)
            else:
                problems.append(reason)
        new = market_observations.record(ports.ledger.engine, usable)
        reports.append(SourceReport(name, len(usable), new, tuple(problems)))
        for problem in problems:
            _log.warning("market_source_problem", source=name, problem=problem)
    return RecordingReport(tuple(reports))
