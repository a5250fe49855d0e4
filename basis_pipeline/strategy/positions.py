"""What a portfolio holds by its ledger as of an instant, in the form of a position monitor's snapshot.

For who only looks: a position monitor joins the portfolio, and when live connects to Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, WALLET
from basis_pipeline.monitors.state import PositionState

if TYPE_CHECKING:
    from datetime import datetime

    from basis_pipeline.domain.instants import Clock
    from basis_pipeline.ledger.ledger import Ledger


class LedgerPositions:
    """The holdings of one portfolio up to its newest entry, or up to what ``clock`` tells.

    Between two looks at the newest entry only what is new is read: a slow look would find less than the equity that is
    calculated right after it, in a ledger that grows.
    """

    def __init__(self, ledger: Ledger, portfolio: str, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._portfolio = portfolio
        self._clock = clock
        self._newest = PositionState(portfolio)

    def get_snapshot(self) -> dict[str, Any]:
        """The sections of a position monitor's snapshot; ``UnknownNameError`` without such a portfolio."""
        until = None if self._clock is None else self._clock()
        self._newest.catch_up(self._ledger)
        last = self._newest.timestamp
        if last is None or (until is not None and until < last):
            return self._as_of(until)
        return self._newest.snapshot()

    def _as_of(self, instant: datetime | None) -> dict[str, Any]:
        ledger = self._ledger.snapshot()
        book, sequence = ledger.book_at(self._portfolio, instant or ledger.state(self._portfolio).last_timestamp)
        held: dict[str, dict[str, Any]] = {venue: {} for venue in (WALLET, IN_TRANSIT, *EXCHANGES)}
        for (venue, token), amount in book.balances.items():
            held[venue][token] = amount
        perps: dict[str, dict[str, Any]] = {venue: {} for venue in EXCHANGES}
        for (venue, instrument), position in book.positions.items():
            perps[venue][instrument] = position._asdict()
        return {
            "portfolio": self._portfolio,
            "ledger_sequence": sequence,
            "wallet": held[WALLET],
            "in_transit": held[IN_TRANSIT],
            "cex_accounts": {venue: held[venue] for venue in EXCHANGES},
            "perp_positions": perps,
        }
