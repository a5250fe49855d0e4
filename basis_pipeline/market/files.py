"""Reading market files: typed columns or an error that names file and column.

A file is refused as a whole when any part of it cannot be trusted to be what was written: a missing footer, a cut
line, a float where an exact number belongs, a time without zone, a key that is null. Nothing is repaired.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from basis_pipeline.domain.errors import MarketDataError

SUFFIXES = (".parquet", ".csv", ".csv.gz")
_INSTANT = pa.timestamp("us", "UTC")
_NUMBERS = (pa.decimal128(38, 18), pa.decimal128(38, 27), pa.decimal256(76, 38))
"""Text becomes the first of these that holds every digit of the column."""


class Columns(NamedTuple):
    """What a file must hold: keys are never null, numbers are exact, optional columns may be absent."""

    keys: tuple[str, ...]
    numbers: tuple[str, ...]
    optional_numbers: tuple[str, ...] = ()
    optional_texts: tuple[str, ...] = ()

    def wanted(self, present: list[str]) -> list[str]:
        optional = [name for name in (*self.optional_numbers, *self.optional_texts) if name in present]
        return ["timestamp", *self.keys, *self.numbers, *optional]


def find_file(directory: Path, stem: str) -> Path:
    """The one file of that name in the directory, as Parquet or CSV."""
    found = [path for suffix in SUFFIXES if (path := directory / (stem + suffix)).is_file()]
    if not found:
        raise MarketDataError(f"{directory}: there is no {stem}.parquet, {stem}.csv or {stem}.csv.gz; add one of them")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise MarketDataError(f"{directory}: {names} both hold {stem}; keep one, it is not clear which counts")
    return found[0]


def read_file(path: Path, columns: Columns) -> pa.Table:
    """``timestamp`` (UTC, microseconds), keys and optional texts (dictionary-encoded) and exact numbers."""
    try:
        raw = _read_parquet(path, columns) if path.suffix == ".parquet" else _read_csv(path, columns)
    except (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise MarketDataError(f"{path}: cannot be read, it may be damaged or half copied ({error})") from error
    raw = raw.unify_dictionaries()
    typed: dict[str, pa.Array] = {}
    for name in raw.column_names:
        column = raw[name].combine_chunks()
        where = f"{path}, column {name}"
        if name == "timestamp":
            typed[name] = _instants(column, where)
        elif name in columns.numbers or name in columns.optional_numbers:
            typed[name] = exact_numbers(column, where)
        else:
            typed[name] = _texts(column, where)
        if name == "timestamp" or name in columns.keys:
            _refuse_nulls(typed[name], where)
    return pa.table(typed)


def _read_parquet(path: Path, columns: Columns) -> pa.Table:
    with pq.ParquetFile(path) as opened:
        schema = opened.schema_arrow
    names = _present(path, columns, schema.names)
    texts = [name for name in names if pa.types.is_string(schema.field(name).type)]
    with pq.ParquetFile(path, read_dictionary=texts) as opened:
        return opened.read(columns=names)


def _read_csv(path: Path, columns: Columns) -> pa.Table:
    content = path.read_bytes()
    if path.suffix == ".gz":
        content = gzip.decompress(content)
    if not content.endswith(b"\n"):
        raise MarketDataError(
            f"{path}: the last line does not end, the file may be half copied; copy it again or end the line"
        )
    header = next(csv.reader([content.split(b"\n", 1)[0].decode("utf-8-sig")]), [])
    names = _present(path, columns, header)
    return pa_csv.read_csv(
        io.BytesIO(content),
        convert_options=pa_csv.ConvertOptions(
            include_columns=names,
            column_types={name: pa.string() for name in names},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _present(path: Path, columns: Columns, present: list[str]) -> list[str]:
    names = columns.wanted(present)
    missing = [name for name in names if present.count(name) != 1]
    if missing:
        raise MarketDataError(
            f"{path}: column {', '.join(missing)} is missing or there twice; the file has {', '.join(present)}"
        )
    return names


def _plain(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _instants(column: pa.Array, where: str) -> pa.Array:
    column = _plain(column)
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is None:
        raise MarketDataError(f"{where}: the times have no zone; store them as UTC timestamps")
    if not pa.types.is_timestamp(kind) and not _is_text(kind):
        raise MarketDataError(f"{where}: type {kind} is not a time; store UTC timestamps or ISO-8601 text")
    try:
        return column.cast(_INSTANT)
    except pa.ArrowInvalid as error:
        bad = _first_bad(column, _read_instant) if _is_text(kind) else ""
        raise MarketDataError(
            f"{where}: {bad or error}; give UTC times such as 2024-05-12T01:00:00Z, no finer than a microsecond"
        ) from None


def exact_numbers(column: pa.Array, where: str) -> pa.Array:
    """Decimals, integers or decimal text as Arrow decimals, digit for digit; ``where`` names them in the error."""
    column = _plain(column)
    kind = column.type
    if pa.types.is_decimal(kind):
        return column
    if pa.types.is_integer(kind):
        return column.cast(pa.decimal128(38, 0))
    if pa.types.is_null(kind):
        return column.cast(_NUMBERS[0])
    if not _is_text(kind):
        raise MarketDataError(f"{where}: type {kind} does not hold exact numbers; store decimals or decimal text")
    for target in _NUMBERS:
        try:
            return column.cast(target)
        except pa.ArrowInvalid:
            continue
    bad = _first_bad(column, _read_number)
    raise MarketDataError(f"{where}: {bad or 'a number has more than 38 places'}; give finite decimal text")


def _texts(column: pa.Array, where: str) -> pa.Array:
    if pa.types.is_dictionary(column.type) and _is_text(column.type.value_type):
        return column
    if not _is_text(column.type):
        raise MarketDataError(f"{where}: type {column.type} is not text")
    return pc.dictionary_encode(column.cast(pa.string()))


def _refuse_nulls(column: pa.Array, where: str) -> None:
    empty = pa.types.is_dictionary(column.type) and "" in column.dictionary.to_pylist()
    if column.null_count or empty:
        raise MarketDataError(f"{where}: {column.null_count or 'some'} rows have no value; every row needs its key")


def _first_bad(column: pa.Array, read: Callable[[str], object]) -> str:
    for row, text in enumerate(column.to_pylist(), start=1):
        try:
            if text is not None:
                read(text)
        except (ValueError, InvalidOperation):
            return f"row {row} has {text!r}"
    return ""


def _read_instant(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(text)
    return moment


def _read_number(text: str) -> Decimal:
    number = Decimal(text)
    if text != text.strip() or not number.is_finite():
        raise ValueError(text)
    return number
