"""A report: named, typed columns and rows of values. How it is written down is decided later."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, auto
from typing import Any

from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical


class Kind(Enum):
    """What a column holds, which decides how a person is shown it. Exact formats ignore it."""

    TEXT = auto()
    NUMBER = auto()
    """Any number, shown as it stands."""
    QUANTITY = auto()
    """An amount of a token."""
    MONEY = auto()
    """Value in the currency named in the row's column ``share_class``."""
    USD = auto()


@dataclass(frozen=True)
class Column:
    """One column of a report. A ``rare`` one is not shown to a person while it is zero in every row."""

    name: str
    kind: Kind = Kind.TEXT
    rare: bool = False


@dataclass(frozen=True)
class Report:
    """Columns and rows; ``rows`` may be an iterator, which can be written down once."""

    columns: tuple[Column, ...]
    rows: Iterable[tuple[Any, ...]]

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def exact(value: object) -> Any:
    """A value as JSON holds it without loss: decimals as text, instants as ISO-8601 in UTC.

    Only floats (a query may compute some) stay numbers; one that is not finite becomes text, which JSON can hold.
    """
    if isinstance(value, Decimal):
        return canonical(value)
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, dict):
        return {str(key): exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact(item) for item in value]
    return value.isoformat() if isinstance(value, date) else str(value)
