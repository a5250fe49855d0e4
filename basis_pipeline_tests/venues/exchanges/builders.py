"""Readers on the loopback exchanges."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from basis_pipeline.domain.observations import Account, Finding, Reading
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.venues.exchanges import Credentials, ExchangeReader, exchange_reader
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, ScriptedAccount

KEY, SECRET, PASSPHRASE = "kEy0planted1111", "sEcret+planted/2222=", "pAss phrase&3333"
ALL_PARTS = {
    "binance": ("spot", "funding", "cross_margin", "usdm_futures"),
    "bybit": ("unified", "funding"),
    "okx": ("trading", "funding"),
}
MAIN_PART = {"binance": "usdm_futures", "bybit": "unified", "okx": "trading"}
CREDENTIALS = Credentials(KEY, SECRET, PASSPHRASE)

D = Decimal


def fund(venues: ExchangeVenues, venue: str) -> ScriptedAccount:
    """An empty account that the test key opens."""
    return venues.account(venue, KEY, SECRET, PASSPHRASE if venue == "okx" else "")


def reader(
    venues: ExchangeVenues,
    venue: str,
    *parts: str,
    credentials: Credentials = CREDENTIALS,
    markets_cache: Path | None = None,
) -> ExchangeReader:
    """A reader of the account of ``fund``, which does not wait for the rate limiter."""
    account = Account("default", f"{venue}_main", venue)
    made = exchange_reader(
        account,
        parts or ALL_PARTS[venue],
        credentials,
        DEFAULT_REGISTRY,
        venues.url,
        lambda: datetime.now(UTC),
        markets_cache,
    )
    for connection in made.connections:
        assert connection.exchange.enableRateLimit
        connection.exchange.enableRateLimit = False
    return made


async def _read(made: ExchangeReader) -> Reading:
    try:
        [reading] = await made.read()
        return reading
    finally:
        await made.close()


def read(venues: ExchangeVenues, venue: str, *parts: str, markets_cache: Path | None = None) -> Reading:
    """One reading of the account of ``fund``."""
    return asyncio.run(_read(reader(venues, venue, *parts, markets_cache=markets_cache)))


def check(venues: ExchangeVenues, venue: str, *parts: str, credentials: Credentials = CREDENTIALS) -> Sequence[Finding]:
    """What doctor finds."""

    async def run() -> Sequence[Finding]:
        made = reader(venues, venue, *parts, credentials=credentials)
        try:
            return await made.check()
        finally:
            await made.close()

    return asyncio.run(run())
