"""The position monitor: what a strategy tells of its trades, and asks what it holds.

An update is in the ledger, durably, before ``update`` returns; memory and subscribers only follow. Two monitors on one
ledger, also in different processes, see each other's entries: a look or an update catches up first.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

from pydantic import TypeAdapter, ValidationError

from basis_pipeline.domain.changes import BalanceUpdate
from basis_pipeline.domain.errors import (
    BasisError,
    ConfigError,
    InputError,
    LedgerBusyError,
    MonitorError,
    PublishingError,
)
from basis_pipeline.domain.instants import iso, parse_instant
from basis_pipeline.domain.numbers import canonical, decimal_places, parse_decimal
from basis_pipeline.domain.tokens import SHARE_CLASSES, Registry
from basis_pipeline.home import ledger_url
from basis_pipeline.ledger.ledger import Ledger, Receipt
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.monitors.intake import exact_numbers, read_changes
from basis_pipeline.monitors.state import PositionState, Snapshot, to_json
from basis_pipeline.settings import Settings, config_path, home_path, load_settings
from basis_pipeline.settings.secrets import reveal
from basis_pipeline.settings.types import PortfolioName

if TYPE_CHECKING:
    from basis_pipeline.ledger.readings import AccountRecord
    from basis_pipeline.monitors.publisher import Publisher
    from basis_pipeline.steps.reconciliation import ReconciliationReport

__all__ = ["PositionMonitor", "to_json"]

BACKTEST, LIVE = "backtest", "live"
DEFAULT_PORTFOLIO = "default"

View = Mapping[str, Any]


class PositionMonitor:
    """Balances and perpetual positions of one portfolio, as the ledger has them.

    ``config`` is the strategy's own; of it ``portfolio`` (else "default"), ``home`` (else BASIS_HOME, else ``data``)
    and ``start`` are read. ``initial_capital`` is in share-class currency; a float counts as the decimal number that
    it prints as. ``data_provider`` is part of the specification's interface and not used: balances need no prices.

    Raises ``InputError`` for an argument that cannot be, ``MonitorError`` when it does not fit the home, the ledger or
    Redis; both are ``ValueError``. Use it as an asynchronous context manager, or ``close`` it.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None,
        execution_mode: str,
        initial_capital: Decimal | int | str | float,
        share_class: str,
        data_provider: object = None,
    ) -> None:
        if execution_mode not in (BACKTEST, LIVE):
            raise InputError(f"execution_mode: {execution_mode!r} is not a mode; give {BACKTEST!r} or {LIVE!r}")
        if share_class not in SHARE_CLASSES:
            raise InputError(f"share_class: {share_class!r} is not one of {', '.join(SHARE_CLASSES)}")
        self.config = config
        self.execution_mode = execution_mode
        self.share_class = share_class
        self.data_provider = data_provider
        self.portfolio, self.home, start = _read_config(config)
        settings = _load(self.home, execution_mode)
        self._registry = settings.registry()
        self.initial_capital = _capital(initial_capital, share_class, self._registry)
        redis_url = _redis_url(settings, self.home) if execution_mode == LIVE else None
        self._turns: tuple[asyncio.AbstractEventLoop | None, asyncio.Lock] = None, asyncio.Lock()
        self._recorded = threading.local()
        self._state = PositionState(self.portfolio)
        self._publisher: Publisher | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MonitorError(
                f"config.home: {self.home} cannot be a folder ({error.strerror}); give one that can"
            ) from None
        self._ledger = Ledger(ledger_url(settings, self.home), self._registry, clock=self._record_time)
        try:
            self._open(settings, start, redis_url)
        except BaseException:
            self._ledger.close()
            raise

    def _open(self, settings: Settings, start: datetime | None, redis_url: str | None) -> None:
        self._join(settings, start)
        if redis_url is not None:
            from basis_pipeline.monitors.publisher import Publisher

            only_one = len({*settings.portfolios, *self._ledger.snapshot().portfolios}) == 1
            self._publisher = Publisher(redis_url, self._ledger, self.portfolio, self._look, only_one=only_one)

    def _join(self, settings: Settings, start: datetime | None) -> None:
        """Put the portfolio into the ledger, or see that it is there with these terms."""
        configured = settings.portfolios.get(self.portfolio)
        if configured is not None:
            start = configured.start if start is None else start
            for name, given, there in (
                ("share_class", self.share_class, configured.share_class),
                ("initial_capital", canonical(self.initial_capital), canonical(configured.initial_capital)),
                ("start", iso(start), iso(configured.start)),
            ):
                if given != there:
                    raise MonitorError(f"{name}: {given} differs from {there} in {config_path(self.home)}; give that")
        known = self._ledger.snapshot().portfolios.get(self.portfolio)
        if start is None and known is not None:
            start = known.start
        if start is None and self.execution_mode == LIVE:
            start = datetime.now(UTC)
        if start is None:
            self._state.begin(self.share_class, self.initial_capital, datetime.now(UTC))
        else:
            self._register(start)
            self._state.catch_up(self._ledger)

    def _register(self, start: datetime) -> None:
        self._ledger.register(Terms(self.portfolio, self.share_class, self.initial_capital, start))

    def _record_time(self) -> datetime:
        """The ledger's clock, which remembers when this thread recorded its last entry."""
        self._recorded.at = datetime.now(UTC)
        return cast(datetime, self._recorded.at)

    async def __aenter__(self) -> PositionMonitor:
        if self._publisher is not None:
            await self._publisher.start()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Publish what is due and let go of ledger and Redis."""
        async with self._turn():
            if self._publisher is not None:
                await self._publisher.close()
            self._worker.shutdown()
            self._ledger.close()

    async def update(self, changes: Mapping[str, Any]) -> Snapshot:
        """Accept one update, all of it or nothing, and return the snapshot after it.

        ``changes`` is the specification's payload: ``token_changes`` and ``derivative_changes``, and ``id``,
        ``timestamp`` and ``trigger``, which are made up where missing: a new id; now (live) or the last entry's time
        (backtest); the trigger that the legs can only mean. In the ledger, durably, when it returns. An id that came
        before with the same content changes nothing.

        Raises an ``UpdateError``, ``DuplicateIdError`` or ``LateEntryError`` (all ``ValueError``) if it is refused.
        """
        async with self._turn():
            if self._publisher is not None:
                await self._publisher.start()
            update = read_changes(changes, self._registry, self._missing_time)
            receipt, recorded_at = await self._append(update)
            if recorded_at is None or not self._state.follows(update, receipt.sequence):
                self._state.catch_up(self._ledger)
            else:
                self._state.accept(update, receipt.sequence, recorded_at)
            snapshot = self._state.snapshot()
            if self._publisher is not None and not receipt.duplicate:
                await self._publisher.publish(receipt.sequence, update, self._state.sequence, self._state.json())
            return snapshot

    def _turn(self) -> asyncio.Lock:
        """One update after the other. A backtest may run one event loop after the other."""
        loop = asyncio.get_running_loop()
        if self._turns[0] is not loop:
            self._turns = loop, asyncio.Lock()
        return self._turns[1]

    def _missing_time(self) -> datetime:
        if self.execution_mode == LIVE:
            return datetime.now(UTC)
        self._state.catch_up(self._ledger)
        return self._state.timestamp or datetime.now(UTC)

    async def _append(self, update: BalanceUpdate) -> tuple[Receipt, datetime | None]:
        """Write to the ledger, and when that was. The event loop goes on while others are writing.

        A SQLite commit takes hardly longer than asking a thread for it, so it is only asked where it has to wait.
        """
        if self._ledger.engine.dialect.name == "sqlite" and not self._is_new():
            with suppress(LedgerBusyError):
                return self._append_now(update, wait=False)
        return await asyncio.get_running_loop().run_in_executor(self._worker, self._append_now, update)

    def _append_now(self, update: BalanceUpdate, *, wait: bool = True) -> tuple[Receipt, datetime | None]:
        if self._is_new():
            # A refused update must not leave the initial capital behind, stamped with its time.
            self._state.try_out(update)
            self._register(update.timestamp)
        receipt = self._ledger.append(self.portfolio, update, wait=wait)
        return receipt, None if receipt.duplicate else self._recorded.at

    def _is_new(self) -> bool:
        """Whether the ledger does not have the portfolio yet."""
        return not self._state.sequence and self.portfolio not in self._ledger.snapshot().portfolios

    def get_snapshot(self) -> Snapshot:
        """What is held now, other processes' entries included: a deep copy, amounts as Decimals."""
        self._state.catch_up(self._ledger)
        return self._state.snapshot()

    @staticmethod
    def to_json(snapshot: Snapshot) -> str:
        """The snapshot as JSON with amounts as decimal strings."""
        return to_json(snapshot)

    @property
    def wallet(self) -> View:
        """Balance by token, read-only; ``[token]`` stays current."""
        self._state.catch_up(self._ledger)
        return MappingProxyType(self._state.wallet)

    @property
    def cex_accounts(self) -> Mapping[str, View]:
        """Balance by exchange and token, read-only."""
        self._state.catch_up(self._ledger)
        return _read_only(self._state.cex_accounts)

    @property
    def perp_positions(self) -> Mapping[str, Mapping[str, View]]:
        """Open perpetuals by exchange and instrument, read-only."""
        self._state.catch_up(self._ledger)
        return _read_only(self._state.perp_positions)

    def _look(self) -> tuple[int, str]:
        self._state.catch_up(self._ledger)
        return self._state.sequence, self._state.json()

    async def reconcile_with_live(self) -> dict[str, AccountRecord]:
        """Do once what the hourly job does, for the whole home, and return what each account came to, by its name.

        In a backtest the ledger is the world: nothing happens, and there is nothing to tell.
        """
        if self.execution_mode == BACKTEST:
            return {}
        try:
            report = await reconcile_home(self.home)
        finally:
            self._state.catch_up(self._ledger)
            if self._publisher is not None:
                await self._publisher.start()
                await self._publisher.catch_up()
        return {found.account.name: found for found in report.accounts}


