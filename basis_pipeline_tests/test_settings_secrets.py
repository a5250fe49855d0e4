"""Secrets in the settings: where they come from, and that no message repeats one that is in the wrong place."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.settings import Settings, load_settings
from basis_pipeline.settings.secrets import reveal

SECRET = "pl4nted-5ecret"
TERMS = "portfolios: {p: {share_class: USDT, initial_capital: '1', start: 2026-01-01T00:00:00Z}}\n"
ACCOUNT = "accounts: {binance: {portfolio: p, venue: binance}}\n"


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASIS_")]:
        monkeypatch.delenv(name)


def load(home: Path, text: str) -> Settings:
    (home / "basis.yaml").write_text(text, encoding="utf-8")
    return load_settings(home)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BASIS_ACCOUNTS__BINANCE__API_KEYX", SECRET, "accounts.binance.api_keyx: is not a setting"),
        ("BASIS_ACCOUNTS__BINANCE__API_KEY__X", SECRET, "accounts.binance.api_key: Input should be a valid string"),
        ("BASIS_ACCOUNTS__BINANCE", SECRET, "accounts.binance: Input should be a valid dictionary"),
        ("BASIS_ACCOUNTS__OKX__PASSPHRASE", SECRET, "accounts.okx.portfolio: is missing"),
        ("BASIS_ACCOUNTS", SECRET, "these are set: BASIS_ACCOUNTS)"),
        ("BASIS_ETHEREUM__RPC_URL", f"https://node/{SECRET}", "ethereum.rpc_url: is not a setting"),
        ("BASIS_ETHEREUM__RPC_URLS", f'{{"a": "{SECRET}"}}', "ethereum.rpc_urls: Input should be a valid tuple"),
        ("BASIS_ETHEREUM__RPC_URLS", f'["{SECRET}", 5]', "ethereum.rpc_urls.1: Input should be a valid string"),
        ("BASIS_ETHEREUM", SECRET, "these are set: BASIS_ETHEREUM)"),
        (
            "BASIS_ALERTS__CHANNELS__CHAT",
            f"slack://{SECRET}",
            "alerts.channels.chat: Input should be a valid dictionary",
        ),
        ("BASIS_ALERTS__CHANNELS__CHAT__URLS", f"slack://{SECRET}", "alerts.channels.chat.urls: is not a setting"),
        (
            "BASIS_ALERTS__CHANNELS",
            f'{{"slack://{SECRET}": {{}}}}',
            "alerts.channels.***.[key]: is no name of a channel",
        ),
        ("BASIS_ALERTS", f"slack://{SECRET}", "these are set: BASIS_ALERTS)"),
        ("BASIS_LEDGER", f"postgresql://basis:{SECRET}@localhost", "these are set: BASIS_LEDGER)"),
    ],
)
def test_a_variable_in_the_wrong_place_is_named_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, message: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TERMS + ACCOUNT)
    assert message in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"redis_url: redis://:{SECRET}@localhost", "redis_url: secrets do not belong into basis.yaml"),
        (f"REDIS_URL: redis://:{SECRET}@localhost", "redis_url: secrets do not belong into basis.yaml"),
        (f"ethereum: {{rpc_urls: [https://node/{SECRET}]}}", "ethereum.rpc_urls: secrets do not belong"),
        (f"ethereum: {SECRET}", "ethereum: Input should be"),
        (
            f"accounts: {{binance: {{portfolio: p, venue: binance, api_key: {SECRET}}}}}",
            "Set the environment variable BASIS_ACCOUNTS__BINANCE__API_KEY, or name a file: accounts.binance.api_key_",
        ),
        (f"accounts: {{binance: {{portfolio: p, venue: binance, api_keyy: {SECRET}}}}}", "api_keyy: is not a setting"),
        (f"accounts: {{binance: {SECRET}}}", "accounts.binance: Input should be"),
        (
            f"alerts: {{channels: {{chat: {{url: slack://{SECRET}}}}}}}",
            "Set the environment variable BASIS_ALERTS__CHANNELS__CHAT__URL, or name a file: alerts.channels.chat.url_",
        ),
        (
            f"alerts: {{channels: {{slack://{SECRET}: {{url: x}}}}}}",
            "alerts.channels.<name>.url: secrets do not belong",
        ),
        (
            f"alerts: {{channels: {{slack://{SECRET}: {{urll: x}}}}}}",
            "alerts.channels.***.[key]: is no name of a channel",
        ),
        (f"alerts: {{channels: {{chat: {{urll: slack://{SECRET}}}}}}}", "alerts.channels.chat.urll: is not a setting"),
        (f"alerts: {{channels: {{chat: slack://{SECRET}}}}}", "alerts.channels.chat: Input should be"),
        (f"alerts: {{channels: [slack://{SECRET}]}}", "alerts.channels: Input should be"),
        (f"alerts: slack://{SECRET}", "alerts: Input should be"),
        (f"accounts: {SECRET}", "accounts: Input should be"),
        (f"accounts: {{binance: {{api_key: '{SECRET}'", "basis.yaml, line 2 is not valid YAML: expected ','"),
        (
            f"accounts: {{w: {{portfolio: p, venue: wallet, address: '{SECRET}'}}}}",
            "accounts.w.address: 'pl4n'... (14 characters) is not an Ethereum address",
        ),
    ],
)
def test_a_secret_in_the_file_is_refused_without_being_shown(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, TERMS + text)
    assert message in str(caught.value)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "urls", ["https://a,https://b", "https://a https://b", "https://a\nhttps://b\n", '["https://a", "https://b"]']
)
def test_several_nodes_may_be_written_in_one_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, urls: str
) -> None:
    monkeypatch.setenv("BASIS_ETHEREUM__RPC_URLS", urls)
    found = load(tmp_path, TERMS).ethereum.rpc_urls
    assert [url.get_secret_value() for url in found] == ["https://a", "https://b"]


def test_settings_that_are_printed_hide_their_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = (
        "REDIS_URL",
        "LEDGER__URL",
        "ETHEREUM__RPC_URLS",
        "ACCOUNTS__BINANCE__SECRET",
        "ALERTS__CHANNELS__A__URL",
    )
    for variable in secrets:
        monkeypatch.setenv(f"BASIS_{variable}", f"https://{SECRET}")
    settings = load(tmp_path, TERMS + ACCOUNT)
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    assert settings.accounts["binance"].secret is not None
    assert settings.alerts.channels["a"].url is not None


def test_a_secret_may_lie_in_a_file_whose_path_starts_at_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n", encoding="utf-8")
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    assert reveal(None, Path("key"), "accounts.okx.api_key", tmp_path) == SECRET
    for file, message in (
        (Path("none"), "accounts.okx.api_key_file: none cannot be read"),
        (Path("empty"), "accounts.okx.api_key_file: empty is empty"),
        (None, "accounts.okx.api_key: is missing; set the environment variable BASIS_ACCOUNTS__OKX__API_KEY"),
    ):
        with pytest.raises(ConfigError, match=message):
            reveal(None, file, "accounts.okx.api_key", tmp_path)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ("{kinds: [drif]}", "alerts.channels.chat.kinds.0: Input should be 'drift', 'unavailable_venue'"),
        ("{severity: bad}", "alerts.channels.chat.severity: Input should be 'info', 'warning' or 'error' (got 'bad')"),
    ],
)
def test_what_a_channel_takes_is_checked_against_what_there_is(tmp_path: Path, channel: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f"{TERMS}alerts: {{channels: {{chat: {channel}}}}}")
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["Chat", "2", "a__b", "ops chat"])
def test_a_channel_has_a_name_that_a_variable_can_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a channel; use lower-case letters, digits"):
        load(tmp_path, f"{TERMS}alerts: {{channels: {{'{name}': {{url_file: a}}}}}}")


def test_a_channel_takes_everything_unless_it_is_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__CHAT__URL", "slack://a")
    monkeypatch.setenv("BASIS_ALERTS__CHANNELS__PAGER__SEVERITY", "error")
    channels = load(tmp_path, f"{TERMS}alerts: {{channels: {{pager: {{kinds: [drift]}}}}}}").alerts.channels
    assert {name: (c.severity, c.kinds) for name, c in channels.items()} == {
        "pager": ("error", ("drift",)),
        "chat": ("info", ()),
    }
