"""Every row of the table of triggers: what it takes, and what it refuses."""

from __future__ import annotations

import pytest

from basis_pipeline.domain.changes import Trigger
from basis_pipeline.domain.errors import UpdateError
from basis_pipeline_tests.builders import Leg, perp, token, update, wallet

OPEN = perp("OPEN", "-8.562", entry_price="2920")
ADJUST = perp("ADJUST", "-9", fill_price="2920")
CLOSE = perp("CLOSE", "0")
FEE = token("binance", "USDT", "-7.50", reason="PERP_EXECUTION_COST")
BORROWED = wallet("ETH", "3720", reason="FLASH_LOAN")
REPAID = wallet("ETH", "-3720", reason="FLASH_LOAN_REPAID")

ACCEPTED: list[tuple[str, list[Leg]]] = [
    ("INITIAL_CAPITAL", [wallet("USDT", "1000000")]),
    ("DEPOSIT", [token("okx", "BTC", "0.5")]),
    ("DEPOSIT", [wallet("ETH", "0")]),
    ("WITHDRAWAL", [wallet("ETH", "-1")]),
    ("GAS_FEE_PAID", [wallet("ETH", "-0.0035")]),
    ("GAS_FEE_PAID", [wallet("ETH_spot", "0")]),
    ("GAS_FEE_PAID", [wallet("ETH", "-0.001"), wallet("ETH", "-0.002")]),
    ("STAKE_DEPOSIT", [wallet("ETH", "-10"), wallet("weETH", "9.6")]),
    ("STAKE_DEPOSIT", [wallet("WETH", "-10"), wallet("wstETH", "8.5")]),
    ("STAKE_DEPOSIT", [wallet("stETH", "-10"), wallet("wstETH", "8.5")]),
    ("COLLATERAL_SUPPLIED", [wallet("weETH", "-100"), wallet("aWeETH", "95.24")]),
    ("COLLATERAL_SUPPLIED", [wallet("ETH", "-1"), wallet("aETH", "0.98")]),
    ("COLLATERAL_SUPPLIED_BTC", [wallet("BTC", "-1"), wallet("aBTC", "0.99")]),
    ("COLLATERAL_SUPPLIED_USDT", [wallet("USDT", "-100"), wallet("aUSDT", "90")]),
    ("COLLATERAL_WITHDRAWN", [wallet("aWeETH", "-95.24"), wallet("weETH", "100")]),
    ("COLLATERAL_WITHDRAWN_BTC", [wallet("aBTC", "-1"), wallet("WBTC", "1.01")]),
    ("COLLATERAL_WITHDRAWN_USDT", [wallet("aUSDT", "-90"), wallet("USDT", "100")]),
    ("LOAN_CREATED", [wallet("variableDebtWETH", "9.5"), wallet("ETH", "10")]),
    ("LOAN_CREATED", [wallet("variableDebtETH", "9.5"), wallet("WETH", "10")]),
    ("LOAN_CREATED_BTC", [wallet("variableDebtBTC", "0.9"), wallet("BTC", "1")]),
    ("LOAN_CREATED_USDT", [wallet("variableDebtUSDT", "90"), wallet("USDT", "100")]),
    ("LOAN_REPAID", [wallet("variableDebtWETH", "-9.5"), wallet("WETH", "-10")]),
    ("LOAN_REPAID_BTC", [wallet("variableDebtBTC", "-0.9"), wallet("BTC", "-1")]),
    ("LOAN_REPAID_USDT", [wallet("variableDebtUSDT", "-90"), wallet("USDT", "-100")]),
    (
        "ATOMIC_LEVERAGE_LOOP",
        [
            BORROWED,
            wallet("ETH", "-4650"),
            wallet("weETH", "4479"),
            wallet("weETH", "-4479"),
            wallet("aWeETH", "4478"),
            wallet("variableDebtWETH", "3569"),
            wallet("ETH", "3720"),
            REPAID,
        ],
    ),
    ("ATOMIC_LEVERAGE_LOOP", [BORROWED, wallet("ETH", "-3722.6", reason="FLASH_LOAN_REPAID")]),
    ("VENUE_TRANSFER", [wallet("USDT", "-100"), token("binance", "USDT", "100")]),
    ("VENUE_TRANSFER", [token("binance", "ETH", "-1.5"), wallet("ETH", "1.4995")]),
    ("VENUE_TRANSFER", [token("okx", "USDT", "-100"), token("in_transit", "USDT", "100")]),
    ("VENUE_TRANSFER", [token("in_transit", "USDT", "-100"), token("bybit", "USDT", "99")]),
    ("VENUE_TRANSFER", [token("okx", "USDT", "-1"), wallet("USDT", "0")]),
    ("KING_REWARD_DISTRIBUTION", [wallet("KING", "5")]),
    ("KING_UNWRAPPED", [wallet("KING", "-100"), wallet("EIGEN", "50"), wallet("ETHFI", "50")]),
    ("KING_UNWRAPPED", [wallet("KING", "-100"), wallet("ETH", "1")]),
    ("SEASONAL_REWARDS_SOLD", [wallet("EIGEN", "-50"), wallet("ETHFI", "-50"), wallet("USDT", "200")]),
    ("SEASONAL_REWARDS_SOLD", [token("binance", "EIGEN", "-50"), token("binance", "USDT", "100")]),
    ("SEASONAL_REWARDS_SOLD", [wallet("EIGEN", "-50"), wallet("ETHFI", "0"), wallet("USDT", "100")]),
    ("SPOT_TRADE", [token("binance", "ETH_spot", "15.2"), token("binance", "USDT", "-50035")]),
    ("SPOT_TRADE", [wallet("ETHFI", "-5"), wallet("ETH", "0.01")]),
    ("SPOT_TRADE", [token("okx", "ETH", "1"), token("okx", "USDT", "-3000"), token("okx", "BTC", "-0.0001")]),
    ("FUNDING_PAYMENT", [token("binance", "USDT", "-1.25")]),
    ("FUNDING_PAYMENT", [token("okx", "ETH", "0.001")]),
    ("TRADE_EXECUTED", [FEE, OPEN]),
    ("TRADE_EXECUTED", [ADJUST]),
    ("TRADE_EXECUTED", [CLOSE, FEE, token("binance", "USDT", "120", reason="REALIZED_PNL")]),
    ("PERP_OPENED", [OPEN]),
    ("PERP_OPENED", [OPEN, token("binance", "ETH", "-0.001", reason="FEE")]),
    ("PERP_ADJUSTED", [ADJUST, FEE]),
    ("PERP_CLOSED", [CLOSE]),
    ("HOURLY_RECONCILIATION", []),
    ("HOURLY_RECONCILIATION", [wallet("aUSDT", "0.000001"), token("okx", "USDT", "-1"), ADJUST]),
]

