"""Secrets come from the environment or from files, never from basis.yaml, and are never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from basis_pipeline.domain.errors import ConfigError

ACCOUNT_SECRETS = ("api_key", "secret", "passphrase")
_ELSEWHERE = (
    "secrets do not belong into basis.yaml. Set the environment variable {variable}, or name a file: {key}_file"
)


def refuse_secrets(content: Mapping[str, Any], path: Path) -> None:
    """ConfigError, without the value, when the content of a basis.yaml holds a secret."""
    for key in _secrets_in(content):
        variable = "BASIS_" + key.replace(".", "__").upper()
        raise ConfigError(f"{path}: {key}: {_ELSEWHERE.format(variable=variable, key=key)}")


def may_be_secret(place: Sequence[int | str]) -> bool:
    """Whether what stands at this place of the settings may be or hold a secret, so that no message may repeat it."""
    match place:
        case ("ledger" | "redis_url", *_) | ("ethereum",) | ("ethereum", "rpc_urls", *_):
            return True
        case ("accounts", _, field, *_):
            return field in ACCOUNT_SECRETS
        case ("alerts", "channels", _, "severity" | "kinds" | "url_file", *_):
            return False
        case ("accounts", *_) | ("alerts",) | ("alerts", "channels", *_):
            return True
    return False


def _secrets_in(content: Mapping[str, Any]) -> Iterator[str]:
    # Names of the outermost level are read in any case.
    content = {str(key).lower(): value for key, value in content.items()}
    if content.get("redis_url") is not None:
        yield "redis_url"
    ethereum = content.get("ethereum")
    if isinstance(ethereum, Mapping) and ethereum.get("rpc_urls"):
        yield "ethereum.rpc_urls"
    accounts = content.get("accounts")
    for name, account in accounts.items() if isinstance(accounts, Mapping) else ():
        for field in ACCOUNT_SECRETS if isinstance(account, Mapping) else ():
            if account.get(field) is not None:
                yield f"accounts.{name}.{field}"
    alerts = content.get("alerts")
    channels = alerts.get("channels") if isinstance(alerts, Mapping) else None
    for name, channel in channels.items() if isinstance(channels, Mapping) else ():
        if isinstance(channel, Mapping) and channel.get("url") is not None:
            # Without a name that could be a URL itself.
            yield f"alerts.channels.{name if str(name).isidentifier() else '<name>'}.url"


def reveal(value: SecretStr | None, file: Path | None, key: str, base: Path) -> str:
    """The secret of a setting: its value, else the content of its file (relative to ``base``), stripped.

    ConfigError names the key and what to set, never the value.
    """
    if value is not None:
        return value.get_secret_value()
    variable = "BASIS_" + key.replace(".", "__").upper()
    if file is None:
        raise ConfigError(f"{key}: is missing; set the environment variable {variable}, or {key}_file in basis.yaml")
    try:
        text = (base / file.expanduser()).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{key}_file: {file} cannot be read ({type(error).__name__}); check path and permissions"
        ) from None
    if not text:
        raise ConfigError(f"{key}_file: {file} is empty")
    return text
