"""The base of every strategy: what is the fund worth, what should it hold, and is it time to rebalance."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from basis_pipeline.domain.errors import ConfigError, InputError, LedgerMovedError, MissingPriceError
from basis_pipeline.domain.numbers import ZERO
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, SHARE_CLASSES, Registry, parse_instrument
from basis_pipeline.strategy import config as reading
from basis_pipeline.strategy.holdings import Holdings
from basis_pipeline.strategy.values import Decision, Deviation, PositionKind, Standing, TargetPosition, decide, settled

if TYPE_CHECKING:
    from basis_pipeline.monitors.equity_calculator import EquitySnapshot

POSITION_DEVIATION_THRESHOLD = Decimal("0.02")
MINIMUM_DEVIATION_USD = Decimal(10)
TOTAL_EQUITY, NAV = "total_equity", "nav"
_ATTEMPTS = 10
"""How often equity and holdings are read anew because the ledger grew between the two."""

Targets = Iterable[TargetPosition]


class PriceSource(Protocol):
    """USD per ledger unit: of an aToken or debt token per scaled unit, its index and its LST rate included."""

    async def get_prices(self, assets: list[str]) -> Mapping[str, Decimal]: ...


class EquitySource(Protocol):
    """Values the fund, and knows what its tokens are worth; the equity calculator is one."""

    price_provider: Any

    async def calculate_equity(self, share_class: str) -> EquitySnapshot: ...


class PositionSource(Protocol):
    """Says what is held; the position monitor is one."""

    def get_snapshot(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Fund:
    """What a strategy decides on: holdings and equity after the same ledger entry."""

    holdings: Holdings
    equity: EquitySnapshot


@dataclass(slots=True)
class _Deciding:
    """What one decision of a strategy stands on: its fund, and the prices that it has asked for so far."""

    strategy: BaseStrategyManager
    fund: Fund
    prices: dict[str, Decimal]


_deciding: ContextVar[_Deciding | None] = ContextVar("_deciding", default=None)
"""The decision that is being made, so that all of it stands on the same numbers."""


class BaseStrategyManager(ABC):
    """A strategy over one fund. It decides; it does not trade.

    ``config`` needs ``share_class`` (USDT or ETH) and ``asset``. ``position_deviation_threshold`` (0.02) is how far a
    position may be off its target, as a part of the larger of both; ``minimum_deviation_usd`` (10) what being off must
    be worth to count. ``sized_by`` is what targets are sized by: ``total_equity`` or ``nav``. ``registry`` has the
    tokens, where they are not just the built-in ones. Other keys are the strategy's. ``ConfigError`` names one that is
    missing or unusable.

    ``risk_monitor`` is for strategies that have one; it may be None. Prices come from ``equity_calculator``'s
    ``price_provider``.
    """

    SIZED_BY: ClassVar[str] = TOTAL_EQUITY
    """What targets are sized by unless the configuration says otherwise."""

    def __init__(
        self,
        config: Mapping[str, Any],
        risk_monitor: Any,
        position_monitor: PositionSource,
        equity_calculator: EquitySource,
    ) -> None:
        self.config = config
        self.risk_monitor = risk_monitor
        self.position_monitor = position_monitor
        self.equity_calculator = equity_calculator
        self.share_class = reading.choice(config, "share_class", SHARE_CLASSES)
        self.asset: str = reading.required(config, "asset")
        self.position_deviation_threshold = reading.part(
            config, "position_deviation_threshold", POSITION_DEVIATION_THRESHOLD
        )
        self.minimum_deviation_usd = reading.amount(config, "minimum_deviation_usd", MINIMUM_DEVIATION_USD)
        self.sized_by = reading.choice(config, "sized_by", (TOTAL_EQUITY, NAV), self.SIZED_BY)
        self.registry: Registry = config.get("registry", DEFAULT_REGISTRY)
        self.configure()

    def configure(self) -> None:  # noqa: B027 - a strategy without parameters of its own needs none
        """For strategies to read their own keys of ``config``; called once, when everything above is set."""

    async def get_current_equity(self) -> Decimal:
        """Total equity in share-class currency."""
        return (await self._equity()).total_equity

    async def get_equity_by_venue(self) -> dict[str, Decimal]:
        """Equity of each venue in share-class currency."""
        return dict((await self._equity()).equity_by_venue)

    async def get_equity_by_asset(self) -> dict[str, Decimal]:
        """Equity in each asset in share-class currency; negative where more is owed than held."""
        return dict((await self._equity()).equity_by_asset)

    async def get_fund(self) -> Fund:
        """Holdings and equity after the same ledger entry; within one decision always the same.

        ``LedgerMovedError`` if the ledger grows each time before both are read.
        """
        deciding = self._underway()
        return await self._read_fund(None) if deciding is None else deciding.fund

    async def get_prices(self, assets: Iterable[str]) -> Mapping[str, Decimal]:
        """USD per ledger unit of each; ``MissingPriceError`` names those without a price above zero.

        Within one decision a price is asked for once.
        """
        deciding = self._underway()
        known = {} if deciding is None else deciding.prices
        wanted = sorted(set(assets))
        if new := [asset for asset in wanted if asset not in known]:
            found = await self.equity_calculator.price_provider.get_prices(new)
            missing = [asset for asset in new if not found.get(asset, ZERO) > 0]
            if missing:
                raise MissingPriceError(
                    f"no price above zero for {', '.join(missing)}; targets need one for each", tuple(missing)
                )
            known.update({asset: found[asset] for asset in new})
        return {asset: known[asset] for asset in wanted}

    def size_of(self, fund: Fund) -> Decimal:
        """The capital that targets are sized by, in share-class currency; zero while it is not above zero."""
        size: Decimal | None = getattr(fund.equity, self.sized_by, None)
        if size is None:
            raise ConfigError(
                f"strategy config: sized_by is {self.sized_by}, which the equity calculator does not tell; give "
                f"{TOTAL_EQUITY}"
            )
        return max(size, ZERO)

    @abstractmethod
    def get_target_positions(self) -> Targets | Awaitable[Targets]:
        """What the fund should hold now; may be a coroutine.

        A position without a target is left alone; one to be closed has target 0. Digits beyond what the ledger holds
        of a token are cut.
        """

    async def get_deviations(self) -> tuple[Deviation, ...]:
        """How far each target is from what is held."""
        return await self._deviations(await self.get_fund())

    async def rebalance_decision(self, equity: EquitySnapshot | None = None) -> Decision:
        """Whether a deviation is above the threshold, and the adjustments that bring everything on target if so.

        ``equity`` is what an equity monitor has just told, which need not be calculated again. It is if the ledger has
        grown since.
        """
        if equity is not None and equity.share_class != self.share_class:
            raise InputError(f"equity: is in {equity.share_class}, but the share class is {self.share_class}")
        fund = await self._read_fund(equity)
        deviations = await self._deviations(fund)
        standing = Standing(
            portfolio=fund.holdings.portfolio,
            share_class=self.share_class,
            as_of=getattr(fund.equity, "as_of", None),
            ledger_sequence=fund.holdings.ledger_sequence,
            total_equity=fund.equity.total_equity,
        )
        return decide(deviations, self.position_deviation_threshold, self.minimum_deviation_usd, standing)

    async def _read_fund(self, known: EquitySnapshot | None) -> Fund:
        holdings = Holdings.of(self.position_monitor.get_snapshot())
        for _ in range(_ATTEMPTS):
            equity = known or await self.equity_calculator.calculate_equity(self.share_class)
            known = None
            stands_on = getattr(equity, "ledger_sequence", None)
            if stands_on in (None, holdings.ledger_sequence):
                return Fund(holdings, equity)
            holdings = Holdings.of(self.position_monitor.get_snapshot())  # mostly equity is of the newer entry
            if stands_on == holdings.ledger_sequence:
                return Fund(holdings, equity)
        raise LedgerMovedError(
            f"holdings are those of ledger entry {holdings.ledger_sequence}, equity that of {stands_on}, and so were "
            f"{_ATTEMPTS} attempts; see that both are of one portfolio and one clock, or ask again later"
        )

    async def _equity(self) -> EquitySnapshot:
        deciding = self._underway()
        if deciding is not None:
            return deciding.fund.equity
        return await self.equity_calculator.calculate_equity(self.share_class)

    def _underway(self) -> _Deciding | None:
        deciding = _deciding.get()
        return deciding if deciding is not None and deciding.strategy is self else None

    async def _deviations(self, fund: Fund) -> tuple[Deviation, ...]:
        token = _deciding.set(_Deciding(self, fund, {}))
        try:
            given = self.get_target_positions()
            targets = self._settled(await given if inspect.isawaitable(given) else given)
            pairs = [(target, self._held(fund.holdings, target)) for target in targets]
            prices = await self.get_prices(self._priced_as(target) for target, held in pairs if target.amount != held)
        finally:
            _deciding.reset(token)
        return tuple(Deviation(target, held, prices.get(self._priced_as(target), ZERO)) for target, held in pairs)

    def _settled(self, targets: object) -> list[TargetPosition]:
        if not isinstance(targets, Iterable):
            raise InputError(
                f"get_target_positions: gave {targets!r:.100}; return a list of targets, empty if nothing is wanted"
            )
        return [self._settled_one(each) for each in targets]

    def _settled_one(self, target: object) -> TargetPosition:
        if not isinstance(target, TargetPosition):
            raise InputError(
                f"get_target_positions: {target!r:.100} is no TargetPosition; make it by balance() or perp()"
            )
        return settled(target, self.registry)

    @staticmethod
    def _held(holdings: Holdings, target: TargetPosition) -> Decimal:
        where = holdings.balances if target.kind is PositionKind.BALANCE else holdings.perps
        return where.get((target.venue, target.name), ZERO)

    @staticmethod
    def _priced_as(target: TargetPosition) -> str:
        return target.name if target.kind is PositionKind.BALANCE else parse_instrument(target.name).base
