"""Alerts as they are kept: which stand, what each channel was told of them, and who is telling it right now.

An alert that stands is one row, known by kind and subject: raised again it counts up and takes the newest words.
It is told when it is raised, when it gets worse, again and again while nobody acknowledges it, and once when it is
resolved. An event (``AlertKind.standing`` is false) is a row of its own each time, closed from the start, told once.

Sending is outside: whoever sends claims a channel first, so that two processes never tell it the same. A claim runs
out, so that one who died while sending holds nobody up; what it had sent but not noted is then sent again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from basis_pipeline.domain.alerts import Alert, AlertKind, Route, Severity
from basis_pipeline.domain.errors import InputError
from basis_pipeline.ledger.database import reading, writing
from basis_pipeline.ledger.schema import alert_channels, alert_deliveries, alerts, notified_equity

LEASE = timedelta(seconds=60)
"""How long a claim holds without a sign of life; longer than one message may take to be sent."""
RETRY_FIRST = timedelta(seconds=30)
RETRY_LAST = timedelta(hours=1)
"""A channel that fails is tried again after the first wait, which doubles up to the last."""
EVENT_AGE_MAX = timedelta(hours=24)
"""An event that no channel could be told of for so long is no news any more."""
NEW_CHANNEL_EVENT_AGE_MAX = timedelta(hours=1)
"""A channel that was just added is told of what stands, not of every event of the last day."""
RESOLVED_AGE_MAX = timedelta(days=7)
_DOUBLINGS_MAX = 7


class Reason(StrEnum):
    """Why a channel is to be told of an alert now."""

    RAISED = "raised"
    WORSE = "worse"
    STILL = "still"
    RESOLVED = "resolved"


class StoredAlert(NamedTuple):
    """An alert with its number and history. ``news`` counts how often it became worth telling at once."""

    number: int
    alert: Alert
    raised_at: datetime
    last_raised_at: datetime
    times: int
    news: int
    acknowledged_at: datetime | None
    resolved_at: datetime | None

    @property
    def state(self) -> str:
        """``open``, ``acknowledged``, ``resolved``, or ``event`` for one that never stands."""
        if not self.alert.kind.standing:
            return "event"
        if self.resolved_at is not None:
            return "resolved"
        return "open" if self.acknowledged_at is None else "acknowledged"


class Notice(NamedTuple):
    """One channel is to be told of one alert; ``failures`` is how often in a row that failed."""

    channel: str
    alert: StoredAlert
    reason: Reason
    failures: int


class ChannelState(NamedTuple):
    """How sending to a channel goes; ``failures`` in a row since ``failing_since``, the next try at ``retry_at``."""

    channel: str
    sent_at: datetime | None
    failing_since: datetime | None
    failures: int
    retry_at: datetime | None
    error: str | None


class NotifiedEquity(NamedTuple):
    """The equity of a portfolio that was told last. ``measure`` is total_equity or nav."""

    portfolio: str
    measure: str
    share_class: str
    value: Decimal
    as_of: datetime
    notified_at: datetime


def raise_alerts(engine: Engine, raised: Collection[Alert], moment: datetime) -> list[StoredAlert]:
    """Keep these alerts, in order; those that stand already are counted up and take the newest words."""
    if not raised:
        return []
    with _alone(engine) as connection:
        return [_raise(connection, alert, moment) for alert in raised]


def resolve(engine: Engine, kind: AlertKind, subjects: Iterable[str], moment: datetime) -> list[StoredAlert]:
    """Close what stands of this kind about these subjects; returns what was closed. Others are no error."""
    wanted = set(subjects)
    query = sa.select(alerts).where(alerts.c.kind == kind, alerts.c.resolved_at.is_(None))
    with reading(engine) as connection:  # most often nothing stands, and then no writer has to be waited for
        if not any(row.subject in wanted for row in connection.execute(query)):
            return []
    with _alone(engine) as connection:
        standing = [row for row in connection.execute(query) if row.subject in wanted]
        return [_change(connection, row.number, resolved_at=moment) for row in standing]


def acknowledge(engine: Engine, numbers: Sequence[int], moment: datetime) -> list[StoredAlert]:
    """Somebody looks after these: they are quiet until they are resolved or get worse.

    ``InputError`` and nothing changed when one does not exist or does not stand.
    """
    with _alone(engine) as connection:
        found = []
        for number in numbers:
            row = connection.execute(sa.select(alerts).where(alerts.c.number == number)).one_or_none()
            if row is None:
                raise InputError(f"number: there is no alert {number}; basis alerts lists those that stand")
            if row.resolved_at is not None:
                why = "is resolved" if AlertKind(row.kind).standing else "is an event that is over"
                raise InputError(f"number: alert {number} {why}; only what stands can be acknowledged")
            since = row.acknowledged_at or moment
            found.append(_change(connection, number, acknowledged_at=since, peak=row.severity))
        return found


def alerts_listed(engine: Engine, *, closed: bool = False) -> list[StoredAlert]:
    """What stands, oldest first; with ``closed`` also what is resolved and what were events."""
    query = sa.select(alerts).order_by(alerts.c.number)
    if not closed:
        query = query.where(alerts.c.resolved_at.is_(None))
    with reading(engine) as connection:
        return [_stored(row) for row in connection.execute(query)]


def due(engine: Engine, routes: Sequence[Route], moment: datetime, renotify_after: timedelta) -> list[Notice]:
    """What these channels are to be told now: first what did not fail before, the worst first.

    It does not ask whether the channels can be reached just now: see ``ready`` and ``claim``.
    """
    recent = sa.or_(alerts.c.resolved_at.is_(None), alerts.c.resolved_at >= moment - RESOLVED_AGE_MAX)
    told = sa.select(alert_deliveries).where(alert_deliveries.c.channel.in_([route.channel for route in routes]))
    told = told.join(alerts, alerts.c.number == alert_deliveries.c.number).where(recent)
    with reading(engine) as connection:
        candidates = [_stored(row) for row in connection.execute(sa.select(alerts).where(recent))]
        deliveries = {(row.number, row.channel): row for row in connection.execute(told)}
    notices = []
    for route in routes:
        for alert in candidates:
            delivery = deliveries.get((alert.number, route.channel))
            reason = _reason(route, alert, delivery, moment, renotify_after)
            if reason is not None:
                notices.append(Notice(route.channel, alert, reason, 0 if delivery is None else delivery.failures))
    return sorted(notices, key=lambda n: (n.failures, -n.alert.alert.severity.rank, n.alert.number))


def _reason(
    route: Route, stored: StoredAlert, delivery: Row[Any] | None, moment: datetime, renotify_after: timedelta
) -> Reason | None:
    alert = stored.alert
    told_news = 0 if delivery is None else delivery.told_news
    told_at = None if delivery is None else delivery.told_at
    if alert.kind.standing and stored.resolved_at is not None:
        untold = delivery is not None and told_at is not None and delivery.told_resolved_at is None
        return Reason.RESOLVED if untold else None
    if not route.takes(alert.kind, alert.severity) or stored.acknowledged_at is not None:
        return None
    if not alert.kind.standing:
        return Reason.RAISED if told_news == 0 and moment - stored.raised_at <= EVENT_AGE_MAX else None
    if told_news < stored.news:
        return Reason.RAISED if told_news == 0 else Reason.WORSE
    # Told so far in the future that a clock must have been wrong counts as long ago.
    return Reason.STILL if told_at is None or abs(moment - told_at) >= renotify_after else None


def ready(engine: Engine, channels: Iterable[str], moment: datetime) -> set[str]:
    """Those of the channels that nobody is sending to and that need not wait after a failure."""
    wanted = set(channels)
    with reading(engine) as connection:
        held = set(connection.execute(sa.select(alert_channels.c.channel).where(sa.not_(_free(moment)))).scalars())
    return wanted - held


def claim(engine: Engine, channel: str, moment: datetime) -> str | None:
    """A claim to be the only one who sends to the channel until ``LEASE`` is over; None when it is not ready."""
    token = uuid4().hex
    with _alone(engine) as connection:
        _ensure(connection, channel, moment)
        got = connection.execute(
            sa.update(alert_channels)
            .where(alert_channels.c.channel == channel, _free(moment))
            .values(claim=token, claimed_until=moment + LEASE)
        )
        return token if got.rowcount else None


def release(engine: Engine, channel: str, token: str) -> None:
    """Give the claim back, if it is still ours."""
    with _alone(engine) as connection:
        connection.execute(_held(channel, token).values(claim=None, claimed_until=None))


def note_sent(engine: Engine, channel: str, notices: Sequence[Notice], moment: datetime, token: str) -> bool:
    """The channel was told these; the claim holds for another ``LEASE``. False when it is not ours any more."""
    with _alone(engine) as connection:
        for notice in notices:
            told: dict[str, Any] = {"told_news": notice.alert.news, "told_at": moment}
            if notice.reason is Reason.RESOLVED:
                told = {"told_resolved_at": moment}
            _note(connection, notice, {**told, "failures": 0, "error": None})
        _worked(connection, channel, moment)
        return bool(connection.execute(_held(channel, token).values(claimed_until=moment + LEASE)).rowcount)


def note_failed(engine: Engine, notice: Notice, moment: datetime, error: str) -> None:
    """Telling the channel failed; it is left alone for a while. ``error`` says why, without the URL."""
    with _alone(engine) as connection:
        _note(connection, notice, {"failures": notice.failures + 1, "error": error})
        _failed(connection, notice.channel, moment, error)


def note_tried(engine: Engine, channel: str, moment: datetime, error: str | None) -> None:
    """The channel was tried out with a message that is no alert; ``error`` None: it worked, so nothing has to wait."""
    with _alone(engine) as connection:
        _ensure(connection, channel, moment)
        if error is None:
            _worked(connection, channel, moment)
        else:
            _failed(connection, channel, moment, error)


def channel_states(engine: Engine) -> list[ChannelState]:
    """Every channel that was ever sent to, by name."""
    columns = [alert_channels.c[name] for name in ChannelState._fields]
    with reading(engine) as connection:
        return [ChannelState(*row) for row in connection.execute(sa.select(*columns).order_by(columns[0]))]


def last_notified(engine: Engine, portfolio: str, measure: str = "total_equity") -> NotifiedEquity | None:
    """The equity that was told last; None when none ever was."""
    with reading(engine) as connection:
        return _notified(connection, portfolio, measure)


def note_notified(
    engine: Engine,
    portfolio: str,
    share_class: str,
    value: Decimal,
    as_of: datetime,
    moment: datetime,
    *,
    measure: str = "total_equity",
    alert: Alert | None = None,
    replacing: NotifiedEquity | None = None,
) -> bool:
    """Keep the value as the one told last and, together with it, the alert that tells it.

    Only if what was told last is still ``replacing`` (None: nothing yet); else False, and nothing is kept: somebody
    else told of the change in the meantime.
    """
    with _alone(engine) as connection:
        if _notified(connection, portfolio, measure) != replacing:
            return False
        new = NotifiedEquity(portfolio, measure, share_class, value, as_of, moment)
        table = notified_equity
        if replacing is None:
            connection.execute(sa.insert(table), new._asdict())
        else:
            same = sa.and_(table.c.portfolio == portfolio, table.c.measure == measure)
            connection.execute(sa.update(table).where(same).values(**new._asdict()))
        if alert is not None:
            _raise(connection, alert, moment)
        return True


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A write transaction that no other of this module runs beside. SQLite has one writer anyway."""
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("LOCK TABLE alerts IN SHARE ROW EXCLUSIVE MODE"))
        yield connection


