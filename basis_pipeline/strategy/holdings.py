"""What a fund holds, out of a position monitor's snapshot, and how much of an asset that is long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import ZERO, add, divide, multiply, subtract
from basis_pipeline.domain.tokens import IN_TRANSIT, WALLET, Registry, TokenKind, parse_instrument

Place = tuple[str, str]
"""(venue, token or instrument)"""


@dataclass(frozen=True, slots=True)
class Holdings:
    """Balances in ledger units and perpetuals in signed base units by place; zeros are left out.

    ``portfolio`` and ``ledger_sequence`` (the entry they stand on) are None where the monitor does not tell.
    """

    portfolio: str | None
    ledger_sequence: int | None
    balances: Mapping[Place, Decimal]
    perps: Mapping[Place, Decimal]

    @classmethod
    def of(cls, snapshot: Mapping[str, Any]) -> Holdings:
        """The holdings in a position monitor's snapshot; what is between venues included."""
        sections = {WALLET: snapshot["wallet"], IN_TRANSIT: snapshot.get("in_transit", {}), **snapshot["cex_accounts"]}
        positions = snapshot["perp_positions"]
        return cls(
            portfolio=snapshot.get("portfolio"),
            ledger_sequence=snapshot.get("ledger_sequence"),
            balances={(venue, token): held for venue in sections for token, held in sections[venue].items() if held},
            perps={
                (venue, name): each["size"]
                for venue in positions
                for name, each in positions[venue].items()
                if each["size"]
            },
        )

    def tokens_of(self, asset: str, registry: Registry) -> set[str]:
        """The tokens held whose value follows the asset's price: itself, staked, lent or owed."""
        return {token for _, token in self.balances if registry.valuation(token).base == asset}

    def spot_delta(self, asset: str, prices: Mapping[str, Decimal], registry: Registry) -> Decimal:
        """Units of the asset that the balances are long of it, debts taken off.

        ``prices`` are USD per ledger unit of the asset and of each of ``tokens_of``.
        """
        delta = ZERO
        for (_, token), held in self.balances.items():
            if registry.valuation(token).base == asset:
                units = divide(multiply(held, prices[token]), prices[asset])
                delta = (subtract if registry.token(token).kind is TokenKind.DEBT else add)(delta, units)
        return delta

    def perp_delta(self, asset: str, except_for: str) -> Decimal:
        """The signed size of the asset's perpetuals, those of one instrument left out."""
        delta = ZERO
        for (_, instrument), size in self.perps.items():
            if instrument != except_for and parse_instrument(instrument).base == asset:
                delta = add(delta, size)
        return delta
