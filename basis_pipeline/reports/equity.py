"""Equity as of an instant: the totals of each portfolio, or what they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from basis_pipeline.reports.report import Column, Kind, Report

if TYPE_CHECKING:
    from basis_pipeline.warehouse.reading import Reader


class By(StrEnum):
    """What equity is broken down by."""

    PORTFOLIO = "portfolio"
    VENUE = "venue"
    ASSET = "asset"
    UNDERLYING = "underlying"


_HEAD = (Column("portfolio"), Column("share_class"), Column("as_of"))
SUMMARY = (
    *_HEAD,
    *(Column(name, Kind.MONEY) for name in ("total_equity", "assets", "debts", "unrealized_pnl")),
    *(Column(name, Kind.MONEY, rare=True) for name in ("in_transit", "locked")),
    Column("nav", Kind.MONEY),
)
_GROUPS = {By.VENUE: "venue", By.ASSET: "token", By.UNDERLYING: "underlying"}
"""The column each breakdown groups by."""

_CHOSEN = """SELECT * FROM equity_snapshots WHERE {conditions}
QUALIFY row_number() OVER (PARTITION BY portfolio ORDER BY as_of DESC) = 1"""


def read_equity(reader: Reader, by: By, at: datetime | None = None, portfolio: str | None = None) -> Report:
    """Equity of each portfolio at its newest published hour, or at the newest one up to ``at``.

    A breakdown covers assets and debts, and adds up to ``total_equity``.
    """
    conditions: list[str] = ["true"]
    values: list[object] = []
    if at is not None:
        conditions.append("as_of <= ?")
        values.append(at)
    if portfolio is not None:
        conditions.append("portfolio = ?")
        values.append(portfolio)
    chosen = _CHOSEN.format(conditions=" AND ".join(conditions))
    if by is By.PORTFOLIO:
        return summary(reader.rows(f"{chosen} ORDER BY portfolio", values))
    group = _GROUPS[by]
    query = (
        f"WITH chosen AS ({chosen}) SELECT portfolio, share_class, as_of, {group}, value, value_usd "
        f"FROM equity_by_{by.value} JOIN chosen USING (portfolio, as_of) "
        f"ORDER BY portfolio, abs(value) DESC, {group}"
    )
    return breakdown(reader.rows(query, values), by)


def summary(rows: Iterable[Mapping[str, Any]]) -> Report:
    """Rows of ``equity_snapshots`` or ``equity_latest``, one portfolio and hour each."""
    return _report(SUMMARY, rows)


def breakdown(rows: Iterable[Mapping[str, Any]], by: By) -> Report:
    """Rows of ``equity_by_venue``, ``_asset`` or ``_underlying``, each with its portfolio's share class."""
    columns = (*_HEAD, Column(_GROUPS[by]), Column("value", Kind.MONEY), Column("value_usd", Kind.USD))
    return _report(columns, rows)


def _report(columns: tuple[Column, ...], rows: Iterable[Mapping[str, Any]]) -> Report:
    return Report(columns, [tuple(row[column.name] for column in columns) for row in rows])
