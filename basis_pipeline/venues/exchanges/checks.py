"""What `basis doctor` wants to know of an exchange account: the key, what it may do, the clock, each part."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.numbers import divide, subtract
from basis_pipeline.domain.observations import Finding, Verdict
from basis_pipeline.venues.exchanges.connection import Connection
from basis_pipeline.venues.exchanges.payloads import Ask

_SKEW_OK_MS = 500
_SKEW_MAX_MS = 5000


async def check_key(
    subject: str, connection: Connection, powers: Callable[[Ask], Awaitable[tuple[str, ...]]]
) -> Finding:
    """Whether the key works, and a warning of whatever it may do beyond reading."""
    try:
        may = await powers(connection.ask)
    except VenueError as error:
        remedy = "see that this machine reaches the venue; if that refuses the key, configure another that may read"
        return Finding(subject, Verdict.FAILED, connection.redacted(str(error)), remedy)
    if may:
        message = connection.redacted(f"the key may do more than read: {', '.join(may)}")
        return Finding(subject, Verdict.WARNING, message, "replace it by a key that may only read")
    return Finding(subject, Verdict.OK, "the key works and may only read")


async def check_clock(
    subject: str, connection: Connection, server_time: Callable[[Ask], Awaitable[Decimal]]
) -> Finding:
    """How far this machine's clock is from the venue's."""
    before = connection.exchange.milliseconds()
    try:
        theirs = await server_time(connection.ask)
    except VenueError as error:
        return Finding(
            subject, Verdict.FAILED, connection.redacted(str(error)), "see that this machine reaches the venue"
        )
    after = connection.exchange.milliseconds()
    # Their answer was true at some moment between asking and hearing: best guess the middle, doubt half of it.
    ahead_ms = round(subtract(divide(Decimal(before + after), Decimal(2)), theirs))
    doubt_ms = (after - before) / 2
    gap_ms = max(0, abs(ahead_ms) - doubt_ms)
    direction = "ahead of" if ahead_ms > 0 else "behind"
    message = f"this machine is {abs(ahead_ms)} ms {direction} the venue, give or take {doubt_ms:.0f} ms"
    if gap_ms <= _SKEW_OK_MS:
        return Finding(subject, Verdict.OK, message)
    verdict = Verdict.WARNING if gap_ms <= _SKEW_MAX_MS else Verdict.FAILED
    return Finding(subject, verdict, message, "synchronise this machine's clock (NTP)")


def part_finding(subject: str, error: str | None, held: str) -> Finding:
    """Whether a part can be read, what was wrong with it, and what it holds."""
    if error is not None:
        remedy = "see that this machine reaches the venue; if that refuses, allow the key to read it, or change `parts`"
        return Finding(subject, Verdict.FAILED, error, remedy)
    if "not in the registry" in held:
        return Finding(subject, Verdict.WARNING, held, "register the coins under `tokens:` in basis.yaml, or move them")
    return Finding(subject, Verdict.OK, held)
