"""Ticks of a home's sensors on its own Dagster instance, one after the other, and the runs that they ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from basis_pipeline.domain.intake import parse_update
from basis_pipeline.home import open_home
from basis_pipeline.ledger.alerts import StoredAlert, alerts_listed
from basis_pipeline.orchestration.build import build_definitions
from basis_pipeline.orchestration.days import days_of_run
from basis_pipeline.orchestration.instance import dagster_home
from basis_pipeline.steps.ports import DayRange

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Daemon:
    """What the sensor daemon does, at the pace of the test; cursors are kept as it keeps them."""

    home: Path
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)
    run_keys: set[str] = field(default_factory=set)

    def tick(self, name: str) -> dg.RunRequest | str:
        """Evaluate a sensor; the run it asks for, else why it asks for none."""
        definitions = build_definitions(self.home)
        repository = definitions.get_repository_def()
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursors.get(name), repository_def=repository, sensor_name=name
        )
        found = repository.get_sensor_def(name).evaluate_tick(context)
        self.cursors[name] = found.cursor
        requests = list(found.run_requests or [])
        if not requests:
            return found.skip_message or ""
        [request] = requests
        assert request.run_key not in self.run_keys, "Dagster starts no second run with the same key"
        if request.run_key is not None:
            self.run_keys.add(request.run_key)
        return request

    def requested(self, name: str) -> dg.RunRequest:
        """The run that a tick asks for."""
        request = self.tick(name)
        assert isinstance(request, dg.RunRequest), request
        return request

    def skipped(self, name: str) -> str:
        """Why a tick asks for no run."""
        said = self.tick(name)
        assert isinstance(said, str), said
        return said

    def run(self, request: dg.RunRequest, job: str) -> bool:
        """Run what was asked for, to its end; whether it succeeded."""
        found = build_definitions(self.home).resolve_job_def(job)
        result = found.execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            raise_on_error=False,
            tags=tags_of(request),
            asset_selection=request.asset_selection,
        )
        return result.success

    def begin(self, request: dg.RunRequest, job: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """Leave the run where the daemon or a worker would have brought it by now."""
        found = build_definitions(self.home).resolve_job_def(job)
        return self.instance.create_run_for_job(found, status=status, tags=tags_of(request))

    def runs(self) -> list[dg.DagsterRun]:
        return list(self.instance.get_runs())


@contextmanager
def daemon(home: Path) -> Iterator[Daemon]:
    """The daemon of a home, as it comes up."""
    with dagster_home(home), dg.DagsterInstance.get() as instance:
        yield Daemon(home, instance)


def tags_of(request: dg.RunRequest) -> dict[str, str]:
    """The tags of the run that Dagster makes of a request."""
    only = {} if request.partition_key is None else {"dagster/partition": request.partition_key}
    return {**request.tags, **only}


def days_of(request: dg.RunRequest) -> DayRange | None:
    return days_of_run(tags_of(request))


def record(home: Path, portfolio: str, update: dict[str, Any]) -> None:
    """What `basis record` does."""
    with open_home(home) as opened:
        opened.ledger.append(portfolio, parse_update(update, opened.registry))


def standing(home: Path) -> list[StoredAlert]:
    """The alerts that stand."""
    with open_home(home) as opened:
        return alerts_listed(opened.ledger.engine)
