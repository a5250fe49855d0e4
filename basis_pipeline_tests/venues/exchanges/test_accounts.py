"""What scripted accounts hold is what is read, in the ledger's terms."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basis_pipeline.domain.observations import ObservedPosition
from basis_pipeline_tests.rigs.exchanges import ExchangeVenues
from basis_pipeline_tests.venues.exchanges.builders import ALL_PARTS, MAIN_PART, D, fund, read

VENUES = ["binance", "bybit", "okx"]


@pytest.mark.parametrize("venue", VENUES)
def test_the_parts_of_an_account_are_summed(venues: ExchangeVenues, venue: str) -> None:
    account = fund(venues, venue)
    for part in ALL_PARTS[venue]:
        account.set_balance(part, "USDT", "100.25")
    account.set_balance("funding", "ETH", "0.000000000000000001")
    reading = read(venues, venue)
    assert reading.error is None
    assert reading.balances == {"USDT": D("100.25") * len(ALL_PARTS[venue]), "ETH": D("0.000000000000000001")}
    assert reading.positions == reading.debts == reading.unmapped == {}


@pytest.mark.parametrize("venue", VENUES)
def test_an_empty_account_is_available_and_holds_nothing(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue)
    reading = read(venues, venue)
    assert reading.available
    assert reading.balances == reading.positions == reading.debts == reading.unmapped == {}


@pytest.mark.parametrize("venue", VENUES)
def test_positions_are_signed_base_units_and_flat_rows_are_none(venues: ExchangeVenues, venue: str) -> None:
    account = fund(venues, venue)
    account.set_position("ETHUSDT-PERP", "-1.5", "3000.5")
    account.set_position("BTCUSDT-PERP", "0")
    account.set_position("ETHUSDC-PERP", "2", "2999")
    venues.set_price("ETHUSDT", "3100")
    venues.set_price("ETHUSDC", "3100")
    reading = read(venues, venue, MAIN_PART[venue])
    assert reading.error is None
    assert set(reading.positions) == {"ETHUSDT-PERP", "ETHUSDC-PERP"}
    short = reading.positions["ETHUSDT-PERP"]
    assert (short.size, short.entry_price) == (D("-1.5"), D("3000.5"))
    assert short.notional_usd is not None
    assert short.notional_usd > 0
    assert reading.positions["ETHUSDC-PERP"].size == D(2)


@pytest.mark.parametrize("venue", VENUES)
def test_unrealised_profit_is_not_cash(venues: ExchangeVenues, venue: str) -> None:
    account = fund(venues, venue)
    account.set_balance(MAIN_PART[venue], "USDT", "1000")
    account.set_position("ETHUSDT-PERP", "10", "3000")
    venues.set_price("ETHUSDT", "3050")
    assert read(venues, venue, MAIN_PART[venue]).balances == {"USDT": D(1000)}


@pytest.mark.parametrize("venue", VENUES)
def test_the_legs_of_hedge_mode_are_two_positions(venues: ExchangeVenues, venue: str) -> None:
    account = fund(venues, venue)
    account.set_position("ETHUSDT-PERP:LONG", "1.5", "3000")
    account.set_position("ETHUSDT-PERP:SHORT", "-0.5", "3010")
    account.set_position("BTCUSDT-PERP:LONG", "0")
    positions = read(venues, venue, MAIN_PART[venue]).positions
    assert {name: position[:2] for name, position in positions.items()} == {
        "ETHUSDT-PERP:LONG": (D("1.5"), D(3000)),
        "ETHUSDT-PERP:SHORT": (D("-0.5"), D(3010)),
    }


@pytest.mark.parametrize("venue", VENUES)
def test_a_coin_the_registry_does_not_know_is_unmapped_and_not_dropped(venues: ExchangeVenues, venue: str) -> None:
    account = fund(venues, venue)
    account.set_balance("funding", "NEWCOIN", "12.5")
    account.set_balance("funding", "DUST", "0")
    account.set_balance("funding", "ETH", "1")
    reading = read(venues, venue, "funding")
    assert reading.balances == {"ETH": D(1)}
    assert reading.unmapped == ({"NEWCOIN": D("12.5")})


@pytest.mark.parametrize(
    ("venue", "part", "name"),
    [
        ("binance", "portfolio_margin", "BTCUSD_PERP"),
        ("bybit", "unified", "BTCUSD"),
        ("okx", "trading", "BTC-USD-SWAP"),
    ],
)
def test_an_inverse_position_is_unmapped_under_the_venues_name(
    venues: ExchangeVenues, venue: str, part: str, name: str
) -> None:
    fund(venues, venue).set_position("BTCUSD-PERP", "-7", "60000")
    reading = read(venues, venue, part)
    assert reading.error is None
    assert reading.unmapped == {name: D(-7)}
    assert not reading.positions


@pytest.mark.parametrize(
    ("venue", "part", "interest"),
    [
        ("binance", "cross_margin", "0.01"),
        ("binance", "portfolio_margin", "0.01"),
        ("okx", "trading", "0.01"),
        ("bybit", "unified", "0"),
    ],
)
def test_what_is_borrowed_is_taken_off_and_told(venues: ExchangeVenues, venue: str, part: str, interest: str) -> None:
    account = fund(venues, venue)
    account.set_balance(part, "ETH", "0.5")
    account.set_borrowed(part, "ETH", "2", interest=interest)
    account.set_balance(part, "USDT", "5000")
    account.set_borrowed(part, "BTC", "1")
    reading = read(venues, venue, part)
    assert reading.error is None
    assert reading.balances == {"ETH": D("-1.5") - D(interest), "USDT": D(5000), "BTC": D(-1)}
    assert reading.debts == {"ETH": 2 + D(interest), "BTC": D(1)}


def test_a_negative_wallet_is_borrowed(venues: ExchangeVenues) -> None:
    fund(venues, "bybit").set_balance("unified", "USDT", "-25")
    reading = read(venues, "bybit")
    assert (reading.balances, reading.debts) == ({"USDT": D(-25)}, {"USDT": D(25)})


def test_bybits_uncharged_interest_is_not_a_debt_yet(venues: ExchangeVenues) -> None:
    account = fund(venues, "bybit")
    account.set_balance("unified", "ETH", "5")
    account.set_borrowed("unified", "ETH", "2", interest="0.1")
    assert read(venues, "bybit").balances == {"ETH": D(3)}


def test_funding_at_binance_counts_what_is_locked_frozen_and_on_its_way_out(venues: ExchangeVenues) -> None:
    fund(venues, "binance")
    row = {"asset": "ETH", "free": "1", "locked": "0.1", "freeze": "0.01", "withdrawing": "0.001"}
    venues.answer("/sapi/v1/asset/get-funding-asset", [row])
    assert read(venues, "binance", "funding").balances == {"ETH": D("1.111")}


def test_futures_balances_that_were_never_updated_are_no_balances(venues: ExchangeVenues) -> None:
    fund(venues, "binance").set_balance("usdm_futures", "USDT", "5")

    def stale(payload: Any) -> Any:
        row = {"asset": "BNFCR", "walletBalance": "77", "updateTime": 0}
        return {**payload, "assets": [*payload["assets"], row]}

    venues.alter("/fapi/v3/account", stale)
    reading = read(venues, "binance", "usdm_futures")
    assert (reading.balances, reading.unmapped) == ({"USDT": D(5)}, {})


def test_contract_sizes_at_okx_are_value_times_multiplier(venues: ExchangeVenues) -> None:
    account = fund(venues, "okx")
    venues.set_contract("ETH-USDT-SWAP", "0.1", "5")
    venues.answer(
        "/api/v5/account/positions",
        {"code": "0", "msg": "", "data": [okx_position("ETH-USDT-SWAP", "-3"), okx_position("BTC-USDT-SWAP", "0.7")]},
    )
    account.set_balance("trading", "USDT", "1")
    positions = read(venues, "okx").positions
    assert {name: position.size for name, position in positions.items()} == {
        "ETHUSDT-PERP": D("-1.5"),
        "BTCUSDT-PERP": D("0.007"),
    }


def okx_position(inst_id: str, contracts: str, **fields: str) -> dict[str, str]:
    row = {
        "instId": inst_id,
        "instType": "SWAP",
        "pos": contracts,
        "posSide": "net",
        "avgPx": "3000",
        "mgnMode": "cross",
    }
    return row | {"notionalUsd": "100"} | fields


def test_cross_and_isolated_margin_at_okx_are_one_position(venues: ExchangeVenues) -> None:
    fund(venues, "okx")
    rows = [
        okx_position("ETH-USDT-SWAP", "10", avgPx="3000"),
        okx_position("ETH-USDT-SWAP", "30", avgPx="3100", mgnMode="isolated"),
        okx_position("BTC-USDT-SWAP", "100"),
        okx_position("BTC-USDT-SWAP", "-100", mgnMode="isolated"),
    ]
    venues.answer("/api/v5/account/positions", {"code": "0", "msg": "", "data": rows})
    assert read(venues, "okx").positions == {"ETHUSDT-PERP": ObservedPosition(D(4), D(3075), D(200))}


def test_positions_of_other_kinds_at_okx_are_unmapped(venues: ExchangeVenues) -> None:
    fund(venues, "okx")
    rows = [
        okx_position("ETH-USDT-261225", "4", instType="FUTURES"),
        okx_position("BTC-USD-261225-50000-C", "-2", instType="OPTION"),
        okx_position("ETH-USDT", "1.5", instType="MARGIN"),
    ]
    venues.answer("/api/v5/account/positions", {"code": "0", "msg": "", "data": rows})
    unmapped = read(venues, "okx").unmapped
    assert unmapped == {"ETH-USDT-261225": D(4), "BTC-USD-261225-50000-C": D(-2), "MARGIN:ETH-USDT": D("1.5")}


@pytest.mark.parametrize(
    ("cash", "equity", "net"),
    [("-2.1", "-2.1", "-2.1"), ("1", "-1.1", "-1.1"), ("-2", "-2.1", "-2.1"), ("0.9", "-1.1", "-1.1")],
    ids=["net of both", "net of neither", "net of the loan", "net of the interest"],
)
def test_okx_tells_by_its_equity_whether_cash_is_net_of_debts(
    venues: ExchangeVenues, cash: str, equity: str, net: str
) -> None:
    fund(venues, "okx")
    detail = {"ccy": "ETH", "cashBal": cash, "eq": equity, "upl": "0", "liab": "2", "interest": "0.1"}
    venues.answer("/api/v5/account/balance", okx_balance(detail))
    reading = read(venues, "okx", "trading")
    assert (reading.error, reading.balances, reading.debts) == (None, {"ETH": D(net)}, {"ETH": D("2.1")})


def okx_balance(*details: dict[str, str]) -> dict[str, Any]:
    return {"code": "0", "msg": "", "data": [{"adjEq": "", "mmr": "", "totalEq": "1", "details": list(details)}]}


def test_an_okx_account_without_borrowing_leaves_debts_empty(venues: ExchangeVenues) -> None:
    fund(venues, "okx")
    detail = {"ccy": "ETH", "cashBal": "3", "eq": "", "upl": "", "liab": "", "interest": ""}
    venues.answer("/api/v5/account/balance", okx_balance(detail))
    reading = read(venues, "okx", "trading")
    assert (reading.balances, reading.debts, reading.health) == ({"ETH": D(3)}, {}, None)


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"eq": "2.9", "upl": "", "liab": "", "interest": ""}, "eq is less than cashBal"),
        ({"eq": "3.5", "upl": "0.6", "liab": "", "interest": "0"}, "eq is less than cashBal"),
        ({"eq": "3", "upl": "0", "liab": "", "interest": "0.1"}, "liab or interest is empty"),
        ({"eq": "3", "upl": "0", "liab": "2"}, "liab or interest is empty"),
    ],
)
def test_a_debt_that_okx_does_not_tell_is_unknown_and_not_zero(
    venues: ExchangeVenues, told: dict[str, str], problem: str
) -> None:
    fund(venues, "okx")
    venues.answer("/api/v5/account/balance", okx_balance({"ccy": "ETH", "cashBal": "3", **told}))
    reading = read(venues, "okx", "trading")
    assert not reading.available
    assert problem in str(reading.error)


@pytest.mark.parametrize("told", [{"eq": "3", "upl": ""}, {"eq": "3.4", "upl": "0.4"}, {"eq": "5", "stgyEq": "1"}])
def test_an_okx_account_whose_equity_is_its_cash_and_more_owes_nothing(
    venues: ExchangeVenues, told: dict[str, str]
) -> None:
    fund(venues, "okx")
    detail = {"ccy": "ETH", "cashBal": "3", "liab": "", "interest": "", **told}
    venues.answer("/api/v5/account/balance", okx_balance(detail))
    assert read(venues, "okx", "trading").balances == {"ETH": D(3)}


def test_all_pages_of_bybits_positions_are_read(venues: ExchangeVenues) -> None:
    account = fund(venues, "bybit")
    for number in range(450):
        account.set_position(f"COIN{number}USDT-PERP", "1", "2")
    assert len(read(venues, "bybit").positions) == 450
    assert venues.count("/v5/position/list") == 5


@pytest.mark.parametrize(("venue", "ratio"), [("binance", "0.015"), ("bybit", "0.015"), ("okx", "0.015")])
def test_the_margin_ratio_is_maintenance_over_margin_balance(venues: ExchangeVenues, venue: str, ratio: str) -> None:
    account = fund(venues, venue)
    account.set_balance(MAIN_PART[venue], "USDT", "1000")
    account.set_position("ETHUSDT-PERP", "1", "3000")
    health = read(venues, venue, MAIN_PART[venue]).health
    assert health is not None
    assert (health.margin_ratio, health.ltv, health.health_factor) == (D(ratio), None, None)


@pytest.mark.parametrize("venue", VENUES)
def test_a_reading_keeps_the_answers_and_the_venues_time(venues: ExchangeVenues, venue: str) -> None:
    fund(venues, venue).set_balance("funding", "USDT", "123.456789")
    before = datetime.now(UTC)
    reading = read(venues, venue)
    assert before <= reading.started_at <= reading.observed_at <= datetime.now(UTC)
    assert reading.venue_time is not None
    assert abs(reading.venue_time - before) < timedelta(seconds=10)
    assert '"123.456789"' in reading.raw


def test_a_clock_the_venue_refuses_is_set_by_the_venues(venues: ExchangeVenues) -> None:
    for venue in VENUES:
        fund(venues, venue).set_balance("funding", "USDT", "1")
    venues.clock_skew = 95.0
    assert [read(venues, venue, "funding").balances for venue in VENUES] == [{"USDT": D(1)}] * 3


_COINS = st.sampled_from(["USDT", "ETH", "BTC", "USDC", "weETH", "EIGEN", "XYZ", "1000SATS"])
_AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=8).map(lambda number: number + 0)


@pytest.mark.parametrize("venue", VENUES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cash=st.dictionaries(_COINS, _AMOUNTS, max_size=6),
    owed=st.dictionaries(_COINS, _AMOUNTS, max_size=3),
    sizes=st.dictionaries(st.sampled_from(["ETHUSDT-PERP", "BTCUSDT-PERP:LONG", "ETHUSDC-PERP"]), _AMOUNTS, max_size=3),
)
def test_whatever_an_account_holds_is_what_is_read(venues: ExchangeVenues, venue: str, **held: Any) -> None:
    account = fund(venues, venue)
    part = MAIN_PART[venue] if venue != "binance" else "portfolio_margin"
    for coin, amount in held["cash"].items():
        account.set_balance(part, coin, amount)
    for coin, amount in held["owed"].items():
        account.set_borrowed(part, coin, amount)
    for instrument, size in held["sizes"].items():
        account.set_position(instrument, size, "3000")
    reading = read(venues, venue, part)
    assert reading.error is None
    nets = {
        coin: held["cash"].get(coin, D(0)) - held["owed"].get(coin, D(0)) for coin in {*held["cash"], *held["owed"]}
    }
    assert {**reading.balances, **reading.unmapped} == {
        coin: net for coin, net in nets.items() if net or coin in reading.unmapped
    }
    assert set(reading.unmapped) <= {"USDC", "XYZ", "1000SATS"}
    assert {name: position.size for name, position in reading.positions.items()} == {
        instrument: size for instrument, size in held["sizes"].items() if size
    }
