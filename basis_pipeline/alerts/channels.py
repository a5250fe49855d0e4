"""The channels of the settings: who is told what, and a connection through which one is told.

A connection is a process (``apprise_process``) that is handed the URL, so that nothing of it can get into our logs and
nothing that hangs can hang us: what takes longer than its time is killed.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from basis_pipeline.domain.alerts import Route
from basis_pipeline.domain.errors import ConfigError, DeliveryError
from basis_pipeline.home import Home
from basis_pipeline.settings import config_path
from basis_pipeline.settings.reacting import AlertSettings
from basis_pipeline.settings.secrets import reveal

START_SECONDS_MAX = 30.0
SEND_SECONDS_MAX = 20.0
"""A message that takes longer counts as not sent, although it may have been. With starting it is less than the lease
of ``ledger.alerts``, so that no other process sends the same meanwhile."""
_END_SECONDS_MAX = 1.0
_PROGRAM = Path(__file__).with_name("apprise_process.py")


class Message(NamedTuple):
    """What is sent. ``type`` is info, success, warning or failure: Apprise shows it by colour or picture."""

    title: str
    body: str
    type: str


def routes(settings: AlertSettings) -> list[Route]:
    """Every configured channel and what goes there."""
    return [Route(name, channel.severity, channel.kinds) for name, channel in settings.channels.items()]


def channel_url(home: Home, channel: str) -> str:
    """The URL of a configured channel; ``ConfigError`` names the channel and what to set."""
    given = home.settings.alerts.channels[channel]
    return reveal(given.url, given.url_file, f"alerts.channels.{channel}.url", config_path(home.path).parent)


class Connection:
    """Sends messages to one channel, one after the other."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def send(self, message: Message) -> None:
        """``DeliveryError`` when the channel did not take it, or not in time."""
        error = self.ask(message._asdict(), SEND_SECONDS_MAX)["error"]
        if error is not None:
            raise DeliveryError(str(error))

    def ask(self, question: dict[str, str], seconds_max: float) -> dict[str, Any]:
        """The process's answer to one line."""
        to, answers = cast("IO[bytes]", self._process.stdin), cast("IO[bytes]", self._process.stdout)
        try:
            to.write(json.dumps(question).encode() + b"\n")
            to.flush()
        except BrokenPipeError:
            raise DeliveryError(self._ended()) from None
        with selectors.DefaultSelector() as selector:
            selector.register(answers, selectors.EVENT_READ)
            if not selector.select(seconds_max):
                raise DeliveryError(f"no answer within {seconds_max:g} s")
        line = answers.readline()
        if not line:
            raise DeliveryError(self._ended())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> str:
        return f"the process that sends ended by itself (exit code {self._process.wait()})"


@contextmanager
def connected(home: Home, channel: str) -> Iterator[Connection]:
    """A connection to a configured channel. ``ConfigError``, which never shows it, when its URL cannot be used."""
    url = channel_url(home, channel)
    # A group of its own: Ctrl-C is for us to act on. Its errors could show the URL, so nobody sees them.
    with subprocess.Popen(
        [sys.executable, "-P", str(_PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            connection = Connection(process)
            if not connection.ask({"url": url}, START_SECONDS_MAX)["ready"]:
                raise ConfigError(
                    f"alerts.channels.{channel}.url: is not one URL of a service that Apprise knows, such as "
                    "slack://... or mailto://...; docs/how-to/alerts.md says how they are written"
                )
            yield connection
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when nothing more is asked, unless it hangs."""
    with suppress(BrokenPipeError):
        cast("IO[bytes]", process.stdin).close()
    try:
        process.wait(_END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
