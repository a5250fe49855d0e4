"""The specification's payloads made complete: they may lack id, time and trigger, and carry Python floats.

Only ``PositionMonitor.update`` is this lenient; journals are not. Whatever is left after this goes through the one
intake that everything goes through.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from numbers import Integral
from typing import Any

from basis_pipeline.domain.changes import FLASH_LOAN, FLASH_LOAN_REPAID, Action, BalanceUpdate, Trigger
from basis_pipeline.domain.errors import InputError, UpdateError
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.tokens import Registry
from basis_pipeline.domain.triggers import check_shape

_SPECIFICATION_REASONS = {"GAS_FEE": Trigger.GAS_FEE_PAID, "AAVE_SUPPLY": Trigger.COLLATERAL_SUPPLIED}
"""Reasons in the specification's examples that name a trigger in other words."""
_BY_ACTION = {
    Action.OPEN: Trigger.PERP_OPENED,
    Action.ADJUST: Trigger.PERP_ADJUSTED,
    Action.CLOSE: Trigger.PERP_CLOSED,
}
_FIT_ALMOST_ANYTHING = {Trigger.INITIAL_CAPITAL, Trigger.HOURLY_RECONCILIATION, Trigger.ATOMIC_LEVERAGE_LOOP}
_SUFFIXES = ("_BTC", "_USDT")


def read_changes(changes: object, registry: Registry, missing_time: Callable[[], datetime]) -> BalanceUpdate:
    """The validated update of the specification's ``changes``.

    ``missing_time`` tells the time of one without ``timestamp``. ``UpdateError`` names what is wrong.
    """
    if not isinstance(changes, Mapping):
        raise UpdateError(f"changes: {type(changes).__name__} is not a mapping with token_changes, derivative_changes")
    payload = {key: exact_numbers(value) for key, value in changes.items() if value is not None}
    payload.setdefault("id", f"update-{uuid.uuid4().hex}")
    if "timestamp" not in payload:
        payload["timestamp"] = missing_time()
    if "trigger" in payload:
        return parse_update(payload, registry)
    update = parse_update({**payload, "trigger": Trigger.HOURLY_RECONCILIATION}, registry)
    return update.model_copy(update={"trigger": inferred_trigger(update, registry)})


def exact_numbers(value: Any) -> Any:
    """The same with each float replaced by the shortest decimal text that means it, and other integers by Python's."""
    if isinstance(value, float):
        return float.__repr__(value)  # numpy's own repr would be "np.float64(1.5)"
    if isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Mapping):
        return {key: exact_numbers(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [exact_numbers(item) for item in value]
    return value


def inferred_trigger(update: BalanceUpdate, registry: Registry) -> Trigger:
    """The one trigger that the legs can mean: as their reason says, else by their shape.

    ``UpdateError`` lists what they could mean where that is nothing or more than one.
    """
    named = _named_by_reason(update)
    if named is not None and _fits(update, named, registry):
        return named
    candidates = _by_shape(update, registry)
    if len(candidates) == 1:
        return candidates[0]
    found = f"it could be {' or '.join(candidates)}" if candidates else "its legs have the shape of none"
    raise UpdateError(f"trigger: is missing, and {found}; say which")


def _named_by_reason(update: BalanceUpdate) -> Trigger | None:
    reasons = {change.reason or "" for change in update.token_changes}
    if len(reasons) != 1:
        return None
    [reason] = reasons
    if reason in Trigger.__members__:
        return Trigger(reason)
    return _SPECIFICATION_REASONS.get(reason)


def _by_shape(update: BalanceUpdate, registry: Registry) -> list[Trigger]:
    if not update.token_changes and not update.derivative_changes:
        return []
    if update.derivative_changes:
        actions = {change.action for change in update.derivative_changes}
        trigger = _BY_ACTION[actions.pop()] if len(actions) == 1 else Trigger.TRADE_EXECUTED
        return [trigger] if _fits(update, trigger, registry) else []
    if any(change.reason in (FLASH_LOAN, FLASH_LOAN_REPAID) for change in update.token_changes):
        return [Trigger.ATOMIC_LEVERAGE_LOOP] if _fits(update, Trigger.ATOMIC_LEVERAGE_LOOP, registry) else []
    fitting = [t for t in Trigger if t not in _FIT_ALMOST_ANYTHING and _fits(update, t, registry)]
    # The special ones come with their general form: staking is a trade in the wallet, too.
    if len(fitting) > 1 and Trigger.SPOT_TRADE in fitting:
        fitting.remove(Trigger.SPOT_TRADE)
    return [t for t in fitting if not any(f"{t}{suffix}" in fitting for suffix in _SUFFIXES)]


def _fits(update: BalanceUpdate, trigger: Trigger, registry: Registry) -> bool:
    try:
        check_shape(update.model_copy(update={"trigger": trigger}), registry)
    except InputError:
        return False
    return True