async def reconcile_home(home: Path) -> ReconciliationReport:
    """Read all accounts of the home and compare them with its ledger."""
    from basis_pipeline.home import open_home
    from basis_pipeline.live import reconcile_accounts

    with open_home(home) as opened:
        return await reconcile_accounts(opened, opened.ports())


def _read_only(sections: dict[str, dict[str, Any]]) -> Mapping[str, View]:
    return MappingProxyType({name: MappingProxyType(section) for name, section in sections.items()})


def _read_config(config: Mapping[str, Any] | None) -> tuple[str, Path, datetime | None]:
    """Portfolio, home and start of a strategy's config; whatever else is in it is the strategy's."""
    if config is not None and not isinstance(config, Mapping):
        raise InputError(f"config: {type(config).__name__} is not a mapping")
    given = {name: value for name, value in (config or {}).items() if value is not None}
    try:
        portfolio = TypeAdapter(PortfolioName).validate_python(given.get("portfolio", DEFAULT_PORTFOLIO))
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"config.portfolio: {reason}") from None
    home = given.get("home")
    if home is not None and not isinstance(home, str | Path):
        raise InputError(f"config.home: {home!r} is not a path")
    start = given.get("start")
    return portfolio, home_path(home).resolve(), None if start is None else parse_instant(start, "config.start")


