"""The journals replayed the plain way, with nothing of the product: what the position tables are held against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

HOUR = timedelta(hours=1)
Amounts = dict[tuple[str, str], Decimal]
Perps = dict[tuple[str, str], tuple[Decimal, Decimal]]


class Holdings(NamedTuple):
    """Balances by (venue, token), and (size, entry price) by (venue, instrument), as of an hour."""

    balances: Amounts
    perps: Perps


def replay(
    payloads: Iterable[Mapping[str, Any]], opening: tuple[str, str, Decimal], first: datetime, last: datetime
) -> Iterator[tuple[datetime, Holdings]]:
    """What was held at every hour from first to last, every update with timestamp <= hour applied."""
    venue, token, capital = opening
    balances: Amounts = {(venue, token): capital}
    perps: Perps = {}
    coming = iter(payloads)
    payload = next(coming, None)
    hour = first
    while hour <= last:
        while payload is not None and datetime.fromisoformat(payload["timestamp"]) <= hour:
            _apply(payload, balances, perps)
            payload = next(coming, None)
        yield hour, Holdings({key: held for key, held in balances.items() if held}, dict(perps))
        hour += HOUR


def _apply(payload: Mapping[str, Any], balances: Amounts, perps: Perps) -> None:
    for change in payload["token_changes"]:
        key = (change["venue"].lower(), change["token"])
        balances[key] = balances.get(key, Decimal(0)) + Decimal(change["delta"])
    for change in payload["derivative_changes"]:
        key = (change["venue"], change["instrument"])
        if change["action"] == "CLOSE":
            del perps[key]
        else:
            data = change["data"]
            perps[key] = (Decimal(data["size"]), Decimal(data["entry_price"]))
