"""Looking for what is wrong with recorded market data. Reported, never repaired: a repaired number has no source.

What stops an answer is enforced where answers are given (age, sign, contradiction); these findings are for people
and for the asset checks, over whole series at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from basis_pipeline.domain.instants import iso
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import BORROW_INDEX, LIQUIDITY_INDEX, ORACLE, RESERVE_VENUE, Routing, SeriesRef
from basis_pipeline.market.store import StoredSeries
from basis_pipeline.market.window import describe_span, from_us, to_us

OBSERVED_METHODS = frozenset({"raw", "raw_realised", "daily_sample"})
"""Values of ``method`` that stand for a number as its source gave it; all others were computed."""
_HOLES_NAMED_MAX = 5


class Severity(StrEnum):
    """``error``: rows that cannot be used. ``warning``: something is missing. ``info``: good to know."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True)
class Finding:
    """One thing about one series: ``count`` rows (for gaps: missing ones) between ``first`` and ``last``.

    ``kind`` is one of duplicate, conflicting_duplicate, gap, no_value, non_positive, falling_index, falling_rate,
    starts_late, ends_early, computed, unknown_symbol.
    """

    file: str
    severity: Severity
    kind: str
    series: str
    first: datetime
    last: datetime
    count: int
    message: str


def check_history(history: MarketHistory, first: datetime | None = None, last: datetime | None = None) -> list[Finding]:
    """Every finding between the two instants (default: all of the data), by file and series."""
    store = history.store()
    first_us = store.first if first is None else to_us(first)
    last_us = store.last if last is None else to_us(last)
    findings = [
        finding for stored in store.series.values() for finding in _check(stored, first_us, last_us, history.routing)
    ]
    return sorted(findings, key=lambda found: (found.file, found.series, found.kind, found.first))


def _check(stored: StoredSeries, first_us: int, last_us: int, routing: Routing) -> Iterator[Finding]:
    start = int(np.searchsorted(stored.times, first_us, side="left"))
    end = max(int(np.searchsorted(stored.times, last_us, side="right")), start)
    part = _Part(stored, start, end)
    nulls = stored.nulls[(stored.nulls >= first_us) & (stored.nulls <= last_us)]
    if len(nulls):
        yield part.finding(Severity.WARNING, "no_value", nulls, "rows have no value and answer nothing")
    if not len(part.times):
        return
    yield from _duplicates(part)
    yield from _gaps(part, first_us, last_us)
    yield from _signs_and_falls(part, routing)
    yield from _origins(part, routing)


class _Part:
    """The checked rows of one series."""

    def __init__(self, stored: StoredSeries, start: int, end: int) -> None:
        self.ref = stored.ref
        self.file = stored.file
        self.times = stored.times[start:end]
        self.values = stored.values.slice(start, end - start)
        self.methods = None if stored.methods is None else stored.methods.slice(start, end - start)

    def finding(
        self, severity: Severity, kind: str, times: npt.NDArray[np.int64], message: str, count: int | None = None
    ) -> Finding:
        rows = len(times) if count is None else count
        span = from_us(int(times[0])), from_us(int(times[-1]))
        return Finding(self.file, severity, kind, str(self.ref), *span, rows, f"{self.ref.label}: {rows} {message}")


def _duplicates(part: _Part) -> Iterator[Finding]:
    same_time = np.diff(part.times) == 0
    if not same_time.any():
        return
    same_value = np.asarray(pc.equal(part.values[1:], part.values[:-1]))
    again, times = same_time & same_value, part.times[1:]
    if again.any():
        yield part.finding(Severity.WARNING, "duplicate", times[again], "rows repeat the one before; they are harmless")
    conflicting = same_time & ~same_value
    if conflicting.any():
        message = "rows contradict another of the same time; those times are not used"
        yield part.finding(Severity.ERROR, "conflicting_duplicate", times[conflicting], message)


def _gaps(part: _Part, first_us: int, last_us: int) -> Iterator[Finding]:
    times = np.unique(part.times)
    if len(times) < 3:
        return
    steps = np.diff(times)
    usual = int(np.median(steps))
    spacing = describe_span(timedelta(microseconds=usual))
    holes = np.flatnonzero(steps > usual + usual // 2)
    if len(holes):
        missing = int((np.rint(steps[holes] / usual) - 1).sum())
        named = ", ".join(
            f"{iso(from_us(int(times[hole])))} to {iso(from_us(int(times[hole + 1])))}"
            for hole in holes[:_HOLES_NAMED_MAX]
        )
        more = f" and {len(holes) - _HOLES_NAMED_MAX} more" if len(holes) > _HOLES_NAMED_MAX else ""
        edges = np.array([times[holes[0]], times[holes[-1] + 1]])
        message = f"rows are missing at the usual spacing of {spacing}, between {named}{more}"
        yield part.finding(Severity.WARNING, "gap", edges, message, missing)
    late, early = (int(times[0]) - first_us) // usual, (last_us - int(times[-1])) // usual
    if late:
        yield part.finding(
            Severity.INFO, "starts_late", np.array([first_us, times[0]]), f"x {spacing} pass before it starts", late
        )
    if early:
        yield part.finding(
            Severity.INFO, "ends_early", np.array([times[-1], last_us]), f"x {spacing} are left after it ends", early
        )


def _signs_and_falls(part: _Part, routing: Routing) -> Iterator[Finding]:
    low = np.asarray(pc.less_equal(part.values, pa.scalar(0)))
    if low.any():
        message = "values are zero or negative and are not used"
        yield part.finding(Severity.ERROR, "non_positive", part.times[low], message)
    index, rate = _is_index(part.ref), _is_rate(part.ref, routing)
    if not index and not rate:
        return
    falls = np.asarray(pc.less(part.values[1:], part.values[:-1]))
    if falls.any():
        times = part.times[1:][falls]
        if index:
            yield part.finding(Severity.ERROR, "falling_index", times, "times the index falls; an index only grows")
        else:
            yield part.finding(Severity.INFO, "falling_rate", times, "times the rate falls, which it may")


def _origins(part: _Part, routing: Routing) -> Iterator[Finding]:
    if part.ref.venue != RESERVE_VENUE and routing.split(part.ref.symbol or "") is None:
        message = f"rows end in no known quote currency ({', '.join(routing.quotes)}) and price nothing"
        yield part.finding(Severity.WARNING, "unknown_symbol", part.times, message)
    if part.methods is None:
        return
    positions = part.methods.indices.to_numpy(zero_copy_only=False)
    for position, method in enumerate(part.methods.dictionary.to_pylist()):
        rows = positions == position
        if method not in OBSERVED_METHODS and rows.any():
            message = f"of {len(rows)} values are computed, not observed: {method}"
            yield part.finding(Severity.INFO, "computed", part.times[rows], message)


def _is_index(ref: SeriesRef) -> bool:
    return ref.venue == RESERVE_VENUE and ref.kind in (LIQUIDITY_INDEX, BORROW_INDEX)


def _is_rate(ref: SeriesRef, routing: Routing) -> bool:
    parts = routing.split(ref.symbol or "")
    return ref.kind == ORACLE and parts is not None and parts[1] == "ETH"
