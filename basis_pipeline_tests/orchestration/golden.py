"""What the code location declares, as text: assets, checks, jobs, schedules, sensors and resources; then live mode's.

To write the committed list anew: ``python -m basis_pipeline_tests.orchestration.golden``
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.settings import CONFIG_NAME

GOLDEN = Path(__file__).with_name("golden_definitions.txt")
LIVE = "mode: live\n"


def both_modes(folder: Path) -> str:
    """What a home without configuration declares, and what one in live mode does."""
    live = folder / "live"
    live.mkdir()
    (live / CONFIG_NAME).write_text(LIVE, encoding="utf-8")
    homes = {"backtest": folder / "backtest", "live": live}
    return "\n".join(f"# mode: {mode}\n{listing(build_definitions(home))}" for mode, home in homes.items())


def listing(definitions: dg.Definitions) -> str:
    """One line for each thing that is declared."""
    return "\n".join([*sorted(_assets(definitions)), *_checks(definitions), *_rest(definitions)]) + "\n"


def _assets(definitions: dg.Definitions) -> Iterator[str]:
    for asset in definitions.resolve_asset_graph().assets_defs:
        for spec in sorted(asset.specs, key=lambda spec: spec.key):
            name = spec.key.to_user_string()
            kinds = ",".join(sorted(spec.kinds))
            if not asset.is_executable:
                yield f"source   {name} group={spec.group_name} kinds={kinds} owners={','.join(spec.owners)}"
                continue
            partitions = _partitions(asset.partitions_def)
            policy = asset.backfill_policy
            sources = ",".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps))
            yield (
                f"asset    {name} group={spec.group_name} step={asset.op.name} partitions={partitions} "
                f"backfill={policy.policy_type.value if policy else None} pool={asset.op.pool} "
                f"retries={retry.max_retries if (retry := asset.op.retry_policy) else 0} kinds={kinds} "
                f"owners={','.join(spec.owners)} from={sources}"
            )


def _partitions(partitions: dg.PartitionsDefinition | None) -> str:
    names = {dg.DailyPartitionsDefinition: "daily", dg.HourlyPartitionsDefinition: "hourly"}
    for kind, name in names.items():
        if isinstance(partitions, kind):
            return f"{name}({partitions.timezone}, end_offset={partitions.end_offset})"
    return str(partitions)


def _checks(definitions: dg.Definitions) -> Iterator[str]:
    steps = [*(definitions.asset_checks or []), *(definitions.assets or [])]
    executable = [step for step in steps if isinstance(step, dg.AssetsDefinition)]
    specs = [(spec, step.op.name) for step in executable for spec in step.check_specs]
    for spec, step in sorted(specs, key=lambda pair: (pair[0].asset_key, pair[0].name)):
        yield f"check    {spec.asset_key.to_user_string()}.{spec.name} step={step} blocking={spec.blocking}"


def _rest(definitions: dg.Definitions) -> Iterator[str]:
    for job in definitions.jobs or []:
        yield f"job      {job.name}"
    for schedule in definitions.schedules or []:
        yield (
            f"schedule {schedule.name} of={schedule.job_name} cron={schedule.cron_schedule} "
            f"zone={schedule.execution_timezone} {schedule.default_status.value}"
        )
    for sensor in definitions.sensors or []:
        asked_for = ",".join(target.job_name for target in sensor.targets)
        yield (
            f"sensor   {sensor.name} of={asked_for} every={sensor.minimum_interval_seconds}s "
            f"{sensor.default_status.value}"
        )
    for name, resource in sorted((definitions.resources or {}).items()):
        yield f"resource {name}: {type(resource).__name__}"
    yield f"executor {definitions.executor.name if definitions.executor else None}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        GOLDEN.write_text(both_modes(Path(folder)), encoding="utf-8")
