"""The market of live mode: an asset that asks the sources of prices what is new, before anything is valued with it."""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import dagster as dg

from basis_pipeline.domain.instants import DAY, day_start
from basis_pipeline.ledger import market_observations
from basis_pipeline.live import record_market_now
from basis_pipeline.orchestration.assets import MARKET_DATA_TEAM, source_asset
from basis_pipeline.orchestration.days import days_of
from basis_pipeline.orchestration.failures import READS_VENUES, readable_failures
from basis_pipeline.orchestration.resources import HomeResource


class AskedAll(NamedTuple):
    """The check that comes with the asset. It never blocks: what prices are missing, equity finds out."""

    asset: str
    name: str
    description: str
    blocking: bool = False


MARKET = "market"
MARKET_OBSERVATIONS = "market_observations"
ANSWERED = AskedAll(
    MARKET_OBSERVATIONS,
    "every_source_answered",
    "Every source of prices answered with everything it was asked. What is missing is asked again by the next run; a "
    "price that stays missing stops its portfolio's equity.",
)


def market_source() -> dg.AssetSpec:
    """What is asked."""
    described = "Public prices of Binance, Bybit and OKX, and rates and oracle prices on chain, as they are now."
    return source_asset(MARKET, described, "market", MARKET_DATA_TEAM, {"ethereum", "api"})


def market_asset(days: dg.DailyPartitionsDefinition, ledger_kind: str) -> dg.AssetsDefinition:
    """The observations of each day. Those of a past day are what was recorded; only what is new now can be asked."""

    @dg.asset(
        name=MARKET_OBSERVATIONS,
        description="What exchanges and contracts said of prices, marks and rates, recorded as it was fetched. "
        "Kept in the ledger's database; the tables `prices` and `conversion_rates` are made from it.",
        deps=[MARKET],
        group_name="market",
        owners=[MARKET_DATA_TEAM],
        kinds={ledger_kind},
        tags={"layer": "facts"},
        partitions_def=days,
        backfill_policy=dg.BackfillPolicy.single_run(),
        retry_policy=READS_VENUES,
        check_specs=[
            dg.AssetCheckSpec(ANSWERED.name, asset=ANSWERED.asset, description=ANSWERED.description),
        ],
    )
    def record(context: dg.AssetExecutionContext, home: HomeResource) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        wanted = days_of(context)
        problems: list[str] = []
        with readable_failures(context.retry_number, reads_venues=True), home.open() as (opened, ports):
            if wanted.last >= ports.clock().date():
                problems = list(asyncio.run(record_market_now(opened, ports)).problems)
            for day in wanted:
                start = day_start(day)
                count = market_observations.count(opened.ledger.engine, start, start + DAY)
                context.add_asset_metadata(
                    {"dagster/partition_row_count": count},
                    asset_key=MARKET_OBSERVATIONS,
                    partition_key=day.isoformat(),
                )
        yield dg.MaterializeResult(asset_key=MARKET_OBSERVATIONS, check_results=[_answered(problems)])

    return record


def _answered(problems: list[str]) -> dg.AssetCheckResult:
    said = "; ".join(problems[:5]) or "Everything that was asked for was answered."
    return dg.AssetCheckResult(
        check_name=ANSWERED.name,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description=said,
        metadata={"problems": len(problems)},
    )
