"""What venues hold: interfaces with the specification's methods asked at the same time, and their answers checked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from functools import lru_cache
from operator import methodcaller
from types import CoroutineType
from typing import Any, cast

from basis_pipeline.domain.errors import BasisError, InputError, VenueError
from basis_pipeline.domain.numbers import parse_decimal
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, VENUE_ALIASES, WALLET
from basis_pipeline.monitors.venue_interfaces import OpenPosition, OtherHoldings

Amounts = list[tuple[str, Decimal]]
"""By asset, zeros left out."""

_SPECIFIED = {
    "aave": ("get_a_tokens", "get_debt_tokens"),
    "lido": ("get_lst_balance",),
    "etherfi": ("get_lst_balance",),
}


class VenueHoldings:
    """What one venue said, zeros left out: positive amounts by asset (signed under way), and perpetuals."""

    __slots__ = ("assets", "debts", "in_transit", "locked", "positions", "venue")

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.assets: Amounts = []
        self.debts: Amounts = []
        self.locked: Amounts = []
        self.in_transit: Amounts = []
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
        """What a margin account owes, after what it holds.

        A debt that is told in several ways, as a balance below zero for one, is one debt of the largest amount told.
        """
        negative, self.debts = self.debts, []
        for told in _borrowings(margin):
            self.owe(told)
        self.debts += negative
        if len(self.debts) > 1:
            owed: dict[str, Decimal] = {}
            for asset, amount in self.debts:
                owed[asset] = max(amount, owed.get(asset, amount))
            self.debts = list(owed.items())

    def move(self, amounts: object) -> None:
        """What is under way between venues."""
        self.in_transit += _exact(amounts)

    def hold_others(self, others: OtherHoldings) -> None:
        """What the specification's methods have no place for."""
        self.hold(others.assets)
        self.owe(others.debts)
        self.locked += _exact(others.locked)
        self.positions += [(name, held) for name, held in others.positions.items() if held.size]


def _exact(amounts: object) -> Amounts:
    """The amounts that are not zero."""
    if not isinstance(amounts, Mapping):
        raise InputError(f"{type(amounts).__name__} is not a mapping from assets to amounts")
    return [(asset, amount) for asset, told in amounts.items() if (amount := parse_decimal(told, asset))]


_Question = tuple[Callable[[Any], Any], Callable[[VenueHoldings, Any], None]]
"""How an interface is asked, and what becomes of its answer."""
_AWAITABLE = (CoroutineType, Awaitable)


async def ask_venues(interfaces: Mapping[str, Any]) -> list[VenueHoldings]:
    """What all venues hold; ``VenueError`` names each that failed.

    They are asked one after the other until one has to wait. At that moment all that are left are asked as well, each
    in a task of its own: where nobody waits, tasks would cost more than the answers.
    """
    interfaces = dict(interfaces)
    answers: dict[str, VenueHoldings] = {}
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


async def _ask(venue: str, interface: Any) -> VenueHoldings:
    """What the venue holds, or ``VenueError`` with its name. It is someone else's code, so that anything may fail."""
    held, kind = VenueHoldings(venue), cast(Any, type(interface))
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
    lower = venue.strip().lower()
    name = VENUE_ALIASES.get(lower, lower)
    beside = _offers(interface, "get_other_holdings")
    if name in EXCHANGES:
        found = [_question("get_spot_balances", VenueHoldings.hold), _question("get_margin_info", VenueHoldings.borrow)]
    elif name in (WALLET, IN_TRANSIT):
        found = [_question("get_balances", VenueHoldings.move if name == IN_TRANSIT else VenueHoldings.hold)]
    else:
        specified = _SPECIFIED.get(name, ())
        freely = beside or not specified
        found = []
        if "get_a_tokens" in specified or (freely and _offers(interface, "get_a_tokens")):
            found.append(_question("get_a_tokens", VenueHoldings.hold))
        if "get_debt_tokens" in specified or (freely and _offers(interface, "get_debt_tokens")):
            found.append(_question("get_debt_tokens", VenueHoldings.owe))
        if _offers(interface, "get_lst_balances"):
            found.append(_question("get_lst_balances", VenueHoldings.hold))
        elif "get_lst_balance" in specified or (freely and _offers(interface, "get_lst_balance")):
            found.append((_one_staking_token, VenueHoldings.hold))
        if not found:
            raise InputError(
                "has neither get_a_tokens nor get_debt_tokens nor get_lst_balance; nothing can be asked of it"
            )
    if beside:
        found.append(_question("get_other_holdings", VenueHoldings.hold_others))
    return tuple(found)


def _question(method: str, take: Callable[[VenueHoldings, Any], None]) -> _Question:
    return methodcaller(method), take


async def _one_staking_token(interface: Any) -> dict[str, Any]:
    balance = await _answer(interface.get_lst_balance())
    if not balance:
        return {}
    token = await _answer(interface.get_lst_token())
    if not isinstance(token, str):
        raise InputError(f"get_lst_token: {token!r} is no token, but get_lst_balance is {balance}")
    return {token: balance}


async def _answer(answer: Any) -> Any:
    """The answer of a method that may or may not be a coroutine, as in the specification."""
    return await answer if isinstance(answer, _AWAITABLE) else answer


def _offers(interface: type, method: str) -> bool:
    return callable(getattr(interface, method, None))


def _borrowings(margin: object) -> list[object]:
    """What is borrowed by asset, in each way that it is told."""
    if not isinstance(margin, Mapping):
        raise InputError(f"get_margin_info: {type(margin).__name__} is not a mapping")
    told = [margin["borrowings"]] if "borrowings" in margin else []
    amount = margin.get("borrowed_amount")
    if amount and parse_decimal(amount, "get_margin_info: borrowed_amount"):
        asset = margin.get("borrowed_asset")
        if not isinstance(asset, str):
            raise InputError(f"get_margin_info: borrowed_amount is {amount}, but borrowed_asset is {asset!r}")
        told.append({asset: amount})
    return told
