"""What a user configures: ``basis.yaml`` in the home, overridden by ``BASIS_*`` environment variables.

Every error names the key and the file or variable. Secrets (the ledger's URL may hold one) are ``SecretStr`` and come
from the environment: ``BASIS_LEDGER__URL``.
"""

from __future__ import annotations

import os
from collections.abc import Hashable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.numbers import decimal_places
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry, Token, TokenKind
from basis_pipeline.settings.live import (
    AccountName,
    AccountSettings,
    EthereumSettings,
    ReconciliationSettings,
    ToleranceSettings,
    canonical_tolerances,
    chainlink_feeds,
    check_accounts,
)
from basis_pipeline.settings.prices import PriceSettings
from basis_pipeline.settings.reacting import AlertSettings, EquitySettings, SensorSettings
from basis_pipeline.settings.secrets import may_be_secret, refuse_secrets
from basis_pipeline.settings.strategies import StrategySettings, check_collaterals, check_strategies
from basis_pipeline.settings.types import CLOSED, Duration, Exact, Moment, PortfolioName

HOME_VARIABLE = "BASIS_HOME"
CONFIG_VARIABLE = "BASIS_CONFIG"
DEFAULT_HOME = "data"
CONFIG_NAME = "basis.yaml"


def _payable(capital: Decimal, info: ValidationInfo) -> Decimal:
    """The capital lies in the wallet at the start, so it has at most the decimals of its token."""
    share_class = info.data.get("share_class")
    if share_class is not None and decimal_places(capital) > (limit := DEFAULT_REGISTRY.token(share_class).decimals):
        raise ValueError(f"{capital} has more decimal places than {share_class} ({limit})")
    return capital


class PortfolioSettings(BaseModel):
    """A portfolio's terms. They are written into the ledger once and cannot change afterwards."""

    model_config = CLOSED

    share_class: Literal["USDT", "ETH"]
    initial_capital: Annotated[Exact, Field(gt=0), AfterValidator(_payable)]
    start: Moment


class TokenSettings(BaseModel):
    """A token of the user's own, by its symbol."""

    model_config = CLOSED

    kind: TokenKind = TokenKind.BASE
    decimals: Annotated[int, Field(ge=0, le=18)]
    address: str | None = None
    underlying: str | None = None
    reserve: str | None = Field(default=None, description="Aave reserve whose index values an aToken or debt token")
    rate: str | None = Field(default=None, description="conversion rate to the underlying, e.g. lst:rETH")
    protocol: str | None = Field(default=None, description="venue in equity: aave, lido, etherfi, wallet ...")
    aliases: tuple[str, ...] = ()


class LedgerSettings(BaseModel):
    """Where the ledger lives; by default a SQLite file in the home."""

    model_config = CLOSED

    url: SecretStr | None = None


