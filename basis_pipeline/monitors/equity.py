"""Equity calculators of a home's portfolio, put together: over its ledger, and over what its venues say.

Both value by the same prices, those of now in live mode and in a backtest those at the end of market data. So the
difference of their snapshots is the value of what ledger and venues disagree about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import ZERO, add, subtract
from basis_pipeline.domain.observations import VenueReader
from basis_pipeline.home import Home
from basis_pipeline.monitors.equity_calculator import EquityCalculator, EquitySnapshot, PriceSource, marks_of
from basis_pipeline.monitors.venue_interfaces import Moment, ledger_interfaces, reading_interfaces


@asynccontextmanager
async def open_equity(home: Home, portfolio: str) -> AsyncIterator[EquityCalculator]:
    """The portfolio's equity by its ledger: now in live mode, else as of now or of the end of market data if earlier.

    ``UnknownNameError`` when the ledger does not have the portfolio. Connections are closed when the block ends.
    """
    home.ledger.snapshot().state(portfolio)
    if home.live:
        from basis_pipeline.live import open_prices

        async with open_prices(home) as prices:
            yield _by_ledger(home, portfolio, prices)
    else:
        from basis_pipeline.market.as_of import AsOfPrices

        clock = backtest_clock(home)
        interfaces = ledger_interfaces(home.ledger, portfolio, home.registry, clock=clock)
        yield EquityCalculator(interfaces, AsOfPrices(home.history, home.registry, clock), clock=clock)


def backtest_clock(home: Home) -> Clock:
    """The current time of a backtest: the home's clock, which stands still where market data ends."""

    def now() -> datetime:
        return min(home.clock(), home.history.span()[1])

    return now


def _by_ledger(home: Home, portfolio: str, prices: PriceSource) -> EquityCalculator:
    interfaces = ledger_interfaces(home.ledger, portfolio, home.registry)
    return EquityCalculator(interfaces, prices, clock=home.clock)


class VenueReadings(Mapping[str, Any]):
    """The interfaces of one portfolio by what its accounts say; each ``moment`` reads all of them anew.

    Iterating gives the venues of the reading before.
    """

    def __init__(self, home: Home, readers: Sequence[VenueReader]) -> None:
        self._home = home
        self._readers = readers
        self._found: Mapping[str, Any] = {}

    async def moment(self) -> Moment:
        """What the accounts say now. One that cannot be read fails when it is asked, with the reason."""
        from basis_pipeline.steps.reading_accounts import read_accounts

        deadline = self._home.settings.reconciliation.deadline
        readings = await read_accounts(self._readers, deadline, self._home.clock)
        self._found = reading_interfaces(readings, self._home.registry)
        return Moment(self._found, None)

    def __getitem__(self, venue: str) -> Any:
        return self._found[venue]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class EquityOfBoth(NamedTuple):
    """Calculators of one portfolio by its ledger and by its venues, with one source of prices."""

    by_ledger: EquityCalculator
    by_venues: EquityCalculator


@asynccontextmanager
async def open_equity_of_both(home: Home, portfolio: str) -> AsyncIterator[EquityOfBoth]:
    """The portfolio's equity by its ledger and by its venues, live.

    ``ConfigError`` in a backtest, in which the ledger is the world, and where the portfolio has no accounts.
    """
    home.ledger.snapshot().state(portfolio)
    _check_has_venues(home, portfolio)
    from basis_pipeline.live import open_prices, open_readers

    async with open_prices(home) as prices, open_readers(home, portfolio) as readers:
        by_venues = EquityCalculator(VenueReadings(home, readers), prices, clock=home.clock)
        yield EquityOfBoth(_by_ledger(home, portfolio, prices), by_venues)


@asynccontextmanager
async def open_equity_of_venues(home: Home, portfolio: str) -> AsyncIterator[EquityCalculator]:
    """The portfolio's equity by what its venues say, live: each calculation reads all accounts."""
    async with open_equity_of_both(home, portfolio) as both:
        yield both.by_venues