def _raise(connection: Connection, alert: Alert, moment: datetime) -> StoredAlert:
    words = {"severity": alert.severity.value, "title": alert.title, "text": alert.text}
    same = sa.and_(alerts.c.kind == alert.kind, alerts.c.subject == alert.subject, alerts.c.resolved_at.is_(None))
    row = connection.execute(sa.select(alerts).where(same)).one_or_none()
    if row is None:
        values = {
            **words,
            "kind": alert.kind.value,
            "subject": alert.subject,
            "peak": alert.severity.value,
            "raised_at": moment,
            "last_raised_at": moment,
            "times": 1,
            "news": 1,
            "resolved_at": None if alert.kind.standing else moment,
        }
        return _stored(connection.execute(sa.insert(alerts).values(**values).returning(alerts)).one())
    changes: dict[str, Any] = {**words, "last_raised_at": moment, "times": row.times + 1}
    if alert.severity.rank > Severity(row.peak).rank:
        changes |= {"peak": alert.severity.value, "news": row.news + 1, "acknowledged_at": None}
    return _change(connection, row.number, **changes)


def _change(connection: Connection, number: int, **values: Any) -> StoredAlert:
    changed = sa.update(alerts).where(alerts.c.number == number).values(**values).returning(alerts)
    return _stored(connection.execute(changed).one())


