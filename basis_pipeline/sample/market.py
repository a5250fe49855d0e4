"""Synthetic market data: seeded random walks in exact integers, shaped like real hourly files.

Nothing here was observed anywhere. Prices hover around a level, staking rates and Aave indices only grow, and every
number is an integer walk scaled by a power of ten. Runs under ``numbers.CONTEXT``, which ``generate`` sets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import NamedTuple

from basis_pipeline.domain.aave import index_to_ray
from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import HOUR, iso
from basis_pipeline.domain.numbers import ONE, ZERO, quantize_value
from basis_pipeline.domain.tokens import EXCHANGES

METHOD = "synthetic"
KING_BASKET = {"EIGEN": Decimal("5.0"), "ETHFI": Decimal("1.2")}
"""What one share of the synthetic reward vault holds; its price is the basket's."""

_HOURS_PER_YEAR = 8_760
_MILLION = 1_000_000

Values = tuple[Decimal, ...]
SeriesKey = tuple[str, str, str]
"""(venue, symbol, kind)"""


class _Walk(NamedTuple):
    """An hourly walk: its start in units of 10^-``places`` and its longest step in basis points."""

    start: int
    places: int
    step_bp: int


class _ReserveTerms(NamedTuple):
    """Where a reserve starts: both indices (10^-18), yearly rates (10^-6) and size (whole tokens)."""

    liquidity_index: int
    borrow_index: int
    supply_rate: int
    borrow_rate: int
    supplied: int
    borrowed: int


_TRADED = {"ETHUSDT": _Walk(333_000, 2, 55), "BTCUSDT": _Walk(9_480_000, 2, 40)}
_REWARDS = {"EIGEN": _Walk(36_100, 4, 90), "ETHFI": _Walk(19_400, 4, 90)}
_USDT_ORACLE = _Walk(99_990_000, 8, 1)
_STAKING = {"weETH": (1_055_120_000_000_000_000, 32_500), "wstETH": (1_191_340_000_000_000_000, 30_500)}
"""ETH per token (10^-18) at the start and yearly growth (10^-6)."""
_RESERVES = {
    "USDT": _ReserveTerms(
        1_112_340_000_000_000_000, 1_151_870_000_000_000_000, 52_000, 66_000, 4_100_000_000, 3_200_000_000
    ),
    "WETH": _ReserveTerms(1_041_230_000_000_000_000, 1_058_410_000_000_000_000, 18_500, 24_500, 1_900_000, 1_600_000),
    "WBTC": _ReserveTerms(1_000_910_000_000_000_000, 1_017_760_000_000_000_000, 300, 3_900, 41_000, 3_300),
    "weETH": _ReserveTerms(1_000_120_000_000_000_000, 1_002_930_000_000_000_000, 200, 5_100, 1_700_000, 21_000),
    "wstETH": _ReserveTerms(1_000_470_000_000_000_000, 1_008_260_000_000_000_000, 400, 4_800, 1_100_000, 30_000),
}


@dataclass(frozen=True)
class SyntheticMarket:
    """Everything the generator knows about the world: what is written to files, and the funding rates besides.

    ``reserves`` holds the columns of the reserve file by reserve; ``funding`` the rate per settlement by
    (venue, symbol), positive when longs pay shorts. An instant is answered by the full hour at or before it.
    """

    start: datetime
    hours: int
    prices: Mapping[SeriesKey, Values]
    reserves: Mapping[str, Mapping[str, Values]]
    funding: Mapping[tuple[str, str], Values]

    def instants(self) -> list[datetime]:
        """Every hour there is data for."""
        return [self.start + HOUR * n for n in range(self.hours)]

    def price(self, venue: str, symbol: str, kind: str, at: datetime) -> Decimal:
        """What a series says at an instant, in the quote currency of its symbol."""
        return self.prices[venue, symbol, kind][self._row(at)]

    def funding_rate(self, venue: str, symbol: str, at: datetime) -> Decimal:
        """The share of the notional that longs pay shorts at a settlement."""
        return self.funding[venue, symbol][self._row(at)]

    def staking_rate(self, token: str, at: datetime) -> Decimal:
        """ETH per unit of a staking token; 1 for the rebasing ones and for WETH."""
        return self.price("aave_oracle", f"{token}ETH", "oracle", at) if token in _STAKING else ONE

    def index_ray(self, reserve: str, column: str, at: datetime) -> int:
        """An index of a reserve as the contract's integer."""
        return index_to_ray(self.reserves[reserve][column][self._row(at)])

    def reward_price(self, token: str, at: datetime) -> Decimal:
        """USDT per EIGEN or ETHFI."""
        return self.price("derived", f"{token}USDT", "spot", at)

    def _row(self, at: datetime) -> int:
        row = (at - self.start) // HOUR
        if not 0 <= row < self.hours:
            raise InputError(f"at: {iso(at)} is outside the {self.hours} synthetic hours from {iso(self.start)}")
        return row


