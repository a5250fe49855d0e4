"""Past hours read at the block that was the newest then, and how that block is found."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.observations import Block, MarketObservation
from basis_pipeline.venues.ethereum.nodes import Node, NodeError
from basis_pipeline.venues.ethereum.quotes import ChainQuotes
from basis_pipeline.venues.ethereum.search import SLOT, BlockSearch
from basis_pipeline_tests.rigs.ethereum import AaveChain, aave_chain
from basis_pipeline_tests.rigs.ethereum_fixtures import START
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy, node_proxy
from basis_pipeline_tests.venues.ethereum.builders import ask_quotes

SECOND = timedelta(seconds=1)
FIVE = [START + HOUR * n for n in range(1, 6)]


def sleep_through(chain: AaveChain, hours: Sequence[datetime] = FIVE) -> dict[datetime, tuple[int, int]]:
    """Blocks around each hour; what the contracts said in the last one up to the hour, by its time."""
    said = {}
    for n, hour in enumerate(hours):
        chain.set_time(hour - SECOND * (7 + n))
        said[chain.now] = chain.liquidity_index("WETH"), chain.debt_index("USDT")
        chain.set_time(hour + SECOND * 5)
    chain.set_time(hours[-1] + timedelta(minutes=20))
    return said


def fill_in(
    chain: AaveChain, *urls: str, hours: Sequence[datetime] = FIVE, block: str | int = 0
) -> tuple[list[MarketObservation], list[str]]:
    """What a fresh source says of the hours, and its problems: those of series, and the one that stopped it."""

    async def question(source: ChainQuotes) -> tuple[list[MarketObservation], list[str]]:
        observed: list[MarketObservation] = []
        stopped = []
        try:
            async for found in source.at_hours(hours):
                observed += found
        except VenueError as failed:
            stopped.append(str(failed))
        return observed, [*source.problems, *stopped]

    return ask_quotes(chain, question, *urls, block=block)


def values(observed: Sequence[MarketObservation], venue: str, symbol: str, kind: str) -> dict[datetime, Decimal]:
    return {each.observed_at: each.value for each in observed if each[:3] == (venue, symbol, kind)}


def ray(number: int) -> Decimal:
    return Decimal(number).scaleb(-27)


def test_five_hours_that_were_slept_through_are_what_the_contracts_said_then(market: AaveChain) -> None:
    said = sleep_through(market)
    observed, problems = fill_in(market)
    assert not problems
    assert len(observed) == 17 * 5
    assert values(observed, "aave_reserve", "WETH", "liquidity_index") == {at: ray(n) for at, (n, _) in said.items()}
    assert values(observed, "aave_reserve", "USDT", "variable_borrow_index") == {
        at: ray(n) for at, (_, n) in said.items()
    }
    assert {each.fetched_at for each in observed} == {market.now}
    assert {each.venue for each in observed} == set(ChainQuotes.venues)


def test_prices_and_rates_are_those_of_their_hour(chain: AaveChain) -> None:
    for n, hour in enumerate(FIVE):
        chain.set_time(hour - SECOND * 30)
        chain.set_price("USDT", f"0.99{n}")
        chain.set_rate("weETH", f"1.0{n}")
    chain.set_time(FIVE[-1] + HOUR / 2)
    observed, _ = fill_in(chain)
    prices = values(observed, "aave_oracle", "USDTUSD", "oracle")
    assert list(prices.values()) == [Decimal(f"0.99{n}") for n in (4, 3, 2, 1, 0)], "the newest hour first"
    assert list(values(observed, "etherfi", "weETHETH", "oracle").values()) == [
        Decimal(f"1.0{n}") for n in (4, 3, 2, 1, 0)
    ]


@pytest.mark.parametrize("block", ["finalized", 4])
def test_no_hour_after_the_block_that_is_read_now_is_filled_in(chain: AaveChain, block: str | int) -> None:
    sleep_through(chain)
    chain.mine(2)  # four blocks behind is the last one up to the fifth hour, which another one may yet follow
    observed, problems = fill_in(chain, block=block)
    assert not problems
    assert len({each.observed_at for each in observed}) == 4
    chain.mine()
    assert len({each.observed_at for each in fill_in(chain, block=block)[0]}) == 5


def test_hours_without_a_block_have_nothing_to_fill_in(chain: AaveChain) -> None:
    said = sleep_through(chain, [FIVE[0], FIVE[4]])
    observed, problems = fill_in(chain, hours=[START - HOUR * 24 * 365 * 9, *FIVE])
    assert not problems
    # The second hour's last block is the one five seconds after the first; the chain stood still after that.
    assert {each.observed_at for each in observed} == {*said, FIVE[0] + SECOND * 5}


def test_each_hour_costs_one_call_and_few_searches(chain: AaveChain, node: NodeProxy) -> None:
    sleep_through(chain)

    async def question(source: ChainQuotes) -> int:
        await source.observe(chain.now)
        node.requests.clear()
        return len([found async for found in source.at_hours(FIVE)])

    assert ask_quotes(chain, question, node.url) == 5
    assert node.requests.count("eth_call") == 5
    assert set(node.requests) == {"eth_call", "eth_getBlockByNumber"}


def test_a_node_without_old_state_tells_what_it_can_and_is_asked_once_for_what_it_cannot(
    chain: AaveChain, node: NodeProxy
) -> None:
    said = sleep_through(chain)
    node.forget_state(but=5)  # the last block up to the fourth hour is the fifth newest

    async def question(source: ChainQuotes) -> tuple[int, list[datetime], str]:
        newest = await source.observe(chain.now)
        node.requests.clear()
        hours = source.at_hours(FIVE)
        filled = [(await anext(hours))[0].observed_at for _ in range(2)]
        with pytest.raises(VenueError) as stopped:
            await anext(hours)
        return len(newest), filled, str(stopped.value)

    newest, filled, problem = ask_quotes(chain, question, node.url)
    assert newest == 17
    assert filled == sorted(said)[:2:-1]
    assert node.requests.count("eth_call") == 3
    assert f"3 missed hours up to {FIVE[2]:%Y-%m-%dT%H}:00:00Z are not filled in" in problem
    assert "missing trie node" in problem
    assert "use an archive node" in problem


def test_what_one_node_cannot_tell_the_next_one_does(chain: AaveChain, node: NodeProxy, other_node: NodeProxy) -> None:
    said = sleep_through(chain)
    node.forget_state(but=5)
    observed, problems = fill_in(chain, node.url, other_node.url)
    assert not problems
    assert list(dict.fromkeys(each.observed_at for each in observed)) == sorted(said, reverse=True)
    assert other_node.requests.count("eth_call") >= 3


def test_a_node_of_another_chain_a_node_that_lags_and_a_dead_one_fill_in_nothing(
    chain: AaveChain, node: NodeProxy
) -> None:
    sleep_through(chain)
    for misbehave in (lambda: node.lie_about_chain_id(5), lambda: node.lag(blocks=3), node.refuse_to_talk):
        node.behave()
        misbehave()
        observed, (problem,) = fill_in(chain, node.url)
        assert not observed
        assert "5 missed hours" in problem
        assert "node 1 of 1" in problem
        assert "archive" not in problem
        assert fill_in(chain, node.url, chain.url)[1] == []


def test_a_block_of_another_number_than_asked_for_is_not_believed(chain: AaveChain, node: NodeProxy) -> None:
    sleep_through(chain)
    old = chain.node.rpc("eth_getBlockByNumber", "0x5", False)
    node.rewrite("eth_getBlockByNumber", lambda params, found: old if params[0] != "latest" else found)
    observed, (problem,) = fill_in(chain, node.url)
    assert not observed
    assert "gave block 5 when" in problem


def test_no_block_mixes_the_answers_of_two_nodes(chain: AaveChain, node: NodeProxy) -> None:
    with aave_chain("v3.6", start=START - timedelta(seconds=30)) as other, node_proxy(other.url) as second:
        sleep_through(chain)
        for hour in FIVE[:3]:
            other.set_time(hour - SECOND * 99)
        other.set_time(chain.now)
        node.forget_state(but=5)
        observed, problems = fill_in(chain, node.url, second.url)
    assert not problems
    times = sorted({each.observed_at for each in observed})
    assert times == [*(hour - SECOND * 99 for hour in FIVE[:3]), FIVE[3] - SECOND * 10, FIVE[4] - SECOND * 11]
    assert len(observed) == 17 * 5


def test_contracts_that_changed_meanwhile_are_those_of_their_time(chain: AaveChain, node: NodeProxy) -> None:
    said = sleep_through(chain, FIVE[:3])
    admin, oracle = chain.node.rpc("eth_accounts")[0], chain.clone(chain.addresses["oracle"])  # which knows no price
    chain.node.send(admin, chain.addresses["provider"], "setPriceOracle(address)", [oracle])
    said.update(sleep_through(chain, FIVE[3:]))

    async def question(source: ChainQuotes) -> tuple[int, list[int], list[str], int]:
        newest = len(await source.observe(chain.now))
        node.requests.clear()
        filled = [len(found) async for found in source.at_hours(FIVE)]
        calls = node.requests.count("eth_call")
        problems = list(source.problems)
        assert len(await source.observe(chain.now)) == newest
        return newest, filled, problems, node.requests.count("eth_call") - calls

    newest, filled, problems, calls_then = ask_quotes(chain, question, node.url)
    assert (newest, filled) == (12, [12, 12, 17, 17, 17])
    assert len(problems) == 5, "once each, although three blocks have them"
    assert calls_then == 1, "the contracts of now are still known"


def test_a_reorganisation_under_the_call_leaves_the_hour_for_later(chain: AaveChain, node: NodeProxy) -> None:
    sleep_through(chain)

    def reorganise(_: list[object], result: object) -> object:
        chain.reorg(5)
        chain.set_time(FIVE[-1] + HOUR)
        return result

    async def question(source: ChainQuotes) -> str:
        await source.observe(chain.now)
        node.rewrite("eth_call", reorganise)
        with pytest.raises(VenueError) as stopped:
            await anext(source.at_hours(FIVE))
        return str(stopped.value)

    assert "the chain changed while block" in ask_quotes(chain, question, node.url)


def every_block(chain: AaveChain) -> list[Block]:
    found = [chain.node.rpc("eth_getBlockByNumber", hex(n), False) for n in range(chain.block_number + 1)]
    epoch = START - timedelta(seconds=int(START.timestamp()))
    return [Block(int(b["number"], 16), b["hash"], epoch + SECOND * int(b["timestamp"], 16)) for b in found]


def test_the_last_block_up_to_a_moment_is_found_however_irregular_the_blocks_are(
    chain: AaveChain, node: NodeProxy
) -> None:
    for seconds in (1, 1, 1, 40, 12, 12, 3599, 1, 7200, 24, 12, 1, 1, 86400, 1, 5):
        chain.advance(SECOND * seconds)
    blocks = every_block(chain)
    times = [block.time for block in blocks]
    moments = {at + SECOND * off for at in times for off in (-1, 0, 1, 300) if at + SECOND * off <= times[-1]}

    async def search(order: Callable[[set[datetime]], list[datetime]]) -> list[tuple[datetime, Block | None]]:
        source = Node(node.url, 1, 1, timedelta(seconds=10))
        try:
            searched = BlockSearch(source, blocks[-1])
            return [(moment, await searched.last_at(moment)) for moment in order(moments)]
        finally:
            await source.close()

    for order in (sorted, lambda given: sorted(given, reverse=True), lambda given: sorted(given, key=hash)):
        node.requests.clear()
        for moment, found in asyncio.run(search(order)):
            place = bisect_right(times, moment)
            assert found == (blocks[place - 1] if place else None)
        assert len(node.requests) <= len(blocks), "no block is asked for twice"


class Mainnet(Node):
    """Two days of slots of which every hundred and fiftieth is missed: too many blocks for a real node in a test."""

    def __init__(self) -> None:
        self.label = "mainnet"
        self.asked = 0
        slots = [n for n in range(20_000_000, 20_016_000) if n % 150]
        self.blocks = [Block(number, "", START + SLOT * (n - slots[0])) for number, n in enumerate(slots, 5_000_000)]

    async def block(self, which: str | int) -> Block:
        self.asked += 1
        place = int(which) - self.blocks[0].number
        if not 0 <= place < len(self.blocks):
            raise NodeError(f"{which} is far outside")
        return self.blocks[place]


def test_two_days_of_hours_of_mainnet_are_found_with_three_requests_each() -> None:
    node = Mainnet()
    newest = node.blocks[-1]
    hours = [newest.time.replace(minute=0, second=0) - HOUR * n for n in range(48)]
    searched = BlockSearch(node, newest)

    async def search() -> list[Block | None]:
        return [await searched.last_at(hour) for hour in hours]

    found = asyncio.run(search())
    times = [block.time for block in node.blocks]
    assert found == [node.blocks[bisect_right(times, hour) - 1] for hour in hours]
    assert node.asked <= 3.5 * 48
