"""What wakes an equity monitor where there is no Redis: looking at the head of the ledger, again and again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from basis_pipeline.domain.errors import BasisError, InputError
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.snapshot import Head
from basis_pipeline.logs import get_logger
from basis_pipeline.monitors.monitor_status import UpdatesState

_log = get_logger(__name__)


class LedgerUpdates:
    """New entries of one portfolio, whoever wrote them, seen at most ``every_s`` seconds later.

    A look costs one short query. The ledger stays the caller's to close, after the monitor was stopped.
    """

    def __init__(self, ledger: Ledger, portfolio: str, every_s: float = 1.0) -> None:
        if every_s <= 0:
            raise InputError(f"every_s: {every_s} is not a number of seconds above zero")
        self._ledger = ledger
        self._portfolio = portfolio
        self._every_s = every_s
        self._listening = False
        self._messages = 0
        self._interruptions = 0
        self._error: str | None = None

    @property
    def state(self) -> UpdatesState:
        """How it is going; ``messages`` counts the looks that found something new."""
        return UpdatesState(self._listening, self._messages, self._interruptions, self._error)

    async def listen(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` at the first look, and whenever the head is another one, until cancelled."""
        known: Head | None = None
        try:
            while True:
                try:
                    head = await asyncio.to_thread(self._head)
                except BasisError as error:
                    self._interrupted(str(error))
                else:
                    self._listening, self._error = True, None
                    if head != known:
                        self._messages += known is not None
                        known = head
                        wake()
                await asyncio.sleep(self._every_s)
        finally:
            self._listening = False

    def _head(self) -> Head:
        return self._ledger.snapshot().state(self._portfolio).head

    def _interrupted(self, error: str) -> None:
        if self._error is None:
            _log.warning("the ledger cannot be looked at; equity is calculated by time until it can", error=error)
            self._interruptions += 1
        self._listening, self._error = False, error
