"""Planted tokens and passwords of channels are looked for in everything that sending leaves behind or shows."""

from __future__ import annotations

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from basis_pipeline.alerts.apprise_process import cleaned, parts_of
from basis_pipeline.alerts.channels import connected
from basis_pipeline.alerts.delivery import deliver_due
from basis_pipeline.domain.alerts import Alert, AlertKind, Severity
from basis_pipeline.home import open_home
from basis_pipeline.ledger import alerts
from basis_pipeline.ledger.alerts import raise_alerts
from basis_pipeline_tests.alerts.builders import Clock, alert, raised
from basis_pipeline_tests.alerts.conftest import Channels
from basis_pipeline_tests.cli.builders import ROOT, environment, write_config
from basis_pipeline_tests.rigs.receivers import Webhook, mail_server

TOKENS = ("pl4ntedT0k", "pl4ntedP4th", "pl4ntedQu3ry", "pl4nted p@ss/w0rd", "pl4ntedUs3r", "pl4ntedH3ader")
PASSWORD = quote(TOKENS[3], safe="")
ELSEWHERE = {
    "slack": f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazk{TOKENS[0]}vi/#general",
    "tgram": f"tgram://123456789:abcdefg{TOKENS[0]}/12315544/",
    "discord": f"discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV{TOKENS[0]}",
    "teams": f"workflows://example.org:443/{TOKENS[1]}/{TOKENS[0]}",
    "ntfy": f"ntfys://{TOKENS[4]}:{PASSWORD}@example.org/{TOKENS[1]}",
    "refused": f"nonsense://{TOKENS[4]}:{PASSWORD}@example.org/{TOKENS[1]}",
    "slack_wrong": f"slack://{TOKENS[0]}/{TOKENS[1]}",
}
"""Services that are reached over the internet: here through a proxy that is not there."""


def urls(hook: Webhook, mail_port: int) -> dict[str, str]:
    here = hook.url(TOKENS[1], f"{TOKENS[4]}:{PASSWORD}@", f"?-key={TOKENS[2]}&+X-Token={TOKENS[5]}")
    login = f"{TOKENS[4]}:{PASSWORD}@127.0.0.1"
    return {
        **ELSEWHERE,
        "hook": here,
        "dead": f"json://{login}:1/{TOKENS[1]}?-key={TOKENS[2]}",
        "mail": f"mailto://{login}:{mail_port}?from=a@example.org&to=b@example.org&mode=insecure",
    }


def spellings(secret: str) -> set[str]:
    plain = {secret, quote(secret), quote(secret, safe=""), json.dumps(secret)[1:-1]}
    login = base64.b64encode(f"{TOKENS[4]}:{TOKENS[3]}".encode()).decode()
    return plain | {base64.b64encode(secret.encode()).decode().rstrip("="), login}


def found_in(data: bytes) -> list[str]:
    low = data.lower()
    return [secret for secret in TOKENS if any(form.lower().encode() in low for form in spellings(secret))]


