"""Which strategies decide over which portfolio, and with which parameters."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, model_validator

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.strategies import short_perpetual, staked_collateral
from basis_pipeline.domain.tokens import EXCHANGES, Registry, canonical_venue
from basis_pipeline.settings.types import CLOSED, Exact, PortfolioName

Kind = Literal["usdt_lending", "eth_leveraged_loop", "basis", "usdt_market_neutral"]

_HEDGED = ("allocation", "instrument", "size_step")
PARAMETERS: Mapping[Kind, tuple[str, ...]] = {
    "usdt_lending": ("reserve",),
    "eth_leveraged_loop": ("target_ltv", "reserve", "collateral"),
    "basis": (*_HEDGED, "spot_share", "spot_venue"),
    "usdt_market_neutral": (*_HEDGED, "unwrap_gas_multiple"),
}
"""What each kind takes beside what all of them take."""

_REQUIRED: Mapping[Kind, tuple[str, ...]] = {
    "usdt_lending": (),
    "eth_leveraged_loop": ("target_ltv",),
    "basis": ("asset", "allocation"),
    "usdt_market_neutral": ("allocation",),
}
_SHARE_CLASSES: Mapping[Kind, str] = {
    "usdt_lending": "USDT",
    "eth_leveraged_loop": "ETH",
    "basis": "USDT",
    "usdt_market_neutral": "USDT",
}
_ASSETS: Mapping[Kind, tuple[str, ...]] = {
    "usdt_lending": ("USDT",),
    "eth_leveraged_loop": ("ETH",),
    "basis": ("BTC", "ETH"),
    "usdt_market_neutral": ("ETH",),
}


def _exchange(name: object) -> str:
    venue = canonical_venue(name)
    if venue not in EXCHANGES:
        raise InputError(f"{venue} is not an exchange; give one of {', '.join(EXCHANGES)}")
    return venue


def _by_exchange(weights: object) -> object:
    """The weights under canonical names: pydantic would silently keep the last of two that mean the same."""
    if not isinstance(weights, Mapping):
        return weights
    if not weights:
        raise ValueError("is empty; give exchanges with their weights, such as binance: 1")
    found: dict[str, object] = {}
    for name, weight in weights.items():
        venue = _exchange(name)
        if venue in found:
            raise ValueError(f"has {venue} twice; give each exchange once")
        found[venue] = weight
    return found


Part = Annotated[Exact, Field(ge=0, lt=1)]
Exchange = Annotated[str, BeforeValidator(_exchange)]


class StrategySettings(BaseModel):
    """A strategy over one portfolio. Parameters that are not given have the default of its kind."""

    model_config = CLOSED

    portfolio: PortfolioName
    kind: Kind
    asset: Literal["USDT", "ETH", "BTC"] | None = Field(default=None, description="the one of the kind; basis has two")
    position_deviation_threshold: Part = Field(
        default=Decimal("0.02"), description="how far a position may be off its target"
    )
    minimum_deviation_usd: Annotated[Exact, Field(ge=0)] = Field(
        default=Decimal(10), description="what being off must be worth to count"
    )
    sized_by: Literal["total_equity", "nav"] | None = Field(
        default=None, description="what targets are sized by; else nav for basis and total_equity for the others"
    )
    reserve: Part | None = Field(default=None, description="part of equity that is left alone")
    target_ltv: Part | None = Field(default=None, description="debt over collateral, by value")
    collateral: str | None = Field(default=None, description="aToken of a staked ETH")
    allocation: Annotated[dict[str, Annotated[Exact, Field(gt=0)]] | None, BeforeValidator(_by_exchange)] = Field(
        default=None, description="exchanges that the shorts are split over, with their weights"
    )
    instrument: str | None = Field(default=None, description="the perpetual that is short")
    size_step: Annotated[Exact, Field(gt=0)] | None = Field(default=None, description="sizes are multiples of it")
    spot_share: Part | None = Field(default=None, description="part of the capital that is held in the asset")
    spot_venue: Exchange | None = Field(default=None, description="where it is held")
    unwrap_gas_multiple: Annotated[Exact, Field(ge=0)] | None = Field(
        default=None, description="KING is unwrapped when it is worth this many times its gas"
    )

    @model_validator(mode="after")
    def _parameters_fit_the_kind(self) -> StrategySettings:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        every = {name for names in PARAMETERS.values() for name in names}
        foreign = sorted((given & every) - set(PARAMETERS[self.kind]))
        if foreign:
            known = ", ".join(PARAMETERS[self.kind])
            raise ValueError(f"{', '.join(foreign)} is no parameter of {self.kind}; it takes {known}")
        missing = [name for name in _REQUIRED[self.kind] if name not in given]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing; {self.kind} needs it")
        if self.asset is not None and self.asset not in _ASSETS[self.kind]:
            raise ValueError(f"asset is {self.asset}; {self.kind} takes {' or '.join(_ASSETS[self.kind])}")
        if self.instrument is not None:
            short_perpetual(self.instrument, self.asset or _ASSETS[self.kind][0])
        return self

    def config(self) -> dict[str, Any]:
        """What the strategy is made with; of what was not given, the strategy has the default."""
        given = self.model_dump(exclude={"portfolio", "kind"}, exclude_none=True)
        return {"asset": _ASSETS[self.kind][0], **given}


def check_strategies(strategies: Mapping[str, StrategySettings], share_classes: Mapping[str, str]) -> None:
    """Every strategy is over a configured portfolio that has its share class; ``share_classes`` is by portfolio."""
    for name, strategy in strategies.items():
        where, portfolio = f"strategies.{name}", strategy.portfolio
        if portfolio not in share_classes:
            known = ", ".join(share_classes) or "none yet"
            raise ConfigError(f"{where}.portfolio: {portfolio!r} is not configured; there are {known}")
        if share_classes[portfolio] != _SHARE_CLASSES[strategy.kind]:
            raise ConfigError(
                f"{where}.kind: {strategy.kind} is for {_SHARE_CLASSES[strategy.kind]}, but the share class of "
                f"{portfolio} is {share_classes[portfolio]}; give it another kind or portfolio"
            )


def check_collaterals(strategies: Mapping[str, StrategySettings], registry: Registry) -> None:
    """Every collateral is the aToken of a staked ETH, a registered one of the user's own included."""
    for name, strategy in strategies.items():
        if strategy.collateral is not None:
            staked_collateral(strategy.collateral, registry, f"strategies.{name}.collateral")
