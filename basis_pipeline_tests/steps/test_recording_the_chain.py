"""Hours that the pipeline slept through are filled in from the chain, so that their days can be valued after all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from basis_pipeline.domain.quotes import Quote
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.steps.equity import EquityIncomplete
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline.steps.recording import RecordingReport, record_market
from basis_pipeline.steps.staleness import stale_days
from basis_pipeline.venues.ethereum.chain import Chain
from basis_pipeline.venues.ethereum.quotes import ChainQuotes
from basis_pipeline_tests.homes import ask
from basis_pipeline_tests.rigs.ethereum import AaveChain, aave_chain
from basis_pipeline_tests.rigs.ethereum_fixtures import ethereum_parts
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy, node_proxy
from basis_pipeline_tests.steps.builders import hour
from basis_pipeline_tests.steps.live_builders import Live, Scripted, live, seen

__all__ = ["ethereum_parts"]

TODAY = DayRange(date(2024, 5, 12), date(2024, 5, 12))


@pytest.fixture
def fund(tmp_path: Path) -> Iterator[Live]:
    """1,000 USDT in the wallet."""
    with live(tmp_path / "home", sqlite_url(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def chain(ethereum_parts: None) -> Iterator[AaveChain]:
    """A chain that begins with the fund."""
    with aave_chain("v3.6", start=hour(0)) as running:
        yield running


@pytest.fixture
def node(chain: AaveChain) -> Iterator[NodeProxy]:
    """Its node."""
    with node_proxy(chain.url) as proxy:
        yield proxy


def pass_time(fund: Live, chain: AaveChain, first: int, until: float) -> None:
    """Shortly before each hour USDT gets a price of its own: one cent more than the hour before."""
    for at in range(first, int(until) + 1):
        chain.set_time(hour(at) - timedelta(seconds=30))
        chain.set_price("USDT", Decimal(1) + Decimal(at) / 100)
    chain.set_time(hour(until))
    fund.now = until


def run(fund: Live, chain: AaveChain, node: NodeProxy, deadline: float = 30) -> RecordingReport:
    """What a new process records: nothing is remembered but in the ledger."""

    async def recorded() -> RecordingReport:
        provider = chain.addresses["provider"]
        clock = fund.ports.clock
        source = ChainQuotes(Chain(chain.registry, [node.url], clock, block=0, pool_addresses_provider=provider))
        try:
            return await record_market(fund.ports, [source], deadline=timedelta(seconds=deadline))
        finally:
            await source.close()

    node.requests.clear()
    return asyncio.run(recorded())


def prices(fund: Live, first: int, last: int) -> list[Decimal | None]:
    market = fund.ports.market.window(hour(first), hour(last))
    found = [market.price("USDT", hour(at)) for at in range(first, last + 1)]
    return [answer.price if isinstance(answer, Quote) else None for answer in found]


def test_a_day_with_a_long_outage_can_be_valued_once_an_archive_node_is_asked(
    fund: Live, chain: AaveChain, node: NodeProxy
) -> None:
    pass_time(fund, chain, 1, 1.25)
    assert run(fund, chain, node).new == 17, "before recording began there is nothing to fill in"
    calls_of_one_reading = list(node.requests)
    pass_time(fund, chain, 2, 8.5)
    node.forget_state(but=1)
    report = run(fund, chain, node)
    assert report.new == 17
    (problem,) = report.problems
    assert "7 missed hours up to 2024-05-12T08:00:00Z are not filled in" in problem
    assert "use an archive node" in problem
    assert prices(fund, 2, 8) == [Decimal("1.01")] * 2 + [None] * 5
    with pytest.raises(EquityIncomplete):
        rebuild(fund.ports, TODAY)

    node.behave()
    report = run(fund, chain, node)
    assert (report.new, report.problems) == (17 * 7, ())
    assert prices(fund, 2, 8) == [Decimal(1) + Decimal(at) / 100 for at in range(2, 9)]
    rebuild(fund.ports, TODAY)
    found = ask(fund.home, "SELECT price_usd FROM prices WHERE symbol = 'USDT' ORDER BY as_of")
    assert [price for (price,) in found] == [Decimal(1) + Decimal(at) / 100 for at in (*range(2, 9), 8)]
    assert stale_days(fund.ports, TODAY) == []

    assert run(fund, chain, node).new == 0
    assert sorted(node.requests) == sorted(calls_of_one_reading), "nothing is asked twice"


def test_hours_that_are_filled_in_late_restate_what_was_published(
    fund: Live, chain: AaveChain, node: NodeProxy
) -> None:
    pass_time(fund, chain, 1, 1.25)
    run(fund, chain, node)
    pass_time(fund, chain, 2, 3.25)
    node.forget_state(but=1)
    run(fund, chain, node)
    rebuild(fund.ports, TODAY)
    bridged = ask(fund.home, "SELECT price_usd FROM prices WHERE symbol = 'USDT' ORDER BY as_of")
    assert [price for (price,) in bridged] == [Decimal(n) / 100 for n in (101, 101, 103)]
    node.behave()
    run(fund, chain, node)
    assert stale_days(fund.ports, TODAY) == list(TODAY)
    rebuild(fund.ports, TODAY)
    exact = ask(fund.home, "SELECT price_usd FROM prices WHERE symbol = 'USDT' ORDER BY as_of")
    assert [price for (price,) in exact] == [Decimal(n) / 100 for n in (102, 103, 103)]


def test_an_hour_that_was_observed_shortly_before_is_not_asked_for(
    fund: Live, chain: AaveChain, node: NodeProxy
) -> None:
    for at in (1.8, 2.8, 3.8, 4.2):  # a quarter of an hour back, as finalized blocks are
        pass_time(fund, chain, int(at), at)
        assert run(fund, chain, node).new == 17
        assert node.requests.count("eth_getBlockByNumber") == 2


def test_a_source_that_hangs_while_it_fills_in_costs_neither_its_newest_values_nor_what_it_said(
    fund: Live, chain: AaveChain, node: NodeProxy
) -> None:
    pass_time(fund, chain, 1, 1.25)
    run(fund, chain, node)
    pass_time(fund, chain, 2, 3)
    third = chain.block_hash(chain.block_number)
    pass_time(fund, chain, 4, 5.5)
    released = threading.Event()

    def hang(params: list[object], result: object) -> object:
        if params[1] == {"blockHash": third}:
            released.wait(20)
        return result

    node.rewrite("eth_call", hang)
    try:
        report = run(fund, chain, node, deadline=2)
    finally:
        released.set()
    assert report.problems == ("ethereum: missed hours were not all filled in within 2 s; the next recording goes on",)
    assert report.new == 17 * 3, "the newest block, and those of the fifth and the fourth hour"
    node.behave()
    report = run(fund, chain, node)
    assert (report.new, report.problems) == (17 * 2, ())
    assert prices(fund, 2, 5) == [Decimal(1) + Decimal(at) / 100 for at in range(2, 6)]


def test_sources_that_cannot_tell_of_the_past_are_not_asked_for_it(fund: Live) -> None:
    fund.record(seen("binance ETHUSDT spot", 1))
    fund.now = 9
    report = asyncio.run(record_market(fund.ports, [Scripted("binance", [seen("binance ETHUSDT spot", 9)])]))
    assert (report.new, report.problems) == (1, ())
