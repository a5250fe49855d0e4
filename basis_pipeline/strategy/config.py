"""Reading a strategy's configuration: each error names the key, the value and what to give instead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from basis_pipeline.domain.errors import ConfigError, InputError
from basis_pipeline.domain.numbers import ONE, parse_decimal
from basis_pipeline.domain.tokens import EXCHANGES, canonical_venue

Config = Mapping[str, Any]


def required(config: Config, key: str) -> Any:
    """The value of a key that has no default."""
    if config.get(key) is None:
        raise ConfigError(f"strategy config: {key} is missing; give it")
    return config[key]


def choice(config: Config, key: str, allowed: Collection[str], default: str | None = None) -> str:
    """One of the allowed words; without a default, the key is required."""
    value = required(config, key) if default is None else config.get(key, default)
    if value not in allowed:
        raise ConfigError(f"strategy config: {key} is {value!r}; this strategy takes {' or '.join(allowed)}")
    return str(value)


def amount(config: Config, key: str, default: Decimal | None = None) -> Decimal:
    """A number of zero or more; without a default, the key is required."""
    value = required(config, key) if default is None else config.get(key, default)
    try:
        number = parse_decimal(value, f"strategy config: {key}")
    except InputError as error:
        raise ConfigError(str(error)) from None
    if number < 0:
        raise ConfigError(f"strategy config: {key} is {number}; it cannot be negative, give zero or more")
    return number


def part(config: Config, key: str, default: Decimal | None = None) -> Decimal:
    """A part of one: zero or more, and less than one."""
    number = amount(config, key, default)
    if number >= ONE:
        raise ConfigError(f"strategy config: {key} is {number}; give a part of one, such as 0.02 for 2 %")
    return number


def step(config: Config, key: str, default: Decimal) -> Decimal:
    """A smallest size: more than zero."""
    number = amount(config, key, default)
    if not number:
        raise ConfigError(f"strategy config: {key} is 0; give the smallest size there is to trade, such as 0.001")
    return number


def exchange(config: Config, key: str, default: str) -> str:
    """An exchange by its canonical name, given in any letter case."""
    return _exchange(config.get(key, default), key)


def weights(config: Config, key: str) -> dict[str, Decimal]:
    """Exchanges with their weights above zero, at least one."""
    given = required(config, key)
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(f"strategy config: {key} is {given!r}; give exchanges with their weights, such as binance: 1")
    found: dict[str, Decimal] = {}
    for name in given:
        venue, weight = _exchange(name, key), amount(given, name)
        if venue in found:
            raise ConfigError(f"strategy config: {key} has {venue} twice; give each exchange once")
        if not weight:
            raise ConfigError(f"strategy config: {key}.{name} is 0; give a weight above zero, or leave it out")
        found[venue] = weight
    return found


def _exchange(name: object, key: str) -> str:
    try:
        venue = canonical_venue(name)
    except InputError:
        venue = None
    if venue not in EXCHANGES:
        raise ConfigError(f"strategy config: {key} has {name!r}; give one of {', '.join(EXCHANGES)}")
    return venue
