"""The sample is deterministic, complete and exact, and its equity is something an investor could believe."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from basis_pipeline.domain.changes import BalanceUpdate, Trigger
from basis_pipeline.domain.equity import Equity, total
from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.instants import DAY, HOUR
from basis_pipeline.domain.intake import parse_update
from basis_pipeline.domain.positions import Book
from basis_pipeline.domain.tokens import DEFAULT_REGISTRY, EXCHANGES, IN_TRANSIT, WALLET
from basis_pipeline.domain.valuation import Line, Sheet, Side, describe_book
from basis_pipeline.market.checks import check_history
from basis_pipeline.market.history import MarketHistory
from basis_pipeline.sample.generate import START, Sample, SamplePortfolio, default_config, generate

EXTERNAL_FLOWS = (Trigger.DEPOSIT, Trigger.WITHDRAWAL)


class Hour(NamedTuple):
    equity: Equity
    lines: list[Line]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return generate(tmp_path_factory.mktemp("home") / "sample")


@pytest.fixture(scope="module")
def valued(sample: Sample) -> dict[str, list[Hour]]:
    """Every hour of every portfolio of the default seed."""
    return value_by_hour(sample)


def refuse_float(text: str) -> Decimal:
    raise AssertionError(f"{text} is a JSON number; amounts are decimal strings")


def journal(portfolio: SamplePortfolio) -> Iterator[BalanceUpdate]:
    with gzip.open(portfolio.journal, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield parse_update(json.loads(line, parse_float=refuse_float, parse_int=refuse_float))


def opening_book(portfolio: SamplePortfolio) -> Book:
    return Book({(WALLET, portfolio.share_class): portfolio.initial_capital})


def value_by_hour(sample: Sample) -> dict[str, list[Hour]]:
    history = MarketHistory(sample.market_data)
    first, last = history.span()
    instants = [first + HOUR * n for n in range((last - first) // HOUR + 1)]
    sheet = Sheet(history.window(first, last), DEFAULT_REGISTRY, instants)
    result = {}
    for portfolio in sample.portfolios:
        book, updates = opening_book(portfolio), list(journal(portfolio))
        hours = []
        for position, instant in enumerate(instants):
            while updates and updates[0].timestamp <= instant:
                book.apply(updates.pop(0))
            lines, missing = sheet.lines(describe_book(book, DEFAULT_REGISTRY), portfolio.share_class, position)
            assert missing == []
            hours.append(Hour(total(lines), lines))
        assert updates == []
        result[portfolio.name] = hours
    return result


def profit(portfolio: SamplePortfolio, hours: list[Hour]) -> Decimal:
    """Change of nav that is not money in or out, as a share of the initial capital."""
    flows = sum(u.token_changes[0].delta for u in journal(portfolio) if u.trigger in EXTERNAL_FLOWS)
    return (hours[-1].equity.nav - hours[0].equity.nav - flows) / portfolio.initial_capital


def files(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_the_same_seed_gives_identical_bytes(sample: Sample, tmp_path: Path) -> None:
    again = generate(tmp_path)
    assert files(again.directory) == files(sample.directory)
    assert generate(tmp_path) == again
    assert files(tmp_path) == files(sample.directory)


def test_another_seed_gives_other_prices_and_journals(sample: Sample, tmp_path: Path) -> None:
    other = files(generate(tmp_path, seed=8).directory)
    same = {name for name, content in files(sample.directory).items() if other[name] == content}
    assert same == set()


def test_the_written_files_are_exactly_these(sample: Sample) -> None:
    assert set(files(sample.directory)) == {
        "README.txt",
        "journals/sample_eth_loop.jsonl.gz",
        "journals/sample_usdt_lending.jsonl.gz",
        "journals/sample_usdt_neutral.jsonl.gz",
        "market_data/aave_reserve_hourly.parquet",
        "market_data/prices.parquet",
    }


def test_everything_says_that_it_is_synthetic(sample: Sample) -> None:
    assert "SYNTHETIC" in (sample.directory / "README.txt").read_text().splitlines()[0]
    assert all(portfolio.name.startswith("sample_") for portfolio in sample.portfolios)
    for path in sample.market_data.iterdir():
        assert set(pq.read_table(path)["method"].to_pylist()) == {"synthetic"}


def test_the_terms_and_days_are_those_of_the_files(sample: Sample) -> None:
    assert [(p.share_class, p.initial_capital, p.start) for p in sample.portfolios] == [
        ("USDT", Decimal(1_000_000), START),
        ("ETH", Decimal(400), START),
        ("USDT", Decimal(1_000_000), START),
    ]
    first, last = MarketHistory(sample.market_data).span()
    assert (first, last) == (START, START + 30 * DAY - HOUR)
    assert (sample.first_day, sample.last_day) == (first.date(), last.date())


@pytest.mark.parametrize("days", [25, 30])
def test_every_trigger_is_used(days: int, tmp_path: Path) -> None:
    used = {update.trigger for portfolio in generate(tmp_path, days=days).portfolios for update in journal(portfolio)}
    # The ledger books the initial capital itself when a portfolio is registered.
    assert used == set(Trigger) - {Trigger.INITIAL_CAPITAL}


@pytest.mark.parametrize("seed", [7, 1, 2025])
def test_a_book_takes_every_update_in_order_and_agrees_with_its_new_balance(seed: int, tmp_path: Path) -> None:
    for portfolio in generate(tmp_path, seed).portfolios:
        book, times, ids = opening_book(portfolio), [portfolio.start], set()
        for update in journal(portfolio):
            assert all(change.new_balance is not None for change in update.token_changes)
            book.apply(update)
            times.append(update.timestamp)
            ids.add(update.id)
        assert times == sorted(times)
        assert len(ids) == len(times) - 1
        assert times[-1] < portfolio.start + 30 * DAY


def test_amounts_are_decimal_strings_and_market_numbers_are_exact(sample: Sample) -> None:
    for portfolio in sample.portfolios:
        assert list(journal(portfolio))
    for path in sample.market_data.iterdir():
        kinds = {field.type for field in pq.read_schema(path)}
        assert kinds == {pa.timestamp("us", "UTC"), pa.string(), pa.decimal128(38, 18)}


def test_the_market_files_have_no_gap_no_duplicate_and_no_falling_index(sample: Sample) -> None:
    findings = check_history(MarketHistory(sample.market_data))
    assert {finding.kind for finding in findings} == {"computed"}
    assert {finding.message.rpartition(" ")[2] for finding in findings} == {"synthetic"}


@pytest.mark.parametrize("venue", EXCHANGES)
def test_each_exchange_marks_its_perps_close_to_spot(sample: Sample, venue: str) -> None:
    window = MarketHistory(sample.market_data).window(START, START + 30 * DAY - HOUR)
    for hour in range(0, 30 * 24, 24):
        at = START + HOUR * hour
        for token in ("ETH", "BTC"):
            mark, spot = window.mark(venue, f"{token}USDT-PERP", at), window.price(token, at)
            assert abs(mark.price / spot.price - 1) < Decimal("0.002")  # type: ignore[union-attr]


def test_every_holding_can_be_valued_at_every_hour(valued: dict[str, list[Hour]]) -> None:
    assert [len(hours) for hours in valued.values()] == [30 * 24] * 3


@pytest.mark.parametrize("seed", [7, 3])
def test_the_profit_of_a_month_is_plausible(seed: int, tmp_path: Path) -> None:
    sample = generate(tmp_path, seed)
    valued = value_by_hour(sample)
    made = {p.name: profit(p, valued[p.name]) for p in sample.portfolios}
    assert Decimal("0.002") < made["sample_usdt_lending"] < Decimal("0.01")
    assert Decimal("0.002") < made["sample_eth_loop"] < Decimal("0.02")
    assert Decimal("-0.02") < made["sample_usdt_neutral"] < Decimal("0.03")


def test_the_neutral_book_is_flat_in_nav_but_not_in_equity(valued: dict[str, list[Hour]]) -> None:
    equities = [hour.equity for hour in valued["sample_usdt_neutral"]]
    navs, totals = [e.nav for e in equities], [e.total_equity for e in equities]
    assert max(navs) - min(navs) < Decimal(15_000) < max(totals) - min(totals)


@pytest.mark.parametrize(
    ("portfolio", "what", "holds"),
    [
        (
            "sample_eth_loop",
            "a claim in an exit queue",
            lambda line: line.side == Side.LOCKED and line.token == "unstETH",
        ),
        ("sample_eth_loop", "WETH", lambda line: line.token == "WETH"),
        ("sample_eth_loop", "stETH", lambda line: line.token == "stETH"),
        ("sample_eth_loop", "eETH", lambda line: line.token == "eETH"),
        ("sample_eth_loop", "aWETH", lambda line: line.token == "aWETH"),
        ("sample_eth_loop", "rewards", lambda line: line.token in {"KING", "EIGEN", "ETHFI"}),
        ("sample_usdt_lending", "money on its way", lambda line: line.side == Side.IN_TRANSIT),
        ("sample_usdt_neutral", "money on its way", lambda line: line.side == Side.IN_TRANSIT),
        ("sample_usdt_neutral", "margin borrowed", lambda line: line.side == Side.DEBT and line.account in EXCHANGES),
        ("sample_usdt_neutral", "BTC borrowed", lambda line: line.token == "variableDebtBTC"),
        ("sample_usdt_neutral", "a hedge-mode long", lambda line: line.token == "BTCUSDT-PERP:LONG"),
        ("sample_usdt_neutral", "a hedge-mode short", lambda line: line.token == "ETHUSDT-PERP:SHORT"),
    ],
)
def test_at_some_hour_there_is(
    valued: dict[str, list[Hour]], portfolio: str, what: str, holds: Callable[[Line], bool]
) -> None:
    assert any(holds(line) for hour in valued[portfolio] for line in hour.lines), what


def test_a_transfer_through_in_transit_is_two_entries_and_leaves_nothing_behind(sample: Sample) -> None:
    for portfolio in sample.portfolios:
        book, legs = opening_book(portfolio), []
        for update in journal(portfolio):
            book.apply(update)
            legs += [c.delta > 0 for c in update.token_changes if c.venue == IN_TRANSIT]
        assert legs == [True, False] * (len(legs) // 2)
        assert not any(venue == IN_TRANSIT for venue, _ in book.balances)


def test_the_claim_in_the_exit_queue_is_redeemed_for_eth(sample: Sample) -> None:
    legs = [
        {change.token: change.delta for change in update.token_changes}
        for portfolio in sample.portfolios
        for update in journal(portfolio)
        if update.trigger is Trigger.SPOT_TRADE and any(c.token == "unstETH" for c in update.token_changes)
    ]
    assert [set(entry) for entry in legs] == [{"wstETH", "unstETH"}, {"unstETH", "ETH"}]
    assert legs[0]["unstETH"] == -legs[1]["unstETH"] == legs[1]["ETH"] > -legs[0]["wstETH"] > 0


def test_a_shorter_sample_is_the_beginning_of_a_longer_one(sample: Sample, tmp_path: Path) -> None:
    short = generate(tmp_path, days=3)
    assert short.last_day == (START + 2 * DAY).date()
    for brief, full in zip(short.portfolios, sample.portfolios, strict=True):
        assert list(journal(brief)) == [u for u in journal(full) if u.timestamp < START + 3 * DAY]
    for path in short.market_data.iterdir():
        full = pq.read_table(sample.market_data / path.name)
        assert pq.read_table(path).equals(full.filter(pc.field("timestamp") < START + 3 * DAY))


@pytest.mark.parametrize("days", [0, -1, 367])
def test_a_number_of_days_it_cannot_fill_is_refused(days: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"days: {days} "):
        generate(tmp_path / "sample", days=days)
    assert not (tmp_path / "sample").exists()


def test_the_configuration_names_the_data_relative_to_the_home(sample: Sample) -> None:
    config = default_config(sample)
    assert config["mode"] == "backtest"
    assert sample.directory.parent / config["market_data"] == sample.market_data
    assert config["portfolios"]["sample_eth_loop"] == {
        "share_class": "ETH",
        "initial_capital": "400",
        "start": "2025-01-01T00:00:00Z",
    }
    assert json.loads(json.dumps(config)) == config
