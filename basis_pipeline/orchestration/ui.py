"""The Dagster UI and daemon on a home, as one process group that ends together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from urllib.request import urlopen

import dagster as dg

from basis_pipeline.orchestration.instance import dagster_home, prepare_workspace
from basis_pipeline.orchestration.leases import end_abandoned_runs
from basis_pipeline.settings import HOME_VARIABLE

_GRACE_S = 20.0
_FORWARDED = (signal.SIGINT, signal.SIGTERM)


def serve_ui(home: Path, host: str, port: int, on_ready: Callable[[str], None] | None = None) -> int:
    """Serve the UI on http://host:port until it is told to stop; returns its exit code, 0 when it was stopped.

    Ctrl-C and SIGTERM are passed on once; whatever is still there after 20 seconds is killed. Call it from the main
    thread. With ``on_ready``, which gets the address as soon as it answers, Dagster itself logs errors only.
    """
    home = home.resolve()
    with dagster_home(home) as directory:
        with dg.DagsterInstance.get() as instance:
            end_abandoned_runs(instance, home)
        workspace = prepare_workspace(directory)
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace), "-h", host, "-p", str(port)]
        if on_ready is not None:
            command += ["--log-level", "error"]
        environment = {**os.environ, HOME_VARIABLE: str(home), "PYTHONWARNINGS": "ignore"}
        # A session of its own: Ctrl-C reaches it through us only, and its process group is all that we have to end.
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            return _wait(process, f"http://{host}:{port}", on_ready)


def _wait(process: subprocess.Popen[bytes], address: str, on_ready: Callable[[str], None] | None) -> int:
    stopped = False

    def forward(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            process.send_signal(signal.SIGINT)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
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
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0 if stopped else code


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
