"""Servers that tests start do not outlive them."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GONE_SECONDS_MAX = 20
WAITS = "print(server.port, flush=True); input()"
REDIS = f"from basis_pipeline_tests.rigs.redis_server import RedisServer; server = RedisServer().start(); {WAITS}"
HUNG_REDIS = REDIS.replace("start(); ", "start(); server.hang(); ")
ANVIL = f"""
from basis_pipeline_tests.rigs.ethereum_build import parts
from basis_pipeline_tests.rigs.ethereum_node import Anvil
server = Anvil(parts().anvil, 1)
{WAITS}
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.integration
@pytest.mark.parametrize("program", [REDIS, HUNG_REDIS, ANVIL], ids=["redis", "a hung redis", "anvil"])
def test_a_server_ends_when_the_process_that_started_it_is_killed(rigs: None, program: str) -> None:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        try:
            port = int(owner.stdout.readline())
            assert listens(port)
        finally:
            owner.kill()
    deadline = time.monotonic() + GONE_SECONDS_MAX
    while listens(port):
        assert time.monotonic() < deadline, "the server outlived its owner"
        time.sleep(0.01)
