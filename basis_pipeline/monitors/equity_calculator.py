"""Equity now, in share-class currency, from venue interfaces and a price provider: the live half of the valuation.

The arithmetic is the pipeline's: unrounded amount x price, converted by the price of the share-class currency, rounded
once per line, and every total a sum of lines. For the same holdings and prices both give the same digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, Protocol, cast

from basis_pipeline.domain.equity import of_sides
from basis_pipeline.domain.errors import InputError, MissingPriceError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import CONTEXT, ONE, ZERO, divide, multiply, quantize_value
from basis_pipeline.domain.tokens import SHARE_CLASSES, parse_instrument
from basis_pipeline.domain.valuation import USD
from basis_pipeline.monitors.asking_venues import Amounts, VenueHoldings, ask_venues
from basis_pipeline.monitors.equity_snapshot import AssetPosition, DebtPosition, EquitySnapshot, FuturesPosition
from basis_pipeline.monitors.venue_interfaces import Moment, MomentSource

__all__ = ["AssetPosition", "DebtPosition", "EquityCalculator", "EquitySnapshot", "FuturesPosition", "PriceSource"]

Contract = tuple[str, str]
"""(venue, instrument)"""


class _Unit(NamedTuple):
    """What one unit of an asset is worth, unrounded."""

    usd: Decimal
    share: Decimal


_Units = dict[str, _Unit]


class PriceSource(Protocol):
    """Where prices come from.

    Where perpetuals are held it must also have ``async get_marks(contracts)``: from (venue, instrument) to the mark in
    the contract's settlement coin.
    """

    async def get_prices(self, assets: list[str]) -> Mapping[str, Decimal]:
        """USD per ledger unit of each asset (per scaled unit for Aave tokens)."""
        ...


class _Line(NamedTuple):
    """A position with what it was made of, and its value in share-class currency."""

    asset: str
    amount: Decimal
    unit: _Unit
    value: Decimal
    position: AssetPosition | DebtPosition


_Kind = Callable[..., AssetPosition | DebtPosition]
_asset, _locked, _debt = AssetPosition, partial(AssetPosition, locked=True), DebtPosition


class EquityCalculator:
    """Calculates equity over all venues.

    ``venue_interfaces`` by venue, with the specification's methods: exchanges are asked for spot balances and margin,
    ``wallet`` (or ``alchemy``) and ``in_transit`` for balances, all others for aTokens, debt and staking tokens.
    An interface whose class has ``get_lst_balances`` is asked for that instead of the one staking token, and for
    ``get_other_holdings`` beside everything else. ``clock`` tells the time that a snapshot is stamped with.
    """

    def __init__(
        self, venue_interfaces: Mapping[str, Any], price_provider: PriceSource, *, clock: Clock | None = None
    ) -> None:
        self.venue_interfaces = venue_interfaces
        self.price_provider = price_provider
        self.clock = clock or _utc_now
        self._units: _Units = {}
        self._known: dict[tuple[str, _Kind], dict[str, _Line]] = {}

    async def calculate_equity(self, share_class: str) -> EquitySnapshot:
        """Everything that is held, valued now.

        ``VenueError`` names each venue that failed, ``MissingPriceError`` lists each asset without a usable price in
        ``failures``; there is no partial snapshot.
        """
        if share_class not in SHARE_CLASSES:
            raise InputError(f"share_class: {share_class!r} is not one of {', '.join(SHARE_CLASSES)}")
        moment = await self._moment()
        holdings = await ask_venues(moment.interfaces)
        units, marks = await self._prices(holdings, share_class)
        as_of = self.clock()
        return EquitySnapshot.model_validate(
            {
                "timestamp": as_of.timestamp(),
                "as_of": as_of,
                "share_class": share_class,
                "ledger_sequence": moment.ledger_sequence,
                **self._valued(holdings, units, marks),
            }
        )

    async def _moment(self) -> Moment:
        if callable(getattr(type(self.venue_interfaces), "moment", None)):
            return await cast(MomentSource, self.venue_interfaces).moment()
        return Moment(self.venue_interfaces, None)

    async def _prices(
        self, holdings: Sequence[VenueHoldings], share_class: str
    ) -> tuple[_Units, Mapping[Contract, Decimal]]:
        """What a unit of everything held is worth, and the marks of the perpetuals."""
        wanted = {
            asset for held in holdings for asset, _ in chain(held.assets, held.debts, held.locked, held.in_transit)
        }
        contracts = [(held.venue, name) for held in holdings for name, _ in held.positions]
        coins = {parse_instrument(name).quote for _, name in contracts}
        if not wanted and not coins:
            return {}, {}
        wanted |= coins - {USD}
        wanted.add(share_class)
        prices = await self.price_provider.get_prices(list(wanted))
        marks = await marks_of(self.price_provider, contracts) if contracts else {}
        missing = sorted(asset for asset in wanted if not _usable(asset, prices.get(asset)))
        missing += [f"{venue} {name}" for venue, name in contracts if not _usable(name, marks.get((venue, name)))]
        if missing:
            raise MissingPriceError(
                f"no usable price for {', '.join(missing)}; equity cannot be told without", tuple(missing)
            )
        used = {asset: prices[asset] for asset in wanted}
        if USD in coins:
            used[USD] = ONE
        return self._in_share_class(used, share_class), marks

    def _in_share_class(self, prices: Mapping[str, Decimal], share_class: str) -> _Units:
        """Units by asset; where prices did not change, those of the last time."""
        before, share = self._units, _Unit(prices[share_class], ONE)
        if before.get(share_class) == share:
            share = before[share_class]
        else:
            before = {}
        units = {share_class: share}
        for asset, price in prices.items():
            known = before.get(asset)
            if asset != share_class:
                units[asset] = known if known and known.usd == price else _Unit(price, divide(price, share.usd))
        self._units = units
        return units

    def _valued(
        self, holdings: Iterable[VenueHoldings], units: _Units, marks: Mapping[Contract, Decimal]
    ) -> dict[str, Any]:
        """Positions and figures of a snapshot. Each line is rounded once, and every figure is a sum of lines."""
        assets: list[_Line] = []
        debts: list[_Line] = []
        waiting: list[_Line] = []
        futures: list[FuturesPosition] = []
        by_venue: dict[str, Decimal] = {}
        by_asset: dict[str, Decimal] = {}
        owned = owed = profit = under_way = locked = ZERO
        with localcontext(CONTEXT):
            for held in holdings:
                venue = held.venue
                if held.assets or held.debts:
                    assets_here = self._lines(venue, _asset, held.assets, units)
                    debts_here = self._lines(venue, _debt, held.debts, units)
                    owned_here, owed_here = _sum(assets_here), _sum(debts_here)
                    by_venue[venue] = owned_here - owed_here
                    assets += assets_here
                    debts += debts_here
                    owned += owned_here
                    owed += owed_here
                if held.locked:
                    lines = self._lines(venue, _locked, held.locked, units)
                    waiting += lines
                    locked += _sum(lines)
                if held.in_transit:
                    under_way += _sum(self._lines(venue, _asset, held.in_transit, units))
                for name, position in held.positions:
                    mark, unit = marks[venue, name], units[parse_instrument(name).quote]
                    pnl = quantize_value((mark - position.entry_price) * position.size * unit.share)
                    profit += pnl
                    future = FuturesPosition(
                        instrument=name,
                        size=position.size,
                        venue=venue,
                        entry_price=position.entry_price,
                        mark=mark,
                        unrealized_pnl=pnl,
                    )
                    futures.append(future)
            for line in assets:
                by_asset[line.asset] = by_asset.get(line.asset, ZERO) + line.value
            for line in debts:
                by_asset[line.asset] = by_asset.get(line.asset, ZERO) - line.value
        figures = of_sides(owned, owed, profit, under_way, locked)
        return {
            "total_equity": figures.total_equity,
            "unrealized_pnl": figures.unrealized_pnl,
            "in_transit": figures.in_transit,
            "locked": figures.locked,
            "nav": figures.nav,
            "assets": [line.position for line in chain(assets, waiting)],
            "debts": [line.position for line in debts],
            "futures": futures,
            "equity_by_venue": by_venue,
            "equity_by_asset": by_asset,
        }

    def _lines(self, venue: str, kind: _Kind, amounts: Amounts, units: _Units) -> list[_Line]:
        """The amounts valued. What did not change, nor what a unit of it is worth, is not valued again."""
        known = self._known.setdefault((venue, kind), {})
        lines = []
        for asset, amount in amounts:
            line, unit = known.get(asset), units[asset]
            if line is None or line.unit is not unit or line.amount != amount:
                usd, value = quantize_value(multiply(amount, unit.usd)), quantize_value(multiply(amount, unit.share))
                position = kind(asset=asset, amount=amount, venue=venue, value_usd=usd, value=value)
                line = known[asset] = _Line(asset, amount, unit, value, position)
            lines.append(line)
        return lines


async def marks_of(source: PriceSource, contracts: list[Contract]) -> Mapping[Contract, Decimal]:
    """Marks by contract, none from a source of prices that has no marks."""
    get_marks = getattr(source, "get_marks", None)
    if get_marks is None:
        return {}
    return cast("Mapping[Contract, Decimal]", await get_marks(contracts))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _usable(name: str, price: object) -> bool:
    """Whether it is a positive price. ``InputError`` for one that is not exact."""
    if price is None:
        return False
    if not isinstance(price, Decimal):
        raise InputError(f"price of {name}: {price!r} is a {type(price).__name__}; give a Decimal")
    return price.is_finite() and price > 0


def _sum(lines: Iterable[_Line]) -> Decimal:
    return sum([line.value for line in lines], ZERO)
