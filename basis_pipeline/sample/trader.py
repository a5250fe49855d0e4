"""A simulated account: each thing it does becomes one journal entry, accepted by a book before it is written down.

Prices, rates and indices are those of the synthetic market at the hour of the entry. Wallet amounts are rounded to
the token's decimals, exchange amounts to 8 places. Runs under ``numbers.CONTEXT``, which ``generate`` sets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Any, NamedTuple

from basis_pipeline.domain import aave
from basis_pipeline.domain.changes import FLASH_LOAN, FLASH_LOAN_REPAID, Action, Trigger
from basis_pipeline.domain.instants import DAY, iso
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.numbers import ZERO, canonical
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.tokens import (
    BUILT_IN_TOKENS,
    DEFAULT_REGISTRY,
    EXCHANGES,
    IN_TRANSIT,
    WALLET,
    Token,
    TokenKind,
    parse_instrument,
)
from basis_pipeline.sample.market import KING_BASKET, SyntheticMarket

POOL_REVISION = 6
"""Of the synthetic lending pool: any below 9 rounds half up, as the real one did in early 2025."""
EXCHANGE_PLACES = 8
SPOT_FEE = Decimal("0.0008")
PERP_FEE = Decimal("0.0004")
SWAP_COST = Decimal("0.002")
"""What a swap in the wallet loses to spread and pool fee."""
STAKING_SWAP_COST = Decimal("0.0002")
KING_FEE = Decimal("0.005")
MARGIN_INTEREST_PER_DAY = Decimal("0.0003")
GAS = {
    "APPROVAL": "0.00019",
    "SET_EMODE": "0.00019",
    "TRANSFER": "0.00031",
    "STAKE": "0.00052",
    "SWAP": "0.00083",
    "AAVE": "0.00086",
    "CLAIM": "0.00064",
    "LOOP": "0.00420",
}
"""ETH per operation."""

_RECEIPTS: dict[tuple[TokenKind, str | None], Token] = {
    (token.kind, token.underlying): token
    for token in BUILT_IN_TOKENS
    if token.kind in (TokenKind.ATOKEN, TokenKind.DEBT)
}
"""The aToken or debt token of an underlying, by (kind, underlying)."""
_REBASING = {"stETH": "wstETH", "eETH": "weETH"}
"""Balances of these grow as the rate of their wrapped sibling does."""
_OWN_TRIGGERS = ("BTC", "USDT")
_PERP_TRIGGERS = {
    Action.OPEN: Trigger.PERP_OPENED,
    Action.ADJUST: Trigger.PERP_ADJUSTED,
    Action.CLOSE: Trigger.PERP_CLOSED,
}


class Leg(NamedTuple):
    """One balance change before the book has said what it leads to."""

    venue: str
    token: str
    delta: Decimal
    reason: str


class Trader:
    """One portfolio's account. ``now`` is the instant of what it does next; ``lines`` the journal so far."""

    def __init__(self, portfolio: str, share_class: str, capital: Decimal, market: SyntheticMarket) -> None:
        self.portfolio = portfolio
        self.market = market
        self.now = market.start
        self.lines: list[str] = []
        self.book = Book()
        self._apply(
            f"{portfolio}-0", Trigger.INITIAL_CAPITAL, [Leg(WALLET, share_class, capital, "INITIAL_CAPITAL")], ()
        )

    def balance(self, venue: str, token: str) -> Decimal:
        """What the book holds now, in token units (scaled for a- and debt tokens)."""
        return self.book.balances.get((venue, token), ZERO)

    def supplied(self, token: str) -> Decimal:
        """What the aTokens of ``token`` are worth now, in ``token``."""
        receipt, index = self._receipt(TokenKind.ATOKEN, token)
        units = aave.supply_balance(_units(self.balance(WALLET, receipt.symbol), receipt), index, POOL_REVISION)
        return _amount(units, receipt)

    def owed(self, token: str) -> Decimal:
        """What the debt in ``token`` has grown to now, in ``token``."""
        receipt, index = self._receipt(TokenKind.DEBT, token)
        units = aave.debt_balance(_units(self.balance(WALLET, receipt.symbol), receipt), index, POOL_REVISION)
        return _amount(units, receipt)

    def deposit(self, token: str, amount: Decimal) -> None:
        """Money from the investors into the wallet."""
        self._record(Trigger.DEPOSIT, [Leg(WALLET, token, amount, "SUBSCRIPTION")])

    def withdraw_capital(self, token: str, amount: Decimal) -> None:
        """Money from the wallet back to the investors."""
        self._record(Trigger.WITHDRAWAL, [Leg(WALLET, token, -amount, "REDEMPTION")])

    def gas(self, operation: str) -> None:
        """Pay for one operation on chain."""
        self._record(Trigger.GAS_FEE_PAID, [Leg(WALLET, "ETH", -Decimal(GAS[operation]), f"GAS:{operation}")])

    def transfer(self, token: str, amount: Decimal, source: str, target: str, fee: Decimal = ZERO) -> None:
        """Move a token to another venue, which receives it less ``fee``. Sending from the wallet costs gas."""
        if source == WALLET and self.balance(WALLET, "ETH") >= Decimal(GAS["TRANSFER"]):
            self.gas("TRANSFER")
        reason = str(Trigger.VENUE_TRANSFER)
        self._record(
            Trigger.VENUE_TRANSFER, [Leg(source, token, -amount, reason), Leg(target, token, amount - fee, reason)]
        )

    def receive(self, token: str, target: str, fee: Decimal = ZERO) -> None:
        """Everything of a token that is on its way arrives."""
        self.transfer(token, self.balance(IN_TRANSIT, token), IN_TRANSIT, target, fee)

    def spot(self, venue: str, base: str, quantity: Decimal) -> None:
        """Buy (positive) or sell (negative) a base token for USDT at the venue's price, with a fee in USDT."""
        cost = _exchange(quantity * self.market.price(venue, f"{base}USDT", "spot", self.now))
        reason = str(Trigger.SPOT_TRADE)
        self._record(
            Trigger.SPOT_TRADE,
            [
                Leg(venue, "USDT", -cost, reason),
                Leg(venue, base, quantity, reason),
                Leg(venue, "USDT", -_exchange(abs(cost) * SPOT_FEE), "TRADING_FEE"),
            ],
        )

    def convert(self, token: str, amount: Decimal, into: str) -> None:
        """Wrap, unwrap or put into an exit queue: at the rate, without a market. A claim is worth its ETH."""
        received = _wallet(
            amount * self.market.staking_rate(token, self.now) / self.market.staking_rate(into, self.now), into
        )
        self.gas("CLAIM" if into == "ETH" else "SWAP")
        reason = f"{token}_TO_{into}"
        self._record(Trigger.SPOT_TRADE, [Leg(WALLET, token, -amount, reason), Leg(WALLET, into, received, reason)])

    def stake(self, paid: str, amount: Decimal, into: str) -> None:
        """Turn wallet ETH, WETH or stETH into a staking token at its rate."""
        reason = str(Trigger.STAKE_DEPOSIT)
        received = _wallet(amount / self.market.staking_rate(into, self.now), into)
        self.gas("STAKE")
        self._record(Trigger.STAKE_DEPOSIT, [Leg(WALLET, paid, -amount, reason), Leg(WALLET, into, received, reason)])

    def supply(self, token: str, amount: Decimal) -> None:
        """Lend a wallet token to the pool."""
        self.gas("AAVE")
        self._record(_suffixed("COLLATERAL_SUPPLIED", token), self._supply_legs(token, amount))

    def withdraw(self, token: str, amount: Decimal | None = None) -> None:
        """Take lent tokens back, all of them by default."""
        self.gas("AAVE")
        self._record(_suffixed("COLLATERAL_WITHDRAWN", token), self._withdraw_legs(token, amount))

    def borrow(self, token: str, amount: Decimal) -> None:
        """Borrow from the pool into the wallet."""
        self.gas("AAVE")
        self._record(_suffixed("LOAN_CREATED", token), self._borrow_legs(token, amount))

    def repay(self, token: str, amount: Decimal | None = None, paid_in: str | None = None) -> None:
        """Pay a loan back, all of it by default; a WETH loan may be paid in ETH."""
        self.gas("AAVE")
        self._record(_suffixed("LOAN_REPAID", token), self._repay_legs(token, amount, paid_in or token))

    def leverage_loop(self, own: Decimal, borrowed: Decimal) -> None:
        """Stake own and flash-loaned ETH as weETH, lend it, and repay the flash loan with a WETH loan against it."""
        staked = own + borrowed
        minted = _wallet(staked / self.market.staking_rate("weETH", self.now), "weETH")
        self.gas("LOOP")
        self._record(
            Trigger.ATOMIC_LEVERAGE_LOOP,
            [
                Leg(WALLET, "WETH", borrowed, FLASH_LOAN),
                Leg(WALLET, "WETH", -borrowed, "WETH_UNWRAP"),
                Leg(WALLET, "ETH", borrowed, "WETH_UNWRAP"),
                Leg(WALLET, "ETH", -staked, "STAKE_DEPOSIT"),
                Leg(WALLET, "weETH", minted, "STAKE_DEPOSIT"),
                *self._supply_legs("weETH", minted),
                *self._borrow_legs("WETH", borrowed),
                Leg(WALLET, "WETH", -borrowed, FLASH_LOAN_REPAID),
            ],
        )

    def deleverage_loop(self, repaid: Decimal) -> None:
        """Repay part of the WETH loan with a flash loan, and the flash loan by selling lent weETH."""
        price = self.market.staking_rate("weETH", self.now) * (1 - STAKING_SWAP_COST)
        sold = (repaid / price).quantize(Decimal(1).scaleb(-18), ROUND_UP)
        self.gas("LOOP")
        self._record(
            Trigger.ATOMIC_LEVERAGE_LOOP,
            [
                Leg(WALLET, "WETH", repaid, FLASH_LOAN),
                *self._repay_legs("WETH", repaid, "WETH"),
                *self._withdraw_legs("weETH", sold),
                Leg(WALLET, "weETH", -sold, "SPOT_TRADE"),
                Leg(WALLET, "WETH", _wallet(sold * price, "WETH"), "SPOT_TRADE"),
                Leg(WALLET, "WETH", -repaid, FLASH_LOAN_REPAID),
            ],
        )

    def king_reward(self, amount: Decimal) -> None:
        """Rewards arrive as shares of the reward vault."""
        self._record(Trigger.KING_REWARD_DISTRIBUTION, [Leg(WALLET, "KING", amount, "KING_REWARD")])

    def unwrap_king(self) -> None:
        """Redeem all vault shares for what the vault holds, less its fee."""
        burned = self.balance(WALLET, "KING")
        reason = str(Trigger.KING_UNWRAPPED)
        received = [
            Leg(WALLET, token, _wallet(burned * share * (1 - KING_FEE), token), reason)
            for token, share in KING_BASKET.items()
        ]
        self.gas("CLAIM")
        self._record(Trigger.KING_UNWRAPPED, [Leg(WALLET, "KING", -burned, reason), *received])

    def sell_rewards(self) -> None:
        """Swap all EIGEN and ETHFI of the wallet for ETH."""
        sold = {token: self.balance(WALLET, token) for token in KING_BASKET}
        value = sum((amount * self.market.reward_price(token, self.now) for token, amount in sold.items()), ZERO)
        received = value * (1 - SWAP_COST) / self.market.price("binance", "ETHUSDT", "spot", self.now)
        reason = str(Trigger.SEASONAL_REWARDS_SOLD)
        self.gas("SWAP")
        legs = [Leg(WALLET, token, -amount, reason) for token, amount in sold.items()]
        self._record(Trigger.SEASONAL_REWARDS_SOLD, [*legs, Leg(WALLET, "ETH", _wallet(received, "ETH"), reason)])

    def perp(self, venue: str, instrument: str, change: Decimal, trigger: Trigger | None = None) -> None:
        """Trade a perpetual at the venue's price by a signed base quantity that does not cross zero.

        The fee and, on a reduction, the realized profit or loss move the venue's USDT.
        """
        before = self.book.positions.get((venue, instrument))
        size = (before.size if before else ZERO) + change
        action = Action.OPEN if before is None else Action.ADJUST if size else Action.CLOSE
        fill = self._mark(venue, instrument)
        fee = _exchange(abs(change) * fill * PERP_FEE)
        data: dict[str, Any] = {
            "size": canonical(size),
            "fill_size": canonical(change),
            "fill_price": canonical(fill),
            "fee": canonical(fee),
            "notional_usd": canonical(_exchange(abs(size) * fill)),
        }
        legs = [Leg(venue, "USDT", -fee, "PERP_EXECUTION_COST")]
        if before is None:
            data |= {"entry_price": canonical(fill), "entry_timestamp": iso(self.now)}
        elif (change > 0) != (before.size > 0):
            realized = _exchange((before.entry_price - fill) * change)
            data["realized_pnl"] = canonical(realized)
            legs.append(Leg(venue, "USDT", realized, "REALIZED_PNL"))
        change_of_position = {"venue": venue, "instrument": instrument, "action": action.value, "data": data}
        self._record(trigger or _PERP_TRIGGERS[action], legs, [change_of_position])

    def close_perp(self, venue: str, instrument: str) -> None:
        """Close a position altogether."""
        self.perp(venue, instrument, -self.book.positions[venue, instrument].size)

    def settle_funding(self) -> None:
        """Pay or receive the funding of each exchange, one entry for each."""
        for venue in EXCHANGES:
            positions = [(name, p.size) for (place, name), p in sorted(self.book.positions.items()) if place == venue]
            if not positions:
                continue
            paid = sum(
                (
                    size * self._mark(venue, name) * self.market.funding_rate(venue, _symbol(name), self.now)
                    for name, size in positions
                ),
                ZERO,
            )
            reason = str(Trigger.FUNDING_PAYMENT)
            self._record(Trigger.FUNDING_PAYMENT, [Leg(venue, "USDT", -_exchange(paid), reason)])

    def reconcile(self) -> None:
        """The daily comparison with the venues: a heartbeat, or what rebasing tokens and margin interest changed."""
        legs = []
        for token, wrapped in _REBASING.items():
            held = self.balance(WALLET, token)
            if held:
                growth = self.market.staking_rate(wrapped, self.now) / self.market.staking_rate(wrapped, self.now - DAY)
                legs.append(Leg(WALLET, token, _wallet(held * (growth - 1), token), "REBASE"))
        for venue in EXCHANGES:
            borrowed = -min(self.balance(venue, "USDT"), ZERO)
            if borrowed:
                legs.append(Leg(venue, "USDT", -_exchange(borrowed * MARGIN_INTEREST_PER_DAY), "MARGIN_INTEREST"))
        self._record(Trigger.HOURLY_RECONCILIATION, legs)

    def _supply_legs(self, token: str, amount: Decimal) -> list[Leg]:
        receipt, index = self._receipt(TokenKind.ATOKEN, token)
        minted = _amount(aave.supply_scaled(_units(amount, receipt), index, POOL_REVISION), receipt)
        return [Leg(WALLET, token, -amount, "AAVE_SUPPLY"), Leg(WALLET, receipt.symbol, minted, "AAVE_SUPPLY")]

    def _withdraw_legs(self, token: str, amount: Decimal | None) -> list[Leg]:
        receipt, index = self._receipt(TokenKind.ATOKEN, token)
        if amount is None:
            amount, burned = self.supplied(token), self.balance(WALLET, receipt.symbol)
        else:
            burned = _amount(aave.withdraw_scaled(_units(amount, receipt), index, POOL_REVISION), receipt)
        return [Leg(WALLET, receipt.symbol, -burned, "AAVE_WITHDRAW"), Leg(WALLET, token, amount, "AAVE_WITHDRAW")]

    def _borrow_legs(self, token: str, amount: Decimal) -> list[Leg]:
        receipt, index = self._receipt(TokenKind.DEBT, token)
        minted = _amount(aave.borrow_scaled(_units(amount, receipt), index, POOL_REVISION), receipt)
        return [Leg(WALLET, receipt.symbol, minted, "AAVE_BORROW"), Leg(WALLET, token, amount, "AAVE_BORROW")]

    def _repay_legs(self, token: str, amount: Decimal | None, paid_in: str) -> list[Leg]:
        receipt, index = self._receipt(TokenKind.DEBT, token)
        if amount is None:
            amount, burned = self.owed(token), self.balance(WALLET, receipt.symbol)
        else:
            burned = _amount(aave.repay_scaled(_units(amount, receipt), index, POOL_REVISION), receipt)
        return [Leg(WALLET, receipt.symbol, -burned, "AAVE_REPAY"), Leg(WALLET, paid_in, -amount, "AAVE_REPAY")]

    def _receipt(self, kind: TokenKind, token: str) -> tuple[Token, int]:
        receipt = _RECEIPTS[kind, token]
        reserve = (receipt.rate_name or "").split(":")[1]
        column = "liquidity_index" if kind is TokenKind.ATOKEN else "variable_borrow_index"
        return receipt, self.market.index_ray(reserve, column, self.now)

    def _mark(self, venue: str, instrument: str) -> Decimal:
        return self.market.price(venue, _symbol(instrument), "perp", self.now)

    def _record(self, trigger: Trigger, legs: Sequence[Leg], perps: Sequence[Mapping[str, Any]] = ()) -> None:
        payload = self._apply(f"{self.portfolio}-{len(self.lines) + 1:06d}", trigger, legs, perps)
        self.lines.append(json.dumps(payload, separators=(",", ":")))

    def _apply(
        self, entry_id: str, trigger: Trigger, legs: Sequence[Leg], perps: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        staged: dict[tuple[str, str], Decimal] = {}
        changes = []
        for leg in legs:
            key = (leg.venue, leg.token)
            staged[key] = staged.get(key, self.balance(*key)) + leg.delta
            changes.append(
                {
                    "venue": leg.venue,
                    "token": leg.token,
                    "delta": canonical(leg.delta),
                    "new_balance": canonical(staged[key]),
                    "reason": leg.reason,
                }
            )
        payload = {
            "id": entry_id,
            "timestamp": iso(self.now),
            "trigger": trigger.value,
            "token_changes": changes,
            "derivative_changes": list(perps),
        }
        self.book.apply(parse_update(payload))
        return payload


def _suffixed(trigger: str, token: str) -> Trigger:
    return Trigger(f"{trigger}_{token}" if token in _OWN_TRIGGERS else trigger)


def _symbol(instrument: str) -> str:
    parsed = parse_instrument(instrument)
    return parsed.base + parsed.quote


def _wallet(amount: Decimal, token: str) -> Decimal:
    """An amount received on chain: cut to the token's decimals."""
    return amount.quantize(Decimal(1).scaleb(-DEFAULT_REGISTRY.tokens[token].decimals), ROUND_DOWN)


def _exchange(amount: Decimal) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-EXCHANGE_PLACES))


def _units(amount: Decimal, token: Token) -> int:
    """In the token's smallest unit; the amount has no more places than the token."""
    return int(amount.scaleb(token.decimals))


def _amount(units: int, token: Token) -> Decimal:
    return Decimal(units).scaleb(-token.decimals)
