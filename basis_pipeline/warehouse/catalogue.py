"""`<home>/basis.duckdb`: a DuckDB database of views only, each over an explicit list of immutable day files.

DuckDB lets one process write or several read, never both. So the catalogue is never written in place: a new one is
built beside it and renamed over it. Whoever has the old one open goes on reading the old files, which stay for a grace
period. What was published together appears together, because one rename shows it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.dayfiles import TEMPORARY_SUFFIX, DayFile, empty_file, warehouse_root
from basis_pipeline.warehouse.tables import ALL_TABLES, ALL_VIEWS, CATALOGUE_INFO, Table, View, contract_fingerprint

CATALOGUE_NAME = "basis.duckdb"

CONNECTION_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "python_enable_replacements": False,
    "autoinstall_known_extensions": False,
    "TimeZone": "UTC",
}
"""No table name may mean a local Python variable, nothing is downloaded, and times read the same everywhere."""
_PUBLISHED_CONFIG = CONNECTION_CONFIG | {"storage_compatibility_version": "v1.0.0"}
"""Readers bring a DuckDB of their own: left alone, DuckDB 2 writes a format that no client of the 1 series opens."""


@dataclass(frozen=True)
class CatalogueInfo:
    """For which home, publication and table declarations a catalogue was built, and when."""

    home: Path
    generation: int
    published_at: datetime
    contract: str


def catalogue_path(home: Path) -> Path:
    """Where the catalogue of a home is; absolute, with symbolic links resolved."""
    return home.resolve() / CATALOGUE_NAME


@dataclass(frozen=True)
class Since:
    """What the last publication was, and which tables have other files since: only their views are made anew."""

    generation: int
    tables: frozenset[str]


def publish_catalogue(
    home: Path, files: Iterable[DayFile], generation: int, since: Since | None = None
) -> tuple[DayFile, ...]:
    """Show exactly these day files to every reader that opens the catalogue from now on.

    Returns the files that are not there and had to be left out (DuckDB makes no view over a missing file, and
    somebody may delete the warehouse to have it materialized again): the caller forgets their publication, so that
    their days count as never materialized. Files of undeclared tables, which another version wrote, are passed over.

    ``generation`` numbers the publication, so that a crash before the rename can be noticed later. With ``since``, a
    catalogue that is just that far is carried on; any other is made anew, so it is only ever a saving. Hold
    ``lock.writer_lock`` from reading the list of files to the return. After a WarehouseError the old catalogue stands.
    """
    path = catalogue_path(home)
    if "?" in str(path):
        raise WarehouseError(f"cannot publish {path}: DuckDB cannot write below a path with '?'; rename the directory")
    present, missing = _split_by_presence(warehouse_root(home), files)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_by_a_killed_run in path.parent.glob(f".{path.name}.*{TEMPORARY_SUFFIX}*"):
            left_by_a_killed_run.unlink(missing_ok=True)
        try:
            tables: Collection[str] | None = None
            if since is not None and not missing and catalogue_is_current(home, since.generation):
                shutil.copyfile(path, temporary)
                tables = since.tables
            with duckdb.connect(temporary, config=_PUBLISHED_CONFIG) as connection:
                _create_views(connection, home, present, generation, described=True, tables=tables)
                connection.execute("CHECKPOINT")
            _sync(temporary)
            _wal(path).unlink(missing_ok=True)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
            _wal(temporary).unlink(missing_ok=True)
        _sync(path.parent)
    except (duckdb.Error, OSError) as error:
        raise WarehouseError(
            f"cannot publish {path}: {error}; free disk space or fix permissions, then run it again "
            "(readers still see the previous publication)"
        ) from error
    return missing


def connect_memory(home: Path, files: Iterable[DayFile]) -> duckdb.DuckDBPyConnection:
    """A private in-memory database with the same views over these files, for our own commands. The caller closes it.

    WarehouseError if any file is missing or cannot be read: what is computed from it would be silently incomplete.
    """
    _, missing = _split_by_presence(warehouse_root(home), files := tuple(files))
    if missing:
        raise WarehouseError(f"{len(missing)} day files are missing, first {missing[0].file}; run `basis rebuild`")
    connection = duckdb.connect(config=CONNECTION_CONFIG)
    try:
        _create_views(connection, home, files, generation=0, described=False)
    except (duckdb.Error, OSError) as error:
        connection.close()
        raise WarehouseError(f"cannot open the day files of {home}: {error}; run `basis rebuild`") from error
    return connection


def attach_catalogue(home: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads the catalogue as it is now. The caller closes it; raises what DuckDB raises.

    Attached to a database of its own, because DuckDB shares one instance among all connections of a process to the same
    path: with any older connection still open, ``duckdb.connect(path)`` would show the catalogue that was replaced.
    """
    connection = duckdb.connect(config=CONNECTION_CONFIG)
    try:
        connection.execute(f"ATTACH {quote(str(catalogue_path(home)))} AS basis (READ_ONLY)")
        connection.execute("USE basis")
    except duckdb.Error:
        connection.close()
        raise
    return connection


