"""The benchmarks measure what they say: both sides come to the same equity, and every topic can be measured."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from basis_pipeline.domain.tokens import DEFAULT_REGISTRY
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.steps.equity import SNAPSHOTS, project_equity
from basis_pipeline.steps.ports import Ports
from benchmarks import engine, rows
from benchmarks.data import Data, sample_data
from benchmarks.literal import EntriesInMemory
from benchmarks.measure import Figure
from benchmarks.run import TOPICS


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Days enough for the sample to use every trigger."""
    return sample_data(tmp_path_factory.mktemp("benchmarks"), days=25)


def test_the_literal_specification_and_the_engine_agree_at_every_hour(data: Data, tmp_path: Path) -> None:
    market = MarketHistory(data.market_data)
    with data.ledger(tmp_path / "ledger.db") as ledger:
        assert data.import_all(ledger) > 0
        entries = EntriesInMemory(ledger.snapshot())
    found = engine.ours(entries, market, data.days)
    assert {len(values) for values in found.values()} == {24 * len(data.days)}
    assert engine.largest_difference(found, engine.literally(entries, market, data.days)) <= engine.TOLERANCE


def test_the_literal_specification_writes_the_snapshots_that_the_step_publishes(data: Data, tmp_path: Path) -> None:
    market = MarketHistory(data.market_data)
    with data.ledger(tmp_path / "ledger.db") as ledger:
        data.import_all(ledger)
        written = rows.literally(ledger, market, data.days, tmp_path / "literal")
        published = project_equity(Ports(tmp_path, ledger, market, DEFAULT_REGISTRY), data.days)
    assert written[SNAPSHOTS] == published.row_count(SNAPSHOTS)


@pytest.mark.parametrize("name", TOPICS)
def test_every_topic_can_be_loaded_and_says_what_it_measures(name: str) -> None:
    topic = importlib.import_module(f"benchmarks.{name}")
    assert callable(topic.measure)
    assert topic.__doc__


@pytest.mark.parametrize(
    ("figure", "verdict"),
    [
        (Figure("slow", 1.4, "×", at_most=1.3), "ABOVE"),
        (Figure("fast", 4.9, "×", at_least=5), "BELOW"),
        (Figure("kept", 5, "×", at_least=5), "OK"),
        (Figure("nonsense", float("nan"), "×", at_most=1), "ABOVE"),
        (Figure("only told", 1, "s"), ""),
    ],
)
def test_a_figure_tells_whether_its_bound_is_kept(figure: Figure, verdict: str) -> None:
    assert figure.verdict == verdict
    assert verdict in str(figure)
