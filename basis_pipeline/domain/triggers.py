"""The shape of each trigger: which tokens, venues and signs it must and may not have.

Shapes never look at ``reason`` (except to see that a flash loan is repaid), and a zero delta counts as either sign.
The mirror image of an entry (``reverses``) has the opposite signs by nature and is checked against its original
by the ledger instead.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from basis_pipeline.domain.changes import (
    FLASH_LOAN,
    FLASH_LOAN_REPAID,
    Action,
    BalanceUpdate,
    TokenChange,
    Trigger,
)
from basis_pipeline.domain.errors import UpdateError
from basis_pipeline.domain.numbers import ZERO, add
from basis_pipeline.domain.tokens import EXCHANGES, WALLET, Registry, TokenKind

Check = Callable[[BalanceUpdate, Registry], None]

STAKABLE = ("ETH", "WETH", "stETH")
SEASONAL_REWARDS = ("EIGEN", "ETHFI")
TRADE_TOKENS_MAX = 3


def check_shape(update: BalanceUpdate, registry: Registry) -> None:
    """Raise ``UpdateError`` when the update does not have the shape of its trigger or leaves a flash loan open."""
    _check_flash_loans(update)
    if update.reverses is None:
        _SHAPES[update.trigger](update, registry)


def _refuse(update: BalanceUpdate, rule: str) -> UpdateError:
    legs = ", ".join(f"{c.venue} {c.token} {c.delta:+f}" for c in update.token_changes)
    perps = ", ".join(f"{c.venue} {c.instrument} {c.action}" for c in update.derivative_changes)
    found = "; ".join(part for part in (legs, perps) if part) or "nothing"
    return UpdateError(f"trigger {update.trigger}: {rule} (found: {found})")


def _check_flash_loans(update: BalanceUpdate) -> None:
    outstanding: dict[str, Decimal] = {}
    for change in update.token_changes:
        if change.reason in (FLASH_LOAN, FLASH_LOAN_REPAID):
            outstanding[change.token] = add(outstanding.get(change.token, ZERO), change.delta)
    # The mirror of a loop with its fee has the opposite sign; there the loan was closed in the original.
    for token, amount in outstanding.items():
        if amount > 0 and update.reverses is None:
            raise UpdateError(
                f"token_changes: a flash loan of {amount} {token} is not repaid within the update; add its "
                f"{FLASH_LOAN_REPAID} leg"
            )


def _legs(update: BalanceUpdate, *tokens: str) -> list[TokenChange]:
    return [c for c in update.token_changes if c.token in tokens]


def _no_derivatives(update: BalanceUpdate) -> None:
    if update.derivative_changes:
        raise _refuse(update, "must not change derivatives")


def _no_exchanges(update: BalanceUpdate) -> None:
    if update.derivative_changes or any(c.venue in EXCHANGES for c in update.token_changes):
        raise _refuse(update, "must not touch an exchange")


def _no_wallet(update: BalanceUpdate) -> None:
    if any(c.venue == WALLET for c in update.token_changes):
        raise _refuse(update, "must not touch the wallet")


def _one_token(sign: int) -> Check:
    def check(update: BalanceUpdate, registry: Registry) -> None:
        _no_derivatives(update)
        if len(update.token_changes) != 1 or update.token_changes[0].delta * sign < 0:
            raise _refuse(update, f"takes exactly one token leg, {'in' if sign > 0 else 'out'}")

    return check


def _gas(update: BalanceUpdate, registry: Registry) -> None:
    legs = update.token_changes
    if update.derivative_changes or not legs or any(c.venue != WALLET or c.token != "ETH" or c.delta > 0 for c in legs):
        raise _refuse(update, "takes wallet ETH down and nothing else")


def _stake(update: BalanceUpdate, registry: Registry) -> None:
    _no_exchanges(update)
    paid = any(c.venue == WALLET and c.delta <= 0 for c in _legs(update, *STAKABLE))
    staked = any(
        c.venue == WALLET and c.delta >= 0 and registry.tokens[c.token].kind is TokenKind.LST
        for c in update.token_changes
    )
    if not (paid and staked):
        raise _refuse(update, "takes wallet ETH, WETH or stETH down and a staking token up")


def _underlyings(symbol: str) -> tuple[str, ...]:
    # The gateway wraps: what is supplied to or borrowed from the WETH reserve may be booked as ETH.
    return ("WETH", "ETH") if symbol == "WETH" else (symbol,)


def _aave(kind: TokenKind, receipt_sign: int, underlying_sign: int, suffix: str, rule: str) -> Check:
    def check(update: BalanceUpdate, registry: Registry) -> None:
        _no_exchanges(update)
        for receipt in update.token_changes:
            token = registry.tokens[receipt.token]
            if token.kind is not kind or token.underlying is None or receipt.delta * receipt_sign < 0:
                continue
            if suffix and token.underlying != suffix:
                continue
            paid = _legs(update, *_underlyings(token.underlying))
            if any(c.venue == WALLET and c.delta * underlying_sign >= 0 for c in paid):
                return
        raise _refuse(update, rule.format(of=f" {suffix}" if suffix else ""))

    return check


def _loop(update: BalanceUpdate, registry: Registry) -> None:
    if update.derivative_changes or not update.token_changes or any(c.venue != WALLET for c in update.token_changes):
        raise _refuse(update, "takes wallet legs only")


def _transfer(update: BalanceUpdate, registry: Registry) -> None:
    _no_derivatives(update)
    by_venue: dict[str, Decimal] = {}
    for change in update.token_changes:
        by_venue[change.venue] = add(by_venue.get(change.venue, ZERO), change.delta)
    if len({c.token for c in update.token_changes}) == 1 and len(by_venue) == 2:
        low, high = sorted(by_venue.values())
        if low <= 0 <= high <= low.copy_negate():
            return
    raise _refuse(update, "takes one token, out at one venue and in at another, receiving no more than was sent")


def _king_reward(update: BalanceUpdate, registry: Registry) -> None:
    legs = update.token_changes
    if (
        update.derivative_changes
        or not legs
        or any(c.venue != WALLET or c.token != "KING" or c.delta < 0 for c in legs)
    ):
        raise _refuse(update, "takes wallet KING up and nothing else")


def _king_unwrapped(update: BalanceUpdate, registry: Registry) -> None:
    _no_exchanges(update)
    burned = any(c.venue == WALLET and c.delta <= 0 for c in _legs(update, "KING"))
    received = any(c.token != "KING" and c.venue == WALLET and c.delta >= 0 for c in update.token_changes)
    if not (burned and received):
        raise _refuse(update, "takes wallet KING down and at least one token of its vault up")


def _rewards_sold(update: BalanceUpdate, registry: Registry) -> None:
    _no_derivatives(update)
    sold = _legs(update, *SEASONAL_REWARDS)
    proceeds = any(c.delta >= 0 and _is_quote(c.token, registry) for c in update.token_changes)
    if not sold or any(c.delta > 0 for c in sold) or not proceeds:
        raise _refuse(update, "takes EIGEN or ETHFI down and a quote asset up")


def _is_quote(symbol: str, registry: Registry) -> bool:
    return registry.tokens[symbol].kind is TokenKind.BASE


def _spot_trade(update: BalanceUpdate, registry: Registry) -> None:
    _no_derivatives(update)
    net: dict[str, Decimal] = {}
    for change in update.token_changes:
        net[change.token] = add(net.get(change.token, ZERO), change.delta)
    one_venue = len({c.venue for c in update.token_changes}) == 1
    down = sum(1 for amount in net.values() if amount <= 0)
    up = sum(1 for amount in net.values() if amount >= 0)
    if not one_venue or not 2 <= len(net) <= TRADE_TOKENS_MAX or not down or not up:
        raise _refuse(update, "takes one asset down and another up at the same venue, with at most a fee in a third")


def _funding(update: BalanceUpdate, registry: Registry) -> None:
    _no_wallet(update)
    _no_derivatives(update)
    legs = update.token_changes
    places = {(c.venue, c.token) for c in legs}
    if len(places) != 1 or legs[0].venue not in EXCHANGES or not _is_quote(legs[0].token, registry):
        raise _refuse(update, "takes one quote asset on one exchange")


def _perp(action: Action | None) -> Check:
    def check(update: BalanceUpdate, registry: Registry) -> None:
        _no_wallet(update)
        changes = update.derivative_changes
        if not changes or (action is not None and any(c.action is not action for c in changes)):
            raise _refuse(update, f"takes a derivative change{f' with action {action}' if action else ''}")
        if any(c.venue not in EXCHANGES or not _is_quote(c.token, registry) for c in update.token_changes):
            raise _refuse(update, "may only have fee and realized-PnL legs in a quote asset on an exchange")

    return check


def _anything(update: BalanceUpdate, registry: Registry) -> None:
    """A reconciliation may be an empty heartbeat or adjust whatever the venue showed."""


def _with_suffixes(
    base: str, kind: TokenKind, receipt_sign: int, underlying_sign: int, rule: str
) -> dict[Trigger, Check]:
    return {
        Trigger(f"{base}_{suffix}" if suffix else base): _aave(kind, receipt_sign, underlying_sign, suffix, rule)
        for suffix in ("", "BTC", "USDT")
    }


_SHAPES: dict[Trigger, Check] = {
    Trigger.INITIAL_CAPITAL: _one_token(+1),
    Trigger.DEPOSIT: _one_token(+1),
    Trigger.WITHDRAWAL: _one_token(-1),
    Trigger.GAS_FEE_PAID: _gas,
    Trigger.STAKE_DEPOSIT: _stake,
    **_with_suffixes("COLLATERAL_SUPPLIED", TokenKind.ATOKEN, +1, -1, "takes an underlying{of} down and its aToken up"),
    **_with_suffixes(
        "COLLATERAL_WITHDRAWN", TokenKind.ATOKEN, -1, +1, "takes an aToken down and its underlying{of} up"
    ),
    **_with_suffixes(
        "LOAN_CREATED", TokenKind.DEBT, +1, +1, "takes a variable debt token up and its underlying{of} up"
    ),
    **_with_suffixes("LOAN_REPAID", TokenKind.DEBT, -1, -1, "takes a variable debt token and its underlying{of} down"),
    Trigger.ATOMIC_LEVERAGE_LOOP: _loop,
    Trigger.VENUE_TRANSFER: _transfer,
    Trigger.KING_REWARD_DISTRIBUTION: _king_reward,
    Trigger.KING_UNWRAPPED: _king_unwrapped,
    Trigger.SEASONAL_REWARDS_SOLD: _rewards_sold,
    Trigger.SPOT_TRADE: _spot_trade,
    Trigger.FUNDING_PAYMENT: _funding,
    Trigger.TRADE_EXECUTED: _perp(None),
    Trigger.PERP_OPENED: _perp(Action.OPEN),
    Trigger.PERP_ADJUSTED: _perp(Action.ADJUST),
    Trigger.PERP_CLOSED: _perp(Action.CLOSE),
    Trigger.HOURLY_RECONCILIATION: _anything,
}