def _stored(row: Row[Any]) -> StoredAlert:
    alert = Alert(AlertKind(row.kind), Severity(row.severity), row.subject, row.title, row.text)
    return StoredAlert(
        row.number,
        alert,
        row.raised_at,
        row.last_raised_at,
        row.times,
        row.news,
        row.acknowledged_at,
        row.resolved_at,
    )


def _free(moment: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(
        _over(alert_channels.c.claimed_until, moment, LEASE), _over(alert_channels.c.retry_at, moment, RETRY_LAST)
    )


def _over(until: sa.Column[Any], moment: datetime, longest: timedelta) -> sa.ColumnElement[bool]:
    """Whether the time has come; also when it is too far away to have been meant, because a clock was wrong."""
    return sa.or_(until.is_(None), until <= moment, until > moment + 2 * longest)


def _held(channel: str, token: str) -> sa.Update:
    return sa.update(alert_channels).where(alert_channels.c.channel == channel, alert_channels.c.claim == token)


def _ensure(connection: Connection, channel: str, moment: datetime) -> None:
    known = sa.select(alert_channels.c.channel).where(alert_channels.c.channel == channel)
    if connection.execute(known).first() is not None:
        return
    connection.execute(sa.insert(alert_channels), {"channel": channel, "failures": 0})
    past = sa.select(alerts.c.number, alerts.c.news).where(
        alerts.c.kind.in_([kind for kind in AlertKind if not kind.standing]),
        alerts.c.resolved_at.between(moment - EVENT_AGE_MAX, moment - NEW_CHANNEL_EVENT_AGE_MAX),
    )
    told = [
        {"number": row.number, "channel": channel, "told_news": row.news, "failures": 0}
        for row in connection.execute(past)
    ]
    if told:
        connection.execute(sa.insert(alert_deliveries), told)


def _note(connection: Connection, notice: Notice, values: dict[str, Any]) -> None:
    table, key = alert_deliveries, {"number": notice.alert.number, "channel": notice.channel}
    same = sa.and_(table.c.number == key["number"], table.c.channel == key["channel"])
    if not connection.execute(sa.update(table).where(same).values(**values)).rowcount:
        connection.execute(sa.insert(table), {"told_news": 0, "failures": 0, **key, **values})


def _worked(connection: Connection, channel: str, moment: datetime) -> None:
    well = {"sent_at": moment, "failing_since": None, "failures": 0, "retry_at": None, "error": None}
    connection.execute(sa.update(alert_channels).where(alert_channels.c.channel == channel).values(**well))


def _failed(connection: Connection, channel: str, moment: datetime, error: str) -> None:
    table = alert_channels
    row = connection.execute(sa.select(table).where(table.c.channel == channel)).one()
    wait = min(RETRY_LAST, RETRY_FIRST * 2 ** min(row.failures, _DOUBLINGS_MAX))
    values = {"failures": row.failures + 1, "retry_at": moment + wait, "error": error}
    values["failing_since"] = row.failing_since or moment
    connection.execute(sa.update(table).where(table.c.channel == channel).values(**values))


def _notified(connection: Connection, portfolio: str, measure: str) -> NotifiedEquity | None:
    table = notified_equity
    columns = [table.c[name] for name in NotifiedEquity._fields]
    query = sa.select(*columns).where(table.c.portfolio == portfolio, table.c.measure == measure)
    row = connection.execute(query).one_or_none()
    return None if row is None else NotifiedEquity(*row)
