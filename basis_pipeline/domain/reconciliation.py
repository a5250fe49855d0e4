"""Tracked against observed: what an account holds by the ledger, what its venue says, and what follows from it.

Pure. ``track`` takes from the ledger what it says of one account at a reading's time and what may not have reached the
venue yet, ``compare`` gives every key exactly one outcome, ``adjustment`` is the entry that brings the ledger to the
venue. Which keys deserve one is decided by who reads the venue twice: ``steps.reconciliation``.

Keys are tokens, instruments (``ETHUSDT-PERP``), an instrument's entry price (``ETHUSDT-PERP/entry_price``) and assets
of the venue that the registry does not know (``UNMAPPED:<name>``), which are reported and never adjusted.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from basis_pipeline.domain.changes import Action, BalanceUpdate, Trigger
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.numbers import VALUE_LIMIT, ZERO, add, decimal_places, multiply, quantize_value, subtract
from basis_pipeline.domain.observations import Account, ObservedPosition, Reading
from basis_pipeline.domain.positions import Book, PerpPosition
from basis_pipeline.domain.tokens import EXCHANGES, IN_TRANSIT, Registry, parse_instrument

RECONCILIATION_ADJUSTMENT = "RECONCILIATION_ADJUSTMENT"
OPENING_BALANCE = "OPENING_BALANCE"
ENTRY_PRICE = "/entry_price"
UNMAPPED = "UNMAPPED:"
EXCHANGE_PLACES = 8
"""Exchanges keep eight places of an amount, of some assets more; never fewer than the token has on chain."""
SUBSETS_MAX = 12
"""Of so many recent changes every combination is tried: 4,096 sums."""


class Outcome(StrEnum):
    """What comparing one key came to."""

    MATCHED = "MATCHED"
    WITHIN_TOLERANCE = "WITHIN_TOLERANCE"
    IN_FLIGHT = "IN_FLIGHT"
    DRIFT = "DRIFT"
    UNEXPECTED = "UNEXPECTED"
    MISSING = "MISSING"
    UNAVAILABLE = "UNAVAILABLE"


UNEXPLAINED = (Outcome.DRIFT, Outcome.UNEXPECTED, Outcome.MISSING)


class Tolerance(NamedTuple):
    """How far venue and ledger may be apart; the larger allowance counts. ``relative`` is of what the venue says."""

    absolute: Decimal = ZERO
    relative: Decimal = ZERO

    def allows(self, actual: Decimal) -> Decimal:
        """The allowed difference, in the unit of the key, rounded half even to 18 places."""
        return quantize_value(max(self.absolute, multiply(self.relative, actual.copy_abs())))


EXACT = Tolerance()
ENTRY_PRICE_TOLERANCE = Tolerance(relative=Decimal("0.0001"))


@dataclass(frozen=True)
class Rules:
    """How a reconciliation judges and what it does about drift.

    ``tolerances`` are by ``venue:KEY`` or ``venue``; the former goes first.
    """

    on_drift: Literal["adjust", "alert"] = "adjust"
    deadline: timedelta = timedelta(seconds=30)
    skew_max: timedelta = timedelta(seconds=30)
    settle_window: timedelta = timedelta(minutes=15)
    transfer_window: timedelta = timedelta(hours=24)
    second_reading_after: timedelta = timedelta(seconds=5)
    opening_tolerance: Decimal = Decimal("0.01")
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def window(self) -> timedelta:
        """How far before a reading an entry can still explain a difference."""
        return max(self.settle_window, self.transfer_window)


class Comparison(NamedTuple):
    """One key of one account: what the ledger says, what the venue says (None: not learned) and the outcome.

    Both in the unit of the key: token units (scaled for Aave tokens), base units, or quote currency for an entry price.
    """

    key: str
    tracked: Decimal
    actual: Decimal | None
    tolerance: Decimal | None
    outcome: Outcome
    adjusted: bool = False

    @property
    def difference(self) -> Decimal | None:
        """What the venue has more than the ledger."""
        return None if self.actual is None else subtract(self.actual, self.tracked)

    @property
    def unmapped(self) -> bool:
        """Whether it is an asset that the ledger cannot hold, because the registry does not know it."""
        return self.key.startswith(UNMAPPED)

    @property
    def adjustable(self) -> bool:
        """Unexplained, and of something that the ledger can hold."""
        return self.outcome in UNEXPLAINED and not self.unmapped


@dataclass(frozen=True)
class Tracked:
    """What the ledger says of one account at one moment, and what may explain that its venue says otherwise.

    ``recent`` has, by token or instrument and in order of time, by how much each young change makes the venue differ
    if only one of the two knows it. ``recent_prices`` are the entry prices that a position had meanwhile, ``arriving``
    is what is under way between venues, by token.
    """

    as_of: datetime
    balances: Mapping[str, Decimal]
    positions: Mapping[str, PerpPosition]
    recent: Mapping[str, Sequence[Decimal]] = field(default_factory=dict)
    recent_prices: Mapping[str, Collection[Decimal]] = field(default_factory=dict)
    arriving: Mapping[str, Decimal] = field(default_factory=dict)


Arrivals = Mapping[Account, Mapping[str, Decimal]]
"""By account and token: how much of what was under way has arrived there, though the ledger does not know it yet."""


class Adjustment(NamedTuple):
    """The entry that brings the ledger to the venue, the keys it covers, and why it leaves others out."""

    update: BalanceUpdate
    keys: frozenset[str]
    left_out: tuple[str, ...]


def held(book: Book, venue: str, as_of: datetime) -> Tracked:
    """What a book says of a venue, with nothing that could explain that the venue says otherwise."""
    history = _History(book, venue)
    return Tracked(as_of, history.held(), history.open())


def track(opening: Book, updates: Sequence[BalanceUpdate], venue: str, as_of: datetime, rules: Rules) -> Tracked:
    """What the ledger says of a venue as of a reading.

    ``opening`` is the book at ``as_of - rules.window`` or earlier, ``updates`` everything after it up to the newest, in
    order of time. A change is recent within the settle window before the reading, a transfer within the transfer
    window, and both always after it. What an earlier reconciliation wrote is what the venue had, so it waits for
    nothing: it counts only where it describes a later moment than this reading does.
    """
    history = _History(opening.copy(), venue)
    updates = [update for update in updates if history.concerned_by(update)]
    sent: dict[str, Decimal] = {}
    for update in updates:
        age = as_of - update.timestamp
        if age < timedelta(0):
            continue
        history.apply(update, recent=_young(update, age, rules), later=False)
        if age <= rules.transfer_window:
            for change in update.token_changes:
                if change.venue == IN_TRANSIT and change.delta > 0:
                    sent[change.token] = add(sent.get(change.token, ZERO), change.delta)
    balances, positions, under_way = history.held(), history.open(), history.in_transit()
    for update in updates:
        if update.timestamp > as_of:
            history.apply(update, recent=True, later=True)
    still = history.in_transit()  # what has arrived since explains one difference, not two
    arriving = {
        token: min(amount, under_way[token], still[token])
        for token, amount in sent.items()
        if token in under_way and token in still
    }
    return Tracked(as_of, balances, positions, history.recent, history.prices, arriving)


def _young(update: BalanceUpdate, age: timedelta, rules: Rules) -> bool:
    if update.trigger is Trigger.HOURLY_RECONCILIATION:
        return False
    return age <= (rules.window if update.trigger is Trigger.VENUE_TRANSFER else rules.settle_window)


class _History:
    """A book moving through time, and what its young entries changed at one venue."""

    def __init__(self, book: Book, venue: str) -> None:
        self._book = book
        self._venue = venue
        self.recent: dict[str, list[Decimal]] = {}
        self.prices: dict[str, set[Decimal]] = {}

    def held(self) -> dict[str, Decimal]:
        return {token: balance for (venue, token), balance in self._book.balances.items() if venue == self._venue}

    def open(self) -> dict[str, PerpPosition]:
        return {name: position for (venue, name), position in self._book.positions.items() if venue == self._venue}

    def in_transit(self) -> dict[str, Decimal]:
        return {token: balance for (venue, token), balance in self._book.balances.items() if venue == IN_TRANSIT}

    def concerned_by(self, update: BalanceUpdate) -> bool:
        """Whether the update changes anything at the venue, or what is under way; ``apply`` leaves all else out."""
        touched = {change.venue for change in update.token_changes} | {leg.venue for leg in update.derivative_changes}
        return not touched.isdisjoint((self._venue, IN_TRANSIT))

    def apply(self, update: BalanceUpdate, *, recent: bool, later: bool) -> None:
        """Apply an accepted update; ``later`` says that it is after the reading."""
        before = self.open()
        tokens = tuple(change for change in update.token_changes if change.venue in (self._venue, IN_TRANSIT))
        perps = tuple(leg for leg in update.derivative_changes if leg.venue == self._venue)
        applied = self._book.replay(tokens, perps, update.timestamp)
        if not recent:
            return
        for change in tokens:
            if change.venue == self._venue:
                self._note(change.token, change.delta, later)
        for leg, position in zip(perps, applied.positions, strict=True):
            was = before.pop(leg.instrument, None)
            self._note(leg.instrument, subtract(_size(position), _size(was)), later)
            self.prices.setdefault(leg.instrument, set()).update(p.entry_price for p in (was, position) if p)
            if position is not None:
                before[leg.instrument] = position

    def _note(self, key: str, delta: Decimal, later: bool) -> None:
        if delta:
            self.recent.setdefault(key, []).append(delta if later else delta.copy_negate())


def _size(position: PerpPosition | ObservedPosition | None) -> Decimal:
    return ZERO if position is None else position.size


def compare(tracked: Tracked, reading: Reading, rules: Rules, registry: Registry) -> tuple[Comparison, ...]:
    """Every key that ledger or venue holds, with exactly one outcome.

    An unavailable reading tells nothing, so the ledger's keys are UNAVAILABLE, whatever they hold.
    """
    if not reading.available:
        sizes = {name: position.size for name, position in tracked.positions.items()}
        held = sorted({**tracked.balances, **sizes}.items())
        return tuple(Comparison(key, amount, None, None, Outcome.UNAVAILABLE) for key, amount in held)
    return tuple(_compared(tracked, reading, rules, registry))


def arrivals(tracked: Tracked, rows: Sequence[Comparison]) -> dict[str, Decimal]:
    """How much of what is under way these comparisons take to have arrived, by token."""
    return {
        row.key: row.difference
        for row in rows
        if row.outcome is Outcome.IN_FLIGHT
        and row.difference is not None
        and ZERO < row.difference <= tracked.arriving.get(row.key, ZERO)
        and not explained(row.difference, tracked.recent.get(row.key, ()), row.tolerance or ZERO)
    }


def share_arrivals(wanted: Mapping[Account, Mapping[str, Decimal]], tracked: Mapping[Account, Tracked]) -> Arrivals:
    """Where each token that is under way can have arrived: it arrives once, so the largest claim goes first.

    A claim that is left with too little gets none: a difference is explained as a whole or not at all.
    """
    shared: dict[Account, dict[str, Decimal]] = {account: {} for account in tracked}
    taken: dict[str, Decimal] = {}
    claims = [(amount, account, token) for account, found in wanted.items() for token, amount in found.items()]
    for amount, account, token in sorted(claims, reverse=True):
        so_far = add(taken.get(token, ZERO), amount)
        if so_far <= tracked[account].arriving[token]:
            taken[token] = so_far
            shared[account][token] = amount
    return shared


def without_arrivals(tracked: Tracked, elsewhere: Iterable[Mapping[str, Decimal]]) -> Tracked:
    """The same, less what has arrived elsewhere."""
    left = dict(tracked.arriving)
    for found in elsewhere:
        for token, amount in found.items():
            left[token] = max(ZERO, subtract(left.get(token, ZERO), amount))
    return replace(tracked, arriving=left)


def _compared(tracked: Tracked, reading: Reading, rules: Rules, registry: Registry) -> Iterator[Comparison]:
    venue = reading.account.venue
    for token in sorted({*tracked.balances, *reading.balances}):
        expected, actual = tracked.balances.get(token, ZERO), _representable(reading.balances.get(token, ZERO))
        allowance = rules.tolerances.get(f"{venue}:{token}") or rules.tolerances.get(venue)
        if allowance is None:
            allowance = _last_decimal(actual, registry.token(token).decimals) if venue in EXCHANGES else EXACT
        if expected or actual:
            yield _judge(tracked, token, expected, actual, allowance.allows(actual))
    for name in sorted({*tracked.positions, *reading.positions}):
        ours, theirs = tracked.positions.get(name), reading.positions.get(name)
        allowance = rules.tolerances.get(f"{venue}:{name}") or rules.tolerances.get(venue) or EXACT
        if not (_size(ours) or _size(theirs)):
            continue
        actual = _representable(_size(theirs))
        size = _judge(tracked, name, _size(ours), actual, allowance.allows(actual))
        yield size
        if ours is not None and theirs is not None and theirs.size and theirs.entry_price is not None:
            yield _judge_price(tracked, venue, size, ours.entry_price, _representable(theirs.entry_price), rules)
    for asset, amount in sorted(reading.unmapped.items()):
        if amount:
            yield Comparison(f"{UNMAPPED}{asset}", ZERO, amount, None, Outcome.UNEXPECTED)


def _representable(amount: Decimal) -> Decimal:
    """What the ledger can hold of an amount: 18 places. One too large for it stays as it is, and is drift."""
    return amount if amount.copy_abs() >= VALUE_LIMIT else quantize_value(amount)


def _last_decimal(actual: Decimal, decimals: int) -> Tolerance:
    """One unit of the last place the venue tells. A round amount does not say how many places it keeps."""
    return Tolerance(Decimal(1).scaleb(-max(decimal_places(actual), min(decimals, EXCHANGE_PLACES))))


def _judge(tracked: Tracked, key: str, expected: Decimal, actual: Decimal, tolerance: Decimal) -> Comparison:
    difference = subtract(actual, expected)
    if not difference:
        outcome = Outcome.MATCHED
    elif difference.copy_abs() <= tolerance:
        outcome = Outcome.WITHIN_TOLERANCE
    elif ZERO < difference <= tracked.arriving.get(key, ZERO) or explained(
        difference, tracked.recent.get(key, ()), tolerance
    ):
        outcome = Outcome.IN_FLIGHT
    else:
        outcome = Outcome.UNEXPECTED if not expected else Outcome.DRIFT if actual else Outcome.MISSING
    return Comparison(key, expected, actual, tolerance, outcome)


def _judge_price(
    tracked: Tracked, venue: str, size: Comparison, expected: Decimal, actual: Decimal, rules: Rules
) -> Comparison:
    key = f"{size.key}{ENTRY_PRICE}"
    tolerances = rules.tolerances
    tolerance = (tolerances.get(f"{venue}:{key}") or tolerances.get(venue) or ENTRY_PRICE_TOLERANCE).allows(actual)
    difference = subtract(actual, expected).copy_abs()
    if not difference:
        outcome = Outcome.MATCHED
    elif difference <= tolerance:
        outcome = Outcome.WITHIN_TOLERANCE
    elif size.outcome is Outcome.IN_FLIGHT or any(
        subtract(actual, price).copy_abs() <= tolerance for price in tracked.recent_prices.get(size.key, ())
    ):
        outcome = Outcome.IN_FLIGHT
    else:
        outcome = Outcome.DRIFT
    return Comparison(key, expected, actual, tolerance, outcome)


def explained(difference: Decimal, recent: Sequence[Decimal], tolerance: Decimal = ZERO) -> bool:
    """Whether some of the recent changes add up to the difference, give or take the tolerance.

    Any of them where there are few; where there are more than ``SUBSETS_MAX``, any that follow each other, because
    venues settle in order and every combination of twenty would explain nearly anything.
    """
    if len(recent) > SUBSETS_MAX:
        return _consecutive_explain(difference, recent, tolerance)
    sums = {ZERO}
    for change in recent:
        sums |= {add(total, change) for total in sums}
    return any(subtract(total, difference).copy_abs() <= tolerance for total in sums)


def _consecutive_explain(difference: Decimal, recent: Sequence[Decimal], tolerance: Decimal) -> bool:
    total = ZERO
    totals = [total]
    for change in recent:
        total = add(total, change)
        start = subtract(total, difference)
        nearest = bisect_left(totals, subtract(start, tolerance))
        if nearest < len(totals) and totals[nearest] <= add(start, tolerance):
            return True
        insort(totals, total)
    return False


def adjustment(
    tracked: Tracked,
    reading: Reading,
    keys: Collection[str],
    entry_id: str,
    reason: str,
    registry: Registry,
    timestamp: datetime | None = None,
) -> Adjustment:
    """The entry that brings these keys of the ledger to what the venue says, as of the reading (or ``timestamp``).

    A new size brings its entry price along; an entry price alone leaves the size as it is. A position whose venue tells
    no entry price where the ledger needs a new one is left out. Legs on perpetuals carry no reason, so an entry of
    nothing else has a token leg of zero that does.
    """
    tokens: list[dict[str, Any]] = []
    perps: list[dict[str, Any]] = []
    covered: set[str] = set()
    left_out: list[str] = []
    venue = reading.account.venue
    instruments = {*tracked.positions, *reading.positions}
    for key in sorted(keys):
        name = key.removesuffix(ENTRY_PRICE)
        if name not in instruments:
            delta = subtract(reading.balances.get(key, ZERO), tracked.balances.get(key, ZERO))
            tokens.append({"venue": venue, "token": key, "delta": quantize_value(delta), "reason": reason})
        elif key not in covered:
            ours, theirs = tracked.positions.get(name), reading.positions.get(name)
            if key != name and ours is not None and theirs is not None:
                theirs = theirs._replace(size=ours.size)
            leg = _perp_leg(ours, theirs)
            if leg is None:
                left_out.append(f"{name}: {venue} tells no entry price")
                continue
            perps.append({"venue": venue, "instrument": name, **leg})
            covered.update({name, f"{name}{ENTRY_PRICE}"} if key == name else {key})
            continue
        covered.add(key)
    if perps and not tokens:
        quote = parse_instrument(perps[0]["instrument"]).quote
        symbol = quote if quote in registry.tokens else "USDT"
        tokens.append({"venue": venue, "token": symbol, "delta": ZERO, "reason": reason})
    update = parse_update(
        {
            "id": entry_id,
            "timestamp": timestamp or reading.as_of,
            "trigger": Trigger.HOURLY_RECONCILIATION,
            "token_changes": tokens,
            "derivative_changes": perps,
        },
        registry,
    )
    return Adjustment(update, frozenset(covered), tuple(left_out))


def _perp_leg(ours: PerpPosition | None, theirs: ObservedPosition | None) -> dict[str, Any] | None:
    """The derivative leg from our position to the venue's; None when it needs an entry price nobody tells."""
    if theirs is None or not theirs.size:
        return {"action": Action.CLOSE}
    price = theirs.entry_price
    if price is None and ours is not None and (ours.size > 0) == (theirs.size > 0):
        price = ours.entry_price
    if price is None:
        return None
    notional = theirs.notional_usd
    return {
        "action": Action.OPEN if ours is None else Action.ADJUST,
        "data": {
            "size": quantize_value(theirs.size),
            "entry_price": quantize_value(price),
            "notional_usd": None if notional is None else quantize_value(notional),
        },
    }