@pytest.mark.integration
@pytest.mark.slow
def test_nothing_of_a_url_is_left_behind_or_shown(
    channels: Channels,
    hook: Webhook,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    hook.status, hook.answer = 400, b"you sent {path} {headers}"
    with mail_server(password_works=False) as mailbox, caplog.at_level(logging.DEBUG):
        given = urls(hook, mailbox.port)
        home = channels(None, **given)
        raised(home)
        report = deliver_due(home)
        assert len(report.failed) == len(given), "each of them fails and could tell why"
        said = [repr(report), repr(alerts.channel_states(home.ledger.engine)), repr(home.settings), caplog.text]
        variables = environment(
            **{f"BASIS_ALERTS__CHANNELS__{name.upper()}__URL": url for name, url in given.items()}, BASIS_LOG="debug"
        )
        for command in (["alerts", "test"], ["doctor"]):
            done = subprocess.run(
                [sys.executable, "-m", "basis_pipeline", "--verbose", "--home", str(home.path), *command],
                cwd=ROOT,
                env=variables,
                capture_output=True,
                check=False,
            )
            assert b"Traceback" not in done.stderr
            said.append((done.stdout + done.stderr).decode())
    assert "FAILED" in "".join(said), "the test of channels said something"
    said += capfd.readouterr()
    leaks = {text[:80]: leak for text in said if (leak := found_in(text.encode()))}
    kept = [path for path in home.path.rglob("*") if path.is_file()]
    assert "ledger.db" in {path.name for path in kept}
    leaks |= {str(path): leak for path in kept if (leak := found_in(path.read_bytes()))}
    assert leaks == {}


def test_what_is_planted_would_be_found() -> None:
    for secret in TOKENS:
        for form in spellings(secret):
            assert found_in(f"x{form}y".encode())


@pytest.mark.parametrize(
    ("url", "said", "left"),
    [
        (
            "tgram://123456789:AbC-dEf_1/-100/",
            "HTTPSConnectionPool(host='api.telegram.org'): Max retries exceeded with url: /bot123456789:AbC-dEf_1/send",
            "HTTPSConnectionPool(host='api.telegram.org'): Max retries exceeded with url: /bot***/send",
        ),
        (
            "slack://tokena/tokenb/tokenc",
            "The token (TokenA/TokenB/TokenC) is\r\n invalid",
            "The token (***) is invalid",
        ),
        ("json://u:p%40ss%2Fw@host/x", "login u with p@ss/w failed", "login u with *** failed"),
        ("json://u:p%40ss@host/x", "sent p%40ss and dTpwQHNz", "sent *** and ***"),
        ("json://user:pw@host:8080/a/b", "404 at /a/b", "404 at /a/b"),
        ("nonsense", "nonsense is not known", "*** is not known"),
    ],
)
def test_parts_of_the_url_are_taken_out_of_what_is_said(url: str, said: str, left: str) -> None:
    assert cleaned(said, parts_of(url)) == left


def test_what_is_said_is_cut() -> None:
    assert len(cleaned("x" * 1000, [])) == 300


def test_the_url_is_not_on_the_command_line(channels: Channels, hook: Webhook) -> None:
    home = channels(chat=hook.url("pl4nted"))
    with connected(home, "chat") as connection:
        assert "pl4nted" not in str(connection._process.args)


def test_a_message_that_repeats_a_secret_of_the_home_is_sent_without_it(
    hook: Webhook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", hook.url("h00k-path"))
    monkeypatch.setenv("BASIS_REDIS_URL", "redis://desk:redis%2Fpass@cache.example.org:6379/0")
    monkeypatch.setenv("BASIS_ETHEREUM__RPC_URLS", "https://node.example.org/v2/r9c-t0ken")
    monkeypatch.setenv("BASIS_ACCOUNTS__OKX__API_KEY", "okx-key-1")
    okx = {"portfolio": "lending", "venue": "okx", "secret_file": "okx.secret", "passphrase_file": "missing"}
    write_config(tmp_path, accounts={"okx": okx})
    (tmp_path / "okx.secret").write_text("okx+secret/1=\n")
    said = "redis/pass at cache.example.org, /v2/r9c-t0ken of node.example.org, okx-key-1, okx+secret/1=, h00k-path"
    with open_home(tmp_path) as opened:
        raise_alerts(opened.ledger.engine, [alert(f"okx-key-1 {n}") for n in range(2)], opened.clock())
        text = Alert(AlertKind.FAILED_RUN, Severity.ERROR, "job", "job failed", said)
        raise_alerts(opened.ledger.engine, [text], opened.clock())
        assert deliver_due(opened).sent == 3
    assert sorted(hook.titles) == ["[error] *** 0", "[error] *** 1", "[error] job failed"]
    [body] = [message["message"] for message in hook.received if message["title"] == "[error] job failed"]
    assert body.splitlines()[0] == "*** at cache.example.org, /v2/*** of node.example.org, ***, ***, ***"
