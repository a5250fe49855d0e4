"""What the code location declares, as text: assets, checks, jobs and resources.

To write the committed list anew: ``python -m basis_pipeline_tests.orchestration.golden``
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from basis_pipeline.orchestration.build import build_definitions

GOLDEN = Path(__file__).with_name("golden_definitions.txt")


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
            days = asset.partitions_def
            partitions = f"daily({days.timezone}, end_offset={days.end_offset})" if _is_daily(days) else str(days)
            policy = asset.backfill_policy
            sources = ",".join(sorted(dep.asset_key.to_user_string() for dep in spec.deps))
            yield (
                f"asset    {name} group={spec.group_name} step={asset.op.name} partitions={partitions} "
                f"backfill={policy.policy_type.value if policy else None} pool={asset.op.pool} kinds={kinds} "
                f"owners={','.join(spec.owners)} from={sources}"
            )


def _is_daily(days: dg.PartitionsDefinition | None) -> bool:
    return isinstance(days, dg.DailyPartitionsDefinition)


def _checks(definitions: dg.Definitions) -> Iterator[str]:
    specs = [(spec, step.op.name) for step in definitions.asset_checks or [] for spec in step.check_specs]
    for spec, step in sorted(specs, key=lambda pair: (pair[0].asset_key, pair[0].name)):
        yield f"check    {spec.asset_key.to_user_string()}.{spec.name} step={step} blocking={spec.blocking}"


def _rest(definitions: dg.Definitions) -> Iterator[str]:
    for job in definitions.jobs or []:
        yield f"job      {job.name}"
    for name, resource in sorted((definitions.resources or {}).items()):
        yield f"resource {name}: {type(resource).__name__}"
    yield f"executor {definitions.executor.name if definitions.executor else None}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty_home:
        GOLDEN.write_text(listing(build_definitions(Path(empty_home))), encoding="utf-8")
