"""How far each portfolio's newest published equity is from what was told last."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from basis_pipeline.domain.alerts import equity_change
from basis_pipeline.domain.equity import changed_enough
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import CONTEXT, canonical, divide, multiply, subtract
from basis_pipeline.home import Home
from basis_pipeline.ledger.alerts import NotifiedEquity, last_notified, note_notified
from basis_pipeline.warehouse.reading import Reader

_NEWEST = "SELECT portfolio, share_class, as_of, {measure} AS value FROM equity_latest ORDER BY portfolio"
_PERCENT = Decimal("0.001")


@dataclass(frozen=True)
class EquityNow:
    """A portfolio's newest published equity beside what was told last (None: nothing yet, so this is where to start).

    ``value`` and ``floor`` are in share-class currency; ``measure`` is total_equity or nav.
    """

    portfolio: str
    share_class: str
    measure: str
    value: Decimal
    as_of: datetime
    last: NotifiedEquity | None
    threshold: Decimal
    floor: Decimal

    @property
    def crossed(self) -> bool:
        """Whether it moved by more than the threshold. What it was before it was told last is no news."""
        if self.last is None or self.as_of < self.last.as_of:
            return False
        return changed_enough(self.value, self.last.value, self.threshold, self.floor)

    def __str__(self) -> str:
        now = f"{self.portfolio}: {self.measure} {canonical(self.value)} {self.share_class} as of {iso(self.as_of)}"
        if self.last is None:
            return f"{now}, where changes are counted from"
        if self.as_of < self.last.as_of:
            return f"{now}, older than what was told last, as of {iso(self.last.as_of)}"
        change = subtract(self.value, self.last.value)
        base = self.last.value.copy_abs()
        percent = f" ({_percent(divide(change, base))} %)" if base else ""
        of = f" of {canonical(self.floor)} {self.share_class}" if base < self.floor else ""
        return (
            f"{now}, last told {canonical(self.last.value)}: {'+' if change > 0 else ''}{canonical(change)}{percent}, "
            f"threshold {_percent(self.threshold)} %{of}"
        )


def newest_equity(home: Home) -> Iterator[EquityNow]:
    """Every portfolio that has published equity. ``WarehouseError`` where nothing was ever published.

    One query sees one publication, so that no portfolio is read halfway through one.
    """
    settings = home.settings.equity
    for row in Reader.open(home.path).rows(_NEWEST.format(measure=settings.change_of)):
        last = last_notified(home.ledger.engine, row["portfolio"], settings.change_of)
        yield EquityNow(
            row["portfolio"],
            row["share_class"],
            settings.change_of,
            row["value"],
            row["as_of"],
            last,
            settings.change_threshold,
            settings.change_floor[row["share_class"]],
        )


def begin_counting(home: Home, equity: EquityNow) -> None:
    """Changes are counted from this value on; nobody is told."""
    _note(home, equity, None)


def tell(home: Home, equity: EquityNow) -> bool:
    """Raise the alert and keep the value as the one told last, both or neither; False when somebody else has."""
    return _note(home, equity, equity.last)


def _note(home: Home, equity: EquityNow, last: NotifiedEquity | None) -> bool:
    alert = None
    if last is not None:
        alert = equity_change(
            equity.portfolio, equity.measure, equity.share_class, last.value, equity.value, equity.as_of
        )
    return note_notified(
        home.ledger.engine,
        equity.portfolio,
        equity.share_class,
        equity.value,
        equity.as_of,
        home.clock(),
        measure=equity.measure,
        alert=alert,
        replacing=last,
    )


def _percent(share: Decimal) -> str:
    return canonical(multiply(share, Decimal(100)).quantize(_PERCENT, context=CONTEXT))
