"""Runs that failed and checks that did not pass become alerts, and end them when they go well again.

Not ``dg.run_failure_sensor``: that goes on behind a run whose evaluation failed, so that an alert would be lost while
the ledger is busy, and it does not see the runs of `basis materialize`. This one reads the same events in order, and
goes on behind a run only when its alerts are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import dagster as dg

from basis_pipeline.domain.alerts import (
    Alert,
    AlertKind,
    Severity,
    drift,
    failed_check,
    failed_run,
    ledger_broken,
    missing_price,
    unavailable_venue,
)
from basis_pipeline.domain.instants import DAY
from basis_pipeline.domain.observations import ReadingStatus
from basis_pipeline.home import Home
from basis_pipeline.ledger.alerts import alerts_listed, raise_alerts, resolve
from basis_pipeline.ledger.readings import latest_reconciliations
from basis_pipeline.ledger.verification import verify
from basis_pipeline.orchestration.asking import WILL_RETRY_TAG, short
from basis_pipeline.orchestration.days import days_of_run
from basis_pipeline.orchestration.failures import MISSING_PRICES, evaluations, readable_errors
from basis_pipeline.orchestration.jobs import ALERTS
from basis_pipeline.orchestration.recalculation import TARGET_TAG
from basis_pipeline.orchestration.reconciliation import OBSERVATIONS, OUTCOMES
from basis_pipeline.steps import balance_changes
from basis_pipeline.steps.staleness import unvalued_portfolios

RUNS_MAX = 25
"""Runs that one tick looks at; the next goes on behind them."""
_ENDED = (dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE)
_READ = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}
_BY_ACCOUNT = {(OUTCOMES, "no_unexplained_drift"), (OBSERVATIONS, "all_accounts_available")}
_LEDGER = (balance_changes.TABLE, "ledger_chain_intact")
_KINDS = {"fresh": AlertKind.MISSING_PRICE, "every_source_answered": AlertKind.UNAVAILABLE_VENUE}
"""What a check that did not pass is about, where it is not just a failed check."""


class Told(NamedTuple):
    """What a tick did, and what the next one is to remember."""

    said: str
    cursor: str


@dataclass
class Place:
    """How far the sensor has read, and of which days the checks and runs were that did not go well: (from, to) each."""

    event: int
    failing: dict[str, list[list[str]]] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None) -> Place | None:
        with suppress(ValueError, TypeError):
            return cls(**json.loads(cursor or ""))
        return None

    def fails(self, name: str, days: Sequence[str] | None) -> None:
        """Remember of which days it was; None: of none in particular."""
        if days is not None and not any(span[0] <= days[0] and days[1] <= span[1] for span in self._spans(name)):
            self.failing[name] = [*self._spans(name), list(days)]

    def is_over(self, name: str, days: Sequence[str] | None) -> bool:
        """Whether that it went well for these days (None: all) ends the last of what failed."""
        left = [] if days is None else [part for span in self._spans(name) for part in _without(span, days)]
        self.failing.pop(name, None)
        if left:
            self.failing[name] = left
        return not left

    def _spans(self, name: str) -> list[list[str]]:
        return self.failing.get(name, [])

    def write(self) -> str:
        return json.dumps({"event": self.event, "failing": self.failing}, separators=(",", ":"))


def _without(span: Sequence[str], days: Sequence[str]) -> Iterator[list[str]]:
    """What is left of one range of days without another."""
    (first, last), (begin, end) = map(date.fromisoformat, span), map(date.fromisoformat, days)
    for start, stop in ((first, min(last, begin - DAY)), (max(first, end + DAY), last)):
        if start <= stop:
            yield [start.isoformat(), stop.isoformat()]


def tell_of_runs(home: Home, instance: dg.DagsterInstance, cursor: str | None) -> Told:
    """Keep the alerts of the runs that ended since the last tick; what ended before the first tick is history."""
    place = Place.read(cursor)
    if place is None:
        newest = max((number for number, _ in _ended_runs(instance, None, 1)), default=0)
        return Told(f"looks at runs that end from now on (event {newest})", Place(newest).write())
    found = _ended_runs(instance, place.event, RUNS_MAX)
    if not found:
        return Told("no run has ended since the last tick", place.write())
    said = []
    for number, run_id in found:
        run = instance.get_run_by_id(run_id)
        if run is not None and run.job_name != ALERTS:
            said += _tell_of(home, instance, run, place)
        place.event = number
    what = f"{len(found)} run{'s' * (len(found) > 1)} ended: {'; '.join(said) or 'nothing to tell'}"
    return Told(what, place.write())


def _ended_runs(instance: dg.DagsterInstance, after: int | None, limit: int) -> list[tuple[int, str]]:
    """(event, run) of the runs that ended after the event, in that order; the newest ones without an event."""
    found = []
    for kind in _ENDED:
        wanted = dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after)  # type: ignore[arg-type]
        records = instance.fetch_run_status_changes(wanted, limit=limit, ascending=after is not None).records
        found += [(record.storage_id, record.run_id) for record in records]
    return sorted(found)[:limit] if after is not None else found


def _tell_of(home: Home, instance: dg.DagsterInstance, run: dg.DagsterRun, place: Place) -> list[str]:
    """Keep what is to be told of one run; returns it in short."""
    records = instance.all_logs(run.run_id, of_type=_READ)
    events = [record.dagster_event for record in records if record.dagster_event is not None]
    checks = evaluations(events)
    alerts = list(_of_checks(home, checks, place))
    if run.is_failure:
        failures = _of_failure(home, run, events, checks)
        if any(alert.kind is AlertKind.FAILED_RUN for alert in failures):
            place.fails(run.job_name, _days_of(run))
        alerts += failures
    elif place.is_over(run.job_name, _days_of(run)):
        resolve(home.ledger.engine, AlertKind.FAILED_RUN, [run.job_name], home.clock())
    if alerts:
        raise_alerts(home.ledger.engine, alerts, home.clock())
    return [f"{alert.kind} {alert.subject} (run {short(run)})" for alert in alerts]


def _of_failure(
    home: Home, run: dg.DagsterRun, events: Sequence[dg.DagsterEvent], checks: Sequence[dg.AssetCheckEvaluation]
) -> list[Alert]:
    """Missing prices by portfolio; for anything else the run itself, unless it is tried again or a check tells it."""
    missing: dict[str, list[str]] = {}
    for event in events:
        if event.is_step_failure and event.step_failure_data.user_failure_data is not None:
            value = event.step_failure_data.user_failure_data.metadata.get(MISSING_PRICES)
            if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, Mapping):
                missing |= {str(name): list(lines) for name, lines in value.data.items()}
    if missing:
        still = unvalued_portfolios(home.ports())  # a later run may have valued them by now
        return [missing_price(portfolio, lines) for portfolio, lines in sorted(missing.items()) if portfolio in still]
    if TARGET_TAG in run.tags or run.tags.get(WILL_RETRY_TAG) == "true":
        return []  # asked for again; when that is given up, the sensor that asks says so
    errors = list(readable_errors(events))
    if not errors and any(_is_error(check) for check in checks if not check.passed):
        return []
    said = errors or [e.message for e in events if e.event_type is dg.DagsterEventType.RUN_FAILURE and e.message]
    return [failed_run(run.job_name, run.job_name, run.run_id, "\n".join(said) or "Dagster does not say why.")]


def _of_checks(home: Home, checks: Iterable[dg.AssetCheckEvaluation], place: Place) -> Iterable[Alert]:
    """The alerts of checks that did not pass; those of checks that passed are resolved."""
    of_accounts = False
    for check in checks:
        name = (check.asset_key.to_user_string(), check.check_name)
        if name in _BY_ACCOUNT:
            of_accounts = True
        elif name == _LEDGER:
            yield from _of_ledger(home, check)
        else:
            yield from _of_check(home, check, place)
    if of_accounts:
        yield from _of_accounts(home)


def _of_check(home: Home, check: dg.AssetCheckEvaluation, place: Place) -> Iterable[Alert]:
    name = f"{check.asset_key.to_user_string()}.{check.check_name}"
    kind = _KINDS.get(check.check_name, AlertKind.FAILED_CHECK)
    days = _days(check)
    if not check.passed:
        place.fails(name, days)
        severity = Severity.ERROR if _is_error(check) else Severity.WARNING
        alert = failed_check(name, check.description or "It does not say why.", severity=severity)
        yield Alert(kind, severity, name, alert.title, alert.text)
    elif place.is_over(name, days):
        resolve(home.ledger.engine, kind, [name], home.clock())


def _of_ledger(home: Home, check: dg.AssetCheckEvaluation) -> Iterable[Alert]:
    """Of a broken ledger. A run looks at the entries of its days; that all is well again only the whole ledger says."""
    engine = home.ledger.engine
    if check.passed:
        broken = [a.alert.subject for a in alerts_listed(engine) if a.alert.kind is AlertKind.LEDGER_BROKEN]
        if broken:
            still = {problem.portfolio for problem in verify(engine).problems}
            resolve(engine, AlertKind.LEDGER_BROKEN, set(broken) - still, home.clock())
        return
    by_portfolio: dict[str, list[str]] = {}
    for problem in verify(engine).problems:
        by_portfolio.setdefault(problem.portfolio, []).append(str(problem))
    for portfolio, problems in sorted(by_portfolio.items()):
        yield ledger_broken(portfolio, problems)


def _of_accounts(home: Home) -> Iterable[Alert]:
    """Of each account's newest reconciliation, which says more than the checks do: one alert for each account."""
    sound: dict[AlertKind, list[str]] = {AlertKind.DRIFT: [], AlertKind.UNAVAILABLE_VENUE: []}
    for record in latest_reconciliations(home.ledger.engine):
        for each in record.accounts:
            subject = f"{record.portfolio}/{each.account.name}"
            if each.status is not ReadingStatus.AVAILABLE:
                yield unavailable_venue(record.portfolio, each.account.name, each.error or "It does not say why.")
                continue
            sound[AlertKind.UNAVAILABLE_VENUE].append(subject)
            if each.unexplained:
                yield drift(record.portfolio, each.account.name, each.unexplained)
            else:
                sound[AlertKind.DRIFT].append(subject)
    for kind, subjects in sound.items():
        resolve(home.ledger.engine, kind, subjects, home.clock())


def _is_error(check: dg.AssetCheckEvaluation) -> bool:
    return check.severity is dg.AssetCheckSeverity.ERROR


def _days_of(run: dg.DagsterRun) -> list[str] | None:
    """The first and the last day that the run was over; None when it was over hours, or over no partition."""
    with suppress(ValueError):
        days = days_of_run(run.tags)
        return None if days is None else [days.first.isoformat(), days.last.isoformat()]
    return None


def _days(check: dg.AssetCheckEvaluation) -> list[str] | None:
    """The first and the last day that the check was of."""
    scope: Any = check.metadata.get("days")
    parts = str(scope.value).split(" to ") if scope is not None else []
    with suppress(ValueError):
        return [datetime.fromisoformat(part).date().isoformat() for part in parts] if len(parts) == 2 else None
    return None
