"""Alerts, and the channels that they do not reach."""

from __future__ import annotations

from basis_pipeline.domain.alerts import Severity
from basis_pipeline.home import Home
from basis_pipeline.ledger.alerts import ChannelState, alerts_listed, channel_states
from basis_pipeline.reports.report import Column, Kind, Report

_BRIEF = (
    Column("number", Kind.NUMBER),
    Column("severity"),
    Column("state"),
    Column("kind"),
    Column("title"),
    Column("raised_at"),
    Column("last_raised_at"),
    Column("times", Kind.NUMBER),
)
COLUMNS = (*_BRIEF, Column("subject"), Column("text"), Column("acknowledged_at"), Column("resolved_at"))


def alerts(home: Home, *, closed: bool = False, brief: bool = False) -> Report:
    """What stands, oldest first; with ``closed`` also what is over.

    ``brief`` leaves out what is long or rarely set, and fractions of seconds.
    """
    columns = _BRIEF if brief else COLUMNS
    rows = []
    for stored in alerts_listed(home.ledger.engine, closed=closed):
        alert = stored.alert
        row = (
            stored.number,
            alert.severity.value,
            stored.state,
            alert.kind.value,
            alert.title,
            stored.raised_at.replace(microsecond=0) if brief else stored.raised_at,
            stored.last_raised_at.replace(microsecond=0) if brief else stored.last_raised_at,
            stored.times,
            alert.subject,
            alert.text,
            stored.acknowledged_at,
            stored.resolved_at,
        )
        rows.append(row[: len(columns)])
    return Report(columns, rows)


def failing_channels(home: Home) -> list[ChannelState]:
    """The configured channels that the last message did not reach."""
    configured = home.settings.alerts.channels
    return [
        state
        for state in channel_states(home.ledger.engine)
        if state.channel in configured and state.failing_since is not None
    ]


def standing(home: Home) -> tuple[int, int]:
    """How many alerts stand that nobody acknowledged, and how many of those are errors."""
    unseen = [stored for stored in alerts_listed(home.ledger.engine) if stored.acknowledged_at is None]
    return len(unseen), sum(stored.alert.severity is Severity.ERROR for stored in unseen)
