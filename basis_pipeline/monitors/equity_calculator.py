"""Equity now, in share-class currency, from venue interfaces and a price provider: the live half of the valuation.

The arithmetic is the pipeline's: unrounded amount x price, converted by the price of the share-class currency, rounded
once per line, and every total a sum of lines. For the same holdings and prices both give the same digits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache, partial
from itertools import chain
from operator import methodcaller
from types import CoroutineType
from typing import Any, NamedTuple, Protocol, cast

from pydantic import BaseModel, ConfigDict

from basis_pipeline.domain.equity import of_sides
from basis_pipeline.domain.errors import BasisError, InputError, MissingPriceError, VenueError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.numbers import CONTEXT, ONE, ZERO, divide, multiply, parse_decimal, quantize_value
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, SHARE_CLASSES, VENUE_ALIASES, WALLET, parse_instrument
from basis_pipeline.domain.valuation import USD
from basis_pipeline.monitors.venue_interfaces import Moment, MomentSource, OpenPosition, OtherHoldings

Contract = tuple[str, str]
"""(venue, instrument)"""

_Amounts = list[tuple[str, Decimal]]


class _Unit(NamedTuple):
    """What one unit of an asset is worth, unrounded."""

    usd: Decimal
    share: Decimal


_Units = dict[str, _Unit]

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


class _Line(NamedTuple):
    """A position with what it was made of, and its value in share-class currency."""

    asset: str
    amount: Decimal
    unit: _Unit
    value: Decimal
    position: AssetPosition | DebtPosition


class _Holdings:
    """What one venue said, zeros left out: positive amounts by asset (signed under way), and perpetuals."""

    __slots__ = ("assets", "debts", "in_transit", "locked", "positions", "venue")

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.assets: _Amounts = []
        self.debts: _Amounts = []
        self.locked: _Amounts = []
        self.in_transit: _Amounts = []
        self.positions: list[tuple[str, OpenPosition]] = []

    def hold(self, amounts: object) -> None:
        """What is held; what is negative is owed."""
        for row in _exact(amounts):
            if row[1].is_signed():
                self.debts.append((row[0], row[1].copy_negate()))
            else:
                self.assets.append(row)

    def owe(self, amounts: object) -> None:
        """What is owed, told as positive amounts."""
        for asset, amount in _exact(amounts):
            if amount.is_signed():
                raise InputError(f"{asset}: a debt of {amount} is negative; debts are told as positive amounts")
            self.debts.append((asset, amount))

    def borrow(self, margin: object) -> None:
        """What a margin account owes. A balance below zero is borrowing, which counts once where it is told of, too."""
        negative, self.debts = self.debts, []
        self.owe(_borrowings(margin))
        if negative:
            told = {asset for asset, _ in self.debts}
            self.debts += [debt for debt in negative if debt[0] not in told]

    def move(self, amounts: object) -> None:
        """What is under way between venues."""
        self.in_transit += _exact(amounts)

    def hold_others(self, others: OtherHoldings) -> None:
        """What the specification's methods have no place for."""
        self.hold(others.assets)
        self.owe(others.debts)
        self.locked += _exact(others.locked)
        self.positions += [(name, held) for name, held in others.positions.items() if held.size]


def _exact(amounts: object) -> _Amounts:
    """The amounts that are not zero."""
    if not isinstance(amounts, Mapping):
        raise InputError(f"{type(amounts).__name__} is not a mapping from assets to amounts")
    return [(asset, amount) for asset, told in amounts.items() if (amount := parse_decimal(told, asset))]


_Question = tuple[Callable[[Any], Any], Callable[[_Holdings, Any], None]]
"""How an interface is asked, and what becomes of its answer."""
_AWAITABLE = (CoroutineType, Awaitable)
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
        holdings = await _gather(moment.interfaces)
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
        if _offers(type(self.venue_interfaces), "moment"):
            return await cast(MomentSource, self.venue_interfaces).moment()
        return Moment(self.venue_interfaces, None)

    async def _prices(
        self, holdings: Sequence[_Holdings], share_class: str
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
        self, holdings: Iterable[_Holdings], units: _Units, marks: Mapping[Contract, Decimal]
    ) -> dict[str, Any]:
        """Positions and figures of a snapshot. Each line is rounded once, and every figure is a sum of lines."""
        assets: list[_Line] = []
        debts: list[_Line] = []
        waiting: list[_Line] = []
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
                    unit = units[parse_instrument(name).quote]
                    profit += quantize_value((marks[venue, name] - position.entry_price) * position.size * unit.share)
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
            "equity_by_venue": by_venue,
            "equity_by_asset": by_asset,
        }

    def _lines(self, venue: str, kind: _Kind, amounts: _Amounts, units: _Units) -> list[_Line]:
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


