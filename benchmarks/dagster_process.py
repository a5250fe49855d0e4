"""What ``dagster_cost`` runs in processes of their own; the last word printed is the peak memory in MB."""

from __future__ import annotations

import json
import os
import resource
import sys
import warnings
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import yaml

from basis_pipeline.home import open_home
from basis_pipeline.orchestration.assets import PROJECTIONS, Projection
from basis_pipeline.orchestration.days import RANGE_END_TAG, RANGE_START_TAG
from basis_pipeline.orchestration.instance import instance_config
from basis_pipeline.orchestration.runs import materialize
from basis_pipeline.steps.importing import import_journal, open_journal

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def ours(home: Path, first: date, last: date, journals: dict[str, str]) -> None:
    """Import and materialize, with every check."""
    with open_home(home) as opened:
        for name, path in journals.items():
            with open_journal(Path(path)) as lines:
                import_journal(opened.ledger, name, lines, path)
    outcome = materialize(home, first, last)
    if not outcome.success or outcome.failed_checks:
        raise RuntimeError(f"{outcome.errors} {outcome.failed_checks}")


def empty(directory: Path, first: date, last: date) -> None:
    """The same tables in the same steps, of which none does anything."""
    directory.mkdir(parents=True)
    (directory / "dagster.yaml").write_text(yaml.safe_dump(instance_config(directory)), encoding="utf-8")
    os.environ["DAGSTER_HOME"] = str(directory)
    days = dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="UTC", end_offset=1)
    definitions = dg.Definitions(
        assets=[_empty_step(projection, days) for projection in PROJECTIONS],
        jobs=[dg.define_asset_job("everything")],
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.get() as instance:
        result = definitions.resolve_job_def("everything").execute_in_process(
            run_config=_QUIET,
            instance=instance,
            tags={RANGE_START_TAG: first.isoformat(), RANGE_END_TAG: last.isoformat()},
        )
        count = len(result.get_asset_materialization_events())
    expected = ((last - first).days + 1) * sum(len(projection.tables) for projection in PROJECTIONS)
    if count != expected:
        raise RuntimeError(f"{count} materializations instead of {expected}")


def _empty_step(projection: Projection, days: dg.DailyPartitionsDefinition) -> dg.AssetsDefinition:
    sources = [name for other in PROJECTIONS for name in other.tables if name in projection.sources]

    @dg.multi_asset(
        name=projection.name,
        specs=[dg.AssetSpec(name, deps=sources) for name in projection.tables],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def step() -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        for name in projection.tables:
            yield dg.MaterializeResult(asset_key=name)

    return step


def peak_mb() -> float:
    """The peak of this process alone; ``ru_maxrss`` on Linux may also count the process it was started from."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024
    scale = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def main(side: str, place: str, first: str, last: str, journals: str = "{}") -> None:
    days = date.fromisoformat(first), date.fromisoformat(last)
    if side == "ours":
        ours(Path(place), *days, json.loads(journals))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            empty(Path(place), *days)
    print(f"{peak_mb():.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