REFUSED: list[tuple[str, list[Leg], str]] = [
    ("INITIAL_CAPITAL", [wallet("USDT", "-1")], "exactly one token leg, in"),
    ("INITIAL_CAPITAL", [wallet("USDT", "1"), wallet("ETH", "1")], "exactly one token leg"),
    ("INITIAL_CAPITAL", [], r"found: nothing"),
    ("DEPOSIT", [wallet("ETH", "-1")], "exactly one token leg, in"),
    ("DEPOSIT", [token("binance", "USDT", "1"), OPEN], "must not change derivatives"),
    ("WITHDRAWAL", [wallet("ETH", "1")], "exactly one token leg, out"),
    ("GAS_FEE_PAID", [wallet("ETH", "0.0035")], "wallet ETH down and nothing else"),
    ("GAS_FEE_PAID", [wallet("WETH", "-0.0035")], "wallet ETH down"),
    ("GAS_FEE_PAID", [token("binance", "ETH", "-0.0035")], "wallet ETH down"),
    ("GAS_FEE_PAID", [wallet("ETH", "-0.0035"), wallet("USDT", "-1")], "wallet ETH down"),
    ("GAS_FEE_PAID", [wallet("ETH", "-0.0035"), CLOSE], "wallet ETH down"),
    ("GAS_FEE_PAID", [], "wallet ETH down"),
    ("STAKE_DEPOSIT", [wallet("ETH", "-10")], "a staking token up"),
    ("STAKE_DEPOSIT", [wallet("USDT", "-10"), wallet("weETH", "9.6")], "wallet ETH, WETH or stETH down"),
    ("STAKE_DEPOSIT", [wallet("ETH", "-10"), wallet("aWeETH", "9.6")], "a staking token up"),
    ("STAKE_DEPOSIT", [token("binance", "ETH", "-10"), wallet("weETH", "9.6")], "must not touch an exchange"),
    ("COLLATERAL_SUPPLIED", [wallet("weETH", "100"), wallet("aWeETH", "95")], "underlying down and its aToken up"),
    ("COLLATERAL_SUPPLIED", [wallet("wstETH", "-100"), wallet("aWeETH", "95")], "underlying down and its aToken up"),
    ("COLLATERAL_SUPPLIED", [wallet("weETH", "-1"), wallet("aWeETH", "1"), FEE], "must not touch an exchange"),
    ("COLLATERAL_SUPPLIED_BTC", [wallet("USDT", "-100"), wallet("aUSDT", "90")], "underlying BTC down"),
    ("COLLATERAL_SUPPLIED_USDT", [wallet("BTC", "-1"), wallet("aBTC", "1")], "underlying USDT down"),
    ("COLLATERAL_WITHDRAWN", [wallet("aWeETH", "95"), wallet("weETH", "-100")], "aToken down and its underlying up"),
    ("COLLATERAL_WITHDRAWN_BTC", [wallet("aUSDT", "-90"), wallet("USDT", "100")], "underlying BTC up"),
    ("COLLATERAL_WITHDRAWN_USDT", [wallet("aUSDT", "-90")], "underlying USDT up"),
    ("LOAN_CREATED", [wallet("variableDebtWETH", "9"), wallet("USDT", "10")], "variable debt token up"),
    ("LOAN_CREATED", [wallet("variableDebtWETH", "-9"), wallet("ETH", "10")], "variable debt token up"),
    ("LOAN_CREATED", [wallet("variableDebtWETH", "9"), token("okx", "ETH", "10")], "must not touch an exchange"),
    ("LOAN_CREATED_BTC", [wallet("variableDebtUSDT", "90"), wallet("USDT", "100")], "underlying BTC up"),
    ("LOAN_CREATED_USDT", [wallet("variableDebtBTC", "1"), wallet("BTC", "1")], "underlying USDT up"),
    ("LOAN_REPAID", [wallet("variableDebtWETH", "-9"), wallet("ETH", "10")], "underlying down"),
    ("LOAN_REPAID_BTC", [wallet("variableDebtBTC", "-1")], "underlying BTC down"),
    ("LOAN_REPAID_USDT", [wallet("variableDebtWETH", "-9"), wallet("ETH", "-10")], "underlying USDT down"),
    ("ATOMIC_LEVERAGE_LOOP", [BORROWED], "flash loan of 3720 ETH is not repaid"),
    ("ATOMIC_LEVERAGE_LOOP", [BORROWED, wallet("ETH", "-3719", reason="FLASH_LOAN_REPAID")], "loan of 1 ETH"),
    ("ATOMIC_LEVERAGE_LOOP", [BORROWED, wallet("WETH", "-3720", reason="FLASH_LOAN_REPAID")], "3720 ETH is not repaid"),
    ("ATOMIC_LEVERAGE_LOOP", [wallet("ETH", "-1"), token("okx", "ETH", "1")], "wallet legs only"),
    ("ATOMIC_LEVERAGE_LOOP", [], "wallet legs only"),
    ("SPOT_TRADE", [BORROWED, wallet("USDT", "-1")], "flash loan of 3720 ETH is not repaid"),
    ("VENUE_TRANSFER", [wallet("USDT", "-100"), token("binance", "USDT", "100.01")], "no more than was sent"),
    ("VENUE_TRANSFER", [wallet("USDT", "-100"), token("binance", "ETH", "100")], "one token"),
    ("VENUE_TRANSFER", [wallet("USDT", "-100")], "one token"),
    ("VENUE_TRANSFER", [wallet("USDT", "-100"), token("binance", "USDT", "50"), token("okx", "USDT", "50")], "one"),
    ("VENUE_TRANSFER", [wallet("USDT", "-1"), token("okx", "USDT", "-1")], "out at one venue"),
    ("VENUE_TRANSFER", [wallet("USDT", "-100"), token("binance", "USDT", "100"), OPEN], "must not change derivatives"),
    ("VENUE_TRANSFER", [], "one token"),
    ("KING_REWARD_DISTRIBUTION", [wallet("KING", "-5")], "wallet KING up"),
    ("KING_REWARD_DISTRIBUTION", [token("okx", "KING", "5")], "wallet KING up"),
    ("KING_REWARD_DISTRIBUTION", [wallet("KING", "5"), wallet("ETH", "-1")], "nothing else"),
    ("KING_UNWRAPPED", [wallet("KING", "-100")], "at least one token of its vault up"),
    ("KING_UNWRAPPED", [wallet("KING", "100"), wallet("EIGEN", "50")], "wallet KING down"),
    ("KING_UNWRAPPED", [token("in_transit", "KING", "-100"), wallet("EIGEN", "50")], "wallet KING down"),
    ("KING_UNWRAPPED", [wallet("KING", "-100"), token("okx", "EIGEN", "50")], "must not touch an exchange"),
    ("SEASONAL_REWARDS_SOLD", [wallet("EIGEN", "50"), wallet("USDT", "100")], "EIGEN or ETHFI down"),
    ("SEASONAL_REWARDS_SOLD", [wallet("KING", "-50"), wallet("USDT", "100")], "EIGEN or ETHFI down"),
    ("SEASONAL_REWARDS_SOLD", [wallet("EIGEN", "-50")], "a quote asset up"),
    ("SEASONAL_REWARDS_SOLD", [wallet("EIGEN", "-50"), FEE, CLOSE], "must not change derivatives"),
    ("SPOT_TRADE", [token("binance", "ETH", "15"), token("okx", "USDT", "-50035")], "at the same venue"),
    ("SPOT_TRADE", [token("okx", "ETH", "15"), token("okx", "USDT", "50035")], "one asset down and another up"),
    ("SPOT_TRADE", [token("okx", "ETH", "15")], "one asset down and another up"),
    ("SPOT_TRADE", [token("binance", "ETH", "15"), FEE, CLOSE], "must not change derivatives"),
    ("SPOT_TRADE", [wallet(name, "-1") for name in ("ETH", "USDT", "BTC")] + [wallet("WETH", "1")], "a third"),
    ("FUNDING_PAYMENT", [wallet("USDT", "1")], "must not touch the wallet"),
    ("FUNDING_PAYMENT", [token("okx", "USDT", "1"), token("bybit", "USDT", "1")], "one quote asset on one exchange"),
    ("FUNDING_PAYMENT", [token("okx", "weETH", "1")], "one quote asset"),
    ("FUNDING_PAYMENT", [token("in_transit", "USDT", "1")], "on one exchange"),
    ("FUNDING_PAYMENT", [], "one quote asset on one exchange"),
    ("TRADE_EXECUTED", [FEE], "takes a derivative change"),
    ("TRADE_EXECUTED", [OPEN, wallet("USDT", "-7.50")], "must not touch the wallet"),
    ("PERP_OPENED", [ADJUST], "with action OPEN"),
    ("PERP_OPENED", [OPEN, token("binance", "weETH", "-1")], "in a quote asset"),
    ("PERP_OPENED", [OPEN, token("in_transit", "USDT", "-1")], "on an exchange"),
    ("PERP_ADJUSTED", [CLOSE], "with action ADJUST"),
    ("PERP_ADJUSTED", [], "takes a derivative change with action ADJUST"),
    ("PERP_CLOSED", [OPEN, CLOSE], "with action CLOSE"),
    ("PERP_CLOSED", [CLOSE, wallet("USDT", "1")], "must not touch the wallet"),
]
MAY_BE_ANYTHING = {"HOURLY_RECONCILIATION"}


