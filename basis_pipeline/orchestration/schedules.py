"""When live mode does what: reconciliation at the full hour, projection after it, tidying once a day. All in UTC.

Level-triggered: each tick asks what is due now, so that what a run did not do, or a machine that was off, is done by
the next one. Only reconciliation has no second chance: a venue tells what is held now, so a tick that is late by an
hour or more is skipped.
"""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg

from basis_pipeline.domain.instants import DAY, HOUR, floor_hour, iso
from basis_pipeline.home import open_home
from basis_pipeline.market.recorded import FILLED_WITHIN
from basis_pipeline.orchestration.days import range_tags
from basis_pipeline.orchestration.hours import hour_key
from basis_pipeline.orchestration.jobs import MAINTENANCE, PROJECTION, RECONCILIATION
from basis_pipeline.settings import Settings, home_path
from basis_pipeline.steps.equity import SNAPSHOTS
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import current_day_files
from basis_pipeline.steps.staleness import stale_days

MISSED_DAYS_MAX = 31
"""How far back an hourly projection looks for days that were never published, because nothing ran. For everything else
it looks as far as the market can still be filled in: a day with a gap must not fail every hour for a month."""


def live_schedules(
    home: Path | None, settings: Settings, days: dg.DailyPartitionsDefinition
) -> list[dg.ScheduleDefinition]:
    """The schedules of a live home, running from the start."""

    @dg.schedule(
        name=RECONCILIATION,
        job_name=RECONCILIATION,
        cron_schedule="0 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every full hour: what the venues hold now, against the ledger.",
    )
    def reconciliation(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return reconciliation_due(settings, context.scheduled_execution_time, datetime.now(UTC))

    @dg.schedule(
        name=PROJECTION,
        job_name=PROJECTION,
        cron_schedule="2 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Two minutes later: today up to the latest instant, and the days before that are not complete.",
    )
    def projection(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return projection_due(home_path(home), days, context.scheduled_execution_time)

    @dg.schedule(
        name=MAINTENANCE,
        job_name=MAINTENANCE,
        cron_schedule="40 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Once a day: remove day files that newer ones took the place of.",
    )
    def maintenance(_context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        return dg.RunRequest()

    return [reconciliation, projection, maintenance]


def reconciliation_due(settings: Settings, tick: datetime, now: datetime) -> dg.RunRequest | dg.SkipReason:
    """The run of a tick, or why there is none."""
    hour = floor_hour(tick.astimezone(UTC))
    first = min((portfolio.start for portfolio in settings.portfolios.values()), default=None)
    if not settings.accounts or first is None:
        return dg.SkipReason("no accounts are configured; add them under `accounts:` in basis.yaml")
    if now >= hour + HOUR:
        return dg.SkipReason(
            f"the tick of {iso(tick)} is late: it is {iso(now)}, and venues tell only what is held now"
        )
    if hour < floor_hour(first.astimezone(UTC)):
        return dg.SkipReason(f"the first portfolio starts at {iso(first)}")
    return dg.RunRequest(partition_key=hour_key(hour))


def projection_due(home: Path, days: dg.DailyPartitionsDefinition, tick: datetime) -> dg.RunRequest | dg.SkipReason:
    """One run from the first day that is due to today."""
    today = tick.astimezone(UTC).date()
    with open_home(home) as opened:
        first = opened.settings.first_day()
        if first is None or first > today:
            return dg.SkipReason("no portfolio has started yet")
        begin = min([today, *_due(opened.ports(), DayRange(max(first, today - MISSED_DAYS_MAX * DAY), today))])
    if begin == today:
        return dg.RunRequest(partition_key=today.isoformat())
    return dg.RunRequest(tags=range_tags(days, DayRange(begin, today)))


def _due(ports: Ports, days: DayRange) -> list[date]:
    published = {file.day for file in current_day_files(ports) if file.table == SNAPSHOTS}
    return [day for day in stale_days(ports, days) if day not in published or day >= days.last - FILLED_WITHIN]
