"""From the ledger to rows on disk: the equity step.

Against the reference reading the same entries through the same API, collecting the same rows and writing them with
pandas, a Parquet file per table and day. Ours are synced to disk and published to readers as well.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

from basis_pipeline.domain.numbers import VALUE_QUANTUM, ZERO
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES, WALLET, parse_instrument
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.publications import withdraw_all
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.steps.equity import POSITIONS, SNAPSHOTS, project_equity
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.warehouse.tables import table
from benchmarks.data import Data
from benchmarks.literal import Hour, LiteralMarket, hour_by_hour
from benchmarks.measure import Figure, Pairs, timed
from benchmarks.reference import CONVERSIONS

TIMES_FASTER_MIN = 2

Row = tuple[Any, ...]


def literally(ledger: Ledger, market: MarketHistory, days: DayRange, directory: Path) -> Counter[str]:
    """Rows by table, written by the reference."""
    for name in (POSITIONS, SNAPSHOTS):
        (directory / name).mkdir(parents=True)
    return asyncio.run(_write_days(ledger, market, days, directory))


async def _write_days(ledger: Ledger, market: MarketHistory, days: DayRange, directory: Path) -> Counter[str]:
    series = LiteralMarket(market)
    counted: Counter[str] = Counter()
    rows: dict[str, list[Row]] = {POSITIONS: [], SNAPSHOTS: []}
    day = days.first

    def flush() -> None:
        for name, collected in rows.items():
            _write(directory / name / f"{day}.parquet", name, collected)
            counted[name] += len(collected)
            collected.clear()

    async for hour in hour_by_hour(ledger.snapshot(), series, days):
        if hour.instant.date() != day:
            flush()
            day = hour.instant.date()
        positions = [*_position_rows(hour, series), *_perp_rows(hour, series)]
        rows[POSITIONS] += positions
        rows[SNAPSHOTS].append(_snapshot_row(hour, positions))
    flush()
    return counted


def _write(path: Path, table_name: str, rows: list[Row]) -> None:
    import pandas as pd

    from basis_pipeline.warehouse.tables import arrow_schema

    columns = [column.name for column in table(table_name).columns]
    frame = pd.DataFrame(rows, columns=columns)
    frame["as_of"] = frame["as_of"].dt.tz_localize(None)
    frame.to_parquet(path, index=False, schema=arrow_schema(table(table_name)))


def _position_rows(hour: Hour, market: LiteralMarket) -> Iterator[Row]:
    snapshot, at = hour.snapshot, hour.instant
    head = (at, hour.cursor.state.portfolio)
    share_usd = market.series[snapshot.share_class][at]
    for side, sign, positions in (("asset", 1, snapshot.assets), ("debt", -1, snapshot.debts)):
        for p in positions:
            account = p.venue if p.venue in EXCHANGES else WALLET
            venue = WALLET if p.venue == "alchemy" else p.venue
            rate_names, underlying = CONVERSIONS.get(p.asset, ((), p.asset))
            rate = Decimal(1)
            for name in rate_names:
                rate *= market.series[name][at]
            value = sign * (p.value_usd or ZERO)
            names = (account, venue, p.asset, underlying, side)
            price = market.series[underlying][at]
            yield *head, *names, p.amount, _rate(rate), _amount(price), _amount(value * share_usd), _amount(value)


def _perp_rows(hour: Hour, market: LiteralMarket) -> Iterator[Row]:
    at, book, snapshot = hour.instant, hour.cursor.book, hour.snapshot
    share_usd = market.series[snapshot.share_class][at]
    for (venue, instrument), position in book.positions.items():
        contract = parse_instrument(instrument)
        mark = market.mark(venue, instrument)[at]
        coin_usd = market.series[contract.quote][at]
        pnl_usd = (mark - position.entry_price) * position.size * coin_usd
        names = (hour.cursor.state.portfolio, venue, venue, instrument, contract.base, "perp")
        figures = (_amount(mark * coin_usd), _amount(pnl_usd), _amount(pnl_usd / share_usd))
        yield at, *names, position.size, Decimal(1), *figures


def _snapshot_row(hour: Hour, positions: Iterable[Row]) -> Row:
    sums = {"asset": ZERO, "debt": ZERO, "perp": ZERO}
    for row in positions:
        sums[row[6]] += row[-1]
    equity = sums["asset"] + sums["debt"]
    totals = (equity, sums["asset"], -sums["debt"], sums["perp"], ZERO, ZERO, equity + sums["perp"])
    return hour.instant, hour.cursor.state.portfolio, hour.snapshot.share_class, *totals, hour.cursor.sequence


def _amount(value: Decimal) -> Decimal:
    return value.quantize(VALUE_QUANTUM)


def _rate(value: Decimal) -> Decimal:
    return value.quantize(Decimal("1e-27"))


def measure(data: Data, folder: Path, quick: bool) -> Iterator[Figure]:
    market = MarketHistory(data.market_data)
    market.store()
    fresh = (folder / f"run-{number}" for number in count())
    with data.ledger(folder / "ledger.db") as ledger:
        data.import_all(ledger)

        def ours() -> Counter[str]:
            home = next(fresh)
            home.mkdir()
            published = project_equity(Ports(home, ledger, market, DEFAULT_REGISTRY), data.days)
            return Counter({name: published.row_count(name) for name in published.tables})

        pairs = Pairs([], [])
        for _ in range(2 if quick else 5):
            withdraw_all(ledger.engine)
            took, rows = timed(ours)
            pairs.ours.append(took)
            took, literal_rows = timed(lambda: literally(ledger, market, data.days, next(fresh)))
            pairs.theirs.append(took)
            # The reference knows neither transfers on their way nor locked tokens, which only the sample has.
            if rows[SNAPSHOTS] != literal_rows[SNAPSHOTS] or rows[POSITIONS] < literal_rows[POSITIONS]:
                raise ValueError(f"ours wrote {rows}, the reference {literal_rows}")
    detail = f"{pairs.medians()}; {rows.total():,} rows in {2 * len(data.days):,} files"
    yield Figure(
        "times as fast as the reference, by the clock",
        pairs.times_faster("wall"),
        "×",
        detail,
        at_least=TIMES_FASTER_MIN,
    )
    yield Figure("the same in CPU", pairs.times_faster("cpu"), "×")
