"""Alerts to raise, a clock to turn, and a home that other processes open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from basis_pipeline.domain.alerts import Alert, AlertKind, Severity
from basis_pipeline.home import Home
from basis_pipeline.ledger.alerts import StoredAlert, raise_alerts

BEGAN = datetime(2026, 3, 1, 3, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = BEGAN

    def __call__(self) -> datetime:
        return self.now

    def turn(self, **by: float) -> None:
        self.now += timedelta(**by)


def alert(
    title: str = "okx cannot be read",
    *,
    severity: Severity = Severity.ERROR,
    kind: AlertKind = AlertKind.UNAVAILABLE_VENUE,
) -> Alert:
    return Alert(kind, severity, f"fund/{title}", title, "okx: no answer within 10 s")


def raised(home: Home, *alerts: Alert) -> list[StoredAlert]:
    return raise_alerts(home.ledger.engine, alerts or [alert()], home.clock())
