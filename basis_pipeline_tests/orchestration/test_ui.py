from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from basis_pipeline_tests.orchestration.homes import write_small_home

ROOT = Path(__file__).resolve().parents[2]
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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes in /proc, which only Linux has")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_ui_answers_until_it_is_stopped_and_leaves_no_process(tmp_path: Path, stop: signal.Signals) -> None:
    home = write_small_home(tmp_path / "home")
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(home), str(free_port())],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as served:
        assert served.stdout is not None
        address = served.stdout.readline().strip()
        with urlopen(f"{address}/server_info", timeout=10) as answer:
            assert b"dagster_webserver_version" in answer.read()
        assert len(processes_of(home)) > 1
        served.send_signal(stop)
        assert served.wait(60) == 0
    assert processes_of(home) == []
