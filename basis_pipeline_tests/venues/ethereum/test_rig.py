"""The test chain is what others take it for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from basis_pipeline.settings import Settings, TokenSettings
from basis_pipeline_tests.rigs.ethereum import AaveChain, NodeError, aave_chain
from basis_pipeline_tests.rigs.ethereum_fixtures import START
from basis_pipeline_tests.venues.ethereum.builders import account, read


def test_its_tokens_written_into_settings_make_its_registry(chain: AaveChain) -> None:
    tokens = {symbol: TokenSettings.model_validate(entry) for symbol, entry in chain.token_settings().items()}
    assert Settings(tokens=tokens).registry().tokens == chain.registry.tokens


def test_it_starts_where_it_is_told_and_time_moves_by_the_block(chain: AaveChain) -> None:
    assert chain.now == START
    chain.mine(2)
    assert chain.now == START + timedelta(seconds=2)
    chain.advance(timedelta(days=30))
    assert chain.now == START + timedelta(days=30, seconds=2)
    with pytest.raises(NodeError):
        chain.set_time(START)


def test_without_a_start_it_is_now_and_finalized_at_once(ethereum_parts: None) -> None:
    with aave_chain("v3.6") as chain:
        reading = read(chain, clock=lambda: datetime.now(UTC), block="finalized")
        assert reading.available, reading.error
        assert reading.account == account("alice")
        assert abs(datetime.now(UTC) - chain.now) < timedelta(minutes=1)


def test_what_aave_refuses_is_an_error(chain: AaveChain) -> None:
    with pytest.raises(NodeError):
        chain.borrow(chain.wallet("alice"), "WETH", "1")
    with pytest.raises(ValueError, match="no more than 6 places"):
        chain.give(chain.wallet("alice"), "USDT", "0.0000001")
