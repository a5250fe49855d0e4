"""What is written without a monitor is told to subscribers, too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import redis
import yaml

from basis_pipeline.domain.intake import parse_update
from basis_pipeline.home import open_home
from basis_pipeline.ledger.outbox import publishing_state
from basis_pipeline.monitors.publisher import CHANNEL, SNAPSHOT_KEY
from basis_pipeline.monitors.publishing import publish_due
from basis_pipeline_tests.rigs.redis_server import RedisServer

CONFIG = {
    "mode": "live",
    "portfolios": {"fund": {"share_class": "USDT", "initial_capital": "1000", "start": "2026-01-01T00:00:00Z"}},
}


def deposit(number: int) -> dict[str, object]:
    return {
        "id": f"deposit-{number}",
        "timestamp": f"2026-01-01T00:0{number}:00Z",
        "trigger": "DEPOSIT",
        "token_changes": [{"venue": "wallet", "token": "USDT", "delta": "1"}],
    }


@pytest.fixture
def live_home(tmp_path: Path) -> Path:
    (tmp_path / "basis.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    return tmp_path


def append(home: Path, *numbers: int) -> None:
    with open_home(home) as opened:
        for number in numbers:
            opened.ledger.append("fund", parse_update(deposit(number), opened.registry))
        asyncio.run(publish_due(opened))


def test_entries_written_without_a_monitor_are_told_once_in_order(live_home: Path, redis_server: RedisServer) -> None:
    append(live_home)
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client, client.pubsub() as subscription:
        subscription.subscribe(CHANNEL)
        assert subscription.get_message(timeout=5)["type"] == "subscribe"
        append(live_home, 1, 2, 3)
        append(live_home)
        told = [json.loads(subscription.get_message(timeout=5)["data"])["ledger_sequence"] for _ in range(3)]
        assert told == [2, 3, 4]
        assert subscription.get_message(timeout=0.2) is None
        assert json.loads(client.get(SNAPSHOT_KEY))["wallet"]["USDT"] == "1003"
    with open_home(live_home) as opened:
        (state,) = publishing_state(opened.ledger.engine)
    assert (state.pending, state.failing) == (0, False)


def test_a_redis_that_is_away_costs_nobody_an_entry(live_home: Path, redis_server: RedisServer) -> None:
    append(live_home)
    redis_server.kill()
    append(live_home, 1)
    with open_home(live_home) as opened:
        (state,) = publishing_state(opened.ledger.engine)
        assert (state.head_sequence, state.pending, state.failing) == (2, 1, True)
    redis_server.start()
    append(live_home)
    with open_home(live_home) as opened:
        (state,) = publishing_state(opened.ledger.engine)
    assert (state.pending, state.failing) == (0, False)


def test_a_home_without_redis_publishes_nothing(live_home: Path) -> None:
    append(live_home, 1)
    with open_home(live_home) as opened:
        assert publishing_state(opened.ledger.engine) == []
