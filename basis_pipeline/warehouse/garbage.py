"""Removing day files that no reader can need any more. Only files named as this room names them are ever touched."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.dayfiles import HASH_DIGITS, TEMPORARY_SUFFIX, empty_file
from basis_pipeline.warehouse.tables import ALL_TABLES

GRACE = timedelta(hours=1)
"""How long a superseded file stays: longer than any query that began on the catalogue before."""

_OURS = re.compile(
    rf"(\d{{4}}-\d{{2}}-\d{{2}}|empty)-[0-9a-f]{{{HASH_DIGITS}}}\.parquet|\..+{re.escape(TEMPORARY_SUFFIX)}"
)


def remove_unreferenced(
    root: Path,
    current: Collection[str],
    superseded: Mapping[str, datetime],
    now: datetime,
    grace: timedelta = GRACE,
) -> list[str]:
    """Delete what nobody can be reading, and return the names (relative to the root) that are gone.

    ``current`` are the published files: never deleted. ``superseded`` says when each replaced file lost that rank: it
    goes once ``grace`` has passed, and its name is returned even if the file had vanished before, so that the caller
    can forget it. What is in neither was left by a killed run, and goes ``grace`` after it was written. In every case
    a file younger than ``grace`` stays: somebody may be about to publish it. Hold ``lock.writer_lock``.
    """
    keep = {*current, *(empty_file(root, table) for table in ALL_TABLES)}
    keep.update(name for name, since in superseded.items() if since + grace > now)
    present = dict(_files(root))
    removed = [name for name in superseded if name not in keep and name not in present]
    try:
        for name, written_at in present.items():
            if name not in keep and written_at + grace <= now:
                (root / name).unlink(missing_ok=True)
                removed.append(name)
    except OSError as error:
        raise WarehouseError(f"cannot remove superseded files under {root}: {error}; fix permissions") from error
    return sorted(removed)


def _files(root: Path) -> Iterator[tuple[str, datetime]]:
    """Every file of ours under the tables' directories, with the time it was written."""
    for table in ALL_TABLES:
        for path in (root / table.name).glob("*"):
            if _OURS.fullmatch(path.name):
                yield f"{table.name}/{path.name}", datetime.fromtimestamp(path.stat().st_mtime, UTC)
