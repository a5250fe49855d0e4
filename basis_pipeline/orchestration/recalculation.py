"""Which days are to be recalculated because of new entries, and whether a run for them is to be asked for now.

Level-triggered: what is behind is read from ledger and publications each time, so that nothing is missed while nobody
looked, and a run that failed is asked for again. How often it was, the runs themselves say, by their tags.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, NamedTuple

import dagster as dg

from basis_pipeline.domain.alerts import AlertKind, stale_projection
from basis_pipeline.domain.instants import DAY, day_start, iso
from basis_pipeline.home import Home
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.alerts import alerts_listed, raise_alerts, resolve
from basis_pipeline.ledger.snapshot import Head, LedgerSnapshot
from basis_pipeline.orchestration.asking import ended_at, on_it, short, unfinished_runs
from basis_pipeline.orchestration.checks import not_proven
from basis_pipeline.orchestration.days import daily_partitions, days_of_run, range_tags
from basis_pipeline.orchestration.failures import errors_of_run
from basis_pipeline.orchestration.jobs import BOOKS, PROJECTION
from basis_pipeline.steps import balance_changes, equity, positions
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.staleness import Touched, touched_days

TARGET_TAG, ATTEMPT_TAG, WHY_TAG = "basis/target", "basis/attempt", "basis/why"
STARTED_BY_TAG = "basis/started_by"
SENSOR = "balance_change_sensor"
_ASSET_JOB = "__ASSET_JOB"
"""What Dagster calls the job of assets that somebody chose in the UI."""
_OF_ENTRIES = (balance_changes.TABLE, *positions.TABLES, *equity.TABLES)
_ENTRIES, _GAPS = "equity", "equity that lacks a portfolio"
"""What the alert is about, for days that entries touch and for days that could not be valued."""


class Decision(NamedTuple):
    """What came out of a tick: a run or none, why, and what the next tick is to remember."""

    request: dg.RunRequest | None
    said: str
    cursor: str


@dataclass(frozen=True)
class Seen:
    """What the last tick saw; while nothing of ``mark`` changes and it was ``settled``, there is nothing to decide.

    ``mark`` is all that a decision depends on. ``fresh_at`` are the heads at which no entry touched a day. ``last_day``
    goes with the market files whose fingerprint is ``market``. ``given_up`` names the targets that failed too often,
    ``alerted`` what the alerts about them are about, as long as they stand.
    """

    mark: list[Any] = field(default_factory=list)
    settled: bool = False
    said: str = ""
    fresh_at: dict[str, tuple[int, str]] = field(default_factory=dict)
    market: str = ""
    last_day: str = ""
    given_up: list[str] = field(default_factory=list)
    alerted: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, cursor: str | None) -> Seen:
        """What a cursor holds; nothing, when it is none of ours."""
        with suppress(ValueError, TypeError):
            return cls(**json.loads(cursor or "{}"))
        return cls()

    def write(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True)
class Target:
    """Days that one run is to recalculate. The same key means the same days, for the same reason."""

    days: DayRange
    key: str
    subject: str
    why: str
    assets: tuple[str, ...] = ()
    """What is to be made anew, without the checks that its steps have made before they publish; empty: everything."""


class _Tried(NamedTuple):
    """How often a target was tried, and the run that ended last."""

    attempts: int
    active: dg.DagsterRun | None
    last: dg.RunRecord | None


def decide(
    home: Home,
    instance: dg.DagsterInstance,
    days: dg.DailyPartitionsDefinition,
    cursor: str | None,
) -> Decision:
    """One tick. ``BasisError`` when ledger, market or settings cannot be read; the next tick tries again."""
    ports, seen = home.ports(), Seen.read(cursor)
    snapshot = ports.ledger.snapshot()
    market = ports.clock().date().isoformat() if home.live else home.history.fingerprint()
    generation = publications.generation(ports.ledger.engine)
    mark = [{name: list(head) for name, head in snapshot.heads().items()}, generation, market]
    if seen.settled and seen.mark == mark:
        return Decision(None, seen.said, cursor or "")
    last_day = seen.last_day if seen.market == market and seen.last_day else home.last_day().isoformat()
    fresh_at = {name: Head(*head) for name, head in seen.fresh_at.items()}
    touched = touched_days(ports, date.fromisoformat(last_day), fresh_at)
    if not touched.by_entries:
        fresh_at = dict(touched.heads)
    targets = _targets(snapshot, touched, "" if home.live else market)
    verdict = _judge(home, instance, days, touched, targets)
    alerted = _tell(ports, instance, verdict, {target.subject for target in targets}, seen)
    _end_missing_prices(ports, touched)
    after = Seen(
        mark,
        verdict.settled,
        verdict.said,
        {name: (head.sequence, head.hash) for name, head in fresh_at.items()},
        market,
        last_day,
        [target.key for target, _ in verdict.given_up],
        alerted,
    )
    return Decision(verdict.request, verdict.said, after.write())


@dataclass(frozen=True)
class _Verdict:
    request: dg.RunRequest | None
    said: str
    settled: bool = False
    given_up: tuple[tuple[Target, _Tried], ...] = ()


def _judge(
    home: Home,
    instance: dg.DagsterInstance,
    days: dg.DailyPartitionsDefinition,
    touched: Touched,
    targets: Sequence[Target],
) -> _Verdict:
    if touched.nothing_published:
        return _Verdict(None, "nothing was ever published in this home; run `basis materialize` once", True)
    if not targets:
        heads = ", ".join(f"{name} #{head.sequence}" for name, head in sorted(touched.heads.items()))
        return _Verdict(None, f"every published day shows all entries: {heads}", True)
    settings, now = home.settings.sensors, home.clock()
    underway = _recalculating(instance, home)
    said: list[str] = []
    given_up: list[tuple[Target, _Tried]] = []
    for target in targets:
        tried = _tried(instance, target)
        running = next((run for run, covered in underway if _overlap(covered, target.days)), tried.active)
        again = None if tried.last is None else ended_at(tried.last) + settings.retry_after
        if running is not None:
            said.append(f"{target.why}: {on_it(running)}")
        elif tried.attempts >= settings.attempts:
            given_up.append((target, tried))
            said.append(
                f"{target.why}: given up after {tried.attempts} attempts, see the alert; a new entry, "
                + ("" if home.live else "new market data, ")
                + f"or `basis materialize --from {target.days.first} --to {target.days.last}`, starts again"
            )
        elif again is not None and now < again:
            last = "" if tried.last is None else short(tried.last.dagster_run)
            said.append(
                f"{target.why}: attempt {tried.attempts} (run {last}) failed; the next one is due at {iso(again)}"
            )
        else:
            request = _request(home, target, tried.attempts + 1, days)
            return _Verdict(
                request, f"{target.why}: attempt {tried.attempts + 1} of {settings.attempts}", given_up=tuple(given_up)
            )
    return _Verdict(None, "; ".join(said), len(given_up) == len(targets), tuple(given_up))


def _request(home: Home, target: Target, attempt: int, days: dg.DailyPartitionsDefinition) -> dg.RunRequest:
    tags = {
        STARTED_BY_TAG: SENSOR,
        TARGET_TAG: target.key,
        ATTEMPT_TAG: str(attempt),
        WHY_TAG: target.why,
    }
    # The days there are by now: a portfolio that starts earlier may have come since the definitions were loaded. Of
    # their partitions Dagster knows only as a range, which the run's own process takes from the settings as they are.
    ends = range_tags(daily_partitions(home.settings), target.days)
    loaded = date.fromisoformat(days.get_first_partition_key() or "")
    only = target.days.first.isoformat() if len(target.days) == 1 and target.days.first >= loaded else None
    return dg.RunRequest(
        run_key=f"{target.key}-{attempt}",
        partition_key=only,
        tags=tags if only is not None else {**tags, **ends},
        asset_selection=[dg.AssetKey(name) for name in target.assets] or None,
        asset_check_keys=not_proven(target.assets) or None,
    )


def _targets(snapshot: LedgerSnapshot, touched: Touched, market: str) -> list[Target]:
    """What is behind, entries first. ``market`` says which market files there are, and is empty when live."""
    targets = []
    if touched.by_entries:
        days = DayRange(touched.by_entries[0], touched.by_entries[-1])
        entries = ", ".join(
            f"{name} #{since + 1}"
            + (f" to #{touched.heads[name].sequence}" * (touched.heads[name].sequence > since + 1))
            for name, since in sorted(touched.behind.items())
        )
        why = f"{_named(len(touched.by_entries), days)} touched by entries of {entries}"
        # Prices of market files do not change because of entries: where they are published they stay as they are.
        assets = _OF_ENTRIES if market and touched.with_market.issuperset(days) else ()
        targets.append(Target(days, _key(days, [touched.heads, market]), _ENTRIES, why, assets))
    for days in _stretches(touched.gaps):
        end = day_start(days.last) + DAY
        known = {name: snapshot.newest_until(name, end) for name in touched.lacking}
        why = f"{_named(len(days), days)} without equity of {', '.join(sorted(touched.lacking))}"
        targets.append(Target(days, _key(days, [known, market]), _GAPS, why))
    return targets


def _named(count: int, days: DayRange) -> str:
    return f"1 day ({days.first})" if count == 1 else f"{count} days ({days.first} to {days.last})"


def _stretches(days: Sequence[date]) -> Iterator[DayRange]:
    start = 0
    for position in range(1, len(days) + 1):
        if position == len(days) or days[position] - days[position - 1] > DAY:
            yield DayRange(days[start], days[position - 1])
            start = position


def _key(days: DayRange, rest: Any) -> str:
    content = json.dumps([days.first.isoformat(), days.last.isoformat(), rest], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _tried(instance: dg.DagsterInstance, target: Target) -> _Tried:
    records = instance.get_run_records(dg.RunsFilter(tags={TARGET_TAG: target.key}))
    runs = [record.dagster_run for record in records]
    active = next((run for run in runs if not run.is_finished), None)
    attempts = max((int(run.tags.get(ATTEMPT_TAG, "1")) for run in runs), default=0)
    ended = [record for record in records if record.dagster_run.is_finished]
    return _Tried(attempts, active, max(ended, key=ended_at, default=None))


def _recalculating(instance: dg.DagsterInstance, home: Home) -> list[tuple[dg.DagsterRun, DayRange]]:
    """The runs that are recalculating days or are about to, whoever asked for them."""
    found = []
    for run in unfinished_runs(instance, home):
        if run.job_name in (BOOKS, PROJECTION, _ASSET_JOB):
            with suppress(ValueError):  # of hours, not days
                days = days_of_run(run.tags)
                if days is not None:
                    found.append((run, days))
    return found


def _overlap(one: DayRange, other: DayRange) -> bool:
    return one.first <= other.last and other.first <= one.last


def _tell(
    ports: Ports, instance: dg.DagsterInstance, verdict: _Verdict, behind: Collection[str], seen: Seen
) -> list[str]:
    """An alert when targets were given up since the last tick, and its end once nothing of its kind is behind.

    Returns what the alerts that stand are about.
    """
    engine, now = ports.ledger.engine, ports.clock()
    alerted = []
    for subject in (_ENTRIES, _GAPS):
        given_up = [(target, tried) for target, tried in verdict.given_up if target.subject == subject]
        stands = subject in seen.alerted or not seen.mark  # without a cursor it may
        if any(target.key not in seen.given_up for target, _ in given_up):
            days = sorted({day for target, _ in given_up for day in target.days})
            raise_alerts(engine, [stale_projection(subject, days, _reason(instance, given_up))], now)
            alerted.append(subject)
        elif subject in behind and stands:
            alerted.append(subject)
        elif stands:
            resolve(engine, AlertKind.STALE_PROJECTION, [subject], now)
    return alerted


def _end_missing_prices(ports: Ports, touched: Touched) -> None:
    """The alerts about portfolios that could not be valued end once no published day lacks them."""
    engine = ports.ledger.engine
    standing = {a.alert.subject for a in alerts_listed(engine) if a.alert.kind is AlertKind.MISSING_PRICE}
    resolve(engine, AlertKind.MISSING_PRICE, standing.intersection(touched.heads) - touched.lacking, ports.clock())


def _reason(instance: dg.DagsterInstance, given_up: Sequence[tuple[Target, _Tried]]) -> str:
    lines = []
    for target, tried in given_up:
        last = "" if tried.last is None else f", the last one run {tried.last.dagster_run.run_id}"
        lines.append(f"{target.why}: {tried.attempts} runs failed{last}.")
        if tried.last is not None:
            lines += errors_of_run(instance, tried.last.dagster_run.run_id)
    return "\n".join(lines)
