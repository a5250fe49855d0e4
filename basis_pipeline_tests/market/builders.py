"""Builders for small market directories that read like the data they stand for."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import Routing

START = datetime(2024, 5, 12, tzinfo=UTC)


def hour(number: float) -> datetime:
    """The instant so many hours after 2024-05-12 00:00 UTC."""
    return START + timedelta(hours=number)


class Price(NamedTuple):
    at: datetime
    venue: str
    symbol: str
    kind: str
    close: str | None
    method: str = "raw"


class Reserve(NamedTuple):
    at: datetime
    symbol: str
    liquidity: str
    debt: str
    price_usd: str | None = None


def price(at: float, name: str, close: str | None, method: str = "raw") -> Price:
    """``price(1, "bybit ETHUSDT spot", "3000")``: known one hour after the start."""
    venue, symbol, kind = name.split()
    return Price(hour(at), venue, symbol, kind, close, method)


def prices(name: str, closes: Iterable[str]) -> list[Price]:
    """Closes of consecutive hours, the first known at hour 0."""
    return [price(number, name, close) for number, close in enumerate(closes)]


PRICE_NAMES = ("timestamp", "venue", "symbol", "kind", "close", "method")
RESERVE_NAMES = ("timestamp", "symbol", "liquidity_index", "variable_borrow_index", "price_usd")
DECIMAL = pa.decimal128(38, 18)
INSTANT = pa.timestamp("us", "UTC")
EXACT = ("close", "liquidity_index", "variable_borrow_index", "price_usd")
TYPES = {"timestamp": INSTANT, **dict.fromkeys(EXACT, DECIMAL)}
NO_RESERVES = [Reserve(hour(0), "WETH", "1", "1")]


def arrow(names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True))
    arrays = {}
    for name, column in zip(names, columns, strict=True):
        kind = TYPES.get(name, pa.string())
        values = [Decimal(str(value)) if kind == DECIMAL and value is not None else value for value in column]
        arrays[name] = pa.array(values, kind)
    return pa.table(arrays)


def csv_bytes(names: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in rows:
        cells = [cell.isoformat() if isinstance(cell, datetime) else cell for cell in row]
        writer.writerow(cells)
    return text.getvalue().encode()


def write(directory: Path, stem: str, names: tuple[str, ...], rows: list[tuple[object, ...]], suffix: str) -> Path:
    path = directory / (stem + suffix)
    if suffix == ".parquet":
        pq.write_table(arrow(names, rows), path)
    else:
        content = csv_bytes(names, rows)
        path.write_bytes(gzip.compress(content) if suffix == ".csv.gz" else content)
    return path


class Build(Protocol):
    """``build([*prices(...), ...], [Reserve(...)], routing)``: a history over files with these rows."""

    def __call__(
        self,
        price_rows: Iterable[Price],
        reserve_rows: Iterable[Reserve] = ...,
        routing: Routing | None = None,
        suffix: str = ".parquet",
    ) -> MarketHistory: ...
