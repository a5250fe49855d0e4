"""Builders that read like the domain: ``update("GAS_FEE_PAID", wallet("ETH", "-0.0035"))``."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import count
from pathlib import Path
from typing import Any

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.numbers import CONTEXT
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.quotes import Quote, Rate, Unavailable
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry, parse_instrument
from basis_pipeline.domain.valuation import Line, Side

START = datetime(2024, 5, 12, 1, tzinfo=UTC)
JOURNALS = {
    "pure_lending_usdt": "USDT",
    "eth_leveraged_loop": "ETH",
    "btc_basis": "USDT",
    "usdt_market_neutral": "USDT",
}
"""The shared journals with the share class of each."""
JOURNAL_CAPITAL = {"USDT": Decimal(1_000_000), "ETH": Decimal(1_000)}

Leg = dict[str, Any]
_numbers = count(1)


def at(minutes: float) -> datetime:
    """The instant so many minutes after the portfolio's start."""
    return START + timedelta(minutes=minutes)


def token(venue: str, symbol: str, delta: object, **more: object) -> Leg:
    """A token leg: ``token("binance", "USDT", "-7.50", new_balance="92.50")``."""
    return {"venue": venue, "token": symbol, "delta": delta, **more}


def wallet(symbol: str, delta: object, **more: object) -> Leg:
    """A token leg in the wallet."""
    return token("wallet", symbol, delta, **more)


def perp(action: str, size: object = None, *, venue: str = "binance", on: str = "ETHUSDT-PERP", **data: object) -> Leg:
    """A derivative leg: ``perp("OPEN", "-2", fill_price="2920")``; ``size`` is the resulting signed size."""
    return {"venue": venue, "instrument": on, "action": action, "data": {"size": size, **data}}


def payload(trigger: str, *legs: Leg, minute: float = 0, entry_id: str | None = None, **more: object) -> dict[str, Any]:
    """An update as JSON would bring it."""
    return {
        "id": entry_id or f"update-{next(_numbers)}",
        "timestamp": at(minute).isoformat(),
        "trigger": trigger,
        "token_changes": [leg for leg in legs if "token" in leg],
        "derivative_changes": [leg for leg in legs if "instrument" in leg],
        **more,
    }


def update(
    trigger: str,
    *legs: Leg,
    minute: float = 0,
    entry_id: str | None = None,
    registry: Registry = DEFAULT_REGISTRY,
    **more: object,
) -> BalanceUpdate:
    """A validated update, ``minute`` minutes after the start."""
    return parse_update(payload(trigger, *legs, minute=minute, entry_id=entry_id, **more), registry)


def deposit(symbol: str, amount: object, *, venue: str = "wallet", minute: float = 0) -> BalanceUpdate:
    return update("DEPOSIT", token(venue, symbol, amount), minute=minute)


def book_of(*updates: BalanceUpdate) -> Book:
    """The book after these updates, in this order."""
    book = Book()
    for each in updates:
        book.apply(each)
    return book


def state(book: Book) -> dict[str, Any]:
    """What the book holds, in a form that compares by value."""
    return book.to_json()


def journal(shared: Path, name: str) -> Iterator[dict[str, Any]]:
    """The payloads of a shared journal."""
    with gzip.open(shared / "journals" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


class FixedMarket:
    """A market that answers the same at every instant; what it was not given is unavailable."""

    def __init__(
        self,
        prices: Mapping[str, str] | None = None,
        marks: Mapping[tuple[str, str], str] | None = None,
        rates: Mapping[str, str] | None = None,
    ) -> None:
        self._prices = prices or {}
        self._marks = marks or {}
        self._rates = rates or {}

    def price(self, token: str, at: datetime) -> Quote | Unavailable:
        found = self._prices.get(token)
        if found is None:
            return Unavailable(token, ("binance: no such series",))
        return Quote(Decimal(found), Decimal(found), "USD", "binance", at)

    def mark(self, venue: str, instrument: str, at: datetime) -> Quote | Unavailable:
        found = self._marks.get((venue, instrument))
        if found is None:
            return Unavailable(instrument, (f"{venue}: no such series",))
        return Quote(Decimal(found), Decimal(found), parse_instrument(instrument).quote, venue, at)

    def rate(self, name: str, at: datetime) -> Rate | Unavailable:
        found = self._rates.get(name)
        return Unavailable(name, ("files: no such rate",)) if found is None else Rate(Decimal(found), "files", at)


def equity_by(field: str, lines: Iterable[Line]) -> dict[str, Decimal]:
    """The values of assets and debts summed by a field of the lines, such as ``venue`` or ``token``, exactly."""
    sums: dict[str, Fraction] = {}
    for line in lines:
        if line.side in (Side.ASSET, Side.DEBT):
            name = getattr(line, field)
            sums[name] = sums.get(name, Fraction(0)) + Fraction(line.value)
    return {name: Decimal(int(value * 10**18)).scaleb(-18, CONTEXT) for name, value in sums.items()}
