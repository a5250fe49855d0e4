"""Telling channels what is due, and trying a channel out.

A channel that fails is noted with the reason and left alone for a while; it raises nothing, and no other waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import NamedTuple

from basis_pipeline.alerts.channels import Message, connected, routes
from basis_pipeline.alerts.messages import digest_of, message_of, trial_message
from basis_pipeline.alerts.redaction import redactor
from basis_pipeline.domain.alerts import Route
from basis_pipeline.domain.errors import ConfigError, DeliveryError, InputError
from basis_pipeline.domain.instants import Clock
from basis_pipeline.domain.observations import Finding, Verdict
from basis_pipeline.home import Home
from basis_pipeline.ledger import alerts
from basis_pipeline.ledger.alerts import Notice
from basis_pipeline.logs import get_logger

CHANNELS_AT_ONCE = 8
BUDGET = timedelta(seconds=60)
"""No message is begun later than this; what is left is due the next time."""

MESSAGES_MAX = 10
"""More than so many alerts at once are told in one message."""

_log = get_logger(__name__)


class ChannelOutcome(NamedTuple):
    """What became of one channel: of how many alerts it was told, and why of no more (None: of all that was due)."""

    channel: str
    sent: int
    error: str | None


class DeliveryReport(NamedTuple):
    """What became of each channel that something was due for. ``left`` is how many notices are still due."""

    channels: tuple[ChannelOutcome, ...]
    left: int

    @property
    def sent(self) -> int:
        return sum(outcome.sent for outcome in self.channels)

    @property
    def failed(self) -> tuple[ChannelOutcome, ...]:
        return tuple(outcome for outcome in self.channels if outcome.error is not None)


def is_due(home: Home, now: datetime | None = None) -> bool:
    """Whether there is anything to tell a channel that can be told now: whether ``deliver_due`` would do something."""
    return bool(_ready(home, home.clock() if now is None else now))


def deliver_due(home: Home, now: datetime | None = None) -> DeliveryReport:
    """Tell every channel what is due, all channels at once. What fails is noted and tried again later.

    May run in several processes at once: each channel is served by one of them.
    """
    clock = _clock_from(home.clock() if now is None else now)
    ready = _ready(home, clock())
    outcomes: list[ChannelOutcome] = []
    if ready:
        with ThreadPoolExecutor(min(len(ready), CHANNELS_AT_ONCE)) as pool:
            served = [pool.submit(_serve, home, route, clock) for route in ready]
            outcomes = [outcome for future in served if (outcome := future.result()) is not None]
    settings = home.settings.alerts
    left = alerts.due(home.ledger.engine, routes(settings), clock(), settings.renotify_after)
    return DeliveryReport(tuple(outcomes), len(left))


def try_channels(home: Home, names: Sequence[str] = ()) -> list[ChannelOutcome]:
    """Send a test message to these channels (default: to each), whatever they take and whether they failed before.

    ``ConfigError`` when there are none, ``InputError`` when one is not configured.
    """
    known = list(home.settings.alerts.channels)
    if not known:
        raise ConfigError(
            "alerts.channels: none are configured; set BASIS_ALERTS__CHANNELS__<NAME>__URL, or url_file of a channel "
            "in basis.yaml"
        )
    for name in names:
        if name not in known:
            raise InputError(f"channel: {name!r} is not configured; there are {', '.join(known)}")
    wanted = list(dict.fromkeys(names)) or known
    with ThreadPoolExecutor(min(len(wanted), CHANNELS_AT_ONCE)) as pool:
        return list(pool.map(lambda name: _try(home, name), wanted))


def examine_channels(home: Home) -> list[Finding]:
    """How each configured channel stands: whether its URL can be used, and whether sending works. Sends nothing."""
    states = {state.channel: state for state in alerts.channel_states(home.ledger.engine)}
    found = []
    for name in home.settings.alerts.channels:
        subject, state = f"alerts to {name}", states.get(name)
        try:
            with connected(home, name):
                pass
        except (ConfigError, DeliveryError) as error:
            found.append(Finding(subject, Verdict.FAILED, str(error)))
            continue
        if state is not None and state.failing_since is not None:
            times = "once" if state.failures == 1 else f"{state.failures} times"
            problem = f"fail since {state.failing_since:%Y-%m-%d %H:%M} UTC ({times}): {state.error}"
            found.append(Finding(subject, Verdict.WARNING, problem, f"try it with `basis alerts test {name}`"))
        else:
            last = (
                "nothing sent yet"
                if state is None or state.sent_at is None
                else f"sent {state.sent_at:%Y-%m-%d %H:%M} UTC"
            )
            found.append(Finding(subject, Verdict.OK, f"the URL can be used; {last}"))
    return found


def _ready(home: Home, moment: datetime) -> list[Route]:
    """The channels that something is due for and that can be sent to now."""
    settings, engine = home.settings.alerts, home.ledger.engine
    configured = routes(settings)
    if not configured:
        return []
    waiting = {notice.channel for notice in alerts.due(engine, configured, moment, settings.renotify_after)}
    ready = alerts.ready(engine, waiting, moment) if waiting else set()
    return [route for route in configured if route.channel in ready]


def _serve(home: Home, route: Route, clock: Clock) -> ChannelOutcome | None:
    """Send what is due to one channel; None when another process does."""
    engine, channel = home.ledger.engine, route.channel
    token = alerts.claim(engine, channel, clock())
    if token is None:
        return None
    try:
        sent, error = _send_due(home, route, clock, token)
    finally:
        alerts.release(engine, channel, token)
    if error is not None:
        _log.warning("alerts could not be sent", channel=channel, error=error)
    return ChannelOutcome(channel, sent, error)


def _send_due(home: Home, route: Route, clock: Clock, token: str) -> tuple[int, str | None]:
    engine, sent = home.ledger.engine, 0
    current: Notice | None = None
    until, redacted = clock() + BUDGET, redactor(home)
    try:
        with connected(home, route.channel) as connection:
            for notices in _by_message(alerts.due(engine, [route], clock(), home.settings.alerts.renotify_after)):
                if clock() > until:
                    break
                current = notices[0]
                several = len(notices) > 1
                message = digest_of(notices, home.path) if several else message_of(current, home.path, clock())
                connection.send(Message(redacted(message.title), redacted(message.body), message.type))
                current = None
                sent += len(notices)
                if not alerts.note_sent(engine, route.channel, notices, clock(), token):
                    break
    except (ConfigError, DeliveryError) as error:
        if current is None:
            alerts.note_tried(engine, route.channel, clock(), str(error))
        else:
            alerts.note_failed(engine, current, clock(), str(error))
        return sent, str(error)
    return sent, None


def _by_message(notices: list[Notice]) -> list[list[Notice]]:
    """One to a message, unless there are so many that nobody could read them one by one."""
    return [notices] if len(notices) > MESSAGES_MAX else [[notice] for notice in notices]


def _try(home: Home, channel: str) -> ChannelOutcome:
    error = None
    try:
        with connected(home, channel) as connection:
            connection.send(trial_message(channel, home.path, home.clock()))
    except (ConfigError, DeliveryError) as failure:
        error = str(failure)
    alerts.note_tried(home.ledger.engine, channel, home.clock(), error)
    return ChannelOutcome(channel, int(error is None), error)


def _clock_from(now: datetime) -> Clock:
    """A clock that goes on from ``now``, so that what takes time is seen to, whatever the time is taken to be."""
    began = time.monotonic()
    return lambda: now + timedelta(seconds=time.monotonic() - began)
