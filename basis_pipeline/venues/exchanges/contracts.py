"""Sizes of OKX's perpetual contracts: fetched when a position needs one, kept in memory and in a file for a day."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Set
from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.domain.instants import iso, parse_instant
from basis_pipeline.domain.numbers import canonical, multiply, parse_decimal
from basis_pipeline.domain.tokens import LINEAR_QUOTES
from basis_pipeline.venues.exchanges.payloads import Ask, Row, as_object, malformed, number, rows_of, text

AGE_MAX = timedelta(days=1)


class Contracts:
    """Base units per contract of linear perpetuals, by OKX's name. One request brings all of them."""

    def __init__(self, cache: Path | None, clock: Callable[[], datetime], age_max: timedelta = AGE_MAX) -> None:
        self._cache = cache
        self._clock = clock
        self._age_max = age_max
        self._fetched_at: datetime | None = None
        self._sizes: dict[str, Decimal] = {}

    async def sizes(self, ask: Ask, wanted: Set[str]) -> Mapping[str, Decimal]:
        """The sizes of the instruments wanted; those that are not linear (or not listed) are left out."""
        if not wanted:
            return {}
        if not self._fresh():
            self._load()
        if not self._fresh() or any(looks_linear(name) and name not in self._sizes for name in wanted):
            await self._fetch(ask)
        return {name: self._sizes[name] for name in wanted if name in self._sizes}

    def _fresh(self) -> bool:
        age = None if self._fetched_at is None else self._clock() - self._fetched_at
        return age is not None and timedelta(0) <= age < self._age_max

    async def _fetch(self, ask: Ask) -> None:
        answer = await ask("GET /api/v5/public/instruments SWAP", "publicGetPublicInstruments", {"instType": "SWAP"})
        rows = rows_of(as_object(answer.payload), "data")
        sizes = {str(row.get("instId")): _size(row) for row in rows if row.get("ctType") == "linear"}
        self._sizes = {name: size for name, size in sizes.items() if size is not None}
        if not self._sizes:
            raise malformed(rows, "no linear contract is listed")
        self._fetched_at = self._clock()
        self._save()

    def _load(self) -> None:
        """Take the file if it is there and fresh; a file that cannot be understood is fetched anew."""
        if self._cache is None:
            return
        try:
            content = as_object(json.loads(self._cache.read_text(encoding="utf-8")))
            fetched_at = parse_instant(content.get("fetched_at"), "fetched_at")
            sizes = {name: parse_decimal(size, name) for name, size in as_object(content.get("sizes")).items()}
        except (OSError, ValueError, BasisError):
            return
        self._fetched_at, self._sizes = fetched_at, sizes

    def _save(self) -> None:
        """Replace the file whole. Without it the next process asks again, so a full disk does not fail a reading."""
        if self._cache is None or self._fetched_at is None:
            return
        sizes = {name: canonical(size) for name, size in self._sizes.items()}
        content: dict[str, Any] = {"fetched_at": iso(self._fetched_at), "sizes": sizes}
        unfinished = self._cache.with_name(f"{self._cache.name}.{os.getpid()}.tmp")
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(content), encoding="utf-8")
            unfinished.replace(self._cache)
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def looks_linear(name: str) -> bool:
    """Whether OKX's name of a perpetual is that of a linear one."""
    return name.endswith(tuple(f"-{quote}-SWAP" for quote in LINEAR_QUOTES))


def _size(row: Row) -> Decimal | None:
    """ctVal × ctMult in units of the base coin; None for a placeholder, which OKX lists before trading starts."""
    if not row.get("instId") or row.get("ctVal") in {None, ""} or row.get("ctMult") in {None, ""}:
        return None
    size = multiply(number(row, "ctVal"), number(row, "ctMult"))
    in_base = row.get("ctValCcy") == text(row, "instId").partition("-")[0]
    return size if size > 0 and in_base else None