def synthesize(seed: int, start: datetime, hours: int) -> SyntheticMarket:
    """The world of one seed: the same seed and start give the same numbers, and more hours only continue them."""

    def rng(*series: str) -> Random:
        # A stream of its own for each series, so that none depends on how much of another was drawn.
        return Random(":".join((str(seed), *series)))

    common = _draws(rng("common"), hours)
    prices: dict[SeriesKey, Values] = {}
    for symbol, walk in _TRADED.items():
        mids = _walk(rng(symbol), walk, common)
        for venue in EXCHANGES:
            prices[venue, symbol, "spot"] = _quoted(rng(venue, symbol, "spot"), mids, walk.places, -1, 1)
            prices[venue, symbol, "perp"] = _quoted(rng(venue, symbol, "perp"), mids, walk.places, -1, 4)
    for token, walk in _REWARDS.items():
        prices["derived", f"{token}USDT", "spot"] = _scaled(_walk(rng(token), walk, common), walk.places)
    prices["modelled", "KINGUSDT", "spot"] = tuple(
        sum((share * prices["derived", f"{token}USDT", "spot"][n] for token, share in KING_BASKET.items()), ZERO)
        for n in range(hours)
    )
    usdt = _walk(rng("USDT"), _USDT_ORACLE, [0] * hours)
    prices["aave_oracle", "USDTUSD", "oracle"] = _scaled(usdt, _USDT_ORACLE.places)
    for token, (rate, yearly) in _STAKING.items():
        growth = _around(rng(token), yearly, hours)
        prices["aave_oracle", f"{token}ETH", "oracle"] = _scaled(_growing(rate, growth), 18)
    usd = _in_usd(prices)
    return SyntheticMarket(
        start,
        hours,
        prices,
        {symbol: _reserve(rng("aave", symbol), terms, usd[symbol]) for symbol, terms in _RESERVES.items()},
        {
            (venue, symbol): _scaled([draw * 12 // 10 + 80 for draw in _draws(rng("funding", venue, symbol), hours)], 6)
            for venue in EXCHANGES
            for symbol in _TRADED
        },
    )


def _draws(rng: Random, hours: int) -> list[int]:
    return [rng.randint(-100, 100) for _ in range(hours)]


def _walk(rng: Random, walk: _Walk, common: Sequence[int]) -> list[int]:
    """Integers that wander around their start; ``common`` (percent of a full step) moves all walks together."""
    value, values = walk.start, []
    for shared in common:
        values.append(value)
        step = walk.step_bp * (60 * shared + 40 * rng.randint(-100, 100))
        value += value * step // 100_000_000 + (walk.start - value) * 4 // 1_000
    return values


def _around(rng: Random, rate: int, hours: int) -> list[int]:
    """A yearly rate (10^-6) that changes a little every hour and stays within a tenth of its level."""
    return [rate * rng.randint(90, 110) // 100 for _ in range(hours)]


def _growing(start: int, yearly_rates: Sequence[int]) -> list[int]:
    """Integers that grow by a yearly rate (10^-6) per hour and never fall."""
    value, values = start, []
    for rate in yearly_rates:
        values.append(value)
        value += value * rate // (_MILLION * _HOURS_PER_YEAR)
    return values


def _quoted(rng: Random, mids: Sequence[int], places: int, low_bp: int, high_bp: int) -> Values:
    """What one venue quotes: the mid price and between ``low_bp`` and ``high_bp`` basis points more."""
    return _scaled([mid + mid * rng.randint(low_bp, high_bp) // 10_000 for mid in mids], places)


def _scaled(values: Sequence[int], places: int) -> Values:
    return tuple(Decimal(value).scaleb(-places) for value in values)


def _in_usd(prices: Mapping[SeriesKey, Values]) -> dict[str, Values]:
    """The oracle's USD price of each reserve."""
    usdt = prices["aave_oracle", "USDTUSD", "oracle"]
    usd = {"USDT": usdt}
    for reserve, symbol in (("WETH", "ETHUSDT"), ("WBTC", "BTCUSDT")):
        usd[reserve] = _products(prices["binance", symbol, "spot"], usdt)
    for token in _STAKING:
        usd[token] = _products(prices["aave_oracle", f"{token}ETH", "oracle"], usd["WETH"])
    return usd


def _products(left: Values, right: Values) -> Values:
    return tuple(quantize_value(a * b) for a, b in zip(left, right, strict=True))


def _reserve(rng: Random, terms: _ReserveTerms, price_usd: Values) -> dict[str, Values]:
    """The columns of one reserve; totals grow with their own interest, nobody else comes or goes."""
    hours = len(price_usd)
    rates = [(rng.randint(90, 110), rng.randint(90, 110)) for _ in range(hours)]
    supply = [terms.supply_rate * percent // 100 for percent, _ in rates]
    borrow = [terms.borrow_rate * percent // 100 for _, percent in rates]
    return {
        "liquidity_index": _scaled(_growing(terms.liquidity_index, supply), 18),
        "variable_borrow_index": _scaled(_growing(terms.borrow_index, borrow), 18),
        "liquidity_rate": _scaled(supply, 6),
        "variable_borrow_rate": _scaled(borrow, 6),
        "total_atoken": _scaled(_growing(terms.supplied * _MILLION, supply), 6),
        "total_variable_debt": _scaled(_growing(terms.borrowed * _MILLION, borrow), 6),
        "price_usd": price_usd,
    }
