"""The chain as a price provider asks it: Aave's oracle, Chainlink's feeds and conversion rates, all of one block.

Questions that come together, or one right after another, are answered from one reading. Aave's oracle does not tell
when a price was made, so its prices and the rates have the time of the block that they were read at; a feed's price has
that of its last update.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.observations import Finding, MarketObservation, Verdict
from basis_pipeline.domain.quotes import Basket, Quoted, Rate, SeriesName, SeriesValue, Unavailable
from basis_pipeline.domain.tokens import Registry, TokenKind, Valuation
from basis_pipeline.venues.ethereum import batch, feeds, vaults
from basis_pipeline.venues.ethereum.chain import Chain, Snapshot

KEPT_S = 1.0
"""How long a reading answers again: for what is asked because of its answers, a comparison say."""
_INDICES = {"liquidity": "liquidity_index", "debt": "variable_borrow_index"}


class ChainPrices:
    """``PriceInterface``, ``RateInterface`` and ``SeriesInterface`` of the chain; ``chainlink`` has its feeds.

    ``aggregators`` are the addresses of Chainlink's aggregators in USD, by token. Closing it closes ``chain``.
    """

    venues = batch.VENUES

    def __init__(
        self, chain: Chain, aggregators: Mapping[str, str], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.chain = chain
        self.chainlink = ChainlinkPrices(self._newest, aggregators)
        self._monotonic = monotonic
        self._reading: asyncio.Task[Snapshot] | None = None
        self._answers_until = -math.inf
        self._vaults = vaults.calls(chain.registry)
        chain.also_ask(feeds.calls(aggregators) | {vaults.name(share): call for share, call in self._vaults.items()})

    async def get_prices(self, assets: list[str]) -> dict[str, Quoted | Basket | Unavailable]:
        """Aave's oracle prices in USD, and what shares of a vault are redeemed for; all else is left out."""
        snapshot = await self._newest()
        found: dict[str, Quoted | Basket | Unavailable] = {}
        for asset in assets:
            if asset in self._vaults:
                found[asset] = vaults.basket(asset, self.chain.registry, snapshot)
                continue
            told = _first(_series(snapshot, _oracle_series(asset, self.chain.registry)))
            if told is not None:
                found[asset] = (
                    told if isinstance(told, Unavailable) else Quoted(told.value, feeds.USD, told.observed_at)
                )
        return found

    async def get_rates(self, names: list[str]) -> dict[str, Rate | Unavailable]:
        """Aave's indices and the rates of staking tokens; what is no rate of the chain is left out."""
        snapshot = await self._newest()
        found: dict[str, Rate | Unavailable] = {}
        for name in names:
            told = _first(_series(snapshot, _rate_series(name, self.chain.registry)))
            if told is not None:
                found[name] = told if isinstance(told, Unavailable) else Rate(told.value, told.venue, told.observed_at)
        return found

    async def get_series(self, names: list[SeriesName]) -> dict[SeriesName, SeriesValue | Unavailable]:
        """Any series that the chain tells; others are left out."""
        snapshot = await self._newest()
        found: dict[SeriesName, SeriesValue | Unavailable] = {}
        for name in names:
            told = _first(_series(snapshot, [name]))
            if told is not None:
                found[name] = told if isinstance(told, Unavailable) else SeriesValue(told.value, told.observed_at)
        return found

    async def close(self) -> None:
        """Give up the reading that is under way and let go of every connection; safe to call twice."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self.chain.close()

    async def _newest(self) -> Snapshot:
        """A reading that is under way or has just ended; it goes on when one of those who wait for it is cancelled."""
        reading = self._reading
        if reading is None or (reading.done() and self._monotonic() >= self._answers_until):
            reading = self._reading = asyncio.ensure_future(self.chain.snapshot(()))
            reading.add_done_callback(self._note)
        await asyncio.wait([reading])
        return reading.result()

    def _note(self, reading: asyncio.Task[Snapshot]) -> None:
        # Looked at in any case: asyncio would take a failure that nobody waits for any more for a defect.
        failed = reading.cancelled() or reading.exception() is not None
        self._answers_until = -math.inf if failed else self._monotonic() + KEPT_S


class ChainlinkPrices:
    """``PriceInterface`` and ``SeriesInterface`` of the feeds, by the readings of their chain."""

    def __init__(self, newest: Callable[[], Awaitable[Snapshot]], aggregators: Mapping[str, str]) -> None:
        self._newest = newest
        self._aggregators = aggregators

    async def get_prices(self, assets: list[str]) -> dict[str, Quoted | Unavailable]:
        """The feeds' prices in USD; a token without a feed is left out."""
        known = [asset for asset in assets if asset in self._aggregators]
        if not known:
            return {}
        answers = (await self._newest()).answers
        return {asset: feeds.price(asset, answers) for asset in known}

    async def get_series(self, names: list[SeriesName]) -> dict[SeriesName, SeriesValue | Unavailable]:
        """``chainlink:<TOKEN>USD:oracle`` of each feed; others are left out."""
        tokens = {name: name[1].removesuffix(feeds.USD) for name in names if name[0] == "chainlink"}
        told = await self.get_prices(list(tokens.values()))
        return {
            name: each if isinstance(each, Unavailable) else SeriesValue(each.price, each.observed_at)
            for name, token in tokens.items()
            if name == ("chainlink", f"{token}{feeds.USD}", "oracle") and (each := told.get(token)) is not None
        }

    async def check(self) -> list[Finding]:
        """What each feed says now; nothing where the chain cannot be read, which its own check tells."""
        try:
            told = await self.get_prices(list(self._aggregators))
        except VenueError:
            return []
        return [_finding(token, each) for token, each in told.items()]


