"""The code location, assembled in one explicit place for the UI, the commands and the tests.

A backtest has the daily assets on market files. A live home has the same on recorded market observations, and besides
them reconciliation by hour and the schedules. Both have the sensors.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import dagster as dg

from basis_pipeline.orchestration.alerting import alerts_job
from basis_pipeline.orchestration.assets import LEDGER, MARKET_DATA, POOL, PROJECTIONS, source_assets, table_asset
from basis_pipeline.orchestration.checks import check_steps
from basis_pipeline.orchestration.days import daily_partitions
from basis_pipeline.orchestration.hours import hourly_partitions
from basis_pipeline.orchestration.jobs import (
    BOOKS,
    PROJECTION,
    RECONCILIATION,
    maintenance_job,
)
from basis_pipeline.orchestration.market import MARKET_OBSERVATIONS, market_asset, market_source
from basis_pipeline.orchestration.reconciliation import reconciliation_assets, venues_source
from basis_pipeline.orchestration.reconciliation_checks import reconciliation_checks
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.orchestration.schedules import live_schedules
from basis_pipeline.orchestration.sensors import sensors
from basis_pipeline.settings import Settings, home_path, load_settings

MAX_RUNTIME_SECONDS_TAG = "dagster/max_runtime"
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


def build_definitions(home: Path | None = None, pool: str | None = POOL) -> dg.Definitions:
    """Everything Dagster knows of a home (default: ``BASIS_HOME``, else ``data``).

    Loads without a config file; ``ConfigError`` for one that is wrong. With ``pool=None`` only the writer's lock makes
    runs wait for each other.
    """
    settings = load_settings(home_path(home), required=False)
    with warnings.catch_warnings():
        # Dagster calls `backfill_policy` and others beta, and recommends them in its own documentation.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        parts = _live(home, settings, pool) if settings.mode == "live" else _backtest(settings, pool)
        return dg.Definitions(
            assets=parts.assets,
            asset_checks=parts.checks,
            jobs=parts.jobs,
            schedules=parts.schedules,
            sensors=sensors(home, settings, daily_partitions(settings)),
            resources={"home": HomeResource(path=None if home is None else str(home))},
            executor=dg.in_process_executor,
        )


@dataclass(frozen=True)
class _Parts:
    assets: list[dg.AssetsDefinition | dg.AssetSpec]
    checks: list[dg.AssetChecksDefinition]
    jobs: list[dg.JobDefinition | dg.UnresolvedAssetJobDefinition]
    schedules: list[dg.ScheduleDefinition]


def _backtest(settings: Settings, pool: str | None) -> _Parts:
    days = daily_partitions(settings)
    tables = [table_asset(projection, days, pool) for projection in PROJECTIONS]
    return _Parts(
        assets=[*source_assets(_ledger_kind(settings), live=False), *tables],
        checks=check_steps(live=False),
        jobs=[_job(BOOKS, "Every table, for a day or a range of days in one run.", tables), alerts_job()],
        schedules=[],
    )


def _live(home: Path | None, settings: Settings, pool: str | None) -> _Parts:
    days, kind = daily_partitions(settings), _ledger_kind(settings)
    tables = [table_asset(each, days, pool, {MARKET_DATA: MARKET_OBSERVATIONS}) for each in PROJECTIONS]
    daily = [market_asset(days, kind), *tables]
    hourly = reconciliation_assets(hourly_partitions(settings), LEDGER)
    return _Parts(
        assets=[*source_assets(kind, live=True), venues_source(), market_source(), *daily, hourly],
        checks=[*check_steps(live=True), reconciliation_checks()],
        jobs=[
            _job(BOOKS, "Every table, for a day or a range of days in one run.", daily),
            _job(
                PROJECTION, "The current day, up to now, and days before it that are not complete.", daily, 180 * MINUTE
            ),
            _job(
                RECONCILIATION,
                "The current hour: every account read and compared with the ledger.",
                [hourly],
                30 * MINUTE,
            ),
            maintenance_job(),
            alerts_job(),
        ],
        schedules=live_schedules(home, settings, days),
    )


def _job(
    name: str, description: str, assets: list[dg.AssetsDefinition], longest: timedelta | None = None
) -> dg.UnresolvedAssetJobDefinition:
    """``longest``: a run that hangs for longer is ended, so that it cannot keep the next ones waiting for ever."""
    tags = None if longest is None else {MAX_RUNTIME_SECONDS_TAG: str(longest // SECOND)}
    return dg.define_asset_job(name, selection=dg.AssetSelection.assets(*assets), description=description, tags=tags)


def _ledger_kind(settings: Settings) -> str:
    url = settings.ledger.url
    return "postgresql" if url is not None and url.get_secret_value().startswith("postgres") else "sqlite"
