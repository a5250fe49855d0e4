"""The Dagster UI and daemon on a home, as one process group that ends together."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.request import urlopen

import dagster as dg

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.orchestration.instance import dagster_home, prepare_workspace
from basis_pipeline.orchestration.leases import end_abandoned_runs
from basis_pipeline.settings import HOME_VARIABLE

LOCK_NAME = "ui.lock"
_GRACE_S = 20.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM)


def serve_ui(home: Path, host: str, port: int, on_ready: Callable[[str], None] | None = None) -> int:
    """Serve the UI on http://host:port until it is told to stop; returns its exit code, 0 only when it was stopped.

    ConfigError when the address is taken, or when a UI of this home is still running: two daemons on one home would
    start every scheduled run twice.

    Ctrl-C and SIGTERM are passed on once; whatever is still there after 20 seconds is killed. Call it from the main
    thread. With ``on_ready``, which gets the address as soon as it answers, Dagster itself logs errors only.
    """
    home = home.resolve()
    with dagster_home(home) as directory, _only_ui(directory) as lock:
        _check_free(host, port)
        with dg.DagsterInstance.get() as instance:
            end_abandoned_runs(instance, home, no_daemon=True)
        workspace = prepare_workspace(directory)
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
        if on_ready is not None:
            command += ["--log-level", "error"]
        environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONWARNINGS": "ignore"}
        return _serve(command, environment, lock, f"http://{host}:{port}", on_ready)


@contextmanager
def _only_ui(directory: Path) -> Iterator[IO[str]]:
    """A lock that the UI's own process inherits: it lasts as long as that does, also when this process is killed.

    Its file names that process.
    """
    with (directory / LOCK_NAME).open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            group = lock.read().strip() or "?"
            raise ConfigError(
                f"the UI and the schedules of {directory.parent} are running already, as process group {group}; stop "
                f"them first (kill -TERM -- -{group})"
            ) from None
        yield lock


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error


def _serve(
    command: Sequence[str],
    environment: Mapping[str, str],
    lock: IO[str],
    address: str,
    on_ready: Callable[[str], None] | None,
) -> int:
    stopped = False
    process: subprocess.Popen[bytes] | None = None

    def forward(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped and process is not None:
            process.send_signal(signal.SIGINT)
        stopped = True

    # Before the process starts, which so has neither signal ignored, as it would behind `nohup` or `&`.
    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        # A session of its own: Ctrl-C reaches it through us only, and its process group is all that we have to end.
        process = subprocess.Popen(command, env=environment, start_new_session=True, pass_fds=[lock.fileno()])
        _name(process.pid, lock)
        try:
            while process.poll() is None and not stopped:
                if on_ready is not None and _answers(address):
                    on_ready(address)
                    on_ready = None
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
        finally:
            _end_group(process.pid)
            code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if stopped else code or 1  # Dagster ends with 0 also when its webserver or its daemon has died


def _name(group: int, lock: IO[str]) -> None:
    lock.truncate(0)
    lock.write(f"{group}\n")
    lock.flush()


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=1.0) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def _end_group(group: int) -> None:
    """End every process of the group, with a little time to do it themselves."""
    for number, seconds in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + seconds
        try:
            os.killpg(group, number)
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.05)
        except ProcessLookupError:
            return
