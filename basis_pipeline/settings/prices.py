"""Where prices come from, in which order, and how old they may be."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, Field

from basis_pipeline.settings.types import CLOSED, Age, Duration, Exact


class PriceSettings(BaseModel):
    """Where prices come from and how old they may be. Sources are written ``venue`` or ``venue:SYMBOL:kind``."""

    model_config = CLOSED

    max_age: Age = timedelta(hours=2)
    max_age_by_name: dict[str, Age] = {}
    routes: dict[str, tuple[str, ...]] = {}
    conversions: dict[str, tuple[str, ...]] = {}
    marks: dict[str, tuple[str, ...]] = {}
    cache: Duration = Field(default=timedelta(seconds=30), description="how long a live price answers again, unasked")
    timeout: Age = Field(default=timedelta(seconds=10), description="how long a venue may take to answer for a price")
    band: Annotated[Exact, Field(gt=0, lt=1)] = Field(
        default=Decimal("0.01"), description="how far two sources of a live price may be apart before it is reported"
    )
