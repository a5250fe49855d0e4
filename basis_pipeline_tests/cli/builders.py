"""A small set of books with market data for two days, and the command line to use it with."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from basis_pipeline.cli.app import app
from basis_pipeline_tests.market.builders import PRICE_NAMES, RESERVE_NAMES, Reserve, hour, prices, write

ROOT = Path(__file__).resolve().parents[2]
HOURS = 48
"""Market data covers 2024-05-12 and 2024-05-13."""

needs_dagster_runs = pytest.mark.skipif(
    importlib.util.find_spec("basis_pipeline.orchestration") is None
    or importlib.util.find_spec("basis_pipeline.orchestration.runs") is None,
    reason="the part of the product that runs Dagster is not there",
)


def market_data(directory: Path, hours: int = HOURS) -> Path:
    """ETH at 3,000 and rising by one each hour, USDT at one dollar, perpetuals five above spot."""
    directory.mkdir(parents=True, exist_ok=True)
    spot = [str(3000 + n) for n in range(hours)]
    rows = [
        *prices("bybit ETHUSDT spot", spot),
        *prices("okx ETHUSDT perp", [str(3005 + n) for n in range(hours)]),
        *prices("aave_oracle USDTUSD oracle", ["1"] * hours),
    ]
    reserves = [Reserve(hour(n), "USDT", "1.1", "1.2") for n in range(hours)]
    write(directory, "prices", PRICE_NAMES, list(rows), ".parquet")
    write(directory, "aave_reserve_hourly", RESERVE_NAMES, list(reserves), ".parquet")
    return directory


CAPITAL = {"lending": ("USDT", "1000000"), "staking": ("ETH", "10")}


def write_config(home: Path, portfolios: Iterable[str] = ("lending",), **settings: Any) -> None:
    """The home's basis.yaml. JSON is YAML."""
    terms = {
        name: {"share_class": share, "initial_capital": capital, "start": "2024-05-12T00:00:00Z"}
        for name, (share, capital) in CAPITAL.items()
        if name in portfolios
    }
    home.mkdir(parents=True, exist_ok=True)
    deciding = (
        {"strategies": {"lender": {"portfolio": "lending", "kind": "usdt_lending"}}} if "lending" in terms else {}
    )
    content = {"mode": "backtest", "market_data": "market", "portfolios": terms, **deciding, **settings}
    (home / "basis.yaml").write_text(json.dumps(content), encoding="utf-8")


def change(venue: str, token: str, delta: str, **more: str) -> dict[str, str]:
    return {"venue": venue, "token": token, "delta": delta, **more}


def update(identity: str, at: float, trigger: str, *changes: Mapping[str, str]) -> dict[str, Any]:
    """One line of a journal; ``at`` counts hours from 2024-05-12 00:00."""
    return {
        "id": identity,
        "timestamp": hour(at).isoformat(),
        "trigger": trigger,
        "token_changes": list(changes),
    }


ETH_ARRIVES = update("desk-0042", 9.5, "DEPOSIT", change("wallet", "ETH", "2"))
USDT_IS_LENT = update(
    "lend-1", 10.25, "COLLATERAL_SUPPLIED_USDT", change("wallet", "USDT", "-1100"), change("wallet", "aUSDT", "1000")
)
USDT_MOVES = update(
    "move-1", 11, "VENUE_TRANSFER", change("wallet", "USDT", "-50000"), change("okx", "USDT", "49999.5")
)
JOURNAL = (ETH_ARRIVES, USDT_IS_LENT, USDT_MOVES)


def funding(count: int, start: float = 12) -> list[dict[str, Any]]:
    """Payments of 0.01 USDT, one every second."""
    return [
        update(f"fund-{n}", start + n / 3600, "FUNDING_PAYMENT", change("okx", "USDT", "0.01")) for n in range(count)
    ]


def write_journal(path: Path, updates: Iterable[Mapping[str, Any]]) -> Path:
    content = "".join(f"{json.dumps(line)}\n" for line in updates).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


class Basis:
    """``basis("equity", "--by", "venue")``: one command in this process, on one home."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(self, *arguments: str | Path, code: int = 0) -> Result:
        """Run it; the exit code must be ``code``. An exception that is no exit is let through."""
        done = CliRunner().invoke(app, ["--home", str(self.home), *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == code, done.output
        return done

    def rows(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """What a command prints as JSON."""
        found = json.loads(self(*arguments, "--format", "json").stdout)
        assert isinstance(found, list)
        return found


def environment(**more: str) -> dict[str, str]:
    """For other processes: no settings of the machine's own, the project on the path."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("BASIS_", "DAGSTER_"))}
    return {**clean, "PYTHONPATH": str(ROOT), **more}


def run_process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """``basis`` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "basis_pipeline", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
        **options,
    )
