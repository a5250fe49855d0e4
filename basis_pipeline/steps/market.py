"""The assets ``prices`` and ``conversion_rates``: what every series said at each hour, with its source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any

from basis_pipeline.domain.numbers import quantize_rate
from basis_pipeline.steps.columns import columns_of
from basis_pipeline.steps.ports import DayRange, ListedMarket, Ports
from basis_pipeline.steps.publishing import StepReport, publish, report
from basis_pipeline.steps.timeline import Timeline, timeline_of
from basis_pipeline.warehouse.dayfiles import Columns, warehouse_root, write_days

PRICES = "prices"
CONVERSION_RATES = "conversion_rates"
WINDOW_DAYS = 31
"""Days of market data in memory at once."""

_RowsAt = Callable[[ListedMarket, datetime], Iterator[tuple[Any, ...]]]


def project_prices(ports: Ports, days: DayRange) -> StepReport:
    """Publish ``prices`` for the days: every series with a usable observation, in USD."""
    return _project(ports, days, PRICES, _price_rows)


def project_conversion_rates(ports: Ports, days: DayRange) -> StepReport:
    """Publish ``conversion_rates`` for the days."""
    return _project(ports, days, CONVERSION_RATES, _rate_rows)


def _project(ports: Ports, days: DayRange, table: str, rows_at: _RowsAt) -> StepReport:
    timeline = timeline_of(ports.market, days)
    files = write_days(warehouse_root(ports.home), _days(ports, days, timeline, table, rows_at))
    publish(ports, files, {}, marks=timeline.marks)
    return report(files, (table,), {})


def _days(
    ports: Ports, days: DayRange, timeline: Timeline, table: str, rows_at: _RowsAt
) -> Iterator[tuple[str, date, Columns]]:
    done = 0
    for chunk in days.chunks(WINDOW_DAYS):
        instants = timeline.of(chunk)
        market = ports.market.window(instants[0], instants[-1]) if instants else None
        for day in chunk:
            rows = [] if market is None else [row for at in timeline.of([day]) for row in rows_at(market, at)]
            yield table, day, columns_of(table, rows)
            done += 1
            ports.progress(table, done, len(days))


def _price_rows(market: ListedMarket, instant: datetime) -> Iterator[tuple[Any, ...]]:
    for symbol, kind, venue, quote in market.all_quotes(instant):
        yield instant, symbol, kind, venue, quote.price_usd, quote.source, quote.observed_at


def _rate_rows(market: ListedMarket, instant: datetime) -> Iterator[tuple[Any, ...]]:
    for name, rate in market.all_rates(instant):
        yield instant, name, quantize_rate(rate.rate), rate.source, rate.observed_at
