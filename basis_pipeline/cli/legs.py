"""The legs of `basis record`, written short.

A leg on a token is ``VENUE:TOKEN=AMOUNT`` with ``:REASON`` behind it if there is one::

    wallet:ETH=-0.0035
    binance:USDT=+12.50:FUNDING_PAYMENT

A leg on a perpetual is ``VENUE:INSTRUMENT=ACTION`` with the fields of a derivative change behind it; ``size`` is the
position's new signed size::

    binance:ETHUSDT-PERP=OPEN,size=-1.5,entry_price=3000
    okx:ETHUSDT-PERP:SHORT=CLOSE

Names, amounts and fields are checked where every other update is checked; here is only the notation.
"""

from __future__ import annotations

from typing import Any

from basis_pipeline.domain.errors import InputError

ACTIONS = ("OPEN", "ADJUST", "CLOSE")
NOTATION = "write VENUE:TOKEN=AMOUNT[:REASON] or VENUE:INSTRUMENT=OPEN|ADJUST|CLOSE[,field=value]"


def parse_legs(texts: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The legs as the two lists of an update's payload, in the order given."""
    payload: dict[str, list[dict[str, Any]]] = {"token_changes": [], "derivative_changes": []}
    for text in texts:
        place, equals, change = text.partition("=")
        venue, colon, name = place.partition(":")
        if not (equals and colon and venue and name and change):
            raise InputError(f"leg: {text!r} cannot be read; {NOTATION}")
        action = change.partition(",")[0].upper()
        if action in ACTIONS:
            leg = {"venue": venue, "instrument": name, "action": action, "data": _fields(change, text)}
            payload["derivative_changes"].append(leg)
        else:
            payload["token_changes"].append({"venue": venue, "token": name, **_amount(change)})
    return payload


def _fields(change: str, text: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for part in change.split(",")[1:]:
        field, equals, value = part.partition("=")
        if not (equals and field and value) or field in fields:
            raise InputError(f"leg: {part!r} in {text!r} is not one field=value, each once; {NOTATION}")
        fields[field] = value
    return fields


def _amount(change: str) -> dict[str, str]:
    amount, colon, reason = change.partition(":")
    return {"delta": amount, "reason": reason} if colon else {"delta": amount}
