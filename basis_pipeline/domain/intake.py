"""How a payload from outside becomes a ``BalanceUpdate``: names, numbers, decimals per token, the trigger's shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from basis_pipeline.domain.changes import BalanceUpdate, DerivativeChange, TokenChange
from basis_pipeline.domain.errors import UpdateError
from basis_pipeline.domain.numbers import decimal_places
from basis_pipeline.domain.tokens import (
    DEFAULT_REGISTRY,
    EXCHANGE_DECIMALS,
    EXCHANGES,
    ON_CHAIN_ONLY,
    WALLET,
    Registry,
    TokenKind,
    parse_instrument,
)
from basis_pipeline.domain.triggers import check_shape


def parse_update(payload: Mapping[str, Any], registry: Registry = DEFAULT_REGISTRY) -> BalanceUpdate:
    """A validated, canonical update from a payload in the specification's form.

    Raises ``UpdateError`` naming each bad field and its value. Checks what can be known without a book: names,
    numbers, decimals per token, and the trigger's shape.
    """
    try:
        update = BalanceUpdate.model_validate(payload, context={"registry": registry})
    except ValidationError as error:
        raise UpdateError(_describe(error)) from None
    for number, change in enumerate(update.token_changes):
        _check_token_place(change, f"token_changes[{number}]", registry)
    for number, leg in enumerate(update.derivative_changes):
        _check_leg_sign(leg, f"derivative_changes[{number}]")
    check_shape(update, registry)
    return update


def _check_token_place(change: TokenChange, where: str, registry: Registry) -> None:
    token = registry.tokens[change.token]
    if change.venue in EXCHANGES and token.kind in ON_CHAIN_ONLY:
        raise UpdateError(f"{where}.token: {token.symbol} exists only on chain and cannot be held on {change.venue}")
    if change.venue != WALLET and token.kind is TokenKind.DEBT:
        raise UpdateError(f"{where}.token: {token.symbol} is a debt and cannot be {change.venue}")
    limit = token.decimals if change.venue == WALLET else EXCHANGE_DECIMALS
    for name, number in (("delta", change.delta), ("new_balance", change.new_balance)):
        if number is not None and decimal_places(number) > limit:
            raise UpdateError(
                f"{where}.{name}: {number} has more decimal places than {token.symbol} has on {change.venue} ({limit})"
            )


def _check_leg_sign(leg: DerivativeChange, where: str) -> None:
    side = parse_instrument(leg.instrument).leg
    size = leg.data.size
    if size is not None and ((side == "LONG" and size < 0) or (side == "SHORT" and size > 0)):
        raise UpdateError(f"{where}.data.size: {size} has the wrong sign for {leg.instrument}")


def _describe(error: ValidationError) -> str:
    """Pydantic's findings as `token_changes[0].delta: ...`, each with the offending value."""
    lines = []
    for finding in error.errors(include_url=False):
        where = ""
        for part in finding["loc"]:
            where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else str(part)
        message = finding["msg"].removeprefix("Value error, ")
        if finding["type"] == "extra_forbidden":
            message = f"unknown field (value {finding['input']!r}); remove it or correct its name"
        elif finding["type"] == "missing":
            message = "is missing"
        elif not finding["type"].startswith("value_error"):
            message = f"{message} (got {finding['input']!r:.200})"
        else:
            message = message.removeprefix(f"{finding['loc'][-1]}: ")
        lines.append(f"{where}: {message}" if where else message)
    return "; ".join(lines)
