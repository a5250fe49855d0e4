"""What all asset checks have in common: what one is, what it comes to, and the Dagster step that runs several."""

# ruff: noqa: I002 - Dagster compares the annotation of `context` with its classes; as text it would refuse it.

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import dagster as dg

from basis_pipeline.home import Home
from basis_pipeline.orchestration.failures import readable_failures
from basis_pipeline.orchestration.metadata import Metadata
from basis_pipeline.orchestration.resources import HomeResource
from basis_pipeline.steps.ports import Ports

SHOWN_MAX = 20
"""How many findings a check shows."""


class Evidence(Protocol):
    """What the checks of a step look at."""

    @property
    def scope(self) -> Metadata:
        """Which days or hours it is of, shown with every result."""


E = TypeVar("E", bound=Evidence)
Look = Callable[[Home, Ports, Mapping[str, str]], AbstractContextManager[E]]
"""The evidence of a run, by its tags."""


@dataclass(frozen=True)
class Verdict:
    """What a check found. A failure that is only a warning blocks nothing, whatever the check."""

    passed: bool
    summary: str
    metadata: Metadata = field(default_factory=dict)
    warning: bool = False


@dataclass(frozen=True)
class Check(Generic[E]):
    """One asset check."""

    asset: str
    name: str
    description: str
    evaluate: Callable[[E], Verdict]
    blocking: bool = True

    @property
    def key(self) -> dg.AssetCheckKey:
        return dg.AssetCheckKey(dg.AssetKey(self.asset), self.name)


def check_step(step_name: str, checks: Sequence[Check[E]], look: Look[E]) -> dg.AssetChecksDefinition:
    """The checks as one step, which evaluates those that the run selected."""
    specs = [dg.AssetCheckSpec(c.name, asset=c.asset, description=c.description, blocking=c.blocking) for c in checks]

    @dg.multi_asset_check(name=step_name, specs=specs, can_subset=True)
    def run_checks(context: dg.AssetCheckExecutionContext, home: HomeResource) -> Iterator[dg.AssetCheckResult]:
        with (
            readable_failures(),
            home.open() as (opened, ports),
            look(opened, ports, context.run.tags) as evidence,
        ):
            for check in checks:
                if check.key in context.selected_asset_check_keys:
                    yield _result(check, check.evaluate(evidence), evidence)

    return run_checks


def _result(check: Check[E], verdict: Verdict, evidence: E) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=check.asset,
        check_name=check.name,
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN if verdict.warning else dg.AssetCheckSeverity.ERROR,
        description=verdict.summary,
        metadata={**evidence.scope, **verdict.metadata},
    )
