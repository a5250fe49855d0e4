"""Strategies in the settings: what fits is what the strategies take, the rest is refused by its key."""

from __future__ import annotations

import os
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.settings import CONFIG_NAME, Settings, load_settings
from basis_pipeline.settings.strategies import PARAMETERS, Kind
from basis_pipeline.strategy.kinds import KINDS
from basis_pipeline_tests.strategy.fund import PaperFund

TERMS = {
    "stable": {"share_class": "USDT", "initial_capital": "1000", "start": "2024-05-12T00:00:00Z"},
    "ether": {"share_class": "ETH", "initial_capital": "10", "start": "2024-05-12T00:00:00Z"},
}
LENDING = {"portfolio": "stable", "kind": "usdt_lending"}
LOOP = {"portfolio": "ether", "kind": "eth_leveraged_loop", "target_ltv": "0.8"}
BASIS = {"portfolio": "stable", "kind": "basis", "asset": "BTC", "allocation": {"okx": "1"}}
NEUTRAL = {"portfolio": "stable", "kind": "usdt_market_neutral", "allocation": {"okx": "1"}}
LEAST = {"usdt_lending": LENDING, "eth_leveraged_loop": LOOP, "basis": BASIS, "usdt_market_neutral": NEUTRAL}
"""Each kind with no more than it must be given."""
MOST: dict[str, dict[str, Any]] = {
    "reserve": {"reserve": "0.1"},
    "target_ltv": {"target_ltv": "0.5"},
    "collateral": {"collateral": "awstETH"},
    "allocation": {"allocation": {"Binance": "3", "BYBIT": "1"}},
    "instrument": {},
    "size_step": {"size_step": "0.01"},
    "spot_share": {"spot_share": "0.25"},
    "spot_venue": {"spot_venue": "OKX"},
    "unwrap_gas_multiple": {"unwrap_gas_multiple": "50"},
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BASIS_")]:
        monkeypatch.delenv(name)


def loaded(home: Path, **strategies: dict[str, Any]) -> Settings:
    content = {"portfolios": TERMS, "strategies": strategies}
    (home / CONFIG_NAME).write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_settings(home)


def made(settings: Settings, name: str) -> Any:
    given = settings.strategies[name]
    share_class = settings.portfolios[given.portfolio].share_class
    return PaperFund({}, {}).manage(KINDS[given.kind], share_class=share_class, **given.config())


def test_there_is_a_strategy_for_every_kind() -> None:
    assert set(get_args(Kind)) == set(KINDS) == set(PARAMETERS) == set(LEAST)


@pytest.mark.parametrize("kind", sorted(LEAST))
def test_a_strategy_is_made_of_what_its_kind_must_be_given_and_has_the_documented_defaults(
    kind: str, tmp_path: Path
) -> None:
    strategy = made(loaded(tmp_path, mine=LEAST[kind]), "mine")
    assert (strategy.position_deviation_threshold, strategy.minimum_deviation_usd) == (Decimal("0.02"), Decimal(10))
    assert strategy.sized_by == ("nav" if kind == "basis" else "total_equity")
    documented = {
        "reserve": {"usdt_lending": "0.02", "eth_leveraged_loop": "0.05"}.get(kind),
        "collateral": "aWeETH",
        "instrument": "BTCUSDT-PERP" if kind == "basis" else "ETHUSDT-PERP",
        "size_step": "0.001",
        "spot_share": "0.5",
        "spot_venue": "binance",
        "unwrap_gas_multiple": "100",
    }
    found = {name: str(getattr(strategy, name)) for name in PARAMETERS[kind] if name in documented}
    assert found == {name: documented[name] for name in found}


@pytest.mark.parametrize("kind", sorted(LEAST))
def test_every_parameter_of_a_kind_reaches_its_strategy(kind: str, tmp_path: Path) -> None:
    given = {name: value for parameter in PARAMETERS[kind] for name, value in MOST[parameter].items()}
    common = {"position_deviation_threshold": "0.1", "minimum_deviation_usd": "5", "sized_by": "nav"}
    strategy = made(loaded(tmp_path, mine={**LEAST[kind], **given, **common}), "mine")
    for name, value in {**given, **common}.items():
        found = getattr(strategy, name)
        if name == "allocation":
            assert found == {"binance": 3, "bybit": 1}
        elif name in ("collateral", "sized_by"):
            assert found == value
        elif name == "spot_venue":
            assert found == "okx"
        else:
            assert found == Decimal(value)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIS_STRATEGIES__LENDER__RESERVE", "0.3")
    assert made(loaded(tmp_path, lender=LENDING), "lender").reserve == Decimal("0.3")


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({**LENDING, "portfolio": "gold"}, r"mine\.portfolio: 'gold' is not configured; there are ether, stable"),
        ({**LENDING, "portfolio": "ether"}, "usdt_lending is for USDT, but the share class of ether is ETH"),
        ({**LENDING, "kind": "hope"}, r"mine\.kind: .*'hope'"),
        ({**LENDING, "asset": "ETH"}, "asset is ETH; usdt_lending takes USDT"),
        ({**LENDING, "target_ltv": "0.8"}, "target_ltv is no parameter of usdt_lending; it takes reserve"),
        ({**LENDING, "resrve": "0.1"}, r"mine\.resrve: is not a setting"),
        ({**LENDING, "reserve": "1"}, r"mine\.reserve: .*less than 1"),
        ({**LENDING, "reserve": 0.5}, r"mine\.reserve: 0\.5 is a float"),
        ({**LENDING, "position_deviation_threshold": "2"}, r"mine\.position_deviation_threshold: .*less than 1"),
        ({**LENDING, "minimum_deviation_usd": "-1"}, r"mine\.minimum_deviation_usd: .*greater than or equal to 0"),
        ({**LENDING, "sized_by": "luck"}, r"mine\.sized_by: .*'luck'"),
        ({"portfolio": "ether", "kind": "eth_leveraged_loop"}, "target_ltv is missing; eth_leveraged_loop needs it"),
        ({**BASIS, "asset": None}, "asset is missing; basis needs it"),
        ({**BASIS, "asset": "USDT"}, "asset is USDT; basis takes BTC or ETH"),
        ({**NEUTRAL, "allocation": None}, "allocation is missing; usdt_market_neutral needs it"),
        ({**NEUTRAL, "allocation": {}}, r"mine\.allocation: is empty; give exchanges"),
        ({**NEUTRAL, "allocation": {"wallet": "1"}}, "wallet is not an exchange; give one of binance, bybit, okx"),
        ({**NEUTRAL, "allocation": {"okx": "0"}}, r"mine\.allocation\.okx: .*greater than 0"),
        ({**NEUTRAL, "size_step": "0"}, r"mine\.size_step: .*greater than 0"),
        ({**NEUTRAL, "instrument": "BTCUSDT-PERP"}, "mine: instrument: BTCUSDT-PERP cannot be short in ETH; give a"),
        ({**BASIS, "instrument": "BTCUSDT-PERP:LONG"}, "BTCUSDT-PERP:LONG cannot be short in BTC; give a perpetual"),
        ({**BASIS, "instrument": "BTC"}, "instrument: 'BTC' is not a linear perpetual"),
        ({**LOOP, "collateral": "moon"}, r"mine\.collateral: 'moon' is not a registered token"),
        ({**LOOP, "collateral": "aUSDT"}, r"mine\.collateral: aUSDT is no aToken of a staked ETH; give one such as"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(given: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=complaint):
        loaded(tmp_path, mine=given)


def test_an_exchange_given_twice_in_other_letters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.allocation: has okx twice; give each exchange once"):
        loaded(tmp_path, mine={**NEUTRAL, "allocation": {"okx": "1", "OKX": "2"}})
