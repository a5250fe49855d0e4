"""What a strategy may be given by name: settings check it when they load, strategies when they are made."""

from __future__ import annotations

from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.tokens import Registry, TokenKind, parse_instrument


def short_perpetual(name: object, asset: str, field_name: str = "instrument") -> str:
    """The canonical name of a perpetual of the asset that can be short; ``InputError`` for any other."""
    instrument = parse_instrument(name, field_name)
    if instrument.base != asset or instrument.leg == "LONG":
        raise InputError(
            f"{field_name}: {instrument.name} cannot be short in {asset}; give a perpetual of {asset} such as "
            f"{asset}USDT-PERP"
        )
    return instrument.name


def staked_collateral(name: object, registry: Registry, field_name: str = "collateral") -> str:
    """The symbol of an aToken whose value follows ETH; ``InputError`` for any other token."""
    token = registry.token(name, field_name)
    if token.kind is not TokenKind.ATOKEN or registry.valuation(token.symbol).base != "ETH":
        raise InputError(f"{field_name}: {token.symbol} is no aToken of a staked ETH; give one such as aWeETH")
    return token.symbol