class Settings(BaseSettings):
    """All settings of one home."""

    model_config = SettingsConfigDict(
        env_prefix="BASIS_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    mode: Literal["backtest", "live"] = "backtest"
    market_data: Path | None = None
    portfolios: dict[PortfolioName, PortfolioSettings] = {}
    tokens: dict[str, TokenSettings] = {}
    prices: PriceSettings = PriceSettings()
    ledger: LedgerSettings = LedgerSettings()
    superseded_files_kept: Duration = timedelta(hours=1)
    accounts: dict[AccountName, AccountSettings] = {}
    ethereum: EthereumSettings = EthereumSettings()
    exchange_gateway: str | None = Field(
        default=None, description="reach exchanges through <gateway>/<their host>/<path> instead of directly"
    )
    reconciliation: ReconciliationSettings = ReconciliationSettings()
    equity: EquitySettings = EquitySettings()
    sensors: SensorSettings = SensorSettings()
    alerts: AlertSettings = AlertSettings()
    strategies: dict[PortfolioName, StrategySettings] = {}
    redis_url: SecretStr | None = None
    redis_url_file: Path | None = None

    @model_validator(mode="after")
    def _accounts_fit(self) -> Settings:
        check_accounts(self.accounts, self.portfolios)
        return self

    @model_validator(mode="after")
    def _strategies_fit(self) -> Settings:
        check_strategies(self.strategies, {name: each.share_class for name, each in self.portfolios.items()})
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file (which arrives as init arguments)."""
        return env_settings, init_settings

    def registry(self) -> Registry:
        """The built-in tokens with the user's own added."""
        aliases = {alias: symbol for symbol, token in self.tokens.items() for alias in token.aliases}
        return DEFAULT_REGISTRY.extended([_token(symbol, t) for symbol, t in self.tokens.items()], aliases)

    def tolerances(self) -> dict[str, ToleranceSettings]:
        """How far venues and the ledger may be apart, by the keys of reconciliation."""
        return canonical_tolerances(self.reconciliation.tolerances, self.registry())

    def chainlink_feeds(self) -> dict[str, str]:
        """Chainlink's feeds by token: the built-in ones of the chain, with those of the settings."""
        return chainlink_feeds(self.ethereum, self.registry())

    def first_day(self) -> date | None:
        """The day of the earliest portfolio's start, None without portfolios."""
        return min((p.start.date() for p in self.portfolios.values()), default=None)


def _token(symbol: str, settings: TokenSettings) -> Token:
    where = f"tokens.{symbol}"
    rate = settings.rate
    if settings.kind in (TokenKind.ATOKEN, TokenKind.DEBT):
        if settings.underlying is None:
            raise ConfigError(f"{where}.underlying: is missing; an {settings.kind} needs the token it stands for")
        index = "liquidity" if settings.kind is TokenKind.ATOKEN else "debt"
        rate = rate or f"aave:{settings.reserve or settings.underlying}:{index}"
    protocol = settings.protocol or ("aave" if settings.kind in (TokenKind.ATOKEN, TokenKind.DEBT) else "wallet")
    return Token(symbol, settings.kind, settings.decimals, settings.underlying, rate, protocol, settings.address)


def home_path(given: str | Path | None = None) -> Path:
    """The home: what was given, else ``BASIS_HOME``, else ``data`` in the current directory."""
    return Path(given or os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)


def config_path(home: Path) -> Path:
    """The config file of a home: ``BASIS_CONFIG``, else ``basis.yaml`` in it."""
    elsewhere = os.environ.get(CONFIG_VARIABLE)
    return Path(elsewhere) if elsewhere else home / CONFIG_NAME


def load_settings(home: Path, *, required: bool = True) -> Settings:
    """The settings of a home. ``ConfigError`` names the key and the file of anything unusable.

    ``required=False`` gives the defaults where there is no config file yet.
    """
    path = config_path(home)
    if not path.exists():
        if required:
            raise ConfigError(f"{path} does not exist; run `basis --home {home} init`, or `basis demo` for a sample")
        return _validated({}, path)
    content = _read_yaml(path)
    refuse_secrets(content, path)
    return _validated(content, path)


def market_directory(settings: Settings, home: Path) -> Path:
    """The directory of market data; a relative one is relative to the config file."""
    if settings.market_data is None:
        raise ConfigError(
            f"market_data: is missing in {config_path(home)}; give the directory that holds prices.parquet and "
            "aave_reserve_hourly.parquet (or .csv)"
        )
    return config_path(home).parent / settings.market_data.expanduser()


_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice; PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not text", key_node.start_mark)
            if key_node.tag == _MERGE:
                continue  # what it brings in yields to what is written out
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        # Its own message repeats the line, and with it whatever secret somebody wrote there.
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise ConfigError(f"{path}{line} is not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: must be a mapping of settings, found {type(content).__name__}")
    return content


def _validated(content: dict[str, Any], path: Path) -> Settings:
    try:
        settings = Settings(**content)
    except ValidationError as error:
        raise ConfigError("\n".join(_describe(error, path))) from None
    except SettingsError:
        raise ConfigError(_describe_unreadable()) from None
    except TypeError as error:
        raise ConfigError(f"{path}: settings have names only ({error})") from None
    settings.registry()
    try:
        settings.tolerances()
        settings.chainlink_feeds()
        check_collaterals(settings.strategies, settings.registry())
    except InputError as error:
        raise ConfigError(f"{path}: {error}") from None
    return settings


def _describe(error: ValidationError, path: Path) -> list[str]:
    lines = []
    for finding in error.errors(include_url=False, include_input=True):
        # A name that is a URL: written where the name belongs, it may be a secret.
        key = ".".join("***" if "://" in str(part) else str(part) for part in finding["loc"])
        message = finding["msg"].removeprefix("Value error, ")
        if finding["loc"]:
            message = message.removeprefix(f"{finding['loc'][-1]}: ")
        if finding["type"] == "extra_forbidden":
            message = "is not a setting; check its spelling"
        elif finding["type"] == "missing":
            message = "is missing"
        elif finding["type"] != "value_error" and not may_be_secret(finding["loc"]):
            message += f" (got {finding['input']!r:.100})"
        lines.append(f"{path}: {key}: {message}")
    return lines


def _describe_unreadable() -> str:
    """Which variables of the environment are not what their setting needs; pydantic names the outermost key only."""
    names = ", ".join(sorted(name for name in os.environ if name.upper().startswith("BASIS_")))
    return (
        "the environment: a variable for a whole group of settings must hold JSON; set them one by one instead, such "
        f"as BASIS_ETHEREUM__CHAIN_ID (these are set: {names})"
    )
