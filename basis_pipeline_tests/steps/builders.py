"""Small homes for the tests of the steps: four days of hourly market data and whatever the test deposits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.home import open_home
from basis_pipeline.steps.ports import DayRange
from basis_pipeline_tests.builders import update
from basis_pipeline_tests.homes import terms, write_home
from basis_pipeline_tests.market.builders import PRICE_NAMES, RESERVE_NAMES, Reserve, prices, write

MIDNIGHT = datetime(2024, 5, 12, tzinfo=UTC)
DAYS = DayRange(date(2024, 5, 12), date(2024, 5, 15))
HOURS = 96
SERIES = {
    "bybit ETHUSDT spot": 3000,
    "bybit BTCUSDT spot": 60_000,
    "bybit ETHUSDT perp": 3005,
    "aave_oracle USDTUSD oracle": 1,
}


def hour(number: float) -> datetime:
    """The instant so many hours after the first day's midnight."""
    return MIDNIGHT + timedelta(hours=number)


def write_market(directory: Path, missing: Mapping[str, Collection[int]] | None = None) -> Path:
    """Every series at every hour, but those of a series that are missing."""
    directory.mkdir(parents=True, exist_ok=True)
    holes = missing or {}
    rows = [
        row
        for name, close in SERIES.items()
        for number, row in enumerate(prices(name, [str(close + n) if close > 1 else "1" for n in range(HOURS)]))
        if number not in holes.get(name, ())
    ]
    write(directory, "prices", PRICE_NAMES, list(rows), ".parquet")
    reserves = [Reserve(hour(n), "USDT", "1.1", "1.2") for n in range(HOURS)]
    write(directory, "aave_reserve_hourly", RESERVE_NAMES, list(reserves), ".parquet")
    return directory


def new_home(directory: Path, starts: Mapping[str, float] | None = None, **more: Any) -> Path:
    """A home whose portfolios start with 1,000 USDT so many hours after midnight; by default one, at midnight."""
    given = {"book": 0.0} if starts is None else starts
    market = write_market(directory / "market")
    portfolios = {name: terms("USDT", 1000, hour(start)) for name, start in given.items()}
    return write_home(directory / "home", market, portfolios, **more)


def happened(at: float, trigger: str, *legs: dict[str, Any], entry_id: str | None = None) -> BalanceUpdate:
    """An update so many hours after midnight."""
    return update(trigger, *legs, entry_id=entry_id, timestamp=hour(at).isoformat())


def record(home: Path, *updates: BalanceUpdate, portfolio: str = "book") -> None:
    """Each in a transaction of its own, as they come in."""
    with open_home(home) as opened:
        for each in updates:
            opened.ledger.append(portfolio, each)
