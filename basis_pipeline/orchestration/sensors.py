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
from basis_pipeline.orchestration.jobs import BOOKS, PROJECTION
from basis_pipeline.orchestration.recalculation import SENSOR, decide
from basis_pipeline.settings import Settings, home_path

_SECOND = timedelta(seconds=1)


def sensors(home: Path | None, settings: Settings, days: dg.DailyPartitionsDefinition) -> list[dg.SensorDefinition]:
    """All sensors of a home, running from the start."""
    return [_balance_change(home, settings, days)]


def _balance_change(home: Path | None, settings: Settings, days: dg.DailyPartitionsDefinition) -> dg.SensorDefinition:
    @dg.sensor(
        name=SENSOR,
        job_name=PROJECTION if settings.mode == "live" else BOOKS,
        minimum_interval_seconds=_interval(settings),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New ledger entries: one run for all days that they touch. A run that failed is asked for again, "
        "`sensors.attempts` times; then there is an alert.",
    )
    def balance_change_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with _opened(home) as opened:
            decision = decide(opened, context.instance, days, context.cursor)
        if decision.request is None:
            return dg.SensorResult(skip_reason=decision.said, cursor=decision.cursor)
        context.log.info(decision.said)
        return dg.SensorResult(run_requests=[decision.request], cursor=decision.cursor)

    return balance_change_sensor


@contextmanager
def _opened(home: Path | None) -> Iterator[Home]:
    """The home of a tick. What cannot be read fails the tick with what to do about it; the next tick tries again."""
    try:
        with open_home(home_path(home)) as opened:
            yield opened
    except BasisError as error:
        raise dg.Failure(str(error)) from None


def _interval(settings: Settings) -> int:
    return max(1, round(settings.sensors.interval / _SECOND))
