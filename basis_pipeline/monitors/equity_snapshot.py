"""What equity was at one moment: every position with its value, and the sums."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from pydantic import BaseModel, ConfigDict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class AssetPosition(_Model):
    """One asset: ``amount`` in ledger units, ``value`` in share-class currency.

    A ``locked`` one is listed with its value and is outside ``total_equity``.
    """

    asset: str
    amount: Decimal
    venue: str
    locked: bool = False
    value_usd: Decimal | None = None
    value: Decimal | None = None


class DebtPosition(_Model):
    """One debt; amount (ledger units), USD and share-class value are positive."""

    asset: str
    amount: Decimal
    venue: str
    value_usd: Decimal | None = None
    value: Decimal | None = None


class FuturesPosition(_Model):
    """One perpetual: ``size`` in signed base units, ``entry_price`` and ``mark`` in the coin that it settles in.

    ``unrealized_pnl`` is in share-class currency, and is outside ``total_equity``.
    """

    instrument: str
    size: Decimal
    venue: str
    entry_price: Decimal
    mark: Decimal
    unrealized_pnl: Decimal


class EquitySnapshot(_Model):
    """Equity at one moment; every figure without unit in its name is share-class currency.

    ``timestamp`` is ``as_of`` in Unix seconds. ``ledger_sequence`` is None where the holdings are not the ledger's.
    """

    timestamp: float
    as_of: datetime
    share_class: str
    total_equity: Decimal
    unrealized_pnl: Decimal
    in_transit: Decimal
    locked: Decimal
    nav: Decimal
    assets: list[AssetPosition]
    debts: list[DebtPosition]
    futures: list[FuturesPosition] = []
    equity_by_venue: dict[str, Decimal]
    equity_by_asset: dict[str, Decimal]
    ledger_sequence: int | None = None
