"""What commands do with a home before their own work: choose a portfolio, a range of days, open what is published."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from basis_pipeline.domain.errors import InputError

if TYPE_CHECKING:
    from basis_pipeline.home import Home
    from basis_pipeline.steps.ports import DayRange
    from basis_pipeline.warehouse.reading import Reader


def chosen_portfolio(home: Home, name: str | None) -> str:
    """The portfolio that was named, or the only one."""
    snapshot = home.ledger.snapshot()
    if name is not None:
        return snapshot.state(name).portfolio
    if len(snapshot.portfolios) == 1:
        return next(iter(snapshot.portfolios))
    known = ", ".join(sorted(snapshot.portfolios))
    if not known:
        raise InputError(f"portfolio: {home.path} has none yet; add one under `portfolios:` in basis.yaml")
    raise InputError(f"portfolio: say which one with --portfolio; {home.path} has {known}")


def chosen_portfolios(home: Home, name: str | None) -> list[str]:
    """The portfolio that was named, or all of them."""
    snapshot = home.ledger.snapshot()
    return sorted(snapshot.portfolios) if name is None else [snapshot.state(name).portfolio]


def chosen_days(home: Home, first: date | None, last: date | None) -> DayRange:
    """The days that were given; else from the first portfolio's start to the end of the market data."""
    from basis_pipeline.steps.ports import DayRange

    if first is None or last is None:
        every = home.all_days()
        first, last = first or every.first, last or every.last
    return DayRange(first, last)


def published(home: Home) -> Reader:
    """A reader of what is published, after mending the catalogue of a home that was moved or killed in the middle."""
    from basis_pipeline.steps.publishing import ensure_catalogue
    from basis_pipeline.warehouse.reading import Reader

    ensure_catalogue(home.ports())
    return Reader.open(home.path)


def tell_subscribers(home: Home) -> None:
    """Publish what was just written to the ledger of a live home. What is in the ledger stays, whatever Redis does."""
    if not home.live:
        return
    import asyncio

    from basis_pipeline.monitors.publishing import publish_due

    asyncio.run(publish_due(home))
