"""Publishing what writers other than a monitor left due: a reconciliation, an import, an entry recorded by hand."""

from __future__ import annotations

from functools import partial

from basis_pipeline.home import Home
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.live import reconcile_accounts, redis_url
from basis_pipeline.monitors.publisher import Publisher
from basis_pipeline.monitors.state import PositionState
from basis_pipeline.steps.ports import Ports
from basis_pipeline.steps.reconciliation import ReconciliationReport


async def publish_due(home: Home) -> None:
    """Tell Redis of every entry it was not told of, and of the newest snapshots. Never raises because of Redis.

    Nothing happens in a backtest or where no Redis is configured. A monitor that runs elsewhere may do the same at the
    same time: each entry is told once, in order.
    """
    url = redis_url(home) if home.live else None
    if url is None:
        return
    portfolios = home.ledger.snapshot().portfolios
    for portfolio in portfolios:
        state = PositionState(portfolio)
        look = partial(_look, state, home.ledger)
        publisher = Publisher(url, home.ledger, portfolio, look, only_one=len(portfolios) == 1)
        try:
            await publisher.flush()
        finally:
            await publisher.close()


def _look(state: PositionState, ledger: Ledger) -> tuple[int, str]:
    state.catch_up(ledger)
    return state.sequence, state.json()


async def reconcile_and_publish(home: Home, ports: Ports, portfolio: str | None = None) -> ReconciliationReport:
    """``reconcile_accounts``, and subscribers are told of what it changed, also where it raises."""
    try:
        return await reconcile_accounts(home, ports, portfolio)
    finally:
        await publish_due(home)
