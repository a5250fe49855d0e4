"""The assets of live mode that are partitioned by hour: what venues said, how it compares with the ledger, and health.

Only the current hour can be reconciled, because a venue tells what is held now. Materializing a past hour publishes
again what was recorded for it, and fails where nothing was.
"""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from basis_pipeline.domain.errors import ReconciliationError
from basis_pipeline.domain.instants import HOUR, floor_hour, iso
from basis_pipeline.domain.observations import ReadingStatus
from basis_pipeline.domain.reconciliation import Outcome
from basis_pipeline.home import Home
from basis_pipeline.ledger.readings import ReconciliationRecord, reconciliations_between
from basis_pipeline.orchestration.assets import source_asset
from basis_pipeline.orchestration.failures import READS_VENUES, failure, readable_failures
from basis_pipeline.orchestration.hours import hour_key, hours_of
from basis_pipeline.orchestration.metadata import Metadata, markdown_table, table_metadata
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.reconciliation import TABLES, project_reconciliation
from basis_pipeline.warehouse.tables import table

VENUES = "venues"
_GROUP = "reconciliation"
OBSERVATIONS, OUTCOMES, _HEALTH = TABLES
_OWNER = "team:operations"


def venues_source() -> dg.AssetSpec:
    """The accounts as the venues have them."""
    return source_asset(
        VENUES,
        "The accounts under `accounts:` in basis.yaml, as their venues have them now: balances, debts and positions.",
        _GROUP,
        _OWNER,
        {"ethereum", "api"},
    )


def reconciliation_assets(hours: dg.HourlyPartitionsDefinition, ledger: str) -> dg.AssetsDefinition:
    """The three assets, which are one step. In no pool: behind a long backfill the hour would pass."""

    @dg.multi_asset(
        name="reconcile_accounts",
        specs=[_spec(name, [VENUES, ledger] if name == OUTCOMES else [VENUES]) for name in TABLES],
        partitions_def=hours,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=READS_VENUES,
    )
    def assets(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        wanted = hours_of(context)
        from basis_pipeline.monitors.publishing import reconcile_and_publish

        with readable_failures(context.retry_number, reads_venues=True), home.open() as (opened, ports):
            now = floor_hour(ports.clock())
            try:
                if now in wanted:
                    asyncio.run(reconcile_and_publish(opened, ports))
            finally:  # what was stored is shown, also when a portfolio's books could not be opened
                records = records_of(opened, wanted)
                project_reconciliation(ports, DayRange(wanted[0].date(), wanted[-1].date()))
        recorded = sorted({record.hour for record in records})
        if any(hour != now for hour in recorded):
            context.log.warning(
                "Past hours were published again as they were recorded: they cannot be reconciled again."
            )
        _attach_metadata(context, records)
        missing = sorted({*wanted} - {*recorded})
        if missing:
            for hour in recorded:
                for name in TABLES:
                    context.log_event(dg.AssetMaterialization(name, partition=hour_key(hour)))
            raise failure(_never_reconciled(missing))
        for name in TABLES:
            yield dg.MaterializeResult(asset_key=name)

    return assets


def _spec(name: str, sources: Sequence[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        description=table(name).description,
        deps=sources,
        group_name=_GROUP,
        owners=[_OWNER],
        kinds={"duckdb", "parquet"},
        tags={"layer": "projection"},
        metadata=table_metadata(table(name)),
    )


def records_of(home: Home, hours: Sequence[datetime]) -> list[ReconciliationRecord]:
    """What counts for these consecutive hours, by hour and portfolio."""
    return reconciliations_between(home.ledger.engine, hours[0], hours[-1] + HOUR)


def _never_reconciled(hours: Sequence[datetime]) -> ReconciliationError:
    which = iso(hours[0]) if len(hours) == 1 else f"{len(hours)} hours from {iso(hours[0])} to {iso(hours[-1])}"
    was = "was" if len(hours) == 1 else "were"
    return ReconciliationError(
        f"{which} {was} not reconciled and cannot be any more: a venue tells only what is held now. `basis reconcile` "
        "reconciles the current hour"
    )


def _attach_metadata(context: dg.AssetExecutionContext, records: Sequence[ReconciliationRecord]) -> None:
    """A few numbers of every hour to plot, and the newest hour's accounts as a table."""
    by_hour: dict[datetime, list[ReconciliationRecord]] = {}
    for record in records:
        by_hour.setdefault(record.hour, []).append(record)
    last = max(by_hour, default=None)
    for hour, of_hour in by_hour.items():
        key = hour_key(hour)
        accounts = accounts_table(of_hour) if hour == last else None
        context.add_asset_metadata(_readings_metadata(of_hour, accounts), asset_key=OBSERVATIONS, partition_key=key)
        context.add_asset_metadata(_outcomes_metadata(of_hour, accounts), asset_key=OUTCOMES, partition_key=key)


def _readings_metadata(records: Sequence[ReconciliationRecord], accounts: dg.MarkdownMetadataValue | None) -> Metadata:
    unavailable = sum(account.status is ReadingStatus.UNAVAILABLE for record in records for account in record.accounts)
    metadata: Metadata = {
        "accounts": sum(len(record.accounts) for record in records),
        "unavailable": unavailable,
        "skew (s)": max(record.skew for record in records) / timedelta(seconds=1),
    }
    return metadata if accounts is None else {**metadata, "by account": accounts}


def _outcomes_metadata(records: Sequence[ReconciliationRecord], accounts: dg.MarkdownMetadataValue | None) -> Metadata:
    counts = outcome_counts(records)
    metadata: Metadata = {outcome.value: counts[outcome] for outcome in Outcome}
    return metadata if accounts is None else {**metadata, "by account": accounts}


def outcome_counts(records: Sequence[ReconciliationRecord]) -> Counter[Outcome]:
    """How many keys came to each outcome."""
    return Counter(each.outcome for record in records for account in record.accounts for each in account.comparisons)


def accounts_table(records: Sequence[ReconciliationRecord]) -> dg.MarkdownMetadataValue:
    """One line for each account: how it was read and what it came to."""
    rows = []
    for record in records:
        for each in record.accounts:
            counts = Counter(comparison.outcome.value for comparison in each.comparisons)
            came_to = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
            adjusted = each.entry_id or ""
            said = each.error or each.note
            rows.append((record.portfolio, each.account.name, each.status.value, came_to, adjusted, said))
    return markdown_table(("portfolio", "account", "status", "keys", "adjusted by", "note"), rows)
