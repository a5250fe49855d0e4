"""Programs of the multi-process tests. Each runs in a process of its own and tells what it did through a pipe."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from typing import Any

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import update, wallet
from basis_pipeline_tests.ledger.builders import FUND, deposits, terms

_context = multiprocessing.get_context("forkserver")
# Imported once, then forked: a new writer is there in milliseconds, with no connection inherited from the tests.
_context.set_forkserver_preload([__name__, "alembic.command", "sqlalchemy.dialects.sqlite", "psycopg"])


def start(program: Callable[..., None], *arguments: Any) -> tuple[ForkServerProcess, Connection]:
    """Run ``program(pipe, *arguments)`` in another process; its end of the pipe closes when it ends."""
    ours, theirs = _context.Pipe(duplex=False)
    process = _context.Process(target=program, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def told(pipe: Connection) -> list[Any]:
    """Everything the process says until it ends."""
    found = []
    while True:
        try:
            found.append(pipe.recv())
        except EOFError:
            return found


def opens(pipe: Connection, url: str) -> None:
    """Open the database, which may not exist yet, and register the fund."""
    with Ledger(url) as ledger:
        ledger.register(terms())
    pipe.send("opened")


def appends(pipe: Connection, url: str, own: str, number: int) -> None:
    """Append entries of its own and entries that every writer brings, one by one."""
    with Ledger(url) as ledger:
        for mine, shared in zip(deposits(number, prefix=own), deposits(number, prefix="shared"), strict=True):
            pipe.send(ledger.append(FUND, mine))
            pipe.send(ledger.append(FUND, shared))


def appends_until_killed(pipe: Connection, url: str) -> None:
    """Append the next entry, some late and some with legs, and acknowledge it; never ends by itself."""
    with Ledger(url) as ledger:
        number = ledger.snapshot().state(FUND).head.sequence
        while True:
            late = number % 3 == 0
            minute = number // 2 if late else number
            legs = [wallet("USDT", "1"), wallet("ETH", "0.5")]
            sequence = ledger.append(
                FUND, update("HOURLY_RECONCILIATION", *legs, minute=minute, entry_id=f"n-{number}")
            )
            pipe.send((f"n-{number}", sequence.sequence))
            number += 1


def appends_with_little_room(pipe: Connection, url: str, file_size_max: int) -> None:
    """Append until no file may grow beyond the limit, then without the limit append the refused one again."""
    with Ledger(url) as ledger:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, hard))
        for each in deposits(1000):
            try:
                pipe.send(ledger.append(FUND, each).entry_id)
            except BasisError as error:
                pipe.send(error)
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
                pipe.send(ledger.append(FUND, each).entry_id)
                return


def registers_with_little_room(pipe: Connection, url: str, file_size_max: int) -> None:
    """Register when nothing fits, then again with room, then spend the capital twice."""
    with Ledger(url) as ledger:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size_max, hard))
        try:
            ledger.register(terms())
        except BasisError as error:
            pipe.send(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        ledger.register(terms())
        for entry_id in ("once", "twice"):
            try:
                ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-1000"), minute=1, entry_id=entry_id))
                pipe.send("accepted")
            except BasisError as error:
                pipe.send(error)
