"""A directory of recorded market data.

Files are read when first needed and again when they change on disk; nothing is written.
"""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import days_between, hours_of
from basis_pipeline.domain.quotes import AskableDay
from basis_pipeline.market.plans import Plans
from basis_pipeline.market.routing import Routing
from basis_pipeline.market.store import Store, load_store, market_files
from basis_pipeline.market.window import MarketWindow, from_us


class _Loaded(NamedTuple):
    fingerprint: str
    store: Store
    plans: Plans


class MarketHistory:
    """Market files and the routing by which they answer.

    Every method may raise ``MarketDataError`` when a file is missing or cannot be trusted.
    """

    def __init__(self, directory: Path, routing: Routing | None = None) -> None:
        self.directory = directory
        self.routing = Routing() if routing is None else routing
        self._loaded: _Loaded | None = None

    def window(self, first: datetime, last: datetime) -> MarketWindow:
        """The market for instants in [first, last]; its cost depends on its own length only."""
        if first.tzinfo is None or last.tzinfo is None or first > last:
            raise InputError(f"window: {first} to {last} must be two UTC instants in order")
        loaded = self._load()
        return MarketWindow(loaded.store, loaded.plans, first, last)

    def days(self, first: date, last: date) -> dict[date, AskableDay]:
        """The hours of each day: history has no latest instant."""
        return {day: AskableDay(hours_of(day)) for day in days_between(first, last)}

    def span(self) -> tuple[datetime, datetime]:
        """The first and the last instant at which anything is known."""
        store = self._load().store
        return from_us(store.first), from_us(store.last)

    def fingerprint(self) -> str:
        """Names, sizes and modification times of the files: cheap to ask, different after any replacement."""
        parts = []
        for path in market_files(self.directory):
            status = path.stat()
            parts.append(f"{path.name}:{status.st_size}:{status.st_mtime_ns}")
        return " ".join(parts)

    def store(self) -> Store:
        """Every series in memory, for the checks."""
        return self._load().store

    def _load(self) -> _Loaded:
        fingerprint = self.fingerprint()
        loaded = self._loaded
        if loaded is None or loaded.fingerprint != fingerprint:
            store = load_store(self.directory, self.routing.reserve_prices)
            self._loaded = loaded = _Loaded(fingerprint, store, Plans(self.routing, tuple(sorted(store.series))))
        return loaded