def _finding(token: str, told: Quoted | Unavailable) -> Finding:
    subject = f"chainlink {token}"
    if isinstance(told, Unavailable):
        remedy = f"correct ethereum.chainlink_feeds.{token} in basis.yaml, or set it to null"
        return Finding(subject, Verdict.WARNING, told.describe(), remedy)
    message = f"{canonical(told.price)} {told.currency}, updated at {iso(told.observed_at)}"
    return Finding(subject, Verdict.OK, message)


def _series(snapshot: Snapshot, names: list[SeriesName]) -> Iterator[MarketObservation | Unavailable]:
    """What the reading says of those of the series that it has."""
    problems = dict(line.split(": ", 1) for line in snapshot.problems)
    values = {(each.venue, each.symbol, each.kind): each for each in snapshot.market}
    for name in names:
        label = ":".join(name)
        if name in values:
            yield values[name]
        elif label in problems:
            yield Unavailable(label, (problems[label],))


def _first(told: Iterator[MarketObservation | Unavailable]) -> MarketObservation | Unavailable | None:
    """The first value, else the first reason why there is none."""
    each = list(told)
    return next((one for one in each if isinstance(one, MarketObservation)), each[0] if each else None)


def _oracle_series(asset: str, registry: Registry) -> list[SeriesName]:
    """The asset's own price, then that of a token that is the same in a wrapping: WETH for ETH."""
    same = [
        token.symbol
        for token in registry.tokens.values()
        if token.kind is TokenKind.BASE and registry.valuation(token.symbol) == Valuation((), asset)
    ]
    symbols = dict.fromkeys([asset, *same])
    return [(batch.ORACLE_VENUE, f"{symbol}{feeds.USD}", "oracle") for symbol in symbols]


def _rate_series(name: str, registry: Registry) -> list[SeriesName]:
    match name.split(":"):
        case ["aave", reserve, ("liquidity" | "debt") as side]:
            return [(batch.RESERVE_VENUE, reserve, _INDICES[side])]
        case ["lst", *_]:
            tokens = [token for token in registry.tokens.values() if token.rate_name == name]
            return [(token.protocol, f"{token.symbol}ETH", "oracle") for token in tokens]
    return []
