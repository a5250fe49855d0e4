"""The names of the jobs, which schedules, commands and tests share, and the job that tidies up."""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

import dagster as dg

from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.steps.publishing import collect_garbage

BOOKS = "materialize_books"
RECONCILIATION = "hourly_reconciliation"
PROJECTION = "hourly_projection"
MAINTENANCE = "daily_maintenance"
ALERTS = "send_alerts"


def maintenance_job() -> dg.JobDefinition:
    """Removes day files that newer ones took the place of."""

    @dg.op(description="Remove day files that were superseded longer ago than `superseded_files_kept`.")
    def remove_superseded_files(context: dg.OpExecutionContext, home: HomeResource) -> None:
        with home.open() as (_, ports):
            removed = collect_garbage(ports)
        context.log.info("%d superseded files removed", len(removed))

    @dg.job(name=MAINTENANCE, description="Once a day: what nobody reads any more is removed.")
    def maintenance() -> None:
        remove_superseded_files()

    return maintenance
