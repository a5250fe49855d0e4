"""basis alerts, and what doctor and status say of alerts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from basis_pipeline.domain.alerts import Alert, AlertKind, Severity
from basis_pipeline.home import open_home
from basis_pipeline.ledger import alerts
from basis_pipeline_tests.cli.builders import Basis
from basis_pipeline_tests.rigs.receivers import Webhook, webhook

DEAD = "json://127.0.0.1:1/hook"


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as running:
        yield running


@pytest.fixture
def troubled(books: Basis) -> Basis:
    """Books with an error that stands (1), an event (2) and a warning that stands (3)."""
    found = [
        Alert(
            AlertKind.LEDGER_BROKEN, Severity.ERROR, "lending", "The ledger is broken", "Entry 7 was changed.\nStop."
        ),
        Alert(AlertKind.EQUITY_CHANGE, Severity.INFO, "lending", "moved", "by 1 %"),
        Alert(AlertKind.UNAVAILABLE_VENUE, Severity.WARNING, "lending/okx", "okx cannot be read", "no answer"),
    ]
    with open_home(books.home) as home:
        alerts.raise_alerts(home.ledger.engine, found, home.clock())
    return books


def test_what_stands_is_listed_and_all_that_was_on_demand(troubled: Basis) -> None:
    assert [(row["number"], row["severity"], row["state"]) for row in troubled.rows("alerts")] == [
        (1, "error", "open"),
        (3, "warning", "open"),
    ]
    assert [row["state"] for row in troubled.rows("alerts", "--all")] == ["open", "event", "open"]
    assert troubled.rows("alerts", "list")[0]["text"] == "Entry 7 was changed.\nStop."


def test_a_table_is_brief_and_says_when_nobody_is_told(troubled: Basis) -> None:
    done = troubled("alerts")
    assert "The ledger is broken" in done.stdout
    assert "Entry 7" not in done.stdout
    assert "no channel is configured, so nobody is told" in done.stderr


def test_when_nothing_stands_it_says_so(books: Basis) -> None:
    assert books("alerts").stdout == "No alert stands.\n"
    assert books("alerts", "--all").stdout == "There has never been an alert.\n"
    assert books.rows("alerts") == []


def test_one_is_shown_with_all_that_it_says(troubled: Basis) -> None:
    shown = troubled("alerts", "show", "1").stdout
    assert shown.startswith(
        "1 [error, open] The ledger is broken\nEntry 7 was changed.\nStop.\n\nledger_broken of lending, "
    )
    assert "1 time from 20" in shown
    assert "there is no alert 9" in troubled("alerts", "show", "9", code=1).stderr


def test_alerts_are_acknowledged_by_number(troubled: Basis) -> None:
    assert "alert 3 is quiet until it is resolved or gets worse: okx" in troubled("alerts", "ack", "3", "1").stdout
    assert [row["state"] for row in troubled.rows("alerts")] == ["acknowledged", "acknowledged"]
    assert "alert 2 is an event that is over" in troubled("alerts", "ack", "2", code=1).stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["ack"], "which alerts?"),
        (["ack", "x"], "'x' is not the number of an alert"),
        (["ack", "9" * 30], "is not the number of an alert"),
        (["list", "3"], "'3' is not needed"),
        (["3"], "is not one of"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(troubled: Basis, words: list[str], why: str) -> None:
    assert why in " ".join(troubled("alerts", *words, code=2).stderr.replace("│", " ").split())


def test_a_test_message_is_sent_to_each_channel_or_to_those_named(
    books: Basis, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", hook.url())
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__DEAD__URL", DEAD)
    done = books("alerts", "test", code=3)
    assert "chat: took the message\ndead: FAILED: " in done.stdout
    assert "2 channels: 1 failed" in done.stderr
    assert books("alerts", "test", "chat").stdout == "chat: took the message\n"
    assert hook.titles == ["[test] Test message to chat"] * 2
    assert "'mail' is not configured" in books("alerts", "test", "mail", code=1).stderr


def test_without_channels_a_test_says_what_to_configure(books: Basis) -> None:
    assert "set BASIS_ALERTS__CHANNELS__<NAME>__URL" in books("alerts", "test", code=1).stderr


def test_status_tells_of_alerts_nobody_acknowledged_and_of_channels_that_fail(
    troubled: Basis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__DEAD__URL", DEAD)
    troubled("alerts", "test", code=3)
    said = troubled("status").stderr
    assert "2 alerts nobody acknowledged, 1 error; `basis alerts` lists them" in said
    assert "alerts do not reach dead since 20" in said
    assert "alerts do not reach dead since 20" in troubled("alerts").stderr
    troubled("alerts", "ack", "1", "3")
    assert "nobody acknowledged" not in troubled("status").stderr


def test_doctor_says_how_each_channel_stands(books: Basis, hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", hook.url())
    assert "ok    alerts to chat: the URL can be used; nothing sent yet" in books("doctor").stdout
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", "nonsense")
    assert "FAIL  alerts to chat: alerts.channels.chat.url: is not one URL" in books("doctor", code=1).stdout
    assert hook.received == []
