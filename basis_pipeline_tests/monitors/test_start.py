"""What a monitor needs to start, and what it refuses to start with."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline.domain.errors import BasisError
from basis_pipeline.monitors.position_monitor import PositionMonitor
from basis_pipeline_tests.builders import START, wallet
from basis_pipeline_tests.monitors.builders import backtest, live, run, stored, updated
from basis_pipeline_tests.rigs.redis_server import RedisServer, free_port

ROOT = Path(__file__).resolve().parents[2]


def refusal(*arguments: Any) -> str:
    """What the constructor says; its errors are ours and ValueErrors."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what the test looks at
        PositionMonitor(*arguments)
    assert isinstance(caught.value, BasisError)
    return str(caught.value)


@pytest.mark.parametrize(
    "capital", [None, 0, 0.0, "0", -1, "-0.5", float("nan"), Decimal("NaN"), True, float("inf"), "x"]
)
def test_missing_zero_negative_and_unreal_capital_is_refused_by_name(tmp_path: Path, capital: object) -> None:
    assert refusal({"home": tmp_path}, "backtest", capital, "USDT").startswith("initial_capital: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share_class", [None, "", "usdt", "BTC", 1])
def test_an_unknown_share_class_is_refused(tmp_path: Path, share_class: object) -> None:
    assert refusal({"home": tmp_path}, "backtest", 1000, share_class).startswith("share_class: ")


@pytest.mark.parametrize("mode", [None, "", "LIVE", "paper"])
def test_an_unknown_mode_is_refused(tmp_path: Path, mode: object) -> None:
    assert refusal({"home": tmp_path}, mode, 1000, "USDT").startswith("execution_mode: ")


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"portfolio": ""}, "config.portfolio: "),
        ({"portfolio": " x"}, "config.portfolio: "),
        ({"portfolio": 7}, "config.portfolio: "),
        ({"home": 7}, "config.home: "),
        ({"start": "yesterday"}, "config.start: "),
        ({"start": datetime(2024, 5, 12)}, "config.start: "),  # noqa: DTZ001 - without zone on purpose
        ([], "config: "),
    ],
)
def test_a_config_that_names_nonsense_is_refused(tmp_path: Path, config: Any, where: str) -> None:
    given = config if isinstance(config, list) else {"home": tmp_path, **config}
    assert refusal(given, "backtest", 1000, "USDT").startswith(where)


def test_capital_with_more_digits_than_its_token_is_refused(tmp_path: Path) -> None:
    assert "more decimal places than USDT (6)" in refusal({"home": tmp_path}, "backtest", "1000.1234567", "USDT")


@pytest.mark.parametrize("capital", [1000.1, "1000.1", Decimal("1000.1"), Decimal("1000.100")])
def test_capital_may_be_any_number_and_a_float_counts_as_it_prints(tmp_path: Path, capital: object) -> None:
    monitor = backtest(tmp_path, capital, strategy="other keys belong to the strategy", leverage=3)
    assert monitor.wallet["USDT"] == Decimal("1000.1")
    asyncio.run(monitor.close())


def test_the_capital_is_an_entry_at_the_start_in_the_share_class(home: Path) -> None:
    monitor = backtest(home, 12.5, "ETH")
    [entry] = stored(monitor)
    assert (entry.update.trigger, entry.update.timestamp) == ("INITIAL_CAPITAL", START)
    assert monitor.get_snapshot()["wallet"]["ETH"] == Decimal("12.5")
    asyncio.run(monitor.close())


def test_a_backtest_without_start_begins_with_its_first_update(home: Path) -> None:
    monitor = PositionMonitor({"home": home}, "backtest", 1000, "USDT")
    before = monitor.get_snapshot()
    assert (before["wallet"]["USDT"], before["ledger_sequence"], before["timestamp"]) == (1000, 0, None)
    assert before["last_updated"] is not None

    async def work(opened: PositionMonitor) -> None:
        with pytest.raises(ValueError, match="wallet BTC would be -1"):
            await opened.update({"timestamp": "2020-01-01T00:00:00Z", "token_changes": [wallet("BTC", "-1")]})
        assert stored(opened) == [], "a refused update leaves no capital behind"
        assert opened.get_snapshot() == before
        after = await opened.update({"timestamp": "2024-05-13T00:00:00Z", "token_changes": [wallet("USDT", "-1")]})
        assert (after["wallet"]["USDT"], after["ledger_sequence"]) == (999, 2)
        assert [e.update.timestamp for e in stored(opened)] == [datetime(2024, 5, 13, tzinfo=UTC)] * 2

    run(monitor, work)
    again = PositionMonitor({"home": home}, "backtest", 1000, "USDT")
    assert again.wallet["USDT"] == 999
    asyncio.run(again.close())


