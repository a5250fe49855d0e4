"""Partitions of what happens once an hour and cannot be repeated later: the hours of a run, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg

from basis_pipeline.domain.instants import HOUR, floor_hour
from basis_pipeline.orchestration.days import START_WITHOUT_PORTFOLIOS, partition_range
from basis_pipeline.settings import Settings

_FORMAT = "%Y-%m-%d-%H:%M"


def hourly_partitions(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Every hour from the earliest portfolio's start to the current one."""
    start = min(
        (portfolio.start for portfolio in settings.portfolios.values()),
        default=datetime.combine(START_WITHOUT_PORTFOLIOS, datetime.min.time(), UTC),
    )
    return dg.HourlyPartitionsDefinition(start_date=hour_key(start), timezone="UTC", end_offset=1)


def hour_key(moment: datetime) -> str:
    """The partition that the moment lies in."""
    return floor_hour(moment.astimezone(UTC)).strftime(_FORMAT)


def hours_of(context: dg.AssetExecutionContext) -> list[datetime]:
    """The hours an asset is to materialize."""
    keys = context.partition_key_range
    return _between(keys.start, keys.end)


def hours_of_run(tags: Mapping[str, str]) -> list[datetime] | None:
    """The hours a run covers by its tags; None when it has no partition (a check on its own)."""
    keys = partition_range(tags)
    return None if keys is None else _between(*keys)


def _between(first: str, last: str) -> list[datetime]:
    hour, end = (datetime.strptime(key, _FORMAT).replace(tzinfo=UTC) for key in (first, last))
    hours = []
    while hour <= end:
        hours.append(hour)
        hour += HOUR
    return hours