def _capital(value: object, share_class: str, registry: Registry) -> Decimal:
    if value is None:
        raise InputError("initial_capital: is missing; give an amount above zero")
    capital = parse_decimal(exact_numbers(value), "initial_capital")
    if capital <= 0:
        raise InputError(f"initial_capital: {value} must be above zero")
    if decimal_places(capital) > (limit := registry.token(share_class).decimals):
        raise InputError(f"initial_capital: {value} has more decimal places than {share_class} ({limit})")
    return capital


def _load(home: Path, execution_mode: str) -> Settings:
    """The settings of the home, which need not have any."""
    try:
        settings = load_settings(home, required=False)
    except BasisError as error:
        raise MonitorError(str(error)) from None
    there = config_path(home)
    if (there.exists() or "mode" in settings.model_fields_set) and settings.mode != execution_mode:
        raise MonitorError(
            f"execution_mode: {execution_mode!r} differs from mode {settings.mode!r} in {there}; "
            "a home is for one of them: give the monitor another home, or change its mode"
        )
    return settings


def _redis_url(settings: Settings, home: Path) -> str:
    """The URL of a Redis that answers."""
    from basis_pipeline.monitors.publisher import check_connection

    try:
        url = reveal(settings.redis_url, settings.redis_url_file, "redis_url", config_path(home).parent)
        check_connection(url)
    except (ConfigError, PublishingError) as error:
        raise MonitorError(f"live mode publishes to Redis: {error}") from None
    return url
