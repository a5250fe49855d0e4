"""Opening a home: the one place that builds the ledger, the market and the ports of the steps from the settings.

Commands, Dagster resources and the live objects all come through here, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger, utc_now
from basis_pipeline.ledger.market_observations import MarketObservations
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.market.routing import Routing, SeriesRef
from basis_pipeline.settings import Settings, load_settings, market_directory
from basis_pipeline.settings.prices import PriceSettings
from basis_pipeline.steps.ports import DayRange, Ports, Progress, no_progress

if TYPE_CHECKING:
    from basis_pipeline.market.recorded import RecordedMarket

LEDGER_NAME = "ledger.db"


@dataclass(frozen=True)
class Home:
    """An open home."""

    path: Path
    settings: Settings
    registry: Registry
    ledger: Ledger
    known_market: MarketHistory | None = None
    clock: Clock = utc_now

    @property
    def live(self) -> bool:
        """Whether numbers come from the venues, recorded as they come, instead of from market files."""
        return self.settings.mode == "live"

    @cached_property
    def routing(self) -> Routing:
        """Which series may answer for which name; ``ConfigError`` names what `prices:` has wrong."""
        return _routing(self.settings.prices)

    @cached_property
    def market(self) -> MarketHistory | RecordedMarket:
        """The market of the mode: the history files of the settings, or what was recorded in the ledger's database."""
        return self.recorded if self.live else self.history

    @cached_property
    def history(self) -> MarketHistory:
        """The market files of a backtest; ``ConfigError`` when none are configured."""
        if self.live:
            raise ConfigError("mode: live reads no market data files; its prices are recorded in the ledger's database")
        directory, known = market_directory(self.settings, self.path), self.known_market
        if known is not None and (known.directory, known.routing) == (directory, self.routing):
            return known
        return MarketHistory(directory, self.routing)

    @cached_property
    def recorded(self) -> RecordedMarket:
        """The market as it was recorded live."""
        from basis_pipeline.market.recorded import RecordedMarket

        return RecordedMarket(MarketObservations(self.ledger.engine), self.routing)

    def ports(self, progress: Progress = no_progress) -> Ports:
        """What the steps work with."""
        grace = self.settings.superseded_files_kept
        return Ports(
            self.path, self.ledger, self.market, self.registry, self.clock, progress, superseded_files_kept=grace
        )

    def all_days(self) -> DayRange:
        """From the earliest portfolio's start to the last day there is.

        That is the last day of market data, or today when live.
        """
        first = self.settings.first_day()
        if first is None:
            raise ConfigError("portfolios: none are configured; add one to basis.yaml")
        return DayRange(first, self.last_day())

    def last_day(self) -> date:
        """The current day: today in UTC when live, in a backtest the day at which market data ends."""
        return self.clock().date() if self.live else self.history.span()[1].date()


@contextmanager
def open_home(path: Path | str, known_market: MarketHistory | None = None, clock: Clock = utc_now) -> Iterator[Home]:
    """Open a home; its portfolios are in the ledger afterwards. Closed when the block ends.

    ``known_market`` is the market of an earlier opening: used again, so that its files are not read again, unless the
    settings say otherwise by now.
    """
    path = Path(path).resolve()
    settings = load_settings(path)
    registry = settings.registry()
    path.mkdir(parents=True, exist_ok=True)
    with Ledger(ledger_url(settings, path), registry, clock) as ledger:
        for name, portfolio in settings.portfolios.items():
            ledger.register(Terms(name, portfolio.share_class, portfolio.initial_capital, portfolio.start))
        yield Home(path, settings, registry, ledger, known_market, clock)


def ledger_url(settings: Settings, home: Path) -> str:
    """The ledger's database: the configured URL, else a SQLite file in the home."""
    if settings.ledger.url is not None:
        return settings.ledger.url.get_secret_value()
    return sqlite_url(home.resolve() / LEDGER_NAME)


def _routing(prices: PriceSettings) -> Routing:
    def refs(key: str, mapping: dict[str, tuple[str, ...]]) -> dict[str, tuple[SeriesRef, ...]]:
        try:
            return {name: tuple(SeriesRef.parse(text) for text in texts) for name, texts in mapping.items()}
        except InputError as error:
            raise InputError(f"{key}: {error}") from None

    try:
        return Routing(
            routes=refs("routes", prices.routes),
            conversions=refs("conversions", prices.conversions),
            marks=refs("marks", prices.marks),
            max_age=prices.max_age,
            max_age_by_name=prices.max_age_by_name,
        )
    except InputError as error:
        raise ConfigError(f"prices.{error}") from None
