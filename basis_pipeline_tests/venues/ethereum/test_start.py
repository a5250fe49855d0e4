"""Nothing starts on a chain that is not the configured one; the error names address, expectation and finding."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from basis_pipeline.domain.errors import InputError, VenueConfigError, VenueError
from basis_pipeline.domain.observations import Reading
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, Registry, TokenKind
from basis_pipeline.venues.ethereum.chain import Chain
from basis_pipeline.venues.ethereum.reader import EthereumReader
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import account, ask, options, read

NOWHERE = "0x" + "ee" * 20


def changed(chain: AaveChain, symbol: str, **fields: Any) -> Registry:
    return chain.registry.extended([replace(chain.registry.token(symbol), **fields)])


def refused(chain: AaveChain, *urls: str, **changes: Any) -> str:
    with pytest.raises(VenueConfigError) as caught:
        ask(chain, *urls, question=lambda reader: reader.prepare(), **changes)
    with pytest.raises(VenueConfigError):
        read(chain, *urls, **changes)
    return str(caught.value)


def test_both_markets_pass_their_own_check(market: AaveChain) -> None:
    ask(market, question=lambda reader: reader.prepare())


def test_wrong_decimals(chain: AaveChain) -> None:
    message = refused(chain, registry=changed(chain, "USDT", decimals=18))
    assert f"token USDT {chain.tokens['USDT']}: expected 18 decimals, found 6" in message
    chain.set_decimals("KING", 17)
    assert f"token KING {chain.tokens['KING']}: expected 18 decimals, found 17" in refused(chain)


@pytest.mark.parametrize("symbol", ["KING", "aWETH", "variableDebtBTC", "unstETH", "unweETH"])
def test_no_contract_at_an_address(chain: AaveChain, symbol: str) -> None:
    message = refused(chain, registry=changed(chain, symbol, address=NOWHERE))
    assert f"token {symbol} {NOWHERE}" in message


def test_missing_code_is_called_that(chain: AaveChain) -> None:
    message = refused(chain, registry=changed(chain, "KING", address=NOWHERE))
    assert f"{NOWHERE} has no contract code" in message


@pytest.mark.parametrize(("symbol", "other"), [("aUSDT", "aBTC"), ("variableDebtWETH", "variableDebtUSDT")])
def test_a_token_of_another_underlying(chain: AaveChain, symbol: str, other: str) -> None:
    registry = changed(chain, symbol, address=chain.tokens[other], decimals=chain.registry.token(other).decimals)
    registry = registry.extended([replace(chain.registry.token(other), address=None)])
    message = refused(chain, registry=registry)
    underlying = chain.registry.token(symbol).underlying
    assert f"token {symbol} {chain.tokens[other]}: expected the underlying {underlying}" in message


def test_a_debt_token_in_the_place_of_its_a_token(chain: AaveChain) -> None:
    registry = changed(chain, "aWETH", address=chain.tokens["variableDebtWETH"])
    registry = registry.extended([replace(chain.registry.token("variableDebtWETH"), address=None)])
    assert f"the market's own token for WETH is {chain.tokens['aWETH'].lower()}" in refused(chain, registry=registry)


def test_everything_that_is_wrong_is_said_at_once(chain: AaveChain) -> None:
    registry = changed(chain, "USDT", decimals=18).extended([replace(chain.registry.token("KING"), address=NOWHERE)])
    message = refused(chain, registry=registry)
    assert "USDT" in message
    assert "KING" in message


def test_wrong_multicall_and_wrong_provider(chain: AaveChain) -> None:
    assert f"Multicall3 {NOWHERE}: there is no contract code" in refused(chain, multicall=NOWHERE)
    assert f"PoolAddressesProvider {NOWHERE}" in refused(chain, pool_addresses_provider=NOWHERE)
    usdt = chain.tokens["USDT"]
    assert f"getPool() of {usdt} reverted" in refused(chain, pool_addresses_provider=usdt)


def test_a_market_without_an_oracle(chain: AaveChain) -> None:
    admin = chain.node.rpc("eth_accounts")[0]
    chain.node.send(admin, chain.addresses["provider"], "setPriceOracle(address)", ["0x" + "00" * 20])
    assert "getPriceOracle() is not set" in refused(chain)
    price_source = chain.addresses["price:BTC"]
    chain.node.send(admin, chain.addresses["provider"], "setPriceOracle(address)", [price_source])
    assert f"Aave oracle {price_source.lower()}" in refused(chain)


def test_the_built_in_addresses_are_refused_on_a_chain_without_them(chain: AaveChain) -> None:
    assert DEFAULT_REGISTRY.token("USDT").address in refused(chain, registry=DEFAULT_REGISTRY)


def test_two_tokens_of_one_address_would_be_counted_twice(chain: AaveChain) -> None:
    registry = changed(chain, "EIGEN", address=chain.tokens["KING"].lower())
    with pytest.raises(VenueConfigError, match=r"tokens\.EIGEN\.address: .* is the address of KING too"):
        read(chain, registry=registry)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"symbol": "aX", "rate_name": None}, "tokens.aX: names no reserve"),
        ({"symbol": "aX", "rate_name": "aave:USDT:debt"}, "tokens.aX: names no reserve"),
        ({"symbol": "aX", "underlying": "ETH"}, "tokens.ETH.address: is missing; aX at"),
        ({"symbol": "aX", "kind": TokenKind.LOCKED, "protocol": "rocket"}, "only those of lido and etherfi can"),
    ],
)
def test_tokens_that_cannot_be_read(chain: AaveChain, fields: dict[str, Any], expected: str) -> None:
    token = replace(chain.registry.token("aUSDT"), **{"address": NOWHERE, **fields})
    with pytest.raises(VenueConfigError) as caught:
        read(chain, registry=chain.registry.extended([token]))
    assert expected in str(caught.value)


def test_a_token_whose_address_is_none(chain: AaveChain) -> None:
    with pytest.raises(VenueConfigError, match=r"tokens\.KING\.address: '0x12' is not an address"):
        read(chain, registry=changed(chain, "KING", address="0x12"))


def test_settings_that_cannot_be_right(chain: AaveChain) -> None:
    with pytest.raises(VenueConfigError, match="BASIS_ETHEREUM__RPC_URLS"):
        Chain(**{**options(chain), "rpc_urls": ()})
    with pytest.raises(VenueConfigError, match=r"ethereum\.block: 'latest'"):
        Chain(**options(chain, block="latest"))
    with pytest.raises(InputError, match=r"accounts\.alice_wallet\.address: '0x12' is not an Ethereum address"):
        EthereumReader({account("alice"): "0x12"}, Chain(**options(chain)))


def test_the_check_is_made_once_and_by_whichever_node_answers_first(chain: AaveChain, node: NodeProxy) -> None:
    async def question(reader: EthereumReader) -> None:
        node.refuse_to_talk()
        with pytest.raises(VenueError, match="no node could be read"):
            await reader.prepare()
        (unavailable,) = await reader.read()
        assert not unavailable.available
        node.behave()
        await reader.prepare()
        node.requests.clear()
        await reader.prepare()
        assert node.requests == []
        await reader.read()
        assert "eth_getCode" not in node.requests

    ask(chain, node.url, question=question)


def test_a_first_reading_takes_no_more_rounds_than_another(chain: AaveChain, node: NodeProxy) -> None:
    async def question(reader: EthereumReader) -> tuple[Reading, list[str]]:
        (first,) = await reader.read()
        began_with = list(node.requests)
        node.requests.clear()
        await reader.read()
        return first, began_with

    first, began_with = ask(chain, node.url, question=question)
    assert first.available
    assert sorted(began_with[:3]) == ["eth_call", "eth_chainId", "eth_getBlockByNumber"], "at once"
    assert began_with[3:] == node.requests[1:] == ["eth_call", "eth_getBlockByNumber"]


def test_contracts_that_were_others_at_the_block_that_is_read_are_found_there(
    chain: AaveChain, node: NodeProxy
) -> None:
    """The first reading expects the contracts of the newest block, and reads some blocks before it."""
    chain.give(chain.wallet("alice"), "USDT", "5")
    chain.mine(3)
    admin = chain.node.rpc("eth_accounts")[0]
    moved = chain.clone(chain.addresses["oracle"])
    chain.node.send(admin, chain.addresses["provider"], "setPriceOracle(address)", [moved])
    reading = read(chain, node.url, block=3)
    assert reading.balances == {"USDT": Decimal(5)}
    assert any(one.venue == "aave_oracle" for one in reading.market)
