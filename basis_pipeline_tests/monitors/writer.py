"""A strategy in a process of its own: it updates through a live monitor and tells the sequence of each."""

from __future__ import annotations

import asyncio
import os
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

from basis_pipeline_tests.builders import payload, wallet
from basis_pipeline_tests.monitors.builders import live


def updates(pipe: Connection, home: Path, variables: dict[str, str], own: str, number: int) -> None:
    """Deposits of its own, and between them deposits that every writer brings."""
    os.environ.update(variables)

    async def work() -> None:
        async with live(home) as monitor:
            pipe.send("ready")
            for n in range(number):
                for name in (own, "shared"):
                    snapshot = await monitor.update(
                        payload("DEPOSIT", wallet("ETH", "1"), minute=1, entry_id=f"{name}-{n}")
                    )
                    pipe.send(snapshot["ledger_sequence"])

    asyncio.run(work())


def updates_until_killed(pipe: Connection, home: Path, variables: dict[str, str]) -> None:
    """Deposits without end, each acknowledged when ``update`` has returned."""
    os.environ.update(variables)

    async def work() -> None:
        async with live(home) as monitor:
            numbers = count()
            while True:
                snapshot = await monitor.update(
                    payload("DEPOSIT", wallet("ETH", "1"), minute=1, entry_id=f"n-{next(numbers)}")
                )
                pipe.send(snapshot["ledger_sequence"])

    asyncio.run(work())
