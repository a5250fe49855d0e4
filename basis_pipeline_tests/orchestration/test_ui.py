from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.orchestration.ui import LOCK_NAME, serve_ui
from basis_pipeline_tests.orchestration.homes import write_small_home

ROOT = Path(__file__).resolve().parents[2]
GRACE_S = 20
"""After which the UI kills what it could not stop."""
SERVE = """
import sys
from pathlib import Path
from basis_pipeline.orchestration.ui import serve_ui

def ready(address):
    sys.stdout.write(address + "\\n")
    sys.stdout.flush()

sys.exit(serve_ui(Path(sys.argv[1]), "127.0.0.1", int(sys.argv[2]), ready))
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def processes_of(home: Path) -> list[int]:
    """Every process whose environment names the home as its own, zombies apart."""
    marker = f"BASIS_HOME={home}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@contextmanager
def served(home: Path, port: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The UI's process, started as a shell script starts one behind `&`, and the address it tells of."""
    command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", SERVE, str(home), str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.terminate()


only_linux = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="counts processes in /proc, which only Linux has"
)


@pytest.mark.slow
@only_linux
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_answers_until_it_is_stopped_and_leaves_no_process(tmp_path: Path, stop: signal.Signals) -> None:
    home = write_small_home(tmp_path / "home")
    with served(home, free_port()) as (process, address):
        with urlopen(f"{address}/server_info", timeout=10) as answer:
            assert b"dagster_webserver_version" in answer.read()
        assert len(processes_of(home)) > 1
        process.send_signal(stop)
        began = time.monotonic()
        assert process.wait(60) == 0
        assert time.monotonic() - began < GRACE_S, "it was killed instead of stopped"
    assert processes_of(home) == []


@pytest.mark.slow
@only_linux
def test_a_part_of_dagster_that_dies_ends_the_ui_as_a_failure(tmp_path: Path) -> None:
    home = write_small_home(tmp_path / "home")
    with served(home, free_port()) as (process, _):
        [daemon] = [
            pid for pid in processes_of(home) if b"dagster._daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(daemon, signal.SIGKILL)
        assert process.wait(60) == 1, "whatever looks after the service must start it again"
    assert processes_of(home) == []


@pytest.mark.slow
@only_linux
def test_a_home_has_one_ui_also_when_what_started_it_was_killed(tmp_path: Path) -> None:
    home = write_small_home(tmp_path / "home")
    with served(home, free_port()) as (process, _):
        process.kill()
        process.wait()
        lock = home / "dagster" / LOCK_NAME
        group = int(lock.read_text())
        try:
            with pytest.raises(ConfigError, match=f"running already, as process group {group}; stop them"):
                serve_ui(home, "127.0.0.1", free_port())
        finally:
            os.killpg(group, signal.SIGKILL)


def test_an_address_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    home = write_small_home(tmp_path / "home")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}: .*; choose another --port"):
            serve_ui(home, "127.0.0.1", port)
