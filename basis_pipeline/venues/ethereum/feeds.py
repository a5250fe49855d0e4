"""Chainlink's price feeds: what is asked of an aggregator, and what makes its answer a price.

The aggregator itself says what it prices and with how many decimals, and when its answer was last updated: a feed that
stopped goes on answering for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from basis_pipeline.domain.quotes import Quoted, Unavailable
from basis_pipeline.venues.ethereum.abi import Answer, Call
from basis_pipeline.venues.ethereum.batch import exact

USD = "USD"
_ROUND = ("uint80", "int256", "uint256", "uint256", "uint80")
_PLACES_MAX = 18


def calls(feeds: Mapping[str, str]) -> dict[str, Call]:
    """What is asked of each aggregator, by token."""
    found: dict[str, Call] = {}
    for token, address in feeds.items():
        found[_name(token, "round")] = Call(address, "latestRoundData()", (), _ROUND)
        found[_name(token, "decimals")] = Call(address, "decimals()")
        # A string is encoded as bytes are; decoded as bytes, one that is no text is only another description.
        found[_name(token, "description")] = Call(address, "description()", (), ("bytes",))
    return found


def price(token: str, answers: Mapping[str, Answer]) -> Quoted | Unavailable:
    """The price with the time of its update, whatever its value; or why the aggregator's answer is not to be read."""
    told, places, described = (answers[_name(token, what)] for what in ("round", "decimals", "description"))
    for answer in (told, places, described):
        if answer.values is None:
            return _unavailable(token, answer.problem)
    expected = f"{token} / {USD}"
    if described.value != expected.encode():
        return _unavailable(
            token,
            f"the feed at {told.call.target} describes itself as {described.value[:40]!r}, not {expected!r}; "
            f"correct ethereum.chainlink_feeds.{token}",
        )
    if places.value > _PLACES_MAX:
        return _unavailable(token, f"the feed at {told.call.target} has {places.value} decimals, which cannot be")
    _, value, _, updated_at, _ = told.values or ()
    moment = _moment(updated_at)
    if moment is None:
        return _unavailable(token, f"the feed at {told.call.target} was updated at {updated_at}, which is no time")
    return Quoted(exact(value, places.value), USD, moment)


def _name(token: str, what: str) -> str:
    return f"chainlink:{token}:{what}"


def _moment(seconds: int) -> datetime | None:
    """The time of an update; 0 says that the round is not complete."""
    try:
        return datetime.fromtimestamp(seconds, UTC) if seconds else None
    except (ValueError, OverflowError, OSError):
        return None


def _unavailable(token: str, reason: str) -> Unavailable:
    return Unavailable(token, (reason,))
