"""Prices as a market knew them at a moment: the price provider of a backtest, with the pipeline's own digits.

The numbers are the ones that a ``Sheet`` values with, so that equity at an hour comes out the same, whether the
pipeline or a calculator works it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from basis_pipeline.domain.errors import InputError, MissingPriceError
from basis_pipeline.domain.instants import Clock, iso
from basis_pipeline.domain.quotes import Market, Unavailable
from basis_pipeline.domain.tokens import Registry, canonical_venue, parse_instrument
from basis_pipeline.domain.valuation import Missing, Sheet


class Windows(Protocol):
    """Where a market is had from: history files, or what was recorded live."""

    def window(self, first: datetime, last: datetime) -> Market:
        """The market for instants from first to last, both included."""
        ...


class AsOfPrices:
    """A price source over a market, as of what ``clock`` tells at each call."""

    def __init__(self, market: Windows, registry: Registry, clock: Clock) -> None:
        self._market = market
        self._registry = registry
        self._clock = clock

    async def get_prices(self, assets: Iterable[str]) -> dict[str, Decimal]:
        """USD per unit of each asset, by the name it was asked with; all of them or ``MissingPriceError``.

        As ``PriceProvider.get_prices``: units are the ledger's, and a converted price is the unrounded product.
        """
        if isinstance(assets, str):
            raise InputError(f"assets: {assets!r} is one name; give a list of names")
        symbols = {asset: self._registry.token(asset).symbol for asset in assets}

        def look_up(sheet: Sheet) -> tuple[dict[str, Decimal], list[Missing]]:
            units = {asset: sheet.units(symbol) for asset, symbol in symbols.items()}
            missing = [gap for column in dict.fromkeys(units.values()) for gap in column.gaps(0, 1)]
            return {asset: column.usd[0] for asset, column in units.items()}, missing

        at = self._clock()
        found, missing = await asyncio.to_thread(lambda: look_up(self._sheet(at)))
        _refuse_missing("price", at, missing)
        return found

    async def get_marks(self, contracts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        """The mark of each (venue, instrument) in its settlement coin; all of them or ``MissingPriceError``."""
        names = {each: (canonical_venue(each[0]), parse_instrument(each[1]).name) for each in contracts}

        def look_up(sheet: Sheet) -> tuple[dict[tuple[str, str], Decimal], list[Missing]]:
            marks = {each: sheet.marks(*name) for each, name in names.items()}
            missing = [gap for column in dict.fromkeys(marks.values()) for gap in column.gaps(0, 1)]
            return {each: column.price[0] for each, column in marks.items()}, missing

        at = self._clock()
        found, missing = await asyncio.to_thread(lambda: look_up(self._sheet(at)))
        _refuse_missing("mark", at, missing)
        return found

    def _sheet(self, at: datetime) -> Sheet:
        return Sheet(self._market.window(at, at), self._registry, [at])


def _refuse_missing(what: str, at: datetime, missing: list[Missing]) -> None:
    if missing:
        message = "; ".join(f"no {what} of {gap.name} at {iso(at)}: {gap.tried}" for gap in missing)
        raise MissingPriceError(message, tuple(Unavailable(gap.name, (gap.tried,)) for gap in missing))
