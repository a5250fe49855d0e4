"""Nodes that fail, lie, lag and forget, and chains that change under a reading."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import traceback
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal

import pytest

from basis_pipeline.domain.errors import VenueConfigError
from basis_pipeline.domain.observations import Reading
from basis_pipeline.venues.ethereum.reader import EthereumReader
from basis_pipeline_tests.rigs.ethereum import AaveChain, aave_chain
from basis_pipeline_tests.rigs.ethereum_fixtures import START
from basis_pipeline_tests.rigs.ethereum_proxy import SECRET, NodeProxy, node_proxy
from basis_pipeline_tests.venues.ethereum.builders import ask, read

READ_REQUESTS = ["eth_getBlockByNumber", "eth_call", "eth_getBlockByNumber"]


def told_of(node: NodeProxy, wallet: str, chain: AaveChain) -> list[str]:
    """The requests that have a wallet's address in them."""
    address = chain.wallet(wallet).lower().removeprefix("0x")
    return [method for method, params in node.asked if address in str(params).lower()]


def test_a_reorganisation_during_a_reading_makes_it_start_over(chain: AaveChain, node: NodeProxy) -> None:
    alice = chain.wallet("alice")

    async def question(reader: EthereumReader) -> Reading:
        await reader.read()
        chain.give(alice, "USDT", "5")
        node.requests.clear()
        node.before("eth_call", lambda: (chain.reorg(1), chain.give(alice, "USDT", "7"), chain.mine()))
        (reading,) = await reader.read()
        return reading

    reading = ask(chain, node.url, question=question)
    assert reading.balances == {"USDT": Decimal(7)}
    assert reading.block is not None
    assert reading.block.hash == chain.block_hash(reading.block.number)
    assert node.requests.count("eth_call") == 2


def test_a_reorganisation_right_after_the_call_is_noticed(chain: AaveChain, node: NodeProxy) -> None:
    alice = chain.wallet("alice")

    async def question(reader: EthereumReader) -> Reading:
        await reader.read()
        chain.give(alice, "USDT", "5")
        changed = False

        def reorganise(_: list[object], result: object) -> object:
            nonlocal changed
            if not changed:
                changed = True
                chain.reorg(1)
                chain.mine()
            return result

        node.rewrite("eth_call", reorganise)
        (reading,) = await reader.read()
        return reading

    reading = ask(chain, node.url, question=question)
    assert reading.available
    assert reading.balances == {}, "the transfer never happened"
    assert reading.block is not None
    assert reading.block.hash == chain.block_hash(reading.block.number)


def test_a_chain_that_changes_under_every_reading_is_unavailable_after_a_few(chain: AaveChain, node: NodeProxy) -> None:
    async def question(reader: EthereumReader) -> Reading:
        await reader.read()
        node.requests.clear()

        def reorganise(_: list[object], result: object) -> object:
            chain.reorg(1)
            return result

        node.rewrite("eth_call", reorganise)
        (reading,) = await reader.read()
        return reading

    reading = ask(chain, node.url, question=question)
    assert not reading.available
    assert reading.error is not None
    assert "changed under 3 readings" in reading.error
    assert node.requests.count("eth_call") == 3


def test_a_reorganisation_after_a_reading_shows_in_the_next_one(chain: AaveChain) -> None:
    chain.give(chain.wallet("alice"), "USDT", "5")
    before = read(chain)
    chain.reorg(1)
    chain.mine()
    after = read(chain)
    assert (before.balances, after.balances) == ({"USDT": Decimal(5)}, {})
    assert before.block is not None
    assert chain.block_hash(before.block.number) != before.block.hash


@pytest.mark.parametrize("block", [0, 2, "finalized"])
def test_a_node_that_lags_is_passed_over(chain: AaveChain, node: NodeProxy, other_node: NodeProxy, block: str) -> None:
    chain.advance(timedelta(hours=1))
    chain.give(chain.wallet("alice"), "USDT", "5")
    chain.settle()
    node.lag(blocks=7)
    reading = read(chain, node.url, other_node.url, block=block)
    assert reading.balances == {"USDT": Decimal(5)}
    assert told_of(node, "alice", chain) == []
    alone = read(chain, node.url, block=block)
    assert alone.error is not None
    assert "node 1 of 1: its newest block" in alone.error
    assert "lags" in alone.error
    assert read(chain, node.url, block=block, head_age_max=timedelta(hours=2)).available