@pytest.mark.parametrize("other", [{"capital": 1001}, {"share_class": "ETH"}, {"start": "2024-05-12T02:00:00Z"}])
def test_terms_that_differ_from_the_ledger_are_refused(home: Path, other: dict[str, Any]) -> None:
    asyncio.run(backtest(home).close())
    with pytest.raises(ValueError, match="differs from the ledger's") as caught:
        backtest(home, **other)
    assert isinstance(caught.value, BasisError)


def configure(home: Path, mode: str = "backtest", **portfolios: Any) -> None:
    home.mkdir(parents=True, exist_ok=True)
    (home / "basis.yaml").write_text(json.dumps({"mode": mode, "portfolios": portfolios}))


def test_a_configured_portfolio_gives_the_start_and_must_have_equal_terms(tmp_path: Path) -> None:
    configure(tmp_path, default={"share_class": "USDT", "initial_capital": "1000.0", "start": "2024-05-12T00:00:00Z"})
    monitor = PositionMonitor({"home": tmp_path}, "backtest", 1000, "USDT")
    assert monitor.get_snapshot()["timestamp"] == "2024-05-12T00:00:00Z"
    asyncio.run(monitor.close())
    assert "initial_capital: 1 differs from 1000 in" in refusal({"home": tmp_path}, "backtest", 1, "USDT")
    assert "share_class: ETH differs from USDT in" in refusal({"home": tmp_path}, "backtest", 1000, "ETH")
    assert "start: " in refusal({"home": tmp_path, "start": START}, "backtest", 1000, "USDT")


def test_a_home_of_the_other_mode_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_REDIS_URL", "redis://127.0.0.1:1")
    configure(tmp_path)
    assert "'live' differs from mode 'backtest'" in refusal({"home": tmp_path}, "live", 1000, "USDT")
    configure(tmp_path, "live")
    assert "'backtest' differs from mode 'live'" in refusal({"home": tmp_path}, "backtest", 1000, "USDT")


def test_a_broken_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "basis.yaml").write_text("mod: live")
    assert "mod: is not a setting" in refusal({"home": tmp_path}, "backtest", 1000, "USDT")


def test_a_home_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal({"home": tmp_path / "file"}, "backtest", 1000, "USDT")
    assert message.startswith(f"config.home: {tmp_path / 'file'} cannot be a folder (")


def test_the_home_is_the_one_of_the_environment_unless_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_HOME", str(tmp_path / "there"))
    monitor = PositionMonitor(None, "backtest", 1000, "USDT")
    assert (monitor.home, monitor.portfolio) == (tmp_path / "there", "default")
    asyncio.run(monitor.close())


def test_live_mode_says_what_to_set_when_it_has_no_redis(tmp_path: Path) -> None:
    message = refusal({"home": tmp_path}, "live", 1000, "USDT")
    assert "BASIS_REDIS_URL" in message


def test_live_mode_refuses_a_redis_that_does_not_answer_and_does_not_show_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_REDIS_URL", f"redis://:secret-word@127.0.0.1:{free_port()}/0")
    message = refusal({"home": tmp_path}, "live", 1000, "USDT")
    assert "Redis cannot be reached" in message
    assert "secret-word" not in message
    assert "127.0.0.1" not in message
    monkeypatch.setenv("BASIS_REDIS_URL", "http://:secret-word@nowhere")
    assert "is not a Redis URL" in (message := refusal({"home": tmp_path}, "live", 1000, "USDT"))
    assert "secret-word" not in message


def test_live_mode_refuses_a_wrong_password(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_REDIS_URL", redis_server.url.replace("wrong-horse", "other-horse"))
    message = refusal({"home": tmp_path}, "live", 1000, "USDT")
    assert "refuses the user or password" in message
    assert "other-horse" not in message


def test_the_url_may_be_in_a_file(tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BASIS_REDIS_URL")
    (tmp_path / "url").write_text(f"{redis_server.url}\n")
    (tmp_path / "basis.yaml").write_text("mode: live\nredis_url_file: url\n")
    [snapshot] = updated(live(tmp_path), {"token_changes": [wallet("USDT", "-1")]})
    assert snapshot["wallet"]["USDT"] == 999


def test_live_mode_without_start_begins_now(tmp_path: Path, redis_server: RedisServer) -> None:
    before = datetime.now(UTC)
    monitor = PositionMonitor({"home": tmp_path}, "live", 1000, "USDT")
    [entry] = stored(monitor)
    assert before <= entry.update.timestamp <= datetime.now(UTC)
    asyncio.run(monitor.close())


def test_a_backtest_never_loads_redis(tmp_path: Path) -> None:
    script = f"""
import asyncio, sys
from basis_pipeline.monitors.position_monitor import PositionMonitor
monitor = PositionMonitor({{"home": {str(tmp_path)!r}}}, "backtest", 1000, "USDT")
asyncio.run(monitor.update({{"token_changes": [{{"venue": "WALLET", "token": "ETH", "delta": 1.0}}]}}))
asyncio.run(monitor.close())
assert not {{"redis", "web3", "ccxt"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