def _names(cases: list[tuple[str, list[Leg]]]) -> list[str]:
    return [f"{trigger}-{number}" for number, (trigger, *_) in enumerate(cases)]


@pytest.mark.parametrize(("trigger", "legs"), ACCEPTED, ids=_names(ACCEPTED))
def test_an_update_of_the_trigger_s_shape_is_accepted(trigger: str, legs: list[Leg]) -> None:
    assert update(trigger, *legs).trigger == trigger


@pytest.mark.parametrize(
    ("trigger", "legs", "why"), REFUSED, ids=[f"{case[0]}-{number}" for number, case in enumerate(REFUSED)]
)
def test_an_update_of_another_shape_is_refused_saying_what_the_trigger_takes(
    trigger: str, legs: list[Leg], why: str
) -> None:
    with pytest.raises(UpdateError, match=why):
        update(trigger, *legs)


def test_every_trigger_has_an_example_of_both() -> None:
    assert {trigger for trigger, _ in ACCEPTED} == set(Trigger)
    assert {trigger for trigger, *_ in REFUSED} == set(Trigger) - MAY_BE_ANYTHING


@pytest.mark.parametrize(("trigger", "legs"), ACCEPTED, ids=_names(ACCEPTED))
def test_a_shape_never_depends_on_reasons(trigger: str, legs: list[Leg]) -> None:
    if any(leg.get("reason") in ("FLASH_LOAN", "FLASH_LOAN_REPAID") for leg in legs):
        return
    assert update(trigger, *({**leg, "reason": "SOMETHING"} if "token" in leg else leg for leg in legs))