def test_a_node_of_another_chain_is_told_of_no_wallet(chain: AaveChain, node: NodeProxy, other_node: NodeProxy) -> None:
    node.lie_about_chain_id(5)
    chain.give(chain.wallet("alice"), "ETH", "5")
    assert read(chain, node.url, other_node.url).balances == {"ETH": Decimal(5)}
    assert node.requests.count("eth_chainId") == 1
    assert told_of(node, "alice", chain) == []
    assert len(told_of(other_node, "alice", chain)) == 1
    with pytest.raises(VenueConfigError, match=r"node 1 of 1: is on chain 5, not 1 \(ethereum.chain_id\)"):
        read(chain, node.url)


def test_a_node_that_says_the_right_chain_but_answers_from_another_is_not_believed(
    chain: AaveChain, node: NodeProxy
) -> None:
    node.lie_about_chain_id(17)
    reading = read(chain, node.url, chain_id=17)
    assert reading.error is not None
    assert "answered for another block: chain 1, expected 17" in reading.error


def test_a_node_that_answers_at_another_block_is_not_believed(chain: AaveChain, node: NodeProxy) -> None:
    answers: list[object] = []

    def stale(_: list[object], result: object) -> object:
        answers.append(result)
        return result if len(answers) < 4 else answers[2]

    async def question(reader: EthereumReader) -> tuple[Reading, Reading]:
        node.rewrite("eth_call", stale)
        await reader.read()
        (good,) = await reader.read()
        chain.mine()
        (bad,) = await reader.read()
        return good, bad

    good, bad = ask(chain, node.url, question=question)
    assert good.available
    assert bad.error is not None
    assert "answered for another block" in bad.error


def test_a_node_without_the_state_is_passed_over(chain: AaveChain, node: NodeProxy, other_node: NodeProxy) -> None:
    node.forget_state()
    chain.give(chain.wallet("alice"), "ETH", "5")
    assert read(chain, node.url, other_node.url).balances == {"ETH": Decimal(5)}
    alone = read(chain, node.url)
    assert alone.error is not None
    assert "missing trie node" in alone.error


def test_a_pruned_node_itself_says_so(chain: AaveChain) -> None:
    reading = read(chain, block=20)
    assert not reading.available
    assert reading.error is not None
    assert "node 1 of 1: eth_" in reading.error


def test_a_node_that_dies_between_two_readings_is_replaced(
    chain: AaveChain, node: NodeProxy, other_node: NodeProxy
) -> None:
    async def question(reader: EthereumReader) -> list[Reading]:
        (first,) = await reader.read()
        chain.give(chain.wallet("alice"), "USDT", "5")
        node.refuse_to_talk()
        (second,) = await reader.read()
        other_node.refuse_to_talk()
        (third,) = await reader.read()
        node.behave()
        (fourth,) = await reader.read()
        return [first, second, third, fourth]

    readings = ask(chain, node.url, other_node.url, question=question)
    assert [reading.available for reading in readings] == [True, True, False, True]
    assert [reading.balances for reading in readings] == [{}, {"USDT": Decimal(5)}, {}, {"USDT": Decimal(5)}]
    assert readings[2].error is not None
    assert "node 1 of 2: eth_getBlockByNumber could not be asked" in readings[2].error
    assert "node 2 of 2: eth_getBlockByNumber could not be asked" in readings[2].error


@pytest.mark.parametrize("dies_before", READ_REQUESTS[:2])
def test_no_reading_mixes_the_blocks_of_two_nodes(chain: AaveChain, node: NodeProxy, dies_before: str) -> None:
    with aave_chain("v3.6", start=START + timedelta(seconds=30)) as other, node_proxy(other.url) as second:
        assert other.addresses == chain.addresses
        chain.give(chain.wallet("alice"), "USDT", "5")
        other.give(chain.wallet("alice"), "ETH", "7")
        other.mine(3)

        async def question(reader: EthereumReader) -> Sequence[Reading]:
            (first,) = await reader.read()
            node.die_before(dies_before)
            second.requests.clear()
            (fallen_over,) = await reader.read()
            return first, fallen_over

        first, fallen_over = ask(chain, node.url, second.url, question=question)
        assert first.balances == {"USDT": Decimal(5)}
        assert fallen_over.balances == {"ETH": Decimal(7)}
        assert fallen_over.block is not None
        assert fallen_over.block.hash == other.block_hash(fallen_over.block.number)
        assert {o.observed_at for o in fallen_over.market} == {fallen_over.block.time} == {other.now}
        assert sorted(second.requests) == sorted(["eth_chainId", *READ_REQUESTS])


