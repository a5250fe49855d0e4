"""Whether a scaled balance and its index make the contract's own ``balanceOf``, to the wei.

The check that the revision's rounding is understood, for `basis doctor` and the tests; never a source of amounts.
"""

from __future__ import annotations

from basis_pipeline.domain.aave import debt_balance, supply_balance
from basis_pipeline.domain.tokens import TokenKind


def rounding_difference(kind: TokenKind, scaled: int, index: int, balance_of: int, revision: int) -> int:
    """``balanceOf`` less what scaled × index rounds to, in the token's smallest unit: 0 where all is understood."""
    grown = debt_balance if kind is TokenKind.DEBT else supply_balance
    return balance_of - grown(scaled, index, revision)
