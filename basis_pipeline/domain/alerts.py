"""What needs a person: the kinds of alerts, what one says, and who is to be told.

An alert says what happened, where, and what to do about it. It is known by its kind and subject: while it stands, the
same again is the same alert. How alerts are kept is the ledger's business, how they are sent that of ``alerts``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import CONTEXT, canonical, divide, multiply, subtract
from basis_pipeline.domain.reconciliation import Comparison

TITLE_MAX = 150
TEXT_MAX = 2_000
"""Characters; what is longer is cut, because some channels refuse long messages."""
LISTED_MAX = 10
"""So many findings are spelled out in a text, the others counted."""
_PERCENT = Decimal("0.01")
_PLACES = {"USDT": Decimal("0.01"), "ETH": Decimal("0.000001")}


class AlertKind(StrEnum):
    """What an alert is about. All but ``equity_change`` and ``test`` stand until they are resolved."""

    DRIFT = "drift"
    UNAVAILABLE_VENUE = "unavailable_venue"
    MISSING_PRICE = "missing_price"
    EQUITY_CHANGE = "equity_change"
    FAILED_RUN = "failed_run"
    FAILED_CHECK = "failed_check"
    STALE_PROJECTION = "stale_projection"
    LEDGER_BROKEN = "ledger_broken"
    TEST = "test"

    @property
    def standing(self) -> bool:
        """Whether it stands until it is resolved; else it is an event, each of which is an alert of its own."""
        return self not in (AlertKind.EQUITY_CHANGE, AlertKind.TEST)


class Severity(StrEnum):
    """How bad it is; compare by ``rank``, since as text ``error`` sorts before ``info``."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"

    @property
    def rank(self) -> int:
        """0 for info, 1 for warning, 2 for error."""
        return tuple(Severity).index(self)


@dataclass(frozen=True)
class Alert:
    """Something that needs a person.

    ``subject`` is what it is about (a portfolio, an account, a check): with the kind, the identity of the alert. The
    title is one line. Both title and text are cut to what every channel takes; neither may hold a secret.
    """

    kind: AlertKind
    severity: Severity
    subject: str
    title: str
    text: str

    def __post_init__(self) -> None:
        if not self.subject.strip():
            raise InputError(f"subject: is empty in an alert of kind {self.kind}; say what it is about")
        if not self.title.strip():
            raise InputError(f"title: is empty in an alert of kind {self.kind} about {self.subject}")
        object.__setattr__(self, "title", _cut(" ".join(self.title.split()), TITLE_MAX))
        object.__setattr__(self, "text", _cut(self.text.strip(), TEXT_MAX))


@dataclass(frozen=True)
class Route:
    """A channel by its name, and which alerts go there: of at least ``severity``, of ``kinds`` (empty: of all)."""

    channel: str
    severity: Severity = Severity.INFO
    kinds: Collection[AlertKind] = ()

    def takes(self, kind: AlertKind, severity: Severity) -> bool:
        """Whether an alert like this goes to the channel."""
        return severity.rank >= self.severity.rank and (not self.kinds or kind in self.kinds)


def drift(portfolio: str, account: str, found: Sequence[Comparison]) -> Alert:
    """Venue and ledger differ for these keys, and nothing explains it; an error when the ledger was not adjusted."""
    open_keys = [c for c in found if not c.adjusted]
    lines = [
        f"{c.key}: ledger {canonical(c.tracked)}, venue {'unknown' if c.actual is None else canonical(c.actual)}"
        + (", ledger adjusted to the venue" if c.adjusted else "")
        for c in found
    ]
    todo = (
        "Find out which change was not recorded, and record it (basis record) or correct it (basis reverse); "
        "basis reconcile looks again."
        if open_keys
        else "Nothing must be done at once. Find out which change was not recorded: basis events lists what was."
    )
    return Alert(
        AlertKind.DRIFT,
        Severity.ERROR if open_keys else Severity.WARNING,
        f"{portfolio}/{account}",
        f"{account} of {portfolio} differs from the ledger in {_some([c.key for c in found])}",
        f"{_listed(lines)}\n{todo}",
    )


def unavailable_venue(portfolio: str, account: str, error: str) -> Alert:
    """An account could not be read, so nothing is known of it: it was neither compared nor adjusted."""
    return Alert(
        AlertKind.UNAVAILABLE_VENUE,
        Severity.WARNING,
        f"{portfolio}/{account}",
        f"{account} of {portfolio} cannot be read",
        f"{error}\nUntil it can, its balances are not compared with the ledger and nothing there is adjusted. "
        "basis doctor says what is wrong with the connection or the key.",
    )


