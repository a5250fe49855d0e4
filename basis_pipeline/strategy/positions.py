"""What a portfolio holds by its ledger as of an instant, in the form of a position monitor's snapshot.

For who only looks: a position monitor joins the portfolio, and when live connects to Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, WALLET

if TYPE_CHECKING:
    from basis_pipeline.domain.instants import Clock
    from basis_pipeline.ledger.ledger import Ledger


class LedgerPositions:
    """The holdings of one portfolio up to its newest entry, or up to what ``clock`` tells."""

    def __init__(self, ledger: Ledger, portfolio: str, clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._portfolio = portfolio
        self._clock = clock

    def get_snapshot(self) -> dict[str, Any]:
        """The sections of a position monitor's snapshot; ``UnknownNameError`` without such a portfolio."""
        ledger = self._ledger.snapshot()
        until = ledger.state(self._portfolio).last_timestamp if self._clock is None else self._clock()
        book, sequence = ledger.book_at(self._portfolio, until)
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
