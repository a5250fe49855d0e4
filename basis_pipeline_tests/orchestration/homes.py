"""A home of three days and two portfolios, small enough to run through Dagster in a test."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

from basis_pipeline_tests.builders import START, payload, wallet
from basis_pipeline_tests.homes import import_file, terms, write_home, write_journal
from basis_pipeline_tests.market.builders import NO_RESERVES, PRICE_NAMES, RESERVE_NAMES, prices, write

FIRST, SECOND, LAST = date(2024, 5, 12), date(2024, 5, 13), date(2024, 5, 14)
DAYS = [FIRST, SECOND, LAST]
CASH, COINS = "cash", "coins"
"""One portfolio holds USDT only, the other BTC, for which the second day has no price unless it is repaired."""
_HOURS = 72
_HOLE = range(24, 47)


def write_market(directory: Path, *, hole: bool, hours: range = _HOLE) -> Path:
    """USDT and BTC prices of every hour; with a hole, none of BTC at these hours, which are those of the second day."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = prices("aave_oracle USDTUSD oracle", ["1"] * _HOURS)
    bitcoin = prices("binance BTCUSDT spot", [str(60_000 + number) for number in range(_HOURS)])
    rows += [row for number, row in enumerate(bitcoin) if not (hole and number in hours)]
    write(directory, "prices", PRICE_NAMES, list(rows), ".parquet")
    write(directory, "aave_reserve_hourly", RESERVE_NAMES, list(NO_RESERVES), ".parquet")
    return directory


def write_small_home(home: Path, *, hole: bool = False, **more: Any) -> Path:
    """The home with its two journals imported and nothing materialized."""
    market = write_market(home / "market", hole=hole)
    write_home(home, market, {CASH: terms("USDT", 1000, START), COINS: terms("USDT", 5000, START)}, **more)
    file = write_journal(home / "coins.jsonl", [payload("DEPOSIT", wallet("BTC", "2"), minute=5)])
    import_file(home, COINS, file)
    return home
