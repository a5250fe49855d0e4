"""A live home on one exchange account of loopback Binance, small enough for a test of what is around reconciliation.

The ledger has the capital on Binance, where the account has it too, so that everything matches until a test changes it.
The chain is not part of it: USDT is priced by a made-up series, so that nothing but Python is needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.observations import MarketObservation
from basis_pipeline.home import open_home
from basis_pipeline.ledger import market_observations
from basis_pipeline.settings import CONFIG_NAME
from basis_pipeline_tests.homes import terms
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues, exchange_venues
from basis_pipeline_tests.rigs.exchanges_accounts import ScriptedAccount

PORTFOLIO, ACCOUNT, PART = "desk", "desk_binance", "usdm_futures"
CAPITAL = Decimal(10_000)
KEY, SECRET = "pl4nted-api-key", "pl4nted-api-5ecret"
ENVIRONMENT = {
    f"BASIS_ACCOUNTS__{ACCOUNT.upper()}__API_KEY": KEY,
    f"BASIS_ACCOUNTS__{ACCOUNT.upper()}__SECRET": SECRET,
}


class LiveHome(NamedTuple):
    """The home, what its exchange holds, and the exchange itself."""

    path: Path
    account: ScriptedAccount
    venues: ExchangeVenues


def hours_ago(count: int) -> datetime:
    """A full hour."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=count)


def configuration(gateway: str, start: datetime, portfolio: str, **more: Any) -> dict[str, Any]:
    """The home's basis.yaml."""
    return {
        "mode": "live",
        "portfolios": {portfolio: terms("USDT", CAPITAL, start)},
        "accounts": {ACCOUNT: {"portfolio": portfolio, "venue": "binance", "parts": [PART]}},
        "exchange_gateway": gateway,
        "reconciliation": {"second_reading_after": "0s"},
        **more,
    }


def write_live_home(
    path: Path, gateway: str, start: datetime | None = None, portfolio: str = PORTFOLIO, **more: Any
) -> Path:
    """The home with its capital moved to Binance, so that its books are open."""
    start = start or hours_ago(30)
    path.mkdir(parents=True, exist_ok=True)
    (path / CONFIG_NAME).write_text(yaml.safe_dump(configuration(gateway, start, portfolio, **more)), encoding="utf-8")
    moved = {
        "id": "funding-of-the-desk",
        "timestamp": start.isoformat(),
        "trigger": "VENUE_TRANSFER",
        "token_changes": [
            {"venue": "wallet", "token": "USDT", "delta": f"-{CAPITAL}"},
            {"venue": "binance", "token": "USDT", "delta": str(CAPITAL)},
        ],
    }
    with open_home(path) as opened:
        opened.ledger.append(portfolio, parse_update(moved))
    return path


@contextmanager
def live_home(path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Iterator[LiveHome]:
    """A home whose exchange answers; its keys are in the environment."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with exchange_venues() as venues:
        account = venues.account("binance", KEY, SECRET)
        account.permissions = {"read"}
        account.set_balance(PART, "USDT", CAPITAL)
        for symbol, price in (("ETHUSDT", "3000"), ("BTCUSDT", "60000")):
            venues.set_price(symbol, price)
        yield LiveHome(write_live_home(path, venues.url, **more), account, venues)


def record_usdt(home: Path, moment: datetime, price: str = "1") -> None:
    """What the chain would say of USDT."""
    observed = MarketObservation("aave_oracle", "USDTUSD", "oracle", Decimal(price), moment, moment)
    with open_home(home) as opened:
        market_observations.record(opened.ledger.engine, [observed])
