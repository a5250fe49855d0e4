"""A backup of a home: what cannot be computed again, in one archive that is read back before it gets its name.

It holds ``ledger.db`` (a consistent copy, whoever writes meanwhile) and ``basis.yaml``. Market data and the warehouse
are not in it: the one is yours, the other a projection. To restore, unpack it into an empty directory, then run
``basis rebuild`` and ``basis verify`` there.
"""

from __future__ import annotations

import os
import sqlite3
import tarfile
import tempfile
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from basis_pipeline.domain.errors import InputError, LedgerBrokenError
from basis_pipeline.home import LEDGER_NAME
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.verification import verify
from basis_pipeline.settings import CONFIG_NAME, config_path

if TYPE_CHECKING:
    from basis_pipeline.home import Home


class BackedUp(NamedTuple):
    """What an archive holds, as read back from it."""

    entries: int
    portfolios: int
    size: int
    """Bytes of the archive."""


def write_backup(home: Home, target: Path) -> BackedUp:
    """Write the archive, unpack it again and verify every entry; only then it gets its name.

    Never overwrites. Raises ``InputError`` for a ledger in PostgreSQL, with the command that copies that one, and
    ``LedgerBrokenError`` when the copy does not verify.
    """
    engine = home.ledger.engine
    if engine.dialect.name != "sqlite":
        url = engine.url
        raise InputError(
            "backup: the ledger is in PostgreSQL, which copies itself: "
            f"pg_dump --host={url.host or 'localhost'} --port={url.port or 5432} --username={url.username or 'USER'} "
            f"--format=custom --file={target} {url.database} (then keep {config_path(home.path)} beside it)"
        )
    if target.exists():
        raise InputError(f"backup: {target} exists already; give another name (nothing is ever overwritten)")
    database = engine.url.database or ""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.absolute().parent) as scratch:
            copy = Path(scratch) / LEDGER_NAME
            _copy_database(Path(database), copy)
            _pack(partial, copy, config_path(home.path))
            copy.unlink()
            entries, portfolios = _read_back(partial, Path(scratch))
        size = partial.stat().st_size
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return BackedUp(entries, portfolios, size)


def _copy_database(source: Path, copy: Path) -> None:
    read_only = f"{source.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(read_only, uri=True)) as original, closing(sqlite3.connect(copy)) as target:
        original.backup(target)
        # One file that is complete by itself, without a log beside it.
        target.execute("PRAGMA journal_mode = DELETE")


def _pack(archive: Path, database: Path, config: Path) -> None:
    with archive.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w:gz") as packed:
            packed.add(database, LEDGER_NAME)
            packed.add(config, CONFIG_NAME)
        file.flush()
        os.fsync(file.fileno())


def _read_back(archive: Path, scratch: Path) -> tuple[int, int]:
    with tarfile.open(archive) as packed:
        packed.extract(LEDGER_NAME, scratch, filter="data")
    with Ledger(sqlite_url(scratch / LEDGER_NAME)) as ledger:
        found = verify(ledger.engine)
        portfolios = len(ledger.snapshot().portfolios)
    if found.problems:
        listed = "\n".join(str(problem) for problem in found.problems)
        raise LedgerBrokenError(f"backup: the ledger does not verify, so no backup was kept:\n{listed}")
    return found.entries, portfolios
