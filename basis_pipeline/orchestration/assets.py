"""The assets, one Dagster step for the tables that are published together.

A body takes its days from the context, calls its step and says what was published. Nothing passes between the steps but
the ledger and the day files, so there is no IO manager.
"""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from basis_pipeline.orchestration.days import days_of
from basis_pipeline.orchestration.failures import MISSING_PRICES, failure, readable_failures
from basis_pipeline.orchestration.metadata import day_metadata, markdown_table, run_metadata, table_metadata
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.steps import balance_changes, equity, positions
from basis_pipeline.steps.equity import EquityIncomplete
from basis_pipeline.steps.market import CONVERSION_RATES, PRICES, project_conversion_rates, project_prices
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.publishing import StepReport
from basis_pipeline.warehouse.tables import table

POOL = "warehouse"
"""One publishing step at a time, so that runs wait for each other in Dagster and not for the writer's lock."""
LEDGER = "ledger"
MARKET_DATA = "market_data"
"""The files of a backtest."""
_BOOKKEEPING, MARKET_DATA_TEAM = "team:bookkeeping", "team:market-data"
_GAPS_SHOWN_MAX = 20


@dataclass(frozen=True)
class Projection:
    """A step as Dagster sees it: the tables it publishes together and what they are made from."""

    name: str
    step: Callable[[Ports, DayRange], StepReport]
    group: str
    tables: tuple[str, ...]
    sources: tuple[str, ...]
    owner: str = _BOOKKEEPING


PROJECTIONS = (
    Projection(
        "project_balance_changes",
        balance_changes.project_balance_changes,
        "ledger",
        (balance_changes.TABLE,),
        (LEDGER,),
    ),
    # From the same ledger entries; behind balance_changes because a broken chain must stop them.
    Projection(
        "project_positions", positions.project_positions, "positions", positions.TABLES, (balance_changes.TABLE,)
    ),
    Projection("project_prices", project_prices, "market", (PRICES,), (MARKET_DATA,), MARKET_DATA_TEAM),
    Projection(
        "project_conversion_rates",
        project_conversion_rates,
        "market",
        (CONVERSION_RATES,),
        (MARKET_DATA,),
        MARKET_DATA_TEAM,
    ),
    Projection(
        "project_equity",
        equity.project_equity,
        "equity",
        equity.TABLES,
        (*positions.TABLES, PRICES, CONVERSION_RATES),
    ),
)


def source_assets(ledger_kind: str, *, live: bool) -> list[dg.AssetSpec]:
    """Where everything comes from; Dagster does not write these."""
    ledger = source_asset(
        LEDGER,
        "Every change of a balance or position, once, in a chain of hashes. Written by `basis import`, `basis record`, "
        "strategies and reconciliation.",
        "ledger",
        _BOOKKEEPING,
        {ledger_kind},
    )
    if live:
        return [ledger]
    described = "The directory of recorded prices and Aave indices that `market_data` in basis.yaml names."
    return [ledger, source_asset(MARKET_DATA, described, "market", MARKET_DATA_TEAM, {"parquet"})]


def source_asset(name: str, description: str, group: str, owner: str, kinds: set[str]) -> dg.AssetSpec:
    """Something that Dagster does not write."""
    return dg.AssetSpec(
        name, description=description, group_name=group, owners=[owner], kinds=kinds, tags={"layer": "source"}
    )


def table_asset(
    projection: Projection,
    days: dg.DailyPartitionsDefinition,
    pool: str | None,
    instead_of: Mapping[str, str] | None = None,
) -> dg.AssetsDefinition:
    """The assets of one step. ``instead_of`` names sources by which others are replaced."""
    sources = [(instead_of or {}).get(source, source) for source in projection.sources]

    @dg.multi_asset(
        name=projection.name,
        specs=[_spec(projection, name, sources) for name in projection.tables],
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=pool,
    )
    def assets(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with readable_failures(context.retry_number), home.open() as (_, ports):
            try:
                report = projection.step(ports, days_of(context))
            except EquityIncomplete as incomplete:
                _record_complete_days(context, incomplete)
                missing = dg.MetadataValue.json({name: list(lines) for name, lines in incomplete.by_portfolio.items()})
                raise failure(incomplete, {"gaps": _gaps_table(incomplete), MISSING_PRICES: missing}) from incomplete
        yield from _results(context, report)

    return assets


def _spec(projection: Projection, name: str, sources: Sequence[str]) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        description=table(name).description,
        deps=sources,
        group_name=projection.group,
        owners=[projection.owner],
        kinds={"duckdb", "parquet"},
        tags={"layer": "projection"},
        metadata=table_metadata(table(name)),
    )


def _results(context: dg.AssetExecutionContext, report: StepReport) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
    last = max(day for _, day in report.rows)
    for name, day in report.rows:
        with_equity = name == equity.SNAPSHOTS
        metadata = day_metadata(report, name, day, with_equity=with_equity)
        if day == last:
            metadata |= run_metadata(report, name, with_equity=with_equity)
        context.add_asset_metadata(metadata, asset_key=name, partition_key=day.isoformat())
    for name in report.tables:
        yield dg.MaterializeResult(asset_key=name)


def _record_complete_days(context: dg.AssetExecutionContext, incomplete: EquityIncomplete) -> None:
    """The days on which every portfolio was valued are materialized; the others stay failed, for Dagster to show."""
    report = incomplete.report
    for name, day in report.rows:
        if day not in incomplete.failed_days:
            metadata = day_metadata(report, name, day, with_equity=name == equity.SNAPSHOTS)
            context.log_event(dg.AssetMaterialization(name, metadata=metadata, partition=day.isoformat()))


def _gaps_table(incomplete: EquityIncomplete) -> dg.MarkdownMetadataValue:
    return markdown_table(("portfolio", "instant", "token", "tried"), incomplete.gaps[:_GAPS_SHOWN_MAX])
