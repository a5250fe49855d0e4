"""A running Dagster for benchmarks: on a home with everything published, or whatever a command serves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from basis_pipeline.home import open_home
from basis_pipeline.orchestration.ui import LOCK_NAME
from basis_pipeline.steps.rebuild import rebuild
from benchmarks.data import Data, write_home
from benchmarks.measure import ROOT

LONGEST_S = 120


def published_home(data: Data, home: Path) -> Path:
    """A home with all journals in its ledger and every day published."""
    write_home(home, data.market_data, data.terms)
    with open_home(home) as opened:
        data.import_all(opened.ledger)
        rebuild(opened.ports(), data.days)
    return home


@contextmanager
def served_home(home: Path) -> Iterator[int]:
    """`basis ui` on the home; gives its process group."""
    port = free_port()
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home), "ui", "--port", str(port)]

    def group() -> int:
        return int((home / "dagster" / LOCK_NAME).read_text())

    with served(command, {}, port, group):
        yield group()


@contextmanager
def served(
    command: list[str], environment: dict[str, str], port: int, group: Callable[[], int] | None
) -> Iterator[None]:
    """A running Dagster, ended with all its processes when the block ends."""
    given = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", **environment}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=given, start_new_session=True, **quiet) as process:
        try:
            _wait_for(port)
            yield
        finally:
            for each in {process.pid, group() if group is not None else process.pid}:
                os.killpg(each, signal.SIGKILL)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/server_info", timeout=1):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("Dagster did not start")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
