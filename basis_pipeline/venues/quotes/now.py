"""One exchange as a price provider asks it: the newest prices, marks and single series, each told with its time.

Every symbol is asked for by itself and has its own time to answer, so that one that fails or hangs spoils no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Mapping
from datetime import timedelta
from typing import TypeVar

from basis_pipeline.domain.errors import UnknownNameError, VenueError
from basis_pipeline.domain.quotes import Quoted, SeriesName, SeriesValue, Unavailable
from basis_pipeline.domain.tokens import parse_instrument
from basis_pipeline.venues.exchanges.connection import REQUEST_TIMEOUT, Connection, Credentials, open_exchange
from basis_pipeline.venues.quotes.dialect import PERP, SPOT, NotListed, Told
from basis_pipeline.venues.quotes.source import DIALECTS, ask

_Question = TypeVar("_Question", bound=Hashable)
QUOTE = "USDT"
"""What every exchange quotes every coin in."""


def exchange_prices(venue: str, gateway: str | None, patience: timedelta = REQUEST_TIMEOUT) -> ExchangePrices:
    """An exchange's prices of now; needs no key. ``gateway`` as in ``open_exchange``. To be closed."""
    exchange = open_exchange(venue, None, gateway, patience)
    return ExchangePrices(venue, Connection(exchange, Credentials("", "")), patience)


class ExchangePrices:
    """``PriceInterface``, ``MarkInterface`` and ``SeriesInterface`` of one exchange.

    A symbol that is not answered within ``patience``, its turn in the queue included, is told to be unavailable.
    """

    def __init__(self, venue: str, connection: Connection, patience: timedelta) -> None:
        self.name = venue
        self._dialect = DIALECTS[venue]
        self._connection = connection
        self._patience_s = patience.total_seconds()

    async def get_prices(self, assets: list[str]) -> dict[str, Quoted | Unavailable]:
        """The last trade of each coin in USDT. USDT itself is left out: here it is what others are measured in."""
        series = {asset: (f"{asset}{QUOTE}", SPOT) for asset in assets if asset != QUOTE}
        told = await self._all(series)
        return {
            asset: each if isinstance(each, Unavailable) else Quoted(each.value, QUOTE, each.at)
            for asset, each in told.items()
        }

    async def get_marks(self, instruments: list[str]) -> dict[str, Quoted | Unavailable]:
        """The mark of each linear perpetual in the coin that it settles in; other names are left out."""
        contracts = {}
        for name in instruments:
            try:
                contracts[name] = parse_instrument(name)
            except UnknownNameError:
                continue
        told = await self._all({name: (f"{each.base}{each.quote}", PERP) for name, each in contracts.items()})
        return {
            name: each if isinstance(each, Unavailable) else Quoted(each.value, contracts[name].quote, each.at)
            for name, each in told.items()
        }

    async def get_series(self, names: list[SeriesName]) -> dict[SeriesName, SeriesValue | Unavailable]:
        """The newest value of spot prices and marks of this venue; other series are left out."""
        told = await self._all(
            {name: (name[1], name[2]) for name in names if name[0] == self.name and name[2] in (SPOT, PERP)}
        )
        return {name: each if isinstance(each, Unavailable) else SeriesValue(*each) for name, each in told.items()}

    async def close(self) -> None:
        """Close the sessions; safe to call twice."""
        await self._connection.close()

    async def _all(self, series: Mapping[_Question, tuple[str, str]]) -> dict[_Question, Told | Unavailable]:
        told = await asyncio.gather(*(self._newest(symbol.upper(), kind) for symbol, kind in series.values()))
        return dict(zip(series, told, strict=True))

    async def _newest(self, symbol: str, kind: str) -> Told | Unavailable:
        label = f"{symbol} {kind}"
        try:
            payload = await asyncio.wait_for(ask(self._connection, self._dialect.now(symbol, kind)), self._patience_s)
            return self._dialect.read_now(payload, symbol)
        except NotListed:
            return Unavailable(label, (f"does not list {label}",))
        except TimeoutError:
            return Unavailable(label, (f"{label}: no answer within {self._patience_s:g} s",))
        except VenueError as error:
            return Unavailable(label, (f"{label}: {error}",))
