"""A portfolio's terms: what it starts with, written once and never changed."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from basis_pipeline.domain.errors import InputError, TermsError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.numbers import canonical
from basis_pipeline.domain.tokens import SHARE_CLASSES


class Terms(NamedTuple):
    """What a portfolio starts with: its share class, the capital in it, and when."""

    portfolio: str
    share_class: str
    initial_capital: Decimal
    start: datetime


def check_terms(terms: Terms) -> None:
    """``InputError`` for terms no portfolio can have."""
    where = f"portfolios.{terms.portfolio}"
    if terms.share_class not in SHARE_CLASSES:
        raise InputError(f"{where}.share_class: {terms.share_class!r} is not one of {', '.join(SHARE_CLASSES)}")
    if not terms.initial_capital.is_finite() or terms.initial_capital <= 0:
        raise InputError(f"{where}.initial_capital: {terms.initial_capital} must be above zero")


def check_same_terms(terms: Terms, found: sa.Row[tuple[object, ...]]) -> None:
    """``TermsError`` for terms that differ from those in the portfolio's row."""
    for name in ("share_class", "initial_capital", "start"):
        stored, given = getattr(found, name), getattr(terms, name)
        if stored != given:
            shown = [
                canonical(v) if isinstance(v, Decimal) else iso(v) if isinstance(v, datetime) else v
                for v in (given, stored)
            ]
            raise TermsError(
                f"portfolios.{terms.portfolio}.{name}: {shown[0]} differs from the ledger's {shown[1]}; the ledger "
                "cannot be changed afterwards, so restore the old value or use another portfolio name"
            )
