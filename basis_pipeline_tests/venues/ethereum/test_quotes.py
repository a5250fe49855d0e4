"""Rates and oracle prices of the chain without any wallet."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from basis_pipeline.domain.errors import VenueError
from basis_pipeline.domain.observations import MarketObservation, Verdict
from basis_pipeline.venues.ethereum.quotes import ChainQuotes
from basis_pipeline_tests.rigs.ethereum import AaveChain
from basis_pipeline_tests.rigs.ethereum_proxy import NodeProxy
from basis_pipeline_tests.venues.ethereum.builders import ask_quotes, read


def test_quotes_are_what_a_reading_of_the_same_block_says(market: AaveChain) -> None:
    market.advance(timedelta(days=3))
    quotes = ask_quotes(market, lambda source: source.observe(market.now))
    assert len(quotes) == 17
    assert [quote._replace(fetched_at=market.now) for quote in quotes] == [
        observed._replace(fetched_at=market.now) for observed in read(market).market
    ]


def test_a_series_that_fails_is_left_out_and_named_until_it_answers_again(chain: AaveChain) -> None:
    async def question(source: ChainQuotes) -> list[tuple[Sequence[MarketObservation], Sequence[str]]]:
        chain.break_call("wstETH", "stEthPerToken()")
        seen = [(await source.observe(chain.now), source.problems)]
        chain.mend_call("wstETH", "stEthPerToken()")
        return [*seen, (await source.observe(chain.now), source.problems)]

    (broken, problems), (mended, nothing) = ask_quotes(chain, question)
    assert len(broken) == 16
    assert len(problems) == 1
    assert "lido:wstETHETH:oracle" in problems[0]
    assert chain.tokens["wstETH"] in problems[0]
    assert len(mended) == 17
    assert not nothing


def test_a_chain_that_cannot_be_read_has_no_quotes(chain: AaveChain, node: NodeProxy) -> None:
    node.refuse_to_talk()
    with pytest.raises(VenueError, match="node 1 of 1"):
        ask_quotes(chain, lambda source: source.observe(chain.now), node.url)


def test_the_source_checks_its_node_and_contracts(chain: AaveChain) -> None:
    findings = ask_quotes(chain, lambda source: source.check())
    assert {finding.verdict for finding in findings} == {Verdict.OK}
    assert any("17 series" in finding.message for finding in findings)
    assert ChainQuotes.name == "ethereum"
