"""What ``recalculation`` runs in processes of its own: a code location of one sensor and one empty asset, and ticks.

As a program: the median milliseconds of an idle tick of a home's sensor, with everything loaded.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from statistics import median

import dagster as dg

DIRECTORY_VARIABLE = "BENCHMARK_DIRECTORY"
WANTED, DONE = "wanted", "done"


@dg.definitions
def empty() -> dg.Definitions:
    """A sensor that asks for a run whenever a file has other content; the run notes that it was there."""
    directory = Path(os.environ[DIRECTORY_VARIABLE])

    @dg.asset(
        partitions_def=dg.DailyPartitionsDefinition(start_date="2024-05-12", end_offset=1),
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def nothing() -> None:
        (directory / DONE).write_text((directory / WANTED).read_text(encoding="utf-8"), encoding="utf-8")

    job = dg.define_asset_job("materialize_nothing", selection=[nothing])

    @dg.sensor(job=job, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
    def changed(context) -> dg.SensorResult:  # type: ignore[no-untyped-def]
        path = directory / WANTED
        wanted = path.read_text(encoding="utf-8") if path.exists() else ""
        if wanted == (context.cursor or ""):
            return dg.SensorResult(skip_reason="nothing has changed", cursor=wanted)
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=wanted, partition_key="2024-05-12")], cursor=wanted)

    return dg.Definitions(assets=[nothing], jobs=[job], sensors=[changed], executor=dg.in_process_executor)


def tick_ms(home: Path) -> float:
    """The median of idle ticks; the first ones are not idle."""
    from basis_pipeline.orchestration.build import build_definitions
    from basis_pipeline.orchestration.recalculation import SENSOR

    repository = build_definitions(home).get_repository_def()
    sensor = repository.get_sensor_def(SENSOR)
    cursor, found = None, []
    with dg.instance_for_test() as instance:
        for _ in range(21):
            began = time.perf_counter()
            context = dg.build_sensor_context(instance, cursor=cursor, repository_def=repository, sensor_name=SENSOR)
            cursor = sensor.evaluate_tick(context).cursor
            found.append((time.perf_counter() - began) * 1000)
    return median(found[1:])


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(f"{tick_ms(Path(sys.argv[1])):.2f}")