def _check_has_venues(home: Home, portfolio: str) -> None:
    if not home.live:
        raise ConfigError(
            f"mode: {home.path} is a backtest, in which the ledger is the world; venues need `mode: live`"
        )
    if not any(account.portfolio == portfolio for account in home.settings.accounts.values()):
        raise ConfigError(f"accounts: {portfolio} has none to read; add some under `accounts:` in basis.yaml")


class DriftLine(NamedTuple):
    """What ledger and venue tell differently at one venue: an asset (ledger units, a debt negative) or a perpetual.

    Of a perpetual ``asset`` is the instrument, and both sides are signed sizes, which are equal where only its entry
    price differs. ``value`` of the difference is in share-class currency, negative where the venue has less than the
    ledger; of a perpetual it is that of its unrealized profit, which may be zero.
    """

    venue: str
    asset: str
    tracked: Decimal
    actual: Decimal
    value: Decimal


class Drift(NamedTuple):
    """Equity by the ledger and by the venues at the same prices, and the lines in which they differ."""

    tracked: EquitySnapshot
    actual: EquitySnapshot
    lines: tuple[DriftLine, ...]

    @property
    def total_equity(self) -> Decimal:
        """The value of the drift of all balances in equity, in share-class currency."""
        return subtract(self.actual.total_equity, self.tracked.total_equity)

    @property
    def unrealized_pnl(self) -> Decimal:
        """The value of the drift of perpetuals, in share-class currency."""
        return subtract(self.actual.unrealized_pnl, self.tracked.unrealized_pnl)


async def calculate_drift(both: EquityOfBoth, share_class: str) -> Drift:
    """What the difference of venues and ledger is worth. The venues are read first, the ledger right after them.

    An update that is recorded in between, or that a venue does not show yet, is drift until the next time.
    """
    prices = _SamePrices(both.by_ledger.price_provider)
    actual, tracked = [
        await EquityCalculator(each.venue_interfaces, prices, clock=each.clock).calculate_equity(share_class)
        for each in (both.by_venues, both.by_ledger)
    ]
    return Drift(tracked, actual, drift_lines(tracked, actual))


def drift_lines(tracked: EquitySnapshot, actual: EquitySnapshot) -> tuple[DriftLine, ...]:
    """What each difference by venue and asset is worth, the largest first; what is locked is among it.

    Both must have been valued at the same prices.
    """
    ours, theirs = _by_place(tracked), _by_place(actual)
    nothing = (ZERO, ZERO)
    lines = [
        DriftLine(*place, before, after, subtract(worth_after, worth_before))
        for place in ours | theirs
        for (before, worth_before), (after, worth_after) in [(ours.get(place, nothing), theirs.get(place, nothing))]
        if (before, worth_before) != (after, worth_after)
    ]
    return tuple(sorted(lines, key=lambda line: (-line.value.copy_abs(), line.venue, line.asset)))


def _by_place(snapshot: EquitySnapshot) -> dict[tuple[str, str], tuple[Decimal, Decimal]]:
    """Amount and value by venue and asset, debts negative; size and unrealized profit of each perpetual."""
    found: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
    for change, positions in ((add, snapshot.assets), (subtract, snapshot.debts)):
        for position in positions:
            amount, value = found.get((position.venue, position.asset), (ZERO, ZERO))
            found[position.venue, position.asset] = (
                change(amount, position.amount),
                change(value, position.value or ZERO),
            )
    for future in snapshot.futures:
        found[future.venue, future.instrument] = (future.size, future.unrealized_pnl)
    return found


class _SamePrices:
    """What was asked once is not asked again."""

    def __init__(self, source: PriceSource) -> None:
        self._source = source
        self._prices: dict[str, Decimal] = {}
        self._marks: dict[tuple[str, str], Decimal] = {}

    async def get_prices(self, assets: list[str]) -> dict[str, Decimal]:
        if new := [asset for asset in assets if asset not in self._prices]:
            self._prices |= await self._source.get_prices(new)
        return self._prices

    async def get_marks(self, contracts: list[tuple[str, str]]) -> dict[tuple[str, str], Decimal]:
        if new := [contract for contract in contracts if contract not in self._marks]:
            self._marks |= await marks_of(self._source, new)
        return self._marks
