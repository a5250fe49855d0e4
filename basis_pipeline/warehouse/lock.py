"""One publisher at a time: the lock held from reading what is current until the catalogue shows it.

The system drops the lock when its process dies, however it dies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.dayfiles import warehouse_root

LOCK_TIMEOUT_S = 60.0


@contextmanager
def writer_lock(home: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """Hold a home's writer lock; needed to publish and to collect garbage, never to write day files or to read.

    Not reentrant. WarehouseError when another process still holds it after ``timeout_s`` seconds.
    """
    path = warehouse_root(home) / ".writer.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        lock.acquire(timeout=timeout_s)
    except Timeout:
        raise WarehouseError(
            f"another process has been publishing for {timeout_s:g} s (lock {path}); wait for it to end, then try again"
        ) from None
    except OSError as error:
        raise WarehouseError(f"cannot lock {path}: {error.strerror}; make the home writable") from error
    try:
        yield
    finally:
        lock.release()
