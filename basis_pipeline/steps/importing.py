"""Reading journals (JSON lines, plain or gzipped) into the ledger, streaming, and writing them out again.

A journal is read in batches, each one transaction. A bad line stops the import; everything before it is in the ledger
and stays there, nothing of the bad update is, and running the import again continues where it stopped.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from basis_pipeline.domain.changes import BalanceUpdate, Trigger
from basis_pipeline.domain.errors import BasisError, InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.snapshot import LedgerSnapshot

BATCH = 2000
"""Updates per transaction: large enough that syncing costs little, small enough that other writers get their turn."""
LINE_LENGTH_MAX = 1_000_000
DEPTH_MAX = 100
"""Levels of brackets in a line; an update has four. Python's own limit does not protect: some libraries raise it until
the parser runs out of stack, and the process ends."""
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS = re.compile(rb"[\[\]{}]")


class ImportFailed(InputError):
    """An import stopped at a bad line; ``imported`` says what was accepted before it."""

    def __init__(self, message: str, imported: Imported) -> None:
        super().__init__(message)
        self.imported = imported


@dataclass
class Imported:
    """How many updates were new and how many the ledger had already."""

    new: int = 0
    duplicates: int = 0


def import_journal(
    ledger: Ledger,
    portfolio: str,
    lines: Iterable[bytes],
    source: str,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Import a journal's lines; ``source`` names it in errors. ``progress`` gets the number of updates so far.

    Raises ``ImportFailed`` naming source and line. Safe to run again: what is there already counts as duplicate.
    """
    imported = Imported()
    batch: list[BalanceUpdate] = []
    numbers: list[int] = []

    def flush() -> None:
        if not batch:
            return
        _accept(ledger, portfolio, batch, numbers, source, imported)
        batch.clear()
        numbers.clear()
        if progress is not None:
            progress(imported.new + imported.duplicates)

    for number, line in _numbered(lines, source, flush, imported):
        try:
            update = _parse(line, ledger)
        except InputError as error:
            flush()
            raise ImportFailed(f"{source}:{number}: {error}", imported) from None
        batch.append(update)
        numbers.append(number)
        if len(batch) >= BATCH:
            flush()
    flush()
    return imported


def _numbered(
    lines: Iterable[bytes], source: str, flush: Callable[[], None], imported: Imported
) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
    except (OSError, EOFError, zlib.error) as error:
        flush()
        raise ImportFailed(
            f"{source}: cannot be read beyond line {number} ({error}); the file is damaged or incomplete", imported
        ) from error


def _parse(line: bytes, ledger: Ledger) -> BalanceUpdate:
    if len(line) > LINE_LENGTH_MAX:
        raise InputError(f"the line is {len(line)} bytes long, more than the limit of {LINE_LENGTH_MAX}")
    if line.count(b"[") + line.count(b"{") > DEPTH_MAX and _depth(line) > DEPTH_MAX:
        raise InputError(f"is not JSON that can be read (brackets in more than {DEPTH_MAX} levels)")
    try:
        payload = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise InputError(f"is not UTF-8 text ({error})") from None
    except json.JSONDecodeError as error:
        raise InputError(f"is not valid JSON ({error.msg} at column {error.colno})") from None
    except InputError:
        raise
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"is not JSON that can be read ({error})") from None
    if not isinstance(payload, dict):
        raise InputError(f"is not a JSON object but {type(payload).__name__}")
    return parse_update(payload, ledger.registry)


def _depth(line: bytes) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.findall(_STRING.sub(b"", line)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_constant(name: str) -> Decimal:
    raise InputError(f"{name} is not a number; amounts must be finite decimals")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f"{twice}: is given twice in one object")
    return fields


def _accept(
    ledger: Ledger, portfolio: str, batch: list[BalanceUpdate], numbers: list[int], source: str, imported: Imported
) -> None:
    try:
        receipts = ledger.append_many(portfolio, batch)
    except BasisError as error:
        position = getattr(error, "position", None)
        if position is None:
            raise
        # Everything before the refused update is good: accept it, then say which line was not.
        _accept(ledger, portfolio, batch[:position], numbers[:position], source, imported)
        raise ImportFailed(f"{source}:{numbers[position]}: {error}", imported) from error
    for receipt in receipts:
        if receipt.duplicate:
            imported.duplicates += 1
        else:
            imported.new += 1


@contextmanager
def open_journal(path: Path) -> Iterator[Iterable[bytes]]:
    """A journal's bytes, unpacked if it is gzipped (told by its content, not its name)."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2)[:2] == b"\x1f\x8b"
            if packed:
                with gzip.open(raw) as unpacked:
                    yield bounded_lines(unpacked)
            else:
                yield bounded_lines(raw)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise InputError(f"{path}: is damaged ({error})") from error
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def bounded_lines(file: BinaryIO | gzip.GzipFile) -> Iterator[bytes]:
    """The file's lines; one that is too long comes in pieces, so that a file without line ends fills no memory."""
    while line := file.readline(LINE_LENGTH_MAX + 1):
        yield line


def export_journal(
    snapshot: LedgerSnapshot, portfolio: str, after: datetime | None = None, until: datetime | None = None
) -> Iterator[str]:
    """The portfolio's updates as JSON lines that ``import_journal`` accepts, in the order in which they were recorded.

    So late entries are late again when imported, and each ``new_balance`` holds where it held. INITIAL_CAPITAL is left
    out: it comes from the portfolio's terms.
    """
    for entry in snapshot.entries(portfolio, after, until, as_recorded=True):
        if entry.update.trigger is not Trigger.INITIAL_CAPITAL:
            yield json.dumps(to_payload(entry.update), separators=(",", ":"), ensure_ascii=False)


def to_payload(update: BalanceUpdate) -> dict[str, Any]:
    """An update as a JSON-ready payload in the specification's form; amounts are decimal strings."""
    payload: dict[str, Any] = {
        "id": update.id,
        "timestamp": iso(update.timestamp),
        "trigger": update.trigger.value,
        "token_changes": [
            _without_none(
                venue=c.venue,
                token=c.token,
                delta=canonical(c.delta),
                new_balance=None if c.new_balance is None else canonical(c.new_balance),
                reason=c.reason,
            )
            for c in update.token_changes
        ],
        "derivative_changes": [
            {
                "venue": c.venue,
                "instrument": c.instrument,
                "action": c.action.value,
                "data": _without_none(**{name: _text(value) for name, value in c.data}),
            }
            for c in update.derivative_changes
        ],
    }
    if update.reverses is not None:
        payload["reverses"] = update.reverses
    return payload


def _text(value: Decimal | datetime | None) -> str | None:
    if value is None:
        return None
    return iso(value) if isinstance(value, datetime) else canonical(value)


def _without_none(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}
