"""What a message says: the alert's own words, since when and how often, and where to turn to."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from basis_pipeline.alerts.channels import Message
from basis_pipeline.domain.alerts import Severity, channel_test
from basis_pipeline.ledger.alerts import Notice, Reason, StoredAlert

DIGEST_LINES = 25
_TYPES = {Severity.INFO: "info", Severity.WARNING: "warning", Severity.ERROR: "failure"}
_MARKS = {
    Reason.RAISED: "[{severity}]",
    Reason.WORSE: "[{severity}, worse than before]",
    Reason.STILL: "[{severity}, still]",
    Reason.RESOLVED: "[resolved]",
}


def message_of(notice: Notice, home: Path, now: datetime) -> Message:
    """The message that tells of one alert."""
    stored, alert = notice.alert, notice.alert.alert
    title = f"{_mark(notice)} {alert.title}"
    if notice.reason is Reason.RESOLVED:
        end = stored.resolved_at or now
        body = f"This is over, and nothing is left to do about it. It stood from {_time(stored.raised_at)} to "
        return Message(title, f"{body}{_time(end)} ({_span(end - stored.raised_at)}).\n\n{_origin(home)}", "success")
    return Message(title, f"{alert.text}\n\n{_history(stored, now)}\n{_origin(home)}", _TYPES[alert.severity])


def digest_of(notices: Sequence[Notice], home: Path) -> Message:
    """One message that tells of many alerts by their titles."""
    by_severity = Counter(n.alert.alert.severity for n in notices if n.reason is not Reason.RESOLVED)
    counts = [f"{by_severity[s]} {s}" for s in reversed(Severity) if by_severity[s]]
    if over := len(notices) - by_severity.total():
        counts.append(f"{over} resolved")
    lines = [f"{_mark(n)} {n.alert.alert.title} (alert {n.alert.number})" for n in notices[:DIGEST_LINES]]
    if len(notices) > DIGEST_LINES:
        lines.append(f"... and {len(notices) - DIGEST_LINES} more")
    body = "\n".join(lines)
    worst = max(by_severity, key=lambda severity: severity.rank, default=None)
    return Message(
        f"{len(notices)} alerts: {', '.join(counts)}",
        f"{body}\n\nbasis alerts lists what stands, basis alerts show NUMBER says what to do.\n{_origin(home)}",
        "success" if worst is None else _TYPES[worst],
    )


def trial_message(channel: str, home: Path, now: datetime) -> Message:
    """The message that `basis alerts test` sends."""
    alert = channel_test(channel)
    return Message(f"[test] {alert.title}", f"{alert.text}\n\nSent {_time(now)}.\n{_origin(home)}", "info")


def _mark(notice: Notice) -> str:
    return _MARKS[notice.reason].format(severity=notice.alert.alert.severity)


def _history(stored: StoredAlert, now: datetime) -> str:
    if not stored.alert.kind.standing:
        return f"Noticed {_time(stored.raised_at)}."
    times = "" if stored.times == 1 else f", seen {stored.times:,} times, last {_time(stored.last_raised_at)}"
    return (
        f"Since {_time(stored.raised_at)} ({_span(now - stored.raised_at)}){times}.\n"
        f"basis alerts ack {stored.number} keeps it quiet until it is resolved or gets worse."
    )


def _origin(home: Path) -> str:
    return f"From {socket.gethostname()}, home {home}."


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    minutes = max(0, int(length / timedelta(minutes=1)))
    days, hours = minutes // 1440, minutes // 60 % 24
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"
