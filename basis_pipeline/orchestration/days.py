"""Partitions are days in UTC; a run covers one day or a range of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import dagster as dg

from basis_pipeline.domain.errors import InputError
from basis_pipeline.settings import Settings
from basis_pipeline.steps.ports import DayRange

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
_PARTITION_TAG = "dagster/partition"
START_WITHOUT_PORTFOLIOS = date(2024, 1, 1)
"""So that the definitions load on a fresh clone, before there is a config file."""


def daily_partitions(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Every day from the earliest portfolio's start to today."""
    first = settings.first_day() or START_WITHOUT_PORTFOLIOS
    return dg.DailyPartitionsDefinition(start_date=first.isoformat(), timezone="UTC", end_offset=1)


def days_of(context: dg.AssetExecutionContext) -> DayRange:
    """The days an asset is to materialize."""
    keys = context.partition_key_range
    return DayRange(date.fromisoformat(keys.start), date.fromisoformat(keys.end))


def days_of_run(tags: Mapping[str, str]) -> DayRange | None:
    """The days a run covers by its tags; None when it has no partition (a check on its own)."""
    keys = partition_range(tags)
    return None if keys is None else DayRange(*map(date.fromisoformat, keys))


def partition_range(tags: Mapping[str, str]) -> tuple[str, str] | None:
    """The first and the last partition of a run by its tags, None when it has none."""
    only = tags.get(_PARTITION_TAG)
    first, last = tags.get(RANGE_START_TAG, only), tags.get(RANGE_END_TAG, only)
    return None if first is None or last is None else (first, last)


def range_tags(partitions: dg.DailyPartitionsDefinition, days: DayRange) -> dict[str, str]:
    """The tags of one run over the days. Dagster does not validate them, so InputError when a day is no partition."""
    first = date.fromisoformat(partitions.get_first_partition_key() or "")
    last = date.fromisoformat(partitions.get_last_partition_key() or "")
    if days.first < first:
        raise InputError(f"from: {days.first} is before {first}, the day on which the earliest portfolio starts")
    if days.last > last:
        raise InputError(f"to: {days.last} is after {last}, the last day there is (days are UTC)")
    return {RANGE_START_TAG: days.first.isoformat(), RANGE_END_TAG: days.last.isoformat()}