async def _gather(interfaces: Mapping[str, Any]) -> list[_Holdings]:
    """What all venues hold; ``VenueError`` names each that failed.

    They are asked one after the other until one has to wait. At that moment all that are left are asked as well, each
    in a task of its own: where nobody waits, tasks would cost more than the answers.
    """
    answers: dict[str, _Holdings] = {}
    failures: dict[str, VenueError] = {}
    left = deque(interfaces)

    async def ask(venue: str) -> None:
        try:
            answers[venue] = await _ask(venue, interfaces[venue])
        except VenueError as error:
            failures[venue] = error

    async with asyncio.TaskGroup() as tasks:

        def ask_all() -> None:
            while left:
                tasks.create_task(ask(left.popleft()))

        as_soon_as_one_waits = asyncio.get_running_loop().call_soon(ask_all)
        try:
            while left:
                await ask(left.popleft())
        finally:
            as_soon_as_one_waits.cancel()
    if failures:
        failed = [failures[venue] for venue in interfaces if venue in failures]
        raise VenueError(f"{'; '.join(map(str, failed))}; equity cannot be told without") from failed[0].__cause__
    return [answers[venue] for venue in interfaces]


async def _ask(venue: str, interface: Any) -> _Holdings:
    """What the venue holds, or ``VenueError`` with its name. It is someone else's code, so that anything may fail."""
    held, kind = _Holdings(venue), cast(Any, type(interface))
    try:
        for question, take in _questions(venue, kind):
            answer = question(interface)
            take(held, await answer if isinstance(answer, _AWAITABLE) else answer)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise VenueError(f"{venue}: was cancelled from within") from error
    except Exception as error:
        raise VenueError(f"{venue}: {_describe(error)}") from error
    return held


def _describe(error: Exception) -> str:
    """Our own errors as they are; of others only the kind, because their text may hold an address with a key."""
    return str(error) if isinstance(error, BasisError) else f"failed with {type(error).__name__}"


@lru_cache(maxsize=256)
def _questions(venue: str, interface: type) -> tuple[_Question, ...]:
    """What is asked of an interface, and what becomes of each answer.

    The venues of the specification are asked its methods for them, whatever else a plain interface has. An object that
    answers to any name would be asked for all, so that only what its class has counts.
    """
    name = VENUE_ALIASES.get(venue, venue)
    beside = _offers(interface, "get_other_holdings")
    if name in EXCHANGES:
        found = [_question("get_spot_balances", _Holdings.hold), _question("get_margin_info", _Holdings.borrow)]
    elif name in (WALLET, IN_TRANSIT):
        found = [_question("get_balances", _Holdings.move if name == IN_TRANSIT else _Holdings.hold)]
    else:
        specified = _SPECIFIED.get(venue, ())
        freely = beside or not specified
        found = []
        if "get_a_tokens" in specified or (freely and _offers(interface, "get_a_tokens")):
            found.append(_question("get_a_tokens", _Holdings.hold))
        if "get_debt_tokens" in specified or (freely and _offers(interface, "get_debt_tokens")):
            found.append(_question("get_debt_tokens", _Holdings.owe))
        if _offers(interface, "get_lst_balances"):
            found.append(_question("get_lst_balances", _Holdings.hold))
        elif "get_lst_balance" in specified or (freely and _offers(interface, "get_lst_balance")):
            found.append((_one_staking_token, _Holdings.hold))
        if not found:
            raise InputError(
                "has neither get_a_tokens nor get_debt_tokens nor get_lst_balance; nothing can be asked of it"
            )
    if beside:
        found.append(_question("get_other_holdings", _Holdings.hold_others))
    return tuple(found)


def _question(method: str, take: Callable[[_Holdings, Any], None]) -> _Question:
    return methodcaller(method), take


async def _one_staking_token(interface: Any) -> dict[str, Any]:
    balance = await _answer(interface.get_lst_balance())
    return {await _answer(interface.get_lst_token()): balance} if balance else {}


async def _answer(answer: Any) -> Any:
    """The answer of a method that may or may not be a coroutine, as in the specification."""
    return await answer if isinstance(answer, _AWAITABLE) else answer


def _offers(interface: type, method: str) -> bool:
    return callable(getattr(interface, method, None))


def _borrowings(margin: object) -> object:
    """What is borrowed by asset."""
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


def _sum(lines: Iterable[_Line]) -> Decimal:
    return sum([line.value for line in lines], ZERO)
