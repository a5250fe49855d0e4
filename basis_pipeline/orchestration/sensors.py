"""What Dagster looks at every few seconds, and which runs it asks for because of it.

Every sensor is level-triggered: a tick asks what is the case now, so that nothing is missed while the daemon was down
and a run that failed is asked for again. What a tick decides is a plain function elsewhere; here it becomes a sensor.
"""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import dagster as dg

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.home import Home, open_home
from basis_pipeline.orchestration.alerting import alerts_due, equity_moved
from basis_pipeline.orchestration.jobs import ALERTS, BOOKS, PROJECTION
from basis_pipeline.orchestration.outcomes import tell_of_runs
from basis_pipeline.orchestration.recalculation import SENSOR as BALANCE_CHANGE
from basis_pipeline.orchestration.recalculation import decide
from basis_pipeline.settings import Settings, home_path

EQUITY_CHANGE, RUN_FAILURE, ALERT = "equity_change_sensor", "run_failure_sensor", "alert_sensor"
_SECOND = timedelta(seconds=1)
_DAEMON_LOOKS_EVERY = timedelta(seconds=5)
"""An interval just as long would be not quite over the next time it looks, and each second look be passed over."""


def sensors(home: Path | None, settings: Settings, days: dg.DailyPartitionsDefinition) -> list[dg.SensorDefinition]:
    """All sensors of a home, running from the start."""
    interval = settings.sensors.interval
    seconds = 1 if interval <= _DAEMON_LOOKS_EVERY else round(interval / _SECOND)
    running = dg.DefaultSensorStatus.RUNNING

    @dg.sensor(
        name=BALANCE_CHANGE,
        job_name=PROJECTION if settings.mode == "live" else BOOKS,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="New ledger entries: one run for all days that they touch. A run that failed is asked for again, "
        "`sensors.attempts` times; then there is an alert.",
    )
    def balance_change(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with _opened(home) as opened:
            decision = decide(opened, context.instance, days, context.cursor)
        return _result(context, decision.request, decision.said, decision.cursor)

    @dg.sensor(
        name=EQUITY_CHANGE,
        job_name=ALERTS,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Newly published equity that is further from the value told last than `equity.change_threshold`.",
    )
    def equity_change(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with _opened(home) as opened:
            asked = equity_moved(opened, context.instance, context.cursor)
        return _result(context, dg.RunRequest() if asked.wanted else None, asked.said, asked.cursor)

    @dg.sensor(
        name=ALERT,
        job_name=ALERTS,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Alerts that are due to a channel: new ones, those that still stand after `alerts.renotify_after`, "
        "and those that are over.",
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with _opened(home) as opened:
            asked = alerts_due(opened, context.instance)
        return _result(context, dg.RunRequest() if asked.wanted else None, asked.said, asked.cursor)

    @dg.sensor(
        name=RUN_FAILURE,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Runs that failed and checks that did not pass become alerts; when they go well again, those end.",
    )
    def run_failure(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with _opened(home) as opened:
            told = tell_of_runs(opened, context.instance, context.cursor)
        return _result(context, None, told.said, told.cursor)

    return [balance_change, equity_change, run_failure, alert]


def _result(
    context: dg.SensorEvaluationContext, request: dg.RunRequest | None, said: str, cursor: str | None
) -> dg.SensorResult:
    if request is None:
        return dg.SensorResult(skip_reason=said, cursor=cursor)
    context.log.info(said)
    return dg.SensorResult(run_requests=[request], cursor=cursor)


@contextmanager
def _opened(home: Path | None) -> Iterator[Home]:
    """The home of a tick. What cannot be read fails the tick with what to do about it; the next tick tries again."""
    try:
        with open_home(home_path(home)) as opened:
            yield opened
    except BasisError as error:
        raise dg.Failure(str(error)) from None