NONSENSE = [
    (200, "text/html", f"<html>Just a moment... {SECRET}</html>", "was not answered with JSON"),
    (200, "application/json", '{"jsonrpc": "2.0", "id": 0, "resu', "was not answered with JSON"),
    (200, "application/json", "", "was not answered with JSON"),
    (200, "application/json", "{}", "without a result"),
    (200, "application/json", "null", "without a result"),
    (200, "application/json", "[]", "without a result"),
    (200, "application/json", '{"jsonrpc": "2.0", "id": 0, "result": null}', "node 1 of 2"),
    (200, "application/json", '{"jsonrpc": "2.0", "id": 0, "result": "0x"}', "node 1 of 2"),
    (200, "application/json", '{"jsonrpc": "2.0", "id": 0, "result": "0xzz"}', "node 1 of 2"),
    (200, "application/json", '{"jsonrpc": "2.0", "id": 0, "result": {"number": 7}}', "node 1 of 2"),
    (
        200,
        "application/json",
        '{"id": 0, "error": {"code": -32000, "message": "no key s3cr3t-n0de-k3y"}}',
        "no key ...",
    ),
    (200, "application/json", '{"id": 0, "error": "s3cr3t-n0de-k3y"}', "without a result"),
    (301, "text/html", f"see http://elsewhere/{SECRET}", "JSON"),
    (401, "application/json", f'{{"message": "bad key {SECRET}"}}', "HTTP 401"),
    (429, "application/json", '{"message": "slow down"}', "HTTP 429"),
    (503, "text/html", "<html>", "HTTP 503"),
]


@pytest.mark.parametrize("method", ["eth_chainId", "eth_getBlockByNumber", "eth_call"])
def test_nonsense_is_never_an_empty_wallet(
    chain: AaveChain, node: NodeProxy, other_node: NodeProxy, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    chain.give(chain.wallet("alice"), "ETH", "5")
    caplog.set_level(logging.DEBUG)
    silent = other_node
    silent.refuse_to_talk()

    async def question(reader: EthereumReader) -> list[Reading]:
        readings = []
        for status, kind, body, _ in NONSENSE:
            node.answer_with(status, kind, body, method)
            readings += await reader.read()
        node.behave()
        return readings + list(await reader.read())

    *failed, recovered = ask(chain, node.url, silent.url, question=question)
    assert recovered.balances == {"ETH": Decimal(5)}
    for reading, (*_, expected) in zip(failed, NONSENSE, strict=True):
        assert not reading.available
        assert reading.error is not None
        assert expected in reading.error
        assert SECRET not in reading.error + reading.raw
    passed_over = [record for record in caplog.records if record.name == "basis_pipeline.venues.ethereum.chain"]
    assert len(passed_over) >= 2 * len(NONSENSE)
    assert SECRET not in caplog.text


def test_a_node_that_never_answers_costs_its_time_limit_once(chain: AaveChain, node: NodeProxy) -> None:
    released = threading.Event()
    node.before("eth_chainId", lambda: released.wait(20))
    started = time.monotonic()
    try:
        reading = read(chain, node.url, chain.url, request_timeout=timedelta(milliseconds=300))
    finally:
        released.set()
    assert reading.available
    assert time.monotonic() - started < 3


def test_a_dead_node_costs_no_retries(chain: AaveChain, node: NodeProxy) -> None:
    node.refuse_to_talk()
    started = time.monotonic()
    assert read(chain, node.url, chain.url).available
    assert time.monotonic() - started < 1.5
    assert len(node.requests) == len(set(node.requests))


def test_the_url_of_a_node_is_in_no_error_and_no_trace_of_one(
    chain: AaveChain, node: NodeProxy, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refused = node.url.replace("http://", "ftp://")
    for urls, options in (((refused,), {}), ((node.url,), {"chain_id": 5}), ((f"http:///{SECRET}",), {})):
        with pytest.raises(VenueConfigError) as caught:
            read(chain, *urls, **options)
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        error: BaseException | None = caught.value
        while error is not None:
            assert SECRET not in str(error)
            error = error.__cause__ or error.__context__
    dead = f"http://user:{SECRET}@127.0.0.1:9/v2/{SECRET}?key={SECRET}"
    reading = read(chain, dead)
    assert reading.error is not None
    assert SECRET not in reading.error
    assert SECRET not in read(chain, node.url).raw
    assert SECRET not in caplog.text


def test_readings_that_were_cancelled_at_any_moment_hold_up_no_later_one(chain: AaveChain) -> None:
    async def question(reader: EthereumReader) -> Reading:
        for attempt in range(100):
            cut_short = [asyncio.ensure_future(reader.read()) for _ in range(4)]
            for _ in range(attempt % 10):
                await asyncio.sleep(0)
            for task in cut_short:
                task.cancel()
            await asyncio.wait(cut_short)
        (reading,) = await asyncio.wait_for(reader.read(), 30)
        return reading

    assert ask(chain, question=question).available
