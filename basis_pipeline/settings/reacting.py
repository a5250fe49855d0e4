"""How the product reacts to changes: when equity is calculated and told of, what sensors do, and who is alerted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from basis_pipeline.domain.alerts import AlertKind, Severity
from basis_pipeline.settings.types import CLOSED, Age, Duration, Exact

ShareClass = Literal["USDT", "ETH"]
_CHANNEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_FLOORS: dict[ShareClass, Decimal] = {"USDT": Decimal(1000), "ETH": Decimal("0.5")}


def _with_defaults(given: Mapping[ShareClass, Decimal]) -> dict[ShareClass, Decimal]:
    return {**_FLOORS, **given}


class EquitySettings(BaseModel):
    """When equity is calculated anew, and which change of it is worth telling.

    A change is told when it is more than ``change_threshold`` of the last value told, or of ``change_floor`` (in
    share-class currency) where that is larger.
    """

    model_config = CLOSED

    update_interval: Age = Field(default=timedelta(seconds=60), description="how often a monitor calculates by itself")
    change_threshold: Annotated[Exact, Field(ge=0)] = Decimal("0.001")
    change_floor: Annotated[dict[ShareClass, Annotated[Exact, Field(ge=0)]], AfterValidator(_with_defaults)] = Field(
        default=_FLOORS, description="by share class"
    )
    change_of: Literal["total_equity", "nav"] = Field(
        default="total_equity", description="what is watched; nav is what stays flat in a delta-neutral book"
    )


class SensorSettings(BaseModel):
    """How the sensors of Dagster behave."""

    model_config = CLOSED

    interval: Age = Field(
        default=timedelta(seconds=5), description="how often they look; Dagster looks every 5 s at most"
    )
    attempts: Annotated[int, Field(ge=1)] = Field(
        default=3, description="how often the same days are recalculated when runs fail; then there is an alert"
    )
    retry_after: Duration = Field(default=timedelta(seconds=30), description="how long after a failed run")


class ChannelSettings(BaseModel):
    """Where alerts go: an Apprise URL, which is a secret because it holds tokens and passwords."""

    model_config = CLOSED

    url: SecretStr | None = None
    url_file: Path | None = None
    severity: Severity = Field(default=Severity.INFO, description="the least that is sent")
    kinds: tuple[AlertKind, ...] = Field(default=(), description="only these kinds of alerts; empty: all")


def _channel_name(name: str) -> str:
    if not _CHANNEL_NAME.fullmatch(name) or "__" in name:
        # Not repeated: somebody may have written the URL where the name belongs.
        raise ValueError("is no name of a channel; use lower-case letters, digits and single underscores")
    return name


class AlertSettings(BaseModel):
    """Who is told of what needs a person."""

    model_config = CLOSED

    channels: dict[Annotated[str, AfterValidator(_channel_name)], ChannelSettings] = {}
    renotify_after: Age = Field(
        default=timedelta(hours=4), description="how long until an alert that still stands is sent again"
    )
