"""Alerts on their way to a real web server and a real mail server."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from basis_pipeline.alerts import channels as connections
from basis_pipeline.alerts import delivery
from basis_pipeline.alerts.delivery import deliver_due, examine_channels, is_due, try_channels
from basis_pipeline.domain.alerts import AlertKind, Severity
from basis_pipeline.domain.errors import ConfigError, DeliveryError, InputError
from basis_pipeline.domain.observations import Verdict
from basis_pipeline.ledger import alerts
from basis_pipeline_tests.alerts.builders import Clock, alert, raised
from basis_pipeline_tests.alerts.conftest import Channels
from basis_pipeline_tests.rigs.receivers import Webhook, mail_server, webhook

NOWHERE = "json://127.0.0.1:1/hook"


def test_an_alert_is_sent_once(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url())
    raised(home)
    assert is_due(home)
    report = deliver_due(home)
    assert (report.channels, report.sent, report.failed, report.left) == ((("chat", 1, None),), 1, (), 0)
    assert not is_due(home)
    assert deliver_due(home).channels == ()
    assert hook.titles == ["[error] okx cannot be read"]


def test_without_channels_there_is_nothing_to_send(channels: Channels) -> None:
    home = channels()
    raised(home)
    assert not is_due(home)
    assert deliver_due(home) == ((), 0)


def test_a_message_says_what_where_since_when_and_what_to_do(
    channels: Channels, hook: Webhook, clock: Clock, tmp_path: Path
) -> None:
    home = channels(chat=hook.url())
    raised(home)
    deliver_due(home)
    clock.turn(hours=26, minutes=5)
    raised(home)
    deliver_due(home)
    alerts.resolve(home.ledger.engine, AlertKind.UNAVAILABLE_VENUE, ["fund/okx cannot be read"], clock())
    deliver_due(home)
    first, second, last = hook.received
    assert first["message"].startswith("okx: no answer within 10 s\n\nSince 2026-03-01 03:12 UTC (0 min).\n")
    assert "basis alerts ack 1 keeps it quiet" in first["message"]
    assert f"home {tmp_path / 'home'}." in first["message"]
    assert second["title"] == "[error, still] okx cannot be read"
    assert "Since 2026-03-01 03:12 UTC (1 d 2 h), seen 2 times, last 2026-03-02 05:17 UTC." in second["message"]
    assert last["title"] == "[resolved] okx cannot be read"
    assert "It stood from 2026-03-01 03:12 UTC to 2026-03-02 05:17 UTC (1 d 2 h)." in last["message"]
    assert [message["type"] for message in hook.received] == ["failure", "failure", "success"]


@pytest.mark.parametrize(
    ("severity", "shown"), [(Severity.INFO, "info"), (Severity.WARNING, "warning"), (Severity.ERROR, "failure")]
)
def test_an_event_says_when_it_was_noticed_and_how_bad_it_is(
    channels: Channels, hook: Webhook, severity: Severity, shown: str
) -> None:
    home = channels(chat=hook.url())
    raised(home, alert("moved", severity=severity, kind=AlertKind.EQUITY_CHANGE))
    deliver_due(home)
    assert (hook.titles, hook.received[0]["type"]) == ([f"[{severity}] moved"], shown)
    assert "Noticed 2026-03-01 03:12 UTC.\nFrom " in hook.received[0]["message"]


def test_what_gets_worse_says_so(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url())
    for severity in (Severity.WARNING, Severity.ERROR):
        raised(home, alert(severity=severity))
        deliver_due(home)
    assert hook.titles == ["[warning] okx cannot be read", "[error, worse than before] okx cannot be read"]


def test_many_at_once_are_one_message_the_worst_first(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url())
    severities = [Severity.WARNING] * 20 + [Severity.ERROR] * 8 + [Severity.INFO]
    raised(home, *(alert(f"a{n}", severity=severity) for n, severity in enumerate(severities, start=1)))
    assert deliver_due(home) == ((("chat", 29, None),), 0)
    [digest] = hook.received
    assert (digest["title"], digest["type"]) == ("29 alerts: 8 error, 20 warning, 1 info", "failure")
    lines = digest["message"].splitlines()
    assert (lines[0], lines[8]) == ("[error] a21 (alert 21)", "[warning] a1 (alert 1)")
    assert lines[25] == "... and 4 more"
    assert "basis alerts show NUMBER says what to do." in digest["message"]
    subjects = [f"fund/a{n}" for n in range(1, 30)]
    alerts.resolve(home.ledger.engine, AlertKind.UNAVAILABLE_VENUE, subjects, home.clock())
    deliver_due(home)
    assert (hook.titles[1:], hook.received[1]["type"]) == (["29 alerts: 29 resolved"], "success")


def test_each_channel_gets_what_it_takes(channels: Channels, hook: Webhook) -> None:
    with webhook() as pager:
        settings: dict[str, dict[str, object]] = {"pager": {"severity": "error", "kinds": ["unavailable_venue"]}}
        home = channels(settings, chat=hook.url(), pager=pager.url())
        raised(home, alert("a"), alert("b", severity=Severity.INFO), alert("c", kind=AlertKind.FAILED_RUN))
        deliver_due(home)
        assert (hook.titles, pager.titles) == (["[error] a", "[error] c", "[info] b"], ["[error] a"])


def test_a_url_may_lie_in_a_file_beside_the_config(channels: Channels, hook: Webhook, tmp_path: Path) -> None:
    home = channels({"chat": {"url_file": "chat.url"}})
    (tmp_path / "home" / "chat.url").write_text(f"{hook.url()}\n")
    raised(home)
    assert deliver_due(home).sent == 1


def test_mail_is_sent(channels: Channels) -> None:
    with mail_server() as mailbox:
        home = channels(
            mail=f"mailto://desk:pw@127.0.0.1:{mailbox.port}?from=a@example.org&to=b@example.org&mode=insecure"
        )
        raised(home)
        assert deliver_due(home).sent == 1
        assert mailbox.mails[0]["Subject"] == "[error] okx cannot be read"
        assert "b@example.org" in mailbox.recipients[0]


def test_a_refused_password_of_a_mail_server_is_told(channels: Channels) -> None:
    with mail_server(password_works=False) as mailbox:
        home = channels(
            mail=f"mailto://desk:pw@127.0.0.1:{mailbox.port}?from=a@example.org&to=b@example.org&mode=insecure"
        )
        raised(home)
        assert "5.7.8 wrong password" in str(deliver_due(home).channels[0].error)


def test_a_channel_that_fails_waits_and_the_others_do_not(channels: Channels, hook: Webhook, clock: Clock) -> None:
    home = channels(chat=hook.url(), dead=NOWHERE)
    raised(home, alert("a"), alert("b"))
    report = deliver_due(home)
    assert {o.channel: o.sent for o in report.channels} == {"chat": 2, "dead": 0}
    assert [o.channel for o in report.failed] == ["dead"]
    assert "Connection refused" in str(report.failed[0].error)
    assert report.left == 2
    assert not is_due(home)
    clock.turn(minutes=5)
    assert is_due(home)
    assert [o.channel for o in deliver_due(home).channels] == ["dead"]
    state = {s.channel: s for s in alerts.channel_states(home.ledger.engine)}["dead"]
    assert (state.failures, state.sent_at) == (2, None)


def test_what_failed_is_sent_when_the_channel_works_again(channels: Channels, hook: Webhook, clock: Clock) -> None:
    home = channels(chat=hook.url())
    hook.status = 503
    raised(home, alert("a"), alert("b"))
    assert "error=503" in str(deliver_due(home).failed[0].error)
    assert len(hook.refused) == 1, "the second is not tried on a channel that fails"
    hook.status = 200
    clock.turn(minutes=5)
    assert deliver_due(home).sent == 2
    assert hook.titles == ["[error] b", "[error] a"], "what failed before does not hold up the rest"


@pytest.mark.parametrize("url", ["nonsense", "slak://a/b/c", "json://127.0.0.1:1/a, json://127.0.0.1:1/b", "slack://"])
def test_a_url_that_cannot_be_used_is_told_without_showing_it(channels: Channels, url: str) -> None:
    home = channels(chat=url)
    raised(home)
    error = str(deliver_due(home).failed[0].error)
    assert error.startswith("alerts.channels.chat.url: is not one URL of a service that Apprise knows")
    with pytest.raises(ConfigError, match=r"alerts\.channels\.chat\.url: is not"), connections.connected(home, "chat"):
        pass
    assert url.partition("//")[0] not in error.replace("slack://...", "")


def test_a_channel_without_a_url_is_told(channels: Channels) -> None:
    home = channels({"chat": {"severity": "info"}})
    raised(home)
    assert "alerts.channels.chat.url: is missing; set the environment variable" in str(
        deliver_due(home).failed[0].error
    )


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js",
        "mailtos://user:app-password@gmail.com",
        "jsons://user:password@hooks.example.org/path",
        "ntfys://topic",
    ],
)
def test_urls_of_the_usual_services_are_understood(channels: Channels, url: str) -> None:
    home = channels(chat=url)
    assert [(f.verdict, f.message) for f in examine_channels(home)] == [
        (Verdict.OK, "the URL can be used; nothing sent yet")
    ]


def test_a_channel_that_hangs_is_cut_off_and_tried_again(
    channels: Channels, hook: Webhook, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SEND_SECONDS_MAX", 0.5)
    hook.going.clear()
    home = channels(chat=hook.url())
    raised(home)
    began = time.monotonic()
    assert deliver_due(home).channels == (("chat", 0, "no answer within 0.5 s"),)
    assert time.monotonic() - began < 10
    hook.going.set()
    clock.turn(minutes=5)
    assert deliver_due(home).sent == 1


def test_a_sending_process_that_ends_is_told(
    channels: Channels, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_PROGRAM", Path("/no/such/program.py"))
    home = channels(chat=hook.url())
    raised(home)
    assert deliver_due(home).channels[0].error == "the process that sends ended by itself (exit code 2)"


def test_a_sending_process_that_is_ended_by_others_is_told(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url())
    with connections.connected(home, "chat") as connection:
        connection._process.kill()
        connection._process.wait()
        for _ in range(2):
            with pytest.raises(DeliveryError, match="ended by itself"):
                connection.send(connections.Message("a", "b", "info"))


def test_while_another_process_sends_nothing_is_sent(channels: Channels, hook: Webhook, clock: Clock) -> None:
    home = channels(chat=hook.url())
    raised(home)
    token = alerts.claim(home.ledger.engine, "chat", clock())
    assert token is not None
    assert (is_due(home), deliver_due(home).channels, hook.received) == (False, (), [])
    alerts.release(home.ledger.engine, "chat", token)
    assert deliver_due(home).sent == 1


def test_a_test_message_reaches_each_channel_whatever_it_takes(channels: Channels, hook: Webhook) -> None:
    home = channels({"pager": {"severity": "error", "kinds": ["drift"]}}, pager=hook.url(), dead=NOWHERE)
    tried = {outcome.channel: outcome for outcome in try_channels(home)}
    assert (tried["pager"].error, "Connection refused" in str(tried["dead"].error)) == (None, True)
    assert hook.titles == ["[test] Test message to pager"]
    assert "Nothing happened, nothing is to be done." in hook.received[0]["message"]
    assert [o.channel for o in try_channels(home, ["pager", "pager"])] == ["pager"]
    assert alerts.alerts_listed(home.ledger.engine, closed=True) == []


def test_a_test_message_that_arrives_ends_the_waiting(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url())
    hook.status = 500
    raised(home)
    deliver_due(home)
    hook.status = 200
    try_channels(home)
    assert deliver_due(home).sent == 1


def test_only_configured_channels_can_be_tested(channels: Channels, hook: Webhook) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.channels: none are configured; set BASIS_ALERTS__CHANNELS__<NAME>"):
        try_channels(channels())
    with pytest.raises(InputError, match="channel: 'mail' is not configured; there are chat"):
        try_channels(channels(chat=hook.url()), ["mail"])


def test_how_channels_stand_can_be_seen_without_sending(channels: Channels, hook: Webhook, clock: Clock) -> None:
    home = channels(chat=hook.url(), dead=NOWHERE, wrong="nonsense")
    raised(home)
    deliver_due(home)
    found = {finding.subject: finding for finding in examine_channels(home)}
    assert found["alerts to chat"].message == "the URL can be used; sent 2026-03-01 03:12 UTC"
    assert found["alerts to dead"].verdict is Verdict.WARNING
    assert found["alerts to dead"].message.startswith("fail since 2026-03-01 03:12 UTC (once): ")
    assert found["alerts to wrong"].verdict is Verdict.FAILED
    assert len(hook.received) == 1


def test_what_is_left_when_time_is_up_is_sent_the_next_time(
    channels: Channels, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "BUDGET", timedelta(0))
    home = channels(chat=hook.url())
    raised(home, alert("a"), alert("b"))
    assert deliver_due(home) == ((("chat", 0, None),), 2)