def catalogue_info(home: Path) -> CatalogueInfo | None:
    """What the catalogue says of itself; None where there is none, or one that is damaged or not ours."""
    with suppress(duckdb.Error):
        connection = attach_catalogue(home)
        with connection:
            row = connection.execute(
                "SELECT home::VARCHAR, generation::BIGINT, published_at::TIMESTAMP, contract::VARCHAR "
                "FROM catalogue_info"
            ).fetchone()
        if row is not None and None not in row:
            return CatalogueInfo(Path(row[0]), row[1], row[2].replace(tzinfo=UTC), row[3])
    return None


def catalogue_is_current(home: Path, generation: int) -> bool:
    """Whether readers see this publication; False after a crash before the rename, a moved home or an upgrade."""
    info = catalogue_info(home)
    return info is not None and (info.home, info.generation, info.contract) == (
        home.resolve(),
        generation,
        contract_fingerprint(),
    )


def quote(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _split_by_presence(root: Path, files: Iterable[DayFile]) -> tuple[tuple[DayFile, ...], tuple[DayFile, ...]]:
    """The files that are on disk and those that are not; one directory listing per table."""
    on_disk = {table.name: _names_in(root / table.name) for table in ALL_TABLES}
    present: list[DayFile] = []
    missing: list[DayFile] = []
    for file in files:
        if file.table in on_disk:
            there = file.file.rpartition("/")[2] in on_disk[file.table]
            (present if there else missing).append(file)
    return tuple(present), tuple(missing)


def _names_in(directory: Path) -> set[str]:
    try:
        return set(os.listdir(directory))  # noqa: PTH208 - names, not thousands of Path objects
    except FileNotFoundError:
        return set()


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    home: Path,
    files: Iterable[DayFile],
    generation: int,
    *,
    described: bool,
    tables: Collection[str] | None = None,
) -> None:
    """Create the views, or, with ``tables``, replace those of these tables and leave the others as they are."""
    root = warehouse_root(home)
    prefix = _literal_path(root)  # below it, names are ours and need no care
    names: dict[str, list[str]] = {table.name: [empty_file(root, table)] for table in ALL_TABLES}
    for file in sorted(files, key=lambda f: (f.table, f.day)):
        names[file.table].append(file.file)
    connection.execute("BEGIN")
    changed = [table for table in ALL_TABLES if tables is None or table.name in tables]
    for table in changed:
        columns = ", ".join(f'"{column.name}"' for column in table.columns)
        paths = ", ".join([quote(f"{prefix}/{name}") for name in names[table.name]])
        rows = f"SELECT {columns} FROM read_parquet([{paths}], hive_partitioning = false)"
        connection.execute(f"CREATE OR REPLACE VIEW {table.name} AS {rows}")
    values = {
        "home": quote(str(home.resolve())),
        "generation": str(generation),
        "published_at": quote(datetime.now(UTC).replace(tzinfo=None).isoformat()),
        "contract": quote(contract_fingerprint()),
    }
    views = [view for view in ALL_VIEWS if tables is None or view is CATALOGUE_INFO]
    for view in views:
        connection.execute(f"CREATE OR REPLACE VIEW {view.name} AS {view.sql.format_map(values)}")
    if described:
        shown: list[Table | View] = [*changed, *views]
        for declared in shown:
            _describe(connection, declared)
    connection.execute("COMMIT")


def _describe(connection: duckdb.DuckDBPyConnection, declared: Table | View) -> None:
    """Put the declared descriptions where DuckDB's own tools show them."""
    connection.execute(f"COMMENT ON VIEW {declared.name} IS {quote(declared.description)}")
    for column in declared.columns:
        connection.execute(f'COMMENT ON COLUMN {declared.name}."{column.name}" IS {quote(column.description)}')


def _literal_path(path: Path) -> str:
    """The path with glob characters bracketed: DuckDB reads ``data[1]`` as a pattern otherwise."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in str(path))


def _wal(database: Path) -> Path:
    """DuckDB's log beside a database; one left by somebody's writing session would be replayed into a new catalogue."""
    return database.with_name(database.name + ".wal")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
