"""Equity now, in share-class currency, from venue interfaces and a price provider: the live half of the valuation.

The arithmetic is the pipeline's: unrounded amount x price, converted by the price of the share-class currency, rounded
once per line, and every total a sum of lines. For the same holdings and prices both give the same digits.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Protocol, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from basis_pipeline.domain.equity import by_asset, by_venue, total
from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError, VenueError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import ONE, divide, multiply, parse_decimal, quantize_value, subtract
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, SHARE_CLASSES, VENUE_ALIASES, WALLET, parse_instrument
from basis_pipeline.domain.valuation import USD, Line, Side
from basis_pipeline.monitors.venue_interfaces import Moment, MomentSource, OpenPosition

Contract = tuple[str, str]
"""(venue, instrument)"""

_Name = TypeVar("_Name", str, Contract)

_SPECIFIED = {
    "aave": ("get_a_tokens", "get_debt_tokens"),
    "lido": ("get_lst_balance",),
    "etherfi": ("get_lst_balance",),
}


class PriceSource(Protocol):
    """Where prices come from.

    Where perpetuals are held it must also have ``async get_marks(contracts)``: from (venue, instrument) to the mark in
    the contract's settlement coin.
    """

    async def get_prices(self, assets: list[str]) -> Mapping[str, Decimal]:
        """USD per ledger unit of each asset (per scaled unit for Aave tokens)."""
        ...


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class AssetPosition(_Model):
    """One asset: ``amount`` in ledger units, ``value`` in share-class currency.

    A ``locked`` one is listed with its value and is outside ``total_equity``.
    """

    asset: str
    amount: Decimal
    venue: str
    locked: bool = False
    value_usd: Decimal | None = None
    value: Decimal | None = None


class DebtPosition(_Model):
    """One debt; amount (ledger units), USD and share-class value are positive."""

    asset: str
    amount: Decimal
    venue: str
    value_usd: Decimal | None = None
    value: Decimal | None = None


class EquitySnapshot(_Model):
    """Equity at one moment; every figure without unit in its name is share-class currency.

    ``timestamp`` is ``as_of`` in Unix seconds. ``ledger_sequence`` is None where the holdings are not the ledger's.
    """

    timestamp: float
    as_of: datetime
    share_class: str
    total_equity: Decimal
    unrealized_pnl: Decimal
    in_transit: Decimal
    locked: Decimal
    nav: Decimal
    assets: list[AssetPosition]
    debts: list[DebtPosition]
    equity_by_venue: dict[str, Decimal]
    equity_by_asset: dict[str, Decimal]
    ledger_sequence: int | None = None


@dataclass
class _Holdings:
    """What one venue said, zeros left out: (side, asset, positive amount; signed under way) and perpetuals."""

    venue: str
    balances: list[tuple[Side, str, Decimal]] = field(default_factory=list)
    positions: list[tuple[str, OpenPosition]] = field(default_factory=list)

    def add(self, side: Side, amounts: object) -> None:
        if not isinstance(amounts, Mapping):
            raise InputError(f"{type(amounts).__name__} is not a mapping from assets to amounts")
        for asset, given in amounts.items():
            amount = parse_decimal(given, str(asset))
            if not amount:
                continue
            if side is Side.ASSET and amount < 0:
                self.balances.append((Side.DEBT, asset, amount.copy_negate()))
            elif side is Side.DEBT and amount < 0:
                raise InputError(f"{asset}: a debt of {amount} is negative; debts are told as positive amounts")
            else:
                self.balances.append((side, asset, amount))


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
        self._clock = clock or _utc_now

    async def calculate_equity(self, share_class: str) -> EquitySnapshot:
        """Everything that is held, valued now.

        ``VenueError`` names each venue that failed, ``MissingPriceError`` lists each asset without a usable price in
        ``failures``; there is no partial snapshot.
        """
        if share_class not in SHARE_CLASSES:
            raise InputError(f"share_class: {share_class!r} is not one of {', '.join(SHARE_CLASSES)}")
        moment = await self._moment()
        holdings = await _gather(moment.interfaces)
        units, marks = await self._prices(holdings, share_class)
        as_of = self._clock()
        lines = [line for held in holdings for line in _lines(held, share_class, units, marks)]
        equity = total(lines)
        return EquitySnapshot(
            timestamp=as_of.timestamp(),
            as_of=as_of,
            share_class=share_class,
            total_equity=equity.total_equity,
            unrealized_pnl=equity.unrealized_pnl,
            in_transit=equity.in_transit,
            locked=equity.locked,
            nav=equity.nav,
            assets=[_asset(line) for line in lines if line.side in (Side.ASSET, Side.LOCKED)],
            debts=[_debt(line) for line in lines if line.side == Side.DEBT],
            equity_by_venue=by_venue(lines),
            equity_by_asset=by_asset(lines),
            ledger_sequence=moment.ledger_sequence,
        )

    async def _moment(self) -> Moment:
        if _offers(self.venue_interfaces, "moment"):
            return await cast(MomentSource, self.venue_interfaces).moment()
        return Moment(self.venue_interfaces, None)

    async def _prices(
        self, holdings: Sequence[_Holdings], share_class: str
    ) -> tuple[Mapping[str, Decimal], Mapping[Contract, Decimal]]:
        """USD per unit of everything held, and the marks of the perpetuals."""
        assets = {asset for held in holdings for _, asset, _ in held.balances}
        contracts = [(held.venue, name) for held in holdings for name, _ in held.positions]
        assets |= {parse_instrument(name).quote for _, name in contracts} - {USD}
        if not assets and not contracts:
            return {}, {}
        wanted = sorted({*assets, share_class})
        units = await self.price_provider.get_prices(wanted)
        marks = await self._marks(contracts) if contracts else {}
        missing = _unusable(wanted, units) + [f"{venue} {name}" for venue, name in _unusable(contracts, marks)]
        if missing:
            raise MissingPriceError(
                f"no usable price for {', '.join(missing)}; equity cannot be told without", tuple(missing)
            )
        return units, marks

    async def _marks(self, contracts: list[Contract]) -> Mapping[Contract, Decimal]:
        get_marks = getattr(self.price_provider, "get_marks", None)
        if get_marks is None:
            return {}
        return cast("Mapping[Contract, Decimal]", await get_marks(contracts))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _unusable(wanted: Iterable[_Name], found: Mapping[_Name, Decimal]) -> list[_Name]:
    """The names without a positive price. ``InputError`` for a price that is not exact."""
    missing = []
    for name in wanted:
        price = found.get(name)
        if price is not None and not isinstance(price, Decimal):
            raise InputError(f"price of {name}: {price!r} is a {type(price).__name__}; give a Decimal")
        if price is None or not price.is_finite() or price <= 0:
            missing.append(name)
    return missing


async def _gather(interfaces: Mapping[str, Any]) -> list[_Holdings]:
    """What all venues hold, asked at the same time; ``VenueError`` names those that failed."""
    venues = list(interfaces)
    answers = await asyncio.gather(*(_ask(venue, interfaces[venue]) for venue in venues), return_exceptions=True)
    found = [answer for answer in answers if isinstance(answer, _Holdings)]
    failed = {v: answer for v, answer in zip(venues, answers, strict=True) if isinstance(answer, BaseException)}
    if failed:
        told = "; ".join(f"{venue}: {_describe(error)}" for venue, error in failed.items())
        raise VenueError(f"{told}; equity cannot be told without") from next(iter(failed.values()))
    return found


def _describe(error: BaseException) -> str:
    """Our own errors as they are; of others only the kind, because their text may hold an address with a key."""
    return str(error) if isinstance(error, BasisError) else f"failed with {type(error).__name__}"


async def _ask(venue: str, interface: Any) -> _Holdings:
    held = _Holdings(venue)
    name = VENUE_ALIASES.get(venue, venue)
    if name in EXCHANGES:
        held.add(Side.ASSET, await _answer(interface.get_spot_balances()))
        held.add(Side.DEBT, _borrowings(await _answer(interface.get_margin_info())))
    elif name in (WALLET, IN_TRANSIT):
        side = Side.IN_TRANSIT if name == IN_TRANSIT else Side.ASSET
        held.add(side, await _answer(interface.get_balances()))
    else:
        await _ask_protocol(held, interface)
    if _offers(interface, "get_other_holdings"):
        others = await _answer(interface.get_other_holdings())
        held.add(Side.ASSET, others.assets)
        held.add(Side.DEBT, others.debts)
        held.add(Side.LOCKED, others.locked)
        held.positions += [(name, position) for name, position in others.positions.items() if position.size]
    return held


async def _ask_protocol(held: _Holdings, interface: Any) -> None:
    """The venues of the specification are asked its methods for them, whatever else a plain interface has."""
    specified = _SPECIFIED.get(held.venue, ())
    freely = not specified or _offers(interface, "get_other_holdings")

    def due(method: str) -> bool:
        return method in specified or (freely and _offers(interface, method))

    several = _offers(interface, "get_lst_balances")
    if not (several or any(map(due, ("get_a_tokens", "get_debt_tokens", "get_lst_balance")))):
        raise InputError("has neither get_a_tokens nor get_debt_tokens nor get_lst_balance; nothing can be asked of it")
    if due("get_a_tokens"):
        held.add(Side.ASSET, await _answer(interface.get_a_tokens()))
    if due("get_debt_tokens"):
        held.add(Side.DEBT, await _answer(interface.get_debt_tokens()))
    if several:
        held.add(Side.ASSET, await _answer(interface.get_lst_balances()))
    elif due("get_lst_balance") and (balance := await _answer(interface.get_lst_balance())):
        held.add(Side.ASSET, {await _answer(interface.get_lst_token()): balance})


def _offers(interface: Any, method: str) -> bool:
    """Whether its class has the method. An object that answers to any name would otherwise be asked for all."""
    return callable(getattr(type(interface), method, None))


async def _answer(answer: Any) -> Any:
    """The answer of a method that may or may not be a coroutine, as in the specification."""
    return await answer if inspect.isawaitable(answer) else answer


def _borrowings(margin: Any) -> object:
    """What is borrowed by asset: all of ``borrowings`` where it is told, else the one that the specification has."""
    if not isinstance(margin, Mapping):
        raise InputError(f"get_margin_info: {type(margin).__name__} is not a mapping")
    if "borrowings" in margin:
        return margin["borrowings"]
    amount = margin.get("borrowed_amount")
    if not amount:
        return {}
    if "borrowed_asset" not in margin:
        raise InputError(f"get_margin_info: borrowed_amount is {amount}, but borrowed_asset is missing")
    return {margin["borrowed_asset"]: amount}


def _lines(
    held: _Holdings, share_class: str, units: Mapping[str, Decimal], marks: Mapping[Contract, Decimal]
) -> Iterable[Line]:
    """Each holding as the pipeline's line: a debt's value is negative, a perpetual's its unrealized profit."""
    for side, asset, amount in held.balances:
        signed = amount.copy_negate() if side is Side.DEBT else amount
        yield _line(held.venue, asset, side, amount, signed, asset, share_class, units)
    for name, position in held.positions:
        profit = multiply(subtract(marks[held.venue, name], position.entry_price), position.size)
        coin = parse_instrument(name).quote
        yield _line(held.venue, name, Side.PERP, position.size, profit, coin, share_class, units)


def _line(
    venue: str,
    name: str,
    side: Side,
    amount: Decimal,
    worth: Decimal,
    coin: str,
    share_class: str,
    units: Mapping[str, Decimal],
) -> Line:
    """The line of ``worth`` units of ``coin``."""
    price = ONE if coin == USD else units[coin]
    in_share_class = ONE if coin == share_class else divide(price, units[share_class])
    usd, value = quantize_value(multiply(worth, price)), quantize_value(multiply(worth, in_share_class))
    return Line(venue, venue, name, coin, side.value, amount, ONE, price, usd, value)


def _asset(line: Line) -> AssetPosition:
    return AssetPosition(
        asset=line.token,
        amount=line.amount,
        venue=line.venue,
        locked=line.side == Side.LOCKED,
        value_usd=line.value_usd,
        value=line.value,
    )


def _debt(line: Line) -> DebtPosition:
    return DebtPosition(
        asset=line.token,
        amount=line.amount,
        venue=line.venue,
        value_usd=line.value_usd.copy_negate(),
        value=line.value.copy_negate(),
    )
