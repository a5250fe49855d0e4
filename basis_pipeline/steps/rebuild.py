"""All projection steps in their order: what ``basis rebuild`` does without Dagster."""

from __future__ import annotations

from basis_pipeline.steps.balance_changes import project_balance_changes
from basis_pipeline.steps.equity import project_equity
from basis_pipeline.steps.market import project_conversion_rates, project_prices
from basis_pipeline.steps.ports import DayRange, Ports
from basis_pipeline.steps.positions import project_positions
from basis_pipeline.steps.publishing import StepReport, collect_garbage
from basis_pipeline.steps.reconciliation_tables import project_reconciliation

STEPS = (
    project_balance_changes,
    project_positions,
    project_prices,
    project_conversion_rates,
    project_equity,
)


def rebuild(ports: Ports, days: DayRange) -> list[StepReport]:
    """Publish every table for the days. Raises ``MissingPriceError`` at the end, as the equity step does.

    The tables of reconciliation only where there was one.
    """
    try:
        reconciled = project_reconciliation(ports, days)
        reports = [step(ports, days) for step in STEPS]
        return [*reports, reconciled] if reconciled.rows else reports
    finally:
        collect_garbage(ports)
