"""The home as a typed resource."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from pydantic import Field, PrivateAttr

from basis_pipeline.domain.instants import Clock
from basis_pipeline.home import Home, open_home
from basis_pipeline.ledger.ledger import utc_now
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.orchestration.instance import check_instance, events_kept_open
from basis_pipeline.orchestration.leases import held_lease
from basis_pipeline.settings import home_path
from basis_pipeline.steps.ports import Ports, Progress, no_progress


class HomeResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The home that a run reads and writes."""

    path: str | None = Field(default=None, description="The home's directory; by default BASIS_HOME, else data.")
    _progress: Progress = PrivateAttr(default_factory=lambda: no_progress)
    _market: MarketHistory | None = PrivateAttr(default=None)
    _clock: Clock = PrivateAttr(default_factory=lambda: utc_now)

    @classmethod
    def watched(cls, home: Path, progress: Progress = no_progress, clock: Clock = utc_now) -> HomeResource:
        """For runs in this process: they tell ``progress`` how far they have come, and go by ``clock``."""
        resource = cls(path=str(home))
        resource._progress = progress
        resource._clock = clock
        return resource

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[HomeResource]:
        """Mark the run as alive while it lasts."""
        if context.run is None:
            yield self
            return
        home, run_id = home_path(self.path), context.run.run_id
        if context.instance is not None:
            check_instance(context.instance, home)
        with held_lease(home, run_id), events_kept_open(home, run_id):
            yield self

    @contextmanager
    def open(self) -> Iterator[tuple[Home, Ports]]:
        """The open home and the ports of a step; closed when the block ends. The steps of a run share the market."""
        with open_home(home_path(self.path), self._market, self._clock) as home:
            if not home.live:
                self._market = home.history
            yield home, home.ports(self._progress)
