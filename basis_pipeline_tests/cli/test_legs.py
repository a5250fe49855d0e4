"""The notation of `basis record`."""

from __future__ import annotations

import pytest

from basis_pipeline.cli.legs import parse_legs
from basis_pipeline.domain.errors import InputError


def test_a_token_leg_is_a_venue_a_token_and_a_signed_amount() -> None:
    assert parse_legs(["wallet:ETH=-0.0035", "binance:USDT=+12.5:FUNDING: late"])["token_changes"] == [
        {"venue": "wallet", "token": "ETH", "delta": "-0.0035"},
        {"venue": "binance", "token": "USDT", "delta": "+12.5", "reason": "FUNDING: late"},
    ]


def test_a_perpetual_leg_is_an_action_with_fields() -> None:
    assert parse_legs(["okx:ETHUSDT-PERP=open,size=-1.5,entry_price=3000"])["derivative_changes"] == [
        {
            "venue": "okx",
            "instrument": "ETHUSDT-PERP",
            "action": "OPEN",
            "data": {"size": "-1.5", "entry_price": "3000"},
        }
    ]


@pytest.mark.parametrize("name", ["ETHUSDT-PERP:SHORT", "ETH/USDT:USDT"])
def test_an_instrument_may_hold_a_colon(name: str) -> None:
    assert parse_legs([f"okx:{name}=CLOSE"])["derivative_changes"][0]["instrument"] == name


@pytest.mark.parametrize("leg", ["", "wallet", "wallet=1", "wallet:ETH", "wallet:ETH=", ":ETH=1", "wallet:=1"])
def test_an_unreadable_leg_is_quoted_with_the_notation(leg: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read; write VENUE:TOKEN=AMOUNT"):
        parse_legs([leg])


@pytest.mark.parametrize("fields", ["size", "size=", "=1", "size=1,size=2", ""])
def test_a_field_must_have_a_name_and_a_value_and_come_once(fields: str) -> None:
    with pytest.raises(InputError, match="is not one field=value, each once"):
        parse_legs([f"okx:ETHUSDT-PERP=OPEN,{fields}"])
