"""Writing the sample: market data and journals as files in the layouts the product reads."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import DAY, iso
from basis_pipeline.domain.numbers import CONTEXT
from basis_pipeline.sample.market import METHOD, SyntheticMarket, synthesize
from basis_pipeline.sample.portfolios import DECIDING, STRATEGIES, run
from basis_pipeline.sample.trader import Trader

if TYPE_CHECKING:
    import pyarrow as pa

START = datetime(2025, 1, 1, tzinfo=UTC)
DAYS_MAX = 366
MARKET_DATA = "market_data"
JOURNALS = "journals"

_README = """SYNTHETIC DATA - nothing in this folder was ever observed on a market or happened on an account.

Made by `basis_pipeline.sample` from random walks with seed {seed}, {days} days from {start}.
Use it to try the product, never to judge a strategy.

market_data/   prices and Aave indices by hour; column `method` says `{method}` in every row
journals/      balance changes of three invented portfolios, one update per line
"""


@dataclass(frozen=True)
class SamplePortfolio:
    """Terms of one synthetic portfolio and its journal; ``initial_capital`` is in share-class currency."""

    name: str
    share_class: str
    initial_capital: Decimal
    start: datetime
    journal: Path


@dataclass(frozen=True)
class Sample:
    """What was written where, and the days it covers (both included)."""

    directory: Path
    market_data: Path
    portfolios: tuple[SamplePortfolio, ...]
    first_day: date
    last_day: date


def generate(directory: Path, seed: int = 7, days: int = 30) -> Sample:
    """Write the sample into ``directory``; what an earlier call wrote there is replaced, file by file.

    The same seed and days give identical bytes. Every trigger is used from 25 days on. Raises ``InputError``
    for a number of days that is not between 1 and 366.
    """
    if not 1 <= days <= DAYS_MAX:
        raise InputError(f"days: {days} is not between 1 and {DAYS_MAX}")
    market_data, journals = directory / MARKET_DATA, directory / JOURNALS
    for folder in (market_data, journals):
        folder.mkdir(parents=True, exist_ok=True)
    portfolios = []
    with localcontext(CONTEXT):
        market = synthesize(seed, START, days * 24)
        _write_market(market, market_data)
        for strategy in STRATEGIES:
            trader = Trader(strategy.name, strategy.share_class, strategy.initial_capital, market)
            run(strategy, trader, days)
            journal = journals / f"{strategy.name}.jsonl.gz"
            _write(journal, gzip.compress("".join(f"{line}\n" for line in trader.lines).encode(), mtime=0))
            portfolios.append(
                SamplePortfolio(strategy.name, strategy.share_class, strategy.initial_capital, START, journal)
            )
    _write(
        directory / "README.txt", _README.format(seed=seed, days=days, start=iso(START), method=METHOD).encode("ascii")
    )
    last_day = (START + DAY * (days - 1)).date()
    return Sample(directory, market_data, tuple(portfolios), START.date(), last_day)


def default_config(sample: Sample) -> dict[str, Any]:
    """The contents of a ``basis.yaml`` for the sample, in a home that is the parent of the sample's directory."""
    return {
        "mode": "backtest",
        "market_data": f"{sample.directory.name}/{MARKET_DATA}",
        "portfolios": {
            portfolio.name: {
                "share_class": portfolio.share_class,
                "initial_capital": str(portfolio.initial_capital),
                "start": iso(portfolio.start),
            }
            for portfolio in sample.portfolios
        },
        "strategies": {name: dict(given) for name, given in DECIDING.items()},
    }


def _write_market(market: SyntheticMarket, folder: Path) -> None:
    import pyarrow as pa

    instants = market.instants()
    time, number = pa.timestamp("us", "UTC"), pa.decimal128(38, 18)
    keys = sorted(market.prices)
    prices = {
        "timestamp": pa.array([instant for _ in keys for instant in instants], time),
        **{
            name: pa.array([key[position] for key in keys for _ in instants], pa.string())
            for position, name in enumerate(("venue", "symbol", "kind"))
        },
        "close": pa.array([value for key in keys for value in market.prices[key]], number),
    }
    _write_table(folder / "prices.parquet", prices)
    reserves = sorted(market.reserves)
    columns = market.reserves[reserves[0]]
    indices = {
        "timestamp": pa.array([instant for _ in reserves for instant in instants], time),
        "symbol": pa.array([reserve for reserve in reserves for _ in instants], pa.string()),
        **{
            name: pa.array([value for reserve in reserves for value in market.reserves[reserve][name]], number)
            for name in columns
        },
    }
    _write_table(folder / "aave_reserve_hourly.parquet", indices)


def _write_table(path: Path, columns: dict[str, pa.Array]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    method = pa.array([METHOD] * len(columns["timestamp"]), pa.string())
    table = pa.table({**columns, "method": method}, metadata={"origin": f"{METHOD}: made up, observed nowhere"})
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    _write(path, buffer.getvalue().to_pybytes())


def _write(path: Path, content: bytes) -> None:
    """Put a file in place whole: a stopped run leaves the old one or the new one."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    partial.replace(path)
