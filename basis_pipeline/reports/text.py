"""A report as people read it: aligned on the decimal point, rounded to what the eye can use.

Rounding happens here and only here; nothing that is written for a machine passes through this module.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.numbers import CONTEXT, canonical
from basis_pipeline.reports.report import Column, Kind, Report, exact

MONEY_PLACES = {"USD": 2, "USDT": 2, "ETH": 6}
_OTHER_MONEY_PLACES = 6
QUANTITY_PLACES = 8
_NUMBERS = (Kind.NUMBER, Kind.QUANTITY, Kind.MONEY, Kind.USD)
_GAP = "  "


def money(value: Decimal, currency: str) -> str:
    """A value with thousands separators and the places usual for its currency."""
    places = MONEY_PLACES.get(currency, _OTHER_MONEY_PLACES)
    text = f"{value.quantize(Decimal(1).scaleb(-places), context=CONTEXT):,f}"
    return text if text.strip("-0.,") else text.removeprefix("-")


def quantity(value: Decimal) -> str:
    """A token amount with thousands separators and at most 8 places; a smaller one is shown in full, never as zero."""
    rounded = value.quantize(Decimal(1).scaleb(-QUANTITY_PLACES), context=CONTEXT)
    text = canonical(rounded if rounded or not value else value)
    whole, point, fraction = text.partition(".")
    return f"{Decimal(whole):,f}{point}{fraction}" if abs(Decimal(whole)) >= 1000 else text


def to_text(report: Report) -> list[str]:
    """The report as lines: names, a rule, rows. Columns that say nothing are left out."""
    columns, cells = _shown(report)
    padded = [_aligned(column, [row[place] for row in cells]) for place, column in enumerate(columns)]
    lines = [[texts[number] for texts in padded] for number in range(len(cells) + 1)]
    rule = ["-" * len(texts[0]) for texts in padded]
    return [_GAP.join(line).rstrip() for line in (lines[0], rule, *lines[1:])]


def _shown(report: Report) -> tuple[list[Column], list[list[str]]]:
    """The columns that say something, and every row's cells in them as text."""
    rows = list(report.rows)
    currency = report.names.index("share_class") if "share_class" in report.names else None
    places = [place for place, column in enumerate(report.columns) if not rows or _says_something(column, place, rows)]
    cells = [
        [_cell(row[place], report.columns[place].kind, "" if currency is None else row[currency]) for place in places]
        for row in rows
    ]
    return [report.columns[place] for place in places], cells


def _says_something(column: Column, place: int, rows: Sequence[tuple[Any, ...]]) -> bool:
    return any(row[place] if column.rare else row[place] is not None for row in rows)


def _cell(value: Any, kind: Kind, currency: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        if kind is Kind.MONEY:
            return money(value, currency)
        if kind is Kind.USD:
            return money(value, "USD")
        if kind is Kind.QUANTITY:
            return quantity(value)
    text = exact(value)
    plain = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    return plain.replace("\n", " ")


def _aligned(column: Column, cells: Sequence[str]) -> list[str]:
    """The column's name and cells, all of one width; numbers have their points below each other."""
    if column.kind in _NUMBERS:
        fraction = max((len(_fraction(cell)) for cell in cells), default=0)
        cells = [cell + " " * (fraction - len(_fraction(cell))) for cell in cells]
    width = max(len(column.name), *(len(cell) for cell in cells)) if cells else len(column.name)
    fill = str.rjust if column.kind in _NUMBERS else str.ljust
    return [fill(cell, width) for cell in (column.name, *cells)]


def _fraction(cell: str) -> str:
    """The point and what follows it."""
    return cell[cell.index(".") :] if "." in cell else ""
