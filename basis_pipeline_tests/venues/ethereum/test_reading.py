"""What is read of wallets on a real Aave market of either rounding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from basis_pipeline.domain.observations import Reading
from basis_pipeline.domain.tokens import TokenKind
from basis_pipeline.venues.ethereum.reader import EthereumReader
from basis_pipeline.venues.ethereum.rounding import rounding_difference
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import account, ask, read

WEI = Decimal(1).scaleb(-18)
PLACES = {"aWeETH": 18, "aUSDT": 6, "aBTC": 8, "variableDebtWETH": 18, "variableDebtUSDT": 6, "variableDebtBTC": 8}
UNDERLYING = {
    "aWeETH": "weETH",
    "aUSDT": "USDT",
    "aBTC": "BTC",
    "variableDebtWETH": "WETH",
    "variableDebtUSDT": "USDT",
    "variableDebtBTC": "BTC",
}


def units(reading: Reading, token: str) -> int:
    return int(reading.balances.get(token, Decimal(0)).scaleb(PLACES[token]))


def differences(chain: AaveChain, reading: Reading, revision: int) -> list[int]:
    """Of every a- and debt token: the contract's balanceOf less what the reading's scaled balance comes to."""
    found = []
    for token, underlying in UNDERLYING.items():
        kind = chain.registry.token(token).kind
        index = chain.debt_index(underlying) if kind is TokenKind.DEBT else chain.liquidity_index(underlying)
        balance = chain.balance_of(chain.wallet("alice"), token)
        found.append(rounding_difference(kind, units(reading, token), index, balance, revision))
    return found


def test_supply_borrow_accrue_repay_and_withdraw_are_read_exactly_and_round_as_the_revision_does(
    market: AaveChain,
) -> None:
    alice = market.wallet("alice")
    own, other = market.revision, 10 if market.revision == 1 else 1
    off_by_the_other_rounding = 0

    def check() -> Reading:
        nonlocal off_by_the_other_rounding
        reading = read(market)
        assert reading.available, reading.error
        for token in UNDERLYING:
            assert units(reading, token) == market.scaled_balance_of(alice, token), token
        for token in ("weETH", "WETH", "USDT", "BTC"):
            assert reading.balances.get(token, 0) == market.balance_of(alice, token) / Decimal(
                10 ** market.registry.token(token).decimals
            )
        assert differences(market, reading, own) == [0] * len(UNDERLYING)
        off_by_the_other_rounding += sum(map(bool, differences(market, reading, other)))
        return reading

    market.give(alice, "weETH", "100.000000000000000007")
    market.give(alice, "USDT", "250000.000003")
    market.give(alice, "BTC", "3.00000007")
    market.supply(alice, "weETH", "100.000000000000000007")
    market.supply(alice, "USDT", "150000.000001")
    market.supply(alice, "BTC", "1.23456789")
    supplied = check()
    assert "variableDebtWETH" not in supplied.balances

    market.borrow(alice, "WETH", "40.123456789012345678")
    market.borrow(alice, "USDT", "12345.678901")
    market.borrow(alice, "BTC", "0.12345679")
    borrowed = check()

    for months in (1, 3, 7):
        market.advance(timedelta(days=30 * months))
        later = check()
        scaled = {token: borrowed.balances[token] for token in UNDERLYING}
        assert {token: later.balances[token] for token in UNDERLYING} == scaled

    market.give(alice, "WETH", "50")
    market.repay(alice, "WETH", "11.000000000000000013")
    market.repay(alice, "USDT", "4321.123457")
    market.withdraw(alice, "weETH", "9.999999999999999989")
    market.withdraw(alice, "USDT", "777.777779")
    check()
    market.repay(alice, "WETH", None)
    market.repay(alice, "USDT", None)
    market.repay(alice, "BTC", None)
    market.withdraw(alice, "weETH", None)
    assert {"variableDebtWETH", "variableDebtUSDT", "variableDebtBTC", "aWeETH"}.isdisjoint(check().balances)
    assert off_by_the_other_rounding > 3


def test_rates_indices_and_prices_come_with_the_same_block(market: AaveChain) -> None:
    market.set_rate("wstETH", "1.234567890123456789")
    market.set_price("BTC", "98765.43210987")
    market.advance(timedelta(days=90))
    reading = read(market)
    observed = {(o.venue, o.symbol, o.kind): o for o in reading.market}
    values = {key: o.value for key, o in observed.items()}
    assert values["lido", "wstETHETH", "oracle"] == Decimal("1.234567890123456789")
    assert values["etherfi", "weETHETH", "oracle"] == Decimal("1.04")
    assert values["aave_oracle", "BTCUSD", "oracle"] == Decimal("98765.43210987")
    for name, token in (("WETH", "WETH"), ("USDT", "USDT"), ("WBTC", "BTC"), ("wstETH", "wstETH"), ("weETH", "weETH")):
        income, debt = market.liquidity_index(token), market.debt_index(token)
        assert values["aave_reserve", name, "liquidity_index"].scaleb(27) == income > 10**27
        assert values["aave_reserve", name, "variable_borrow_index"].scaleb(27) == debt > income
        assert ("aave_oracle", f"{token}USD", "oracle") in values
    assert reading.block is not None
    assert {o.observed_at for o in reading.market} == {reading.block.time} == {market.now}


def test_health_is_debt_over_collateral_and_has_no_factor_without_debt(market: AaveChain) -> None:
    alice = market.wallet("alice")
    nothing = read(market).health
    assert nothing is not None
    assert (nothing.ltv, nothing.health_factor) == (None, None)
    market.give(alice, "weETH", "10")
    market.supply(alice, "weETH", "10")
    unborrowed = read(market).health
    assert unborrowed is not None
    assert (unborrowed.ltv, unborrowed.health_factor) == (Decimal(0), None)
    market.borrow(alice, "WETH", "5")
    health = read(market).health
    data = market.node.call(
        market.addresses["pool"],
        "getUserAccountData(address)",
        [alice],
        returns="(uint256,uint256,uint256,uint256,uint256,uint256)",
    )
    assert health is not None
    assert health.ltv == (Decimal(data[1]) / Decimal(data[0])).quantize(WEI)
    assert health.health_factor == Decimal(data[5]).scaleb(-18)
    assert health.margin_ratio is None


def test_all_wallets_are_read_in_one_request_at_one_block(chain: AaveChain, node: NodeProxy) -> None:
    names = ("alice", "bob", "carol")
    for amount, name in enumerate(names, 1):
        chain.give(chain.wallet(name), "ETH", amount)
        chain.give(chain.wallet(name), "USDT", 10 * amount)

    async def twice(reader: EthereumReader) -> Sequence[Reading]:
        await reader.read()
        node.requests.clear()
        return await reader.read()

    readings = ask(chain, node.url, question=twice, wallets=names, block="finalized")
    assert node.requests == ["eth_getBlockByNumber", "eth_getBlockByNumber", "eth_call", "eth_getBlockByNumber"]
    assert [reading.account for reading in readings] == [account(name) for name in names]
    assert len({reading.block for reading in readings}) == 1
    chain.settle()
    readings = ask(chain, node.url, question=twice, wallets=names, block="finalized")
    assert [reading.balances for reading in readings] == [
        {"ETH": Decimal(amount), "USDT": Decimal(10 * amount)} for amount in (1, 2, 3)
    ]


@pytest.mark.parametrize(("block", "behind"), [("finalized", 4), ("safe", 2), (0, 0), (3, 3)])
def test_the_block_is_finalized_safe_or_so_many_behind_the_newest(
    chain: AaveChain, block: str | int, behind: int
) -> None:
    chain.give(chain.wallet("alice"), "USDT", "5")
    number = chain.block_number
    early = read(chain, block=block)
    assert early.block is not None
    assert (early.block.number, early.block.hash) == (number - behind, chain.block_hash(number - behind))
    assert early.balances == ({"USDT": Decimal(5)} if behind == 0 else {})
    assert early.as_of == chain.now - timedelta(seconds=behind)
    chain.mine(behind)
    assert read(chain, block=block).balances == {"USDT": Decimal(5)}


def test_a_rate_or_price_that_reverts_costs_that_series_only_and_is_visible(chain: AaveChain) -> None:
    alice = chain.wallet("alice")
    chain.give(alice, "weETH", "2")
    chain.break_call("weETH", "getRate()")
    chain.set_price("BTC", "0")

    async def question(reader: EthereumReader) -> tuple[Reading, Sequence[str]]:
        (reading,) = await reader.read()
        return reading, reader.problems

    reading, problems = ask(chain, question=question)
    assert reading.available
    assert reading.balances == {"weETH": Decimal(2)}
    missing = {"etherfi:weETHETH:oracle", "aave_oracle:BTCUSD:oracle"}
    assert {problem.split(": ")[0] for problem in problems} == missing
    assert {f"{o.venue}:{o.symbol}:{o.kind}" for o in reading.market}.isdisjoint(missing)
    assert len(reading.market) == 15
    chain.mend_call("weETH", "getRate()")
    chain.set_price("BTC", "60000")
    assert len(read(chain).market) == 17


def test_a_balance_that_cannot_be_read_is_never_zero(chain: AaveChain) -> None:
    chain.give(chain.wallet("alice"), "ETH", "2")
    chain.break_call("EIGEN", "balanceOf(address)")
    reading = read(chain)
    assert not reading.available
    assert reading.balances == {}
    assert reading.error is not None
    assert "EIGEN" in reading.error
    assert chain.tokens["EIGEN"] in reading.error
    chain.mend_call("EIGEN", "balanceOf(address)")
    assert read(chain).balances == {"ETH": Decimal(2)}


def test_health_that_cannot_be_read_costs_the_health_only(chain: AaveChain) -> None:
    alice = chain.wallet("alice")
    chain.give(alice, "BTC", "1")
    chain.supply(alice, "BTC", "1")
    chain.set_price("BTC", "0")

    async def question(reader: EthereumReader) -> tuple[Reading, Sequence[str]]:
        (reading,) = await reader.read()
        return reading, reader.problems

    reading, problems = ask(chain, question=question)
    assert reading.available
    assert reading.health is None
    assert any(problem.startswith("alice_wallet: account health") for problem in problems)


def test_the_raw_answer_is_kept_for_the_wallet_it_is_about(chain: AaveChain) -> None:
    chain.give(chain.wallet("alice"), "USDT", "5")
    chain.give(chain.wallet("bob"), "USDT", "7")
    alice, bob = ask(chain, question=lambda reader: reader.read(), wallets=("alice", "bob"))
    rows = {name: (target, method, data) for name, target, method, data in json.loads(alice.raw)["calls"]}
    assert rows["USDT"] == (chain.tokens["USDT"], "balanceOf(address)", hex(5_000_000))
    assert rows["number"][2] == hex(chain.block_number)
    assert hex(7_000_000) not in alice.raw
    assert hex(7_000_000) in bob.raw
    assert json.loads(alice.raw)["block"][1] == chain.block_hash(chain.block_number)


def test_a_market_that_moves_to_another_oracle_is_followed(chain: AaveChain) -> None:
    admin = chain.node.rpc("eth_accounts")[0]

    async def question(reader: EthereumReader) -> tuple[Reading, Reading]:
        (before,) = await reader.read()
        oracle = chain.clone(chain.addresses["oracle"])
        chain.node.send(admin, chain.addresses["provider"], "setPriceOracle(address)", [oracle])
        (after,) = await reader.read()
        return before, after

    before, after = ask(chain, question=question)
    assert len(before.market) == 17
    assert after.available, after.error
    assert {o.venue for o in before.market} - {o.venue for o in after.market} == {"aave_oracle"}
