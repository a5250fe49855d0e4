"""Several processes that deliver at once, and one that is killed in the middle of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from basis_pipeline.alerts.delivery import MESSAGES_MAX, deliver_due, is_due
from basis_pipeline.ledger.alerts import LEASE
from basis_pipeline_tests.alerts import sender
from basis_pipeline_tests.alerts.builders import Clock, alert, raised
from basis_pipeline_tests.alerts.conftest import Channels
from basis_pipeline_tests.rigs.receivers import Webhook, webhook

pytestmark = pytest.mark.integration


@pytest.fixture
def files(tmp_path: Path, hook: Webhook) -> dict[str, dict[str, object]]:
    """The channel ``chat`` by a file with its URL, which other processes can read as well."""
    (tmp_path / "chat.url").write_text(hook.url())
    return {"chat": {"url_file": str(tmp_path / "chat.url")}}


def test_processes_that_deliver_at_once_send_everything_once(
    channels: Channels, files: dict[str, dict[str, object]], hook: Webhook, clock: Clock, tmp_path: Path
) -> None:
    with webhook() as mail:
        (tmp_path / "mail.url").write_text(mail.url())
        home = channels(files | {"mail": {"url_file": str(tmp_path / "mail.url")}})
        expected = [f"alert {number:02}" for number in range(MESSAGES_MAX)]
        raised(home, *map(alert, expected))
        senders = [sender.start(home.path, clock()) for _ in range(3)]
        counts = [int(process.communicate(timeout=90)[0]) for process in senders]
        assert sum(counts) == 2 * len(expected)
        assert sorted(hook.titles) == sorted(mail.titles) == [f"[error] {title}" for title in expected]


def test_what_was_being_sent_by_a_process_that_is_killed_is_sent_again(
    channels: Channels, files: dict[str, dict[str, object]], hook: Webhook, clock: Clock
) -> None:
    home = channels(files)
    raised(home, alert("a"), alert("b"))
    hook.going.clear()
    killed = sender.start(home.path, clock())
    assert hook.arrived.wait(60)
    killed.kill()
    killed.communicate()
    hook.going.set()
    assert not is_due(home)
    assert deliver_due(home).sent == 0
    clock.now += 2 * LEASE  # its clock went on while it started
    assert deliver_due(home).sent == 2
    assert hook.titles in (["[error] a", "[error] a", "[error] b"], ["[error] a", "[error] b"])
    assert deliver_due(home).channels == ()
