"""Wallets as accounts: the ``VenueReader`` of Ethereum."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.instants import iso
from basis_pipeline.domain.observations import Account, Finding, Reading, ReadingStatus
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.logs import get_logger
from basis_pipeline.venues.ethereum import batch, doctor
from basis_pipeline.venues.ethereum.chain import Chain, Snapshot, claims
from basis_pipeline.venues.ethereum.contracts import wallet_address

_log = get_logger(__name__)


class EthereumReader:
    """All wallets of one chain, read together at one block.

    A balance that cannot be learned makes its account unavailable. A rate, a price or an account's health that cannot
    is left out; ``problems`` and the log say which. Closing it closes ``chain``.
    """

    def __init__(self, wallets: Mapping[Account, str], chain: Chain) -> None:
        self.chain = chain
        self._wallets = {account: wallet_address(address, account.name) for account, address in wallets.items()}
        self._problems: tuple[str, ...] = ()

    @property
    def accounts(self) -> Sequence[Account]:
        return tuple(self._wallets)

    @property
    def problems(self) -> Sequence[str]:
        """What the last reading could not learn although its balances are known, a line each."""
        return self._problems

    async def prepare(self) -> None:
        """Check the configuration against the chain now and not at the first reading.

        ``VenueConfigError`` when anything is not what the configuration says; ``VenueError`` when no node answers.
        """
        await self.chain.prepare()

    async def read(self) -> Sequence[Reading]:
        """One reading per wallet, all of one block. ``VenueConfigError`` when the chain is not the configured one."""
        started_at = self.chain.clock()
        try:
            snapshot = await self.chain.snapshot(tuple(dict.fromkeys(self._wallets.values())))
        except VenueError as failed:
            now = self.chain.clock()
            self._problems = ()
            return [Reading.unavailable(account, str(failed), started_at, now) for account in self._wallets]
        now = self.chain.clock()
        problems = list(snapshot.problems)
        readings = []
        for account, address in self._wallets.items():
            reading, problem = _reading(account, address, self.chain.registry, snapshot, started_at, now)
            readings.append(reading)
            if problem is not None:
                problems.append(f"{account.name}: {problem}")
                _log.warning("ethereum account health not read", account=account.name, reason=problem)
        self._problems = tuple(problems)
        return readings

    async def check(self) -> Sequence[Finding]:
        return await doctor.check(self.chain, tuple(self._wallets.values()))

    async def close(self) -> None:
        await self.chain.close()


def _reading(
    account: Account, address: str, registry: Registry, snapshot: Snapshot, started_at: datetime, now: datetime
) -> tuple[Reading, str | None]:
    """The reading of one wallet, and why its health is not known, if it is not."""
    held, problems = batch.balances(address, registry, snapshot.answers)
    claimable, unclear = claims(snapshot, address)
    raw = _raw(address, snapshot)
    if problems or unclear:
        return Reading.unavailable(account, "; ".join([*problems, *unclear]), started_at, now, raw), None
    health, problem = batch.health(address, snapshot.answers)
    reading = Reading(
        account,
        ReadingStatus.AVAILABLE,
        started_at,
        now,
        balances={**held, **claimable},
        health=health,
        block=snapshot.block,
        venue_time=snapshot.block.time,
        raw=raw,
        market=snapshot.market,
    )
    return reading, problem


def _raw(address: str, snapshot: Snapshot) -> str:
    content = {
        "method": "aggregate3",
        "node": snapshot.node,
        "wallet": address,
        "block": [snapshot.block.number, snapshot.block.hash, iso(snapshot.block.time)],
        "calls": list(batch.raw_rows(snapshot.answers, address)),
    }
    return json.dumps(content, separators=(",", ":"))