def missing_price(portfolio: str, failures: Sequence[str]) -> Alert:
    """Something held has no usable price, so the portfolio has no equity. ``failures`` says of what, and why."""
    return Alert(
        AlertKind.MISSING_PRICE,
        Severity.ERROR,
        portfolio,
        f"{portfolio} cannot be valued: {len(failures)} missing {'price' if len(failures) == 1 else 'prices'}",
        f"{_listed(failures)}\nThere is no equity of {portfolio} for these instants until there is a price. "
        "basis doctor says whether market data and venues answer; which of them are asked is said under prices: in "
        "basis.yaml.",
    )


def equity_change(
    portfolio: str, measure: str, share_class: str, before: Decimal, after: Decimal, as_of: datetime
) -> Alert:
    """Equity moved by more than the threshold since it was last told. ``measure`` is total_equity or nav."""
    change = subtract(after, before)
    sign = "+" if change > 0 else ""
    relative = "" if before == 0 else f" ({sign}{_percent(change, before.copy_abs())} %)"
    name = "equity" if measure == "total_equity" else measure
    return Alert(
        AlertKind.EQUITY_CHANGE,
        Severity.INFO,
        portfolio,
        f"{portfolio}: {name} {sign}{_rounded(change, share_class)} {share_class}{relative}",
        f"{name} of {portfolio} is {_rounded(after, share_class)} {share_class} as of {iso(as_of)}; when it was last "
        f"told it was {_rounded(before, share_class)}. basis equity shows it by hour, venue and asset.",
    )


def failed_run(subject: str, job: str, run_id: str, error: str, *, attempts: int = 1) -> Alert:
    """A run of Dagster failed and is not tried again by itself. ``subject`` is what keeps failing, such as the job."""
    tried = "" if attempts == 1 else f" after {attempts} attempts"
    return Alert(
        AlertKind.FAILED_RUN,
        Severity.ERROR,
        subject,
        f"{job} failed{tried}",
        f"{error}\nRun {run_id}. What it should have calculated is as old as before. Read the run in basis ui, remove "
        "the cause, then launch it again there or with basis materialize.",
    )


def failed_check(check: str, description: str, *, severity: Severity = Severity.ERROR) -> Alert:
    """An asset check failed; ``check`` is its name with its asset, such as equity_snapshots:totals_agree."""
    return Alert(
        AlertKind.FAILED_CHECK,
        severity,
        check,
        f"The check {check} failed",
        f"{description}\nDo not rely on the numbers it covers until it passes. basis ui shows the rows, under Checks.",
    )


def stale_projection(subject: str, days: Sequence[date], reason: str) -> Alert:
    """Published days do not say what the ledger says, or lack a portfolio, and nothing is under way to change it."""
    span = str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return Alert(
        AlertKind.STALE_PROJECTION,
        Severity.ERROR,
        subject,
        f"Equity is out of date for {span}",
        f"{reason}\nUntil they are recalculated, equity of these days is missing or older than the ledger. Remove the "
        f"cause, then: basis materialize --from {days[0]} --to {days[-1]}",
    )


def ledger_broken(portfolio: str, problems: Sequence[str]) -> Alert:
    """Verification found a changed, missing, reordered or cut-off entry."""
    return Alert(
        AlertKind.LEDGER_BROKEN,
        Severity.ERROR,
        portfolio,
        f"The ledger of {portfolio} is broken",
        f"{_listed(problems)}\nStop recording, keep the database as it is, and compare it with the last backup: "
        "basis verify lists every problem.",
    )


def channel_test(channel: str) -> Alert:
    """What `basis alerts test` sends."""
    return Alert(
        AlertKind.TEST,
        Severity.INFO,
        channel,
        f"Test message to {channel}",
        f"Alerts of basis-pipeline reach the channel {channel}. Nothing happened, nothing is to be done.",
    )


def _listed(lines: Sequence[str]) -> str:
    shown = list(lines[:LISTED_MAX])
    if len(lines) > LISTED_MAX:
        shown.append(f"... and {len(lines) - LISTED_MAX} more")
    return "\n".join(shown)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _percent(part: Decimal, whole: Decimal) -> str:
    return str(multiply(divide(part, whole), Decimal(100)).quantize(_PERCENT, context=CONTEXT))


def _rounded(value: Decimal, share_class: str) -> str:
    """As many places as the eye needs; all of them where that would show nothing."""
    rounded = value.quantize(_PLACES.get(share_class, _PERCENT), context=CONTEXT)
    return f"{rounded:,f}" if rounded or not value else canonical(value)
