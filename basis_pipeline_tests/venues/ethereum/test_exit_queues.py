"""Claims that wait in the exit queues, of which one lists what a wallet owns and the other does not."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from basis_pipeline.domain.observations import Reading
from basis_pipeline.venues.ethereum.reader import EthereumReader
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import ask, read

QUEUES = ("unstETH", "unweETH")


@pytest.mark.parametrize("queue", QUEUES)
def test_requests_count_as_asked_for_until_they_are_final_and_then_as_what_they_pay(
    chain: AaveChain, queue: str
) -> None:
    alice = chain.wallet("alice")
    first = chain.request_exit(alice, queue, "3.000000000000000001")
    chain.request_exit(chain.wallet("bob"), queue, "50")
    second = chain.request_exit(alice, queue, "2")
    assert read(chain).balances == {queue: Decimal("5.000000000000000001")}
    chain.finalize_exit(queue, first, "2.9")
    assert read(chain).balances == {queue: Decimal("4.9")}
    chain.claim_exit(queue, first)
    assert read(chain).balances == {queue: Decimal(2)}
    chain.claim_exit(queue, second)
    assert read(chain).balances == {}


def test_several_wallets_have_claims_of_their_own_at_one_block(chain: AaveChain, node: NodeProxy) -> None:
    for amount, name in enumerate(("alice", "bob"), 1):
        for queue in QUEUES:
            chain.request_exit(chain.wallet(name), queue, amount)
    readings = ask(chain, node.url, question=lambda reader: reader.read(), wallets=("alice", "bob", "carol"))
    assert [dict(reading.balances) for reading in readings] == [
        dict.fromkeys(QUEUES, Decimal(1)),
        dict.fromkeys(QUEUES, Decimal(2)),
        {},
    ]


def test_numbers_that_nobody_lists_are_searched_for_once_and_remembered(chain: AaveChain, node: NodeProxy) -> None:
    alice = chain.wallet("alice")
    chain.request_exit(alice, "unweETH", "3")

    async def question(reader: EthereumReader) -> list[tuple[Sequence[Reading], list[str]]]:
        found = []
        for again in (False, True):
            node.requests.clear()
            readings = await reader.read()
            found.append((readings, [m for m in node.requests if m in ("eth_getLogs", "eth_call")]))
            if not again:
                chain.mine()
        chain.request_exit(alice, "unweETH", "4")
        node.requests.clear()
        found.append((await reader.read(), [m for m in node.requests if m in ("eth_getLogs", "eth_call")]))
        return found

    first, second, third = ask(chain, node.url, question=question)
    assert first[1][-3:] == ["eth_call", "eth_getLogs", "eth_call"]
    assert second[1] == ["eth_call"]
    assert third[1] == ["eth_call", "eth_getLogs", "eth_call"]
    assert [part[0][0].balances["unweETH"] for part in (first, second, third)] == [3, 3, 7]


@pytest.mark.parametrize(
    "body", ['{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"range too wide"}}', '{"id":1,"result":[{}]}']
)
def test_claims_that_cannot_be_found_make_the_account_unavailable_and_nobody_elses(
    chain: AaveChain, node: NodeProxy, body: str
) -> None:
    chain.request_exit(chain.wallet("alice"), "unweETH", "3")
    node.answer_with(200, "application/json", body, "eth_getLogs")
    alice, bob = ask(chain, node.url, question=lambda reader: reader.read(), wallets=("alice", "bob"))
    assert not alice.available
    assert alice.error is not None
    assert "unweETH" in alice.error
    assert bob.available


def test_a_queue_that_counts_more_than_is_found_is_not_believed(chain: AaveChain, node: NodeProxy) -> None:
    chain.request_exit(chain.wallet("alice"), "unweETH", "3")
    chain.request_exit(chain.wallet("alice"), "unweETH", "4")
    node.rewrite("eth_getLogs", lambda _, logs: logs[:1])
    reading = read(chain, node.url)
    assert reading.error is not None
    assert "counts 2 requests, of which 1 were found" in reading.error


@pytest.mark.parametrize("queue", QUEUES)
def test_a_queue_that_stops_answering_makes_the_account_unavailable(chain: AaveChain, queue: str) -> None:
    request = chain.request_exit(chain.wallet("alice"), queue, "3")
    chain.finalize_exit(queue, request, "3")
    address, code = chain.tokens[queue], chain.node.rpc("eth_getCode", chain.tokens[queue], "latest")

    async def question(reader: EthereumReader) -> list[Reading]:
        await reader.read()
        chain.set_code(address, "0x60006000fd")
        (broken,) = await reader.read()
        chain.set_code(address, code)
        (mended,) = await reader.read()
        return [broken, mended]

    broken, mended = ask(chain, question=question)
    assert broken.error is not None
    assert broken.error.startswith(f"{queue}: ")
    assert address in broken.error
    assert mended.balances == {queue: Decimal(3)}
