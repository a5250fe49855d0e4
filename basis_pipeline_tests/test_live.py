"""Settings and secrets become readers and sources, and what is missing of one account hurts no other."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.domain.observations import Finding, Reading, Verdict
from basis_pipeline.domain.reconciliation import Rules, Tolerance
from basis_pipeline.home import Home, open_home
from basis_pipeline.live import check_connections, open_quote_sources, open_readers, redis_url, rpc_urls, rules_of
from basis_pipeline.settings import ReconciliationSettings, Settings
from basis_pipeline_tests.live_homes import hours_ago

NOWHERE = "http://127.0.0.1:1"
WALLET_ADDRESS = f"0x{'1' * 40}"


def write(path: Path, **more: Any) -> Path:
    """Two portfolios, three accounts, no secret."""
    terms = {"share_class": "USDT", "initial_capital": "5", "start": hours_ago(3).isoformat()}
    config = {
        "mode": "live",
        "portfolios": {"a": terms, "b": terms},
        "accounts": {
            "desk": {"portfolio": "a", "venue": "binance"},
            "wallet_a": {"portfolio": "a", "venue": "wallet", "address": WALLET_ADDRESS},
            "wallet_b": {"portfolio": "b", "venue": "wallet", "address": WALLET_ADDRESS.replace("1", "2")},
        },
        "exchange_gateway": NOWHERE,
        "reconciliation": {"deadline": "2s"},
        **more,
    }
    (path / "basis.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_ACCOUNTS__DESK__API_KEY", "key")
    monkeypatch.setenv("BASIS_ACCOUNTS__DESK__SECRET", "secret")
    monkeypatch.setenv("BASIS_ETHEREUM__RPC_URLS", NOWHERE)


async def _accounts(home: Home, portfolio: str | None) -> list[list[str]]:
    async with open_readers(home, portfolio) as readers:
        return [[account.name for account in reader.accounts] for reader in readers]


async def _readings(home: Home) -> list[Reading]:
    async with open_readers(home) as readers:
        return [reading for reader in readers for reading in await reader.read()]


async def _sources(home: Home) -> list[str]:
    async with open_quote_sources(home) as sources:
        return [source.name for source in sources]


def failed(findings: Sequence[Finding]) -> list[str]:
    return [finding.message for finding in findings if finding.verdict is Verdict.FAILED]


def test_every_rule_is_taken_from_the_settings() -> None:
    given = {
        "on_drift": "alert",
        "deadline": "7s",
        "skew_max": "8s",
        "settle_window": "9min",
        "transfer_window": "10h",
        "second_reading_after": "11s",
        "opening_tolerance": "0.02",
        "tolerances": {"okx": {"absolute": "0.5"}},
    }
    assert set(given) == set(ReconciliationSettings.model_fields) == {each.name for each in dataclasses.fields(Rules)}
    settings = ReconciliationSettings.model_validate(given)
    rules = rules_of(Settings(reconciliation=settings))
    for name in given.keys() - {"tolerances"}:
        assert getattr(rules, name) == getattr(settings, name)
        assert getattr(rules, name) != getattr(Rules(), name)
    assert rules.tolerances == {"okx": Tolerance(settings.tolerances["okx"].absolute)}


def test_tolerances_hold_by_any_spelling_of_their_key() -> None:
    given = {
        "Binance:USDT_spot": {"absolute": "1"},
        "alchemy": {"absolute": "2"},
        "okx:ETH-USDT-SWAP": {"absolute": "3"},
        "OKX:ETHUSDT-PERP:LONG/entry_price": {"relative": "0.4"},
    }
    rules = rules_of(Settings(reconciliation=ReconciliationSettings.model_validate({"tolerances": given})))
    assert rules.tolerances == {
        "binance:USDT": Tolerance(Decimal(1)),
        "wallet": Tolerance(Decimal(2)),
        "okx:ETHUSDT-PERP": Tolerance(Decimal(3)),
        "okx:ETHUSDT-PERP:LONG/entry_price": Tolerance(relative=Decimal("0.4")),
    }


def test_all_wallets_have_one_reader_and_each_exchange_account_its_own(tmp_path: Path, keys: None) -> None:
    with open_home(write(tmp_path)) as home:
        assert asyncio.run(_accounts(home, None)) == [["wallet_a", "wallet_b"], ["desk"]]
        assert asyncio.run(_accounts(home, "b")) == [["wallet_b"]]


def test_an_account_without_its_key_is_unavailable_and_says_what_to_set(
    tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BASIS_ACCOUNTS__DESK__API_KEY")
    with open_home(write(tmp_path)) as home:
        by_name = {reading.account.name: reading for reading in asyncio.run(_readings(home))}
        findings = asyncio.run(check_connections(home))
    assert "BASIS_ACCOUNTS__DESK__API_KEY" in str(by_name["desk"].error)
    assert not any(reading.available for reading in by_name.values())
    assert "BASIS_ACCOUNTS__DESK__API_KEY" not in str(by_name["wallet_a"].error)
    assert any("BASIS_ACCOUNTS__DESK__API_KEY" in message for message in failed(findings))


def test_without_a_node_wallets_are_unavailable_and_exchanges_are_still_asked_for_prices(
    tmp_path: Path, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_home(write(tmp_path)) as home:
        assert asyncio.run(_sources(home)) == ["ethereum", "binance", "bybit", "okx"]
    monkeypatch.delenv("BASIS_ETHEREUM__RPC_URLS")
    with open_home(write(tmp_path)) as home:
        assert asyncio.run(_sources(home)) == ["binance", "bybit", "okx"]
        [first, second, _] = asyncio.run(_readings(home))
    assert "BASIS_ETHEREUM__RPC_URLS" in str(first.error)
    assert first.error == second.error


def test_a_file_may_list_the_nodes(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("https://one/key\n\n https://two/key \n")
    with open_home(write(tmp_path, ethereum={"rpc_urls_file": "nodes"})) as home:
        assert rpc_urls(home) == ["https://one/key", "https://two/key"]
    with open_home(write(tmp_path)) as home, pytest.raises(ConfigError, match="BASIS_ETHEREUM__RPC_URLS"):
        rpc_urls(home)


def test_redis_may_be_configured_by_variable_by_file_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "url").write_text("redis://there\n")
    with open_home(write(tmp_path)) as home:
        assert redis_url(home) is None
    with open_home(write(tmp_path, redis_url_file="url")) as home:
        assert redis_url(home) == "redis://there"
    monkeypatch.setenv("BASIS_REDIS_URL", "redis://here")
    with open_home(write(tmp_path, redis_url_file="url")) as home:
        assert redis_url(home) == "redis://here"


def test_a_home_knows_its_days_and_markets_by_its_mode(tmp_path: Path) -> None:
    with open_home(write(tmp_path)) as home:
        assert home.live
        assert home.last_day() == home.clock().date()
        assert home.market is home.recorded
        with pytest.raises(ConfigError, match="mode: live reads no market data files"):
            _ = home.history
