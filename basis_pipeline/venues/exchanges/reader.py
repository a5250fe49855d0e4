"""One exchange account as a VenueReader: its parts read at once and summed, or UNAVAILABLE if one cannot be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from basis_pipeline.domain.errors import UnknownNameError, VenueConfigError, VenueError
from basis_pipeline.domain.numbers import ZERO, add
from basis_pipeline.domain.observations import Account, Finding, Health, ObservedPosition, Reading, ReadingStatus
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.logs import get_logger
from basis_pipeline.venues.exchanges import binance, bybit, okx
from basis_pipeline.venues.exchanges.checks import check_clock, check_key, part_finding
from basis_pipeline.venues.exchanges.connection import Answer, Connection, Credentials, open_exchange
from basis_pipeline.venues.exchanges.contracts import Contracts
from basis_pipeline.venues.exchanges.payloads import Ask, Holdings, PartReader

log = get_logger(__name__)

_TEXT_KEPT = 2000
_DEPTH_KEPT = 20
_ERROR_MAX = 1500


class Knowledge(NamedTuple):
    """What is known of one venue: how its parts are read, what a key may do, and its clock."""

    parts: Mapping[str, PartReader]
    powers: Callable[[Ask], Awaitable[tuple[str, ...]]]
    server_time: Callable[[Ask], Awaitable[Decimal]]


def exchange_reader(
    account: Account,
    parts: Sequence[str],
    credentials: Credentials,
    registry: Registry,
    gateway: str | None,
    clock: Callable[[], datetime],
    markets_cache: Path | None = None,
) -> ExchangeReader:
    """A reader of the given parts of one exchange account, with a read-only key.

    ``gateway`` as in ``open_exchange``; ``markets_cache`` is a JSON file in which contract sizes are kept for a day.
    VenueConfigError for an unknown venue or part, or an incomplete key. Nothing is asked before ``read``.
    """
    knowledge = _knowledge(account.venue, Contracts(markets_cache, clock))
    unknown = [part for part in parts if part not in knowledge.parts]
    if unknown or not parts or len(set(parts)) != len(parts):
        known = ", ".join(knowledge.parts)
        raise VenueConfigError(f"{account.name}: parts {', '.join(parts) or '(none)'}: {account.venue} has {known}")
    # Binance limits each family of endpoints by itself, so each part has a rate limiter of its own there.
    rooms = list(parts) if account.venue == "binance" else [account.venue]
    connections = [Connection(open_exchange(account.venue, credentials, gateway), credentials) for _ in rooms]
    by_part = {part: connections[min(number, len(connections) - 1)] for number, part in enumerate(parts)}
    return ExchangeReader(account, by_part, knowledge, registry, clock)


def _knowledge(venue: str, contracts: Contracts) -> Knowledge:
    if venue == "binance":
        return Knowledge(binance.PARTS, binance.powers, binance.server_time)
    if venue == "bybit":
        return Knowledge(bybit.PARTS, bybit.powers, bybit.server_time)
    if venue == "okx":
        return Knowledge(okx.parts(contracts), okx.powers, okx.server_time)
    raise VenueConfigError(f"venue: {venue!r} is not an exchange; known: binance, bybit, okx")


class ExchangeReader:
    """Reads one exchange account; made by ``exchange_reader``."""

    def __init__(
        self,
        account: Account,
        parts: Mapping[str, Connection],
        knowledge: Knowledge,
        registry: Registry,
        clock: Callable[[], datetime],
    ) -> None:
        self._account = account
        self._parts = parts
        self._knowledge = knowledge
        self._registry = registry
        self._clock = clock

    @property
    def accounts(self) -> Sequence[Account]:
        """The one account it reads."""
        return (self._account,)

    @property
    def connections(self) -> Sequence[Connection]:
        """The connections it asks through."""
        return tuple(dict.fromkeys(self._parts.values()))

    async def read(self) -> Sequence[Reading]:
        """One reading; UNAVAILABLE, with the reason, if any part cannot be read and understood."""
        started_at = self._clock()
        results = await asyncio.gather(*(self._read_part(part) for part in self._parts))
        observed_at = self._clock()
        raw = self._raw({result.part: result.answers for result in results})
        errors = [result.error for result in results if result.error is not None]
        if errors:
            log.warning("account unavailable", account=self._account.name, venue=self._account.venue, errors=errors)
            return (Reading.unavailable(self._account, "; ".join(errors), started_at, observed_at, raw),)
        return (self._reading([result.holdings for result in results], started_at, observed_at, raw),)

    async def check(self) -> Sequence[Finding]:
        """The key and what it may do, the clock, and each part."""
        subject = f"{self._account.name} ({self._account.venue})"
        connection = self.connections[0]
        # One after the other: a wait for the rate limiter would look like a clock that is off.
        clock = await check_clock(f"{subject} clock", connection, self._knowledge.server_time)
        key = await check_key(f"{subject} key", connection, self._knowledge.powers)
        parts = await asyncio.gather(*(self._read_part(part) for part in self._parts))
        described = [(result.part, result.error, self._describe(result.holdings)) for result in parts]
        return (key, clock, *(part_finding(f"{subject} {part}", error, held) for part, error, held in described))

    async def close(self) -> None:
        """Close every session; safe to call twice."""
        await asyncio.gather(*(connection.close() for connection in self.connections))

    async def _read_part(self, part: str) -> _PartResult:
        connection = self._parts[part]
        answers: list[tuple[str, Any]] = []

        async def ask(what: str, method: str, params: Mapping[str, Any]) -> Answer:
            answer = await connection.ask(what, method, params)
            answers.append((what, answer.payload))
            return answer

        try:
            holdings = await self._knowledge.parts[part](ask)
        except (VenueError, RecursionError) as error:  # the latter: an answer nested too deep to be looked at
            asked = ", ".join(what for what, _ in answers)
            said = f"{self._account.venue} {part}: {error}" + (f" (answered: {asked})" if asked else "")
            return _PartResult(part, Holdings(), answers, connection.redacted(said, _ERROR_MAX))
        return _PartResult(part, holdings, answers, None)

    def _reading(self, parts: Sequence[Holdings], started_at: datetime, observed_at: datetime, raw: str) -> Reading:
        balances: dict[str, Decimal] = {}
        debts: dict[str, Decimal] = {}
        unmapped: dict[str, Decimal] = {}
        positions: dict[str, ObservedPosition] = {}
        for part in parts:
            for coin, cash in part.cash.items():
                owed = part.debts.get(coin, ZERO)
                if not cash and not owed:
                    continue
                token = self._token(coin)
                book, name = (unmapped, coin) if token is None else (balances, token)
                book[name] = add(book.get(name, ZERO), cash)
                if owed and token is not None:
                    debts[token] = add(debts.get(token, ZERO), owed)
            for name, size in part.foreign.items():
                unmapped[name] = add(unmapped.get(name, ZERO), size)
            positions |= part.positions
        ratios = [part.margin_ratio for part in parts if part.margin_ratio is not None]
        times = [part.venue_time for part in parts if part.venue_time is not None]
        return Reading(
            self._account,
            ReadingStatus.AVAILABLE,
            started_at,
            observed_at,
            balances={token: cash for token, cash in balances.items() if cash},
            positions=positions,
            debts=debts,
            unmapped=unmapped,
            health=Health(margin_ratio=max(ratios)) if ratios else None,
            venue_time=min(times) if times else None,
            raw=raw,
        )

    def _token(self, coin: str) -> str | None:
        try:
            return self._registry.token(coin).symbol
        except UnknownNameError:
            return None

    def _describe(self, held: Holdings) -> str:
        coins = sum(1 for cash in held.cash.values() if cash)
        unknown = [coin for coin, cash in held.cash.items() if cash and self._token(coin) is None]
        unknown += held.foreign
        said = f"{coins} coins, {len(held.positions)} positions"
        return said + (f"; not in the registry: {', '.join(sorted(unknown))}" if unknown else "")

    def _raw(self, answers: Mapping[str, Sequence[tuple[str, Any]]]) -> str:
        """Every answer as JSON, without secrets. Coins that are not held are left out: Binance lists some 700."""
        kept = {
            part: [{"asked": what, "answer": _kept(answer)} for what, answer in got] for part, got in answers.items()
        }
        text = json.dumps(kept, separators=(",", ":"))
        return self.connections[0].without_secrets(text)


class _PartResult(NamedTuple):
    part: str
    holdings: Holdings
    answers: list[tuple[str, Any]]
    error: str | None


def _kept(payload: Any, depth: int = 0) -> Any:
    if depth > _DEPTH_KEPT:
        return "(nested deeper)"
    if isinstance(payload, Mapping):
        return {name: _kept(value, depth + 1) for name, value in payload.items()}
    if isinstance(payload, list):
        return [_kept(row, depth + 1) for row in payload if not _is_coin_not_held(row)]
    if isinstance(payload, str):
        return payload[:_TEXT_KEPT]
    return payload if payload is None or isinstance(payload, (bool, int, float)) else f"({type(payload).__name__})"


def _is_coin_not_held(row: Any) -> bool:
    if not isinstance(row, Mapping) or "asset" not in row:
        return False
    return all(isinstance(value, str) and not value.strip("0.") for name, value in row.items() if name != "asset")
