"""The job that tells people, and the sensors that ask for it: equity that moved, and alerts that are due."""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

import json
from contextlib import suppress
from typing import Any, NamedTuple

import dagster as dg

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.domain.instants import iso
from basis_pipeline.home import Home
from basis_pipeline.ledger import publications
from basis_pipeline.ledger.alerts import alerts_listed
from basis_pipeline.orchestration.asking import ended_at, on_it, short, unfinished_runs
from basis_pipeline.orchestration.equity_changes import begin_counting, newest_equity, tell
from basis_pipeline.orchestration.failures import readable_failures
from basis_pipeline.orchestration.jobs import ALERTS
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.warehouse.catalogue import catalogue_info


class Asked(NamedTuple):
    """What came out of a tick: whether to ask for the job, why or why not, and what the next tick is to remember."""

    wanted: bool
    said: str
    cursor: str | None = None


def alerts_job() -> dg.JobDefinition:
    """Looks again whether equity moved, then sends what is due. That a channel fails is no failure of the run."""

    @dg.op(description="Equity that moved becomes an alert; every alert that is due goes to the channels that take it.")
    def tell_people(context: dg.OpExecutionContext, home: HomeResource) -> None:
        from basis_pipeline.alerts.delivery import deliver_due

        with readable_failures(), home.open() as (opened, _):
            try:
                for equity in newest_equity(opened):
                    if equity.crossed and tell(opened, equity):
                        context.log.info(str(equity))
            except WarehouseError as error:  # all the more reason to send what is due
                context.log.warning(str(error))
            report = deliver_due(opened)
        for channel in report.channels:
            context.log.info("%s: %d sent%s", channel.channel, channel.sent, f"; {channel.error}" * bool(channel.error))
        context.log.info("%d alerts sent, %d are still due", report.sent, report.left)

    @dg.job(name=ALERTS, description="Sends the alerts that are due; asked for by the sensors.")
    def send_alerts() -> None:
        tell_people()

    return send_alerts


def equity_moved(home: Home, instance: dg.DagsterInstance, cursor: str | None) -> Asked:
    """Whether a portfolio's newest published equity is further from what was told last than the settings allow."""
    equity = home.settings.equity
    seen = _read(cursor)
    settings = [
        equity.change_of,
        str(equity.change_threshold),
        {name: str(floor) for name, floor in equity.change_floor.items()},
    ]
    if seen.get("settings") == settings and seen.get("generation") == publications.generation(home.ledger.engine):
        return Asked(False, seen["said"], cursor)
    info = catalogue_info(home.path)
    if info is None:
        return Asked(False, "nothing was ever published in this home; run `basis materialize` once")
    found = list(newest_equity(home))
    for each in found:
        if each.last is None:
            begin_counting(home, each)
    said = "; ".join(map(str, found)) or "no portfolio has published equity yet"
    if any(each.crossed for each in found):  # again at the next tick, until it was told
        return _unless_underway(home, instance, said)
    # What the catalogue showed, which may be a moment behind the database: then the next tick looks again.
    remembered = {"settings": settings, "generation": info.generation, "said": said}
    return Asked(False, said, json.dumps(remembered, separators=(",", ":")))


def alerts_due(home: Home, instance: dg.DagsterInstance) -> Asked:
    """Whether there is something to tell a channel that can be told now."""
    from basis_pipeline.alerts.delivery import is_due

    if not home.settings.alerts.channels:
        standing = len(alerts_listed(home.ledger.engine))
        what = "; nobody is told of the 1 alert that stands" if standing == 1 else ""
        what = f"; nobody is told of the {standing} alerts that stand" if standing > 1 else what
        return Asked(False, f"no channels are configured under `alerts.channels`{what}")
    if not is_due(home):
        return Asked(False, "no alert is due to a channel that can be told now")
    return _unless_underway(home, instance, "alerts are due")


def _read(cursor: str | None) -> dict[str, Any]:
    with suppress(ValueError):
        seen = json.loads(cursor or "{}")
        if isinstance(seen, dict):
            return seen
    return {}


def _unless_underway(home: Home, instance: dg.DagsterInstance, why: str) -> Asked:
    run = next((run for run in unfinished_runs(instance, home) if run.job_name == ALERTS), None)
    if run is not None:
        return Asked(False, f"{why}: {on_it(run)}")
    failed = instance.get_run_records(dg.RunsFilter(job_name=ALERTS), limit=1)
    if failed and failed[0].dagster_run.status is dg.DagsterRunStatus.FAILURE:
        again = ended_at(failed[0]) + home.settings.sensors.retry_after
        if home.clock() < again:
            return Asked(
                False, f"{why}: run {short(failed[0].dagster_run)} failed; the next one is due at {iso(again)}"
            )
    return Asked(True, why)
