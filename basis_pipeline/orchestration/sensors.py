"""What Dagster looks at every few seconds, and which runs it asks for because of it.

Every sensor is level-triggered: a tick asks what is the case now, so that nothing is missed while the daemon was down
and a run that failed is asked for again. What a tick decides is a plain function elsewhere; here it becomes a sensor.
"""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.home import Home, open_home
from basis_pipeline.orchestration.alerting import Asked, alerts_due, equity_moved
from basis_pipeline.orchestration.jobs import ALERTS, BOOKS, PROJECTION
from basis_pipeline.orchestration.outcomes import tell_of_runs
from basis_pipeline.orchestration.recalculation import SENSOR as BALANCE_CHANGE
from basis_pipeline.orchestration.recalculation import decide
from basis_pipeline.settings import Settings, config_path, home_path

EQUITY_CHANGE, RUN_FAILURE, ALERT = "equity_change_sensor", "run_failure_sensor", "alert_sensor"
_Outcome = tuple[dg.RunRequest | None, str, str | None]
"""The run to ask for, if any; why, or why not; and what the next tick is to remember."""
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
        return _tick(home, context, lambda opened: decide(opened, context.instance, days, context.cursor))

    @dg.sensor(
        name=EQUITY_CHANGE,
        job_name=ALERTS,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Newly published equity that is further from the value told last than `equity.change_threshold`.",
    )
    def equity_change(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _tick(home, context, lambda opened: _asked(equity_moved(opened, context.instance, context.cursor)))

    @dg.sensor(
        name=ALERT,
        job_name=ALERTS,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Alerts that are due to a channel: new ones, those that still stand after `alerts.renotify_after`, "
        "and those that are over.",
    )
    def alert(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _tick(home, context, lambda opened: _asked(alerts_due(opened, context.instance)))

    @dg.sensor(
        name=RUN_FAILURE,
        minimum_interval_seconds=seconds,
        default_status=running,
        description="Runs that failed and checks that did not pass become alerts; when they go well again, those end.",
    )
    def run_failure(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        return _tick(home, context, lambda opened: (None, *tell_of_runs(opened, context.instance, context.cursor)))

    return [balance_change, equity_change, run_failure, alert]


def _asked(asked: Asked) -> _Outcome:
    return dg.RunRequest() if asked.wanted else None, asked.said, asked.cursor


def _tick(home: Path | None, context: dg.SensorEvaluationContext, look: Callable[[Home], _Outcome]) -> dg.SensorResult:
    """One tick. What cannot be read fails it with what to do about it; the next tick tries again."""
    path = home_path(home)
    if not config_path(path).exists():
        return dg.SensorResult(
            skip_reason=f"{config_path(path)} does not exist; run `basis init`, or `basis demo` for a sample",
            cursor=context.cursor,
        )
    try:
        with open_home(path) as opened:
            request, said, cursor = look(opened)
    except BasisError as error:
        raise dg.Failure(str(error)) from None
    if request is None:
        return dg.SensorResult(skip_reason=said, cursor=cursor)
    context.log.info(said)
    return dg.SensorResult(run_requests=[request], cursor=cursor)
