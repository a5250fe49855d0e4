"""Ends a server of a rig when the process that started it is gone, even by a signal that leaves it no last word."""

from __future__ import annotations

import subprocess

_SCRIPT = 'read -r _; kill -9 "$1"'
"""Nothing is ever written to it, so it reads on until the last holder of its pipe's other end is gone."""


class Watcher:
    """Kills the process of this id once the one that made the watcher has ended; ``end`` it before its ward is reaped.

    In a session of its own, so that an interrupt at the terminal does not take the watcher first.
    """

    def __init__(self, pid: int) -> None:
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "watcher", str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Watch no longer; safe to call twice."""
        self._process.kill()
        self._process.communicate()
