"""The code location, assembled in one explicit place for the UI, the commands and the tests."""

from __future__ import annotations

import warnings
from pathlib import Path

import dagster as dg

from basis_pipeline.orchestration.assets import POOL, PROJECTIONS, source_assets, table_asset
from basis_pipeline.orchestration.checks import check_steps
from basis_pipeline.orchestration.days import daily_partitions
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.settings import home_path, load_settings

JOB = "materialize_books"


def build_definitions(home: Path | None = None, pool: str | None = POOL) -> dg.Definitions:
    """Everything Dagster knows of a home (default: ``BASIS_HOME``, else ``data``).

    Loads without a config file; ``ConfigError`` for one that is wrong. With ``pool=None`` only the writer's lock makes
    runs wait for each other.
    """
    settings = load_settings(home_path(home), required=False)
    days = daily_partitions(settings)
    url = settings.ledger.url
    ledger_kind = "postgresql" if url is not None and url.get_secret_value().startswith("postgres") else "sqlite"
    with warnings.catch_warnings():
        # Dagster calls `backfill_policy` and others beta, and recommends them in its own documentation.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.Definitions(
            assets=[*source_assets(ledger_kind), *(table_asset(p, days, pool) for p in PROJECTIONS)],
            asset_checks=check_steps(),
            jobs=[
                dg.define_asset_job(
                    JOB,
                    selection=dg.AssetSelection.all(),
                    description="Every table, for a day or a range of days in one run.",
                )
            ],
            resources={"home": HomeResource(path=None if home is None else str(home))},
            executor=dg.in_process_executor,
        )
