"""Which series live mode records from exchanges: those by which the routing would answer for what may be held."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from basis_pipeline.domain.quotes import WantedSeries
from basis_pipeline.domain.tokens import EXCHANGES, Registry, parse_instrument
from basis_pipeline.market.routing import PERP, SPOT, USD, Routing, SeriesRef

NOT_ON_EXCHANGES = frozenset({"KING"})
"""A share in a vault. What exchanges list by that name is another coin, so that only a configured route may name it."""


def wanted_series(
    routing: Routing, registry: Registry, instruments: Iterable[tuple[str, str]] = ()
) -> dict[str, list[WantedSeries]]:
    """By exchange, in order of name: prices of all registered tokens and the marks of (venue, instrument).

    The currency in which exchanges quote first, USDT, is priced on chain: exchanges say what a coin is in USDT, and
    the oracle what USDT is in USD. Series that are named in the routing's configuration are required, and so are marks.
    """
    required: dict[tuple[str, str, str], bool] = {}
    quotes = set()
    for ref in _marks_and_conversions(routing, instruments):
        required[ref.venue, ref.symbol or "", ref.kind or ""] = True
        quotes.add((routing.split(ref.symbol or "") or ("", USD))[1])
    for ref, configured in _prices(routing, {*_bases(registry), *quotes}):
        key = (ref.venue, ref.symbol or "", ref.kind or "")
        required[key] = required.get(key, False) or configured
    found: dict[str, list[WantedSeries]] = {}
    for (venue, symbol, kind), needed in sorted(required.items()):
        if venue in EXCHANGES and kind in (SPOT, PERP):
            found.setdefault(venue, []).append(WantedSeries(venue, symbol, kind, needed))
    return found


def _bases(registry: Registry) -> set[str]:
    return {registry.valuation(symbol).base for symbol in registry.tokens}


def _prices(routing: Routing, tokens: set[str]) -> Iterator[tuple[SeriesRef, bool]]:
    """The series that price the tokens, and those that price what they are quoted in; whether each is configured."""
    first = routing.exchange_quotes[0]
    seen = {USD}
    pending = sorted(tokens)
    while pending:
        token = routing.priced_as(pending.pop())
        if token in seen:
            continue
        seen.add(token)
        configured = routing.routes.get(token)
        if configured is not None:
            refs = [ref if ref.symbol else SeriesRef(ref.venue, token + first, SPOT) for ref in configured]
        elif token == first or token in NOT_ON_EXCHANGES:
            refs = []
        else:
            refs = [SeriesRef(venue, token + first, SPOT) for venue in routing.exchanges]
        yield from ((ref, configured is not None) for ref in refs)
        pending += [parts[1] for ref in refs if (parts := routing.split(ref.symbol or "")) is not None]


def _marks_and_conversions(routing: Routing, instruments: Iterable[tuple[str, str]]) -> Iterator[SeriesRef]:
    for refs in routing.conversions.values():
        yield from refs
    for refs in routing.marks.values():
        yield from refs
    for venue, instrument in instruments:
        yield from routing.mark_route(venue, parse_instrument(instrument).name)
