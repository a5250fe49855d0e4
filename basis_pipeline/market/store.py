"""All series of a directory in memory: times as integers, values as Arrow decimals, both sorted by time.

Python Decimals are made only for the slice a window asks for, so a day costs the same wherever it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from basis_pipeline.domain.errors import MarketDataError
from basis_pipeline.market.files import Columns, find_file, read_file
from basis_pipeline.market.routing import BORROW_INDEX, LIQUIDITY_INDEX, ORACLE, RESERVE_VENUE, USD, SeriesRef

PRICES, RESERVES = "prices", "aave_reserve_hourly"
_PRICE_COLUMNS = Columns(keys=("venue", "symbol", "kind"), numbers=("close",), optional_texts=("method",))
_RESERVE_COLUMNS = Columns(
    keys=("symbol",),
    numbers=(LIQUIDITY_INDEX, BORROW_INDEX),
    optional_numbers=("price_usd",),
    optional_texts=("method",),
)

Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True)
class StoredSeries:
    """One series: ``times`` in microseconds since 1970 UTC, ascending; rows without value are apart in ``nulls``."""

    ref: SeriesRef
    file: str
    times: Ints
    values: pa.Array
    nulls: Ints
    methods: pa.Array | None


@dataclass(frozen=True)
class Store:
    """Every series of both files by its reference."""

    series: dict[SeriesRef, StoredSeries]
    first: int
    last: int


def market_files(directory: Path) -> tuple[Path, Path]:
    """The price file and the reserve file of a directory."""
    if not directory.is_dir():
        raise MarketDataError(f"{directory}: there is no such directory; point market_data at the market files")
    return find_file(directory, PRICES), find_file(directory, RESERVES)


def load_store(directory: Path, reserve_prices: tuple[str, ...]) -> Store:
    """Read both files; of the reserve prices only those named become series (``aave_reserve <T>USD oracle``)."""
    prices, reserves = market_files(directory)
    series = {found.ref: found for found in _price_series(prices)}
    for found in _reserve_series(reserves, reserve_prices):
        if found.ref in series:
            raise MarketDataError(f"{prices}: {found.ref} is reserved for the columns of {reserves.name}; rename it")
        series[found.ref] = found
    bounds = [int(stored.times[end]) for stored in series.values() for end in (0, -1) if len(stored.times)]
    if not bounds:
        raise MarketDataError(f"{directory}: the market files hold no values")
    return Store(series, min(bounds), max(bounds))


def _price_series(path: Path) -> Iterator[StoredSeries]:
    table = read_file(path, _PRICE_COLUMNS)
    for (venue, symbol, kind), rows in _groups(table, _PRICE_COLUMNS.keys):
        yield _stored(SeriesRef(venue, symbol, kind), path.name, rows, "close")


def _reserve_series(path: Path, reserve_prices: tuple[str, ...]) -> Iterator[StoredSeries]:
    table = read_file(path, _RESERVE_COLUMNS)
    for (symbol,), rows in _groups(table, _RESERVE_COLUMNS.keys):
        for column in (LIQUIDITY_INDEX, BORROW_INDEX):
            yield _stored(SeriesRef(RESERVE_VENUE, symbol, column), path.name, rows, column)
        if symbol in reserve_prices and "price_usd" in rows.column_names:
            yield _stored(SeriesRef(RESERVE_VENUE, symbol + USD, ORACLE), path.name, rows, "price_usd")


def _groups(table: pa.Table, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], pa.Table]]:
    """The rows of each combination of keys, sorted by time."""
    if not len(table):
        return
    code = np.zeros(len(table), dtype=np.int64)
    names = []
    for key in keys:
        column = table[key].combine_chunks()
        names.append(column.dictionary.to_pylist())
        code = code * len(names[-1]) + column.indices.to_numpy()
    order = np.lexsort((_times(table), code))
    code, table = code[order], table.take(pa.array(order))
    edges = [0, *(np.flatnonzero(np.diff(code)) + 1).tolist(), len(code)]
    for start, end in pairwise(edges):
        positions = np.unravel_index(int(code[start]), [len(known) for known in names])
        yield (
            tuple(known[int(position)] for known, position in zip(names, positions, strict=True)),
            table.slice(start, end - start),
        )


def _times(table: pa.Table) -> Ints:
    times: Ints = table["timestamp"].cast(pa.int64()).to_numpy()
    return times


def _stored(ref: SeriesRef, file: str, rows: pa.Table, column: str) -> StoredSeries:
    known = rows.filter(rows[column].is_valid()) if rows[column].null_count else rows
    nulls = rows.filter(rows[column].is_null()) if known is not rows else rows.slice(0, 0)
    methods = known["method"].combine_chunks() if "method" in rows.column_names else None
    return StoredSeries(ref, file, _times(known), known[column].combine_chunks(), _times(nulls), methods)
