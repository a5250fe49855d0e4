"""Recording the live market: every source is asked what is new, and what it says is kept before it is used."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.observations import MarketObservation, QuoteSource
from basis_pipeline.domain.quotes import WantedSeries
from basis_pipeline.ledger import market_observations
from basis_pipeline.logs import get_logger
from basis_pipeline.market.recorded import FILLED_WITHIN
from basis_pipeline.market.routing import Routing
from basis_pipeline.market.wanted import wanted_series
from basis_pipeline.steps.ports import Ports

DEADLINE = timedelta(seconds=30)
READINGS = "readings"
"""The name under which observations that came with readings of accounts are reported."""

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
    missed is asked again with the next recording, for as long as it can be filled in.
    """
    since = await asyncio.to_thread(_since, ports, [source.name for source in sources])
    told = await asyncio.gather(*(_ask(source, since[source.name], deadline) for source in sources))
    found = [(source.name, *answer) for source, answer in zip(sources, told, strict=True)]
    if extra:
        found.append((READINGS, list(extra), []))
    return await asyncio.to_thread(_record, ports, found)


def wanted_now(ports: Ports, routing: Routing) -> dict[str, list[WantedSeries]]:
    """The series to record from each exchange: prices of all tokens, marks of what is or was held of late."""
    return wanted_series(routing, ports.registry, sorted(set(_instruments(ports))))


def _instruments(ports: Ports) -> Iterator[tuple[str, str]]:
    """(venue, instrument) of every perpetual that was held since holes can still be filled in."""
    snapshot = ports.ledger.snapshot()
    since = ports.clock() - FILLED_WITHIN
    for portfolio in snapshot.portfolios:
        yield from snapshot.book_at(portfolio, since).book.positions
        for entry in snapshot.entries(portfolio, since, None):
            yield from ((change.venue, change.instrument) for change in entry.update.derivative_changes)


def _since(ports: Ports, names: Sequence[str]) -> dict[str, datetime]:
    """From when on each source is to fill in: since the first of its series that still answers fell silent."""
    oldest = ports.clock() - FILLED_WITHIN
    latest = market_observations.latest(ports.ledger.engine, oldest)
    seen = {name: [each.observed_at for key, each in latest.items() if key.venue == name] for name in names}
    return {name: min(times, default=oldest) for name, times in seen.items()}


async def _ask(source: QuoteSource, since: datetime, deadline: timedelta) -> tuple[list[MarketObservation], list[str]]:
    try:
        async with asyncio.timeout(deadline.total_seconds()):
            observed = list(await source.observe(since))
    except TimeoutError:
        return [], [f"{source.name}: did not answer within {deadline.total_seconds():g} s"]
    except (BasisError, OSError) as error:
        return [], [str(error)]
    return observed, list(source.problems)


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
