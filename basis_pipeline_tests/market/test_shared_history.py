"""The history on real data: every hour answered, from the sources the data's description names."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from basis_pipeline.domain.instants import HOUR
from basis_pipeline.domain.quotes import Quote, Rate, Unavailable
from basis_pipeline.market.checks import Severity, check_history
from basis_pipeline.market.history import MarketHistory

pytestmark = pytest.mark.acceptance

FIRST = datetime(2024, 5, 12, 1, tzinfo=UTC)
LAST = datetime(2025, 9, 25, 23, tzinfo=UTC)
RATES = [
    "lst:weETH",
    "lst:wstETH",
    *(
        f"aave:{reserve}:{side}"
        for reserve in ("WETH", "USDT", "WBTC", "weETH", "wstETH")
        for side in ("liquidity", "debt")
    ),
]


@pytest.fixture(scope="module")
def history(shared: Path) -> MarketHistory:
    return MarketHistory(shared / "market_data")


def source(answer: Quote | Unavailable) -> str:
    assert isinstance(answer, Quote), answer
    return answer.source


def test_the_span_is_that_of_the_data(history: MarketHistory) -> None:
    assert history.span() == (FIRST, LAST)


def test_every_hour_has_every_price_rate_and_mark(history: MarketHistory) -> None:
    market = history.window(FIRST, LAST)
    sources: set[tuple[str, str]] = set()
    at = FIRST
    while at <= LAST:
        for token in ("ETH", "WETH", "BTC", "USDT"):
            answer = market.price(token, at)
            assert isinstance(answer, Quote)
            assert answer.observed_at == at
            sources.add((token, answer.source))
        for name in RATES:
            rate = market.rate(name, at)
            assert isinstance(rate, Rate)
            assert rate.observed_at == at
        for venue in ("binance", "bybit", "okx"):
            for instrument in ("ETHUSDT-PERP", "BTCUSDT-PERP"):
                assert source(market.mark(venue, instrument, at)) == f"{venue} {instrument[:7]} perp"
        at += HOUR
    assert sources == {
        ("ETH", "bybit ETHUSDT spot"),
        ("WETH", "bybit ETHUSDT spot"),
        ("BTC", "binance BTCUSDT spot"),
        ("USDT", "aave_oracle USDTUSD oracle"),
    }


def test_reward_tokens_are_priced_from_their_derived_and_modelled_series(history: MarketHistory) -> None:
    market = history.window(FIRST, LAST)
    names = {token: source(market.price(token, LAST)) for token in ("EIGEN", "ETHFI", "KING")}
    assert names == {
        "EIGEN": "derived EIGENUSDT spot",
        "ETHFI": "derived ETHFIUSDT spot",
        "KING": "modelled KINGUSDT spot",
    }
    assert "derived EIGENUSDT spot: no observation" in market.price("EIGEN", FIRST)[1]


def test_the_projection_has_unique_rows(history: MarketHistory) -> None:
    rows = [row[:3] for row in history.window(LAST, LAST).all_quotes(LAST)]
    assert len(rows) == len(set(rows)) == 22
    assert len(list(history.window(LAST, LAST).all_rates(LAST))) == len(RATES)


def test_the_data_has_no_errors_and_its_known_peculiarities_are_found(history: MarketHistory) -> None:
    found = check_history(history)
    assert {one.severity for one in found} == {Severity.INFO}
    counts = {(one.series, one.kind, one.message.rpartition(" ")[2]): one.count for one in found}
    assert counts["binance:BTCUSDT:spot", "computed", "filled_bybit_x_ratio"] == 276
    assert counts["okx:ETHUSDT:perp", "computed", "proxy_mean_binance_bybit"] == 3983
    assert counts["curve:weETHWETH:dex", "starts_late", "starts"] == 28
    assert counts["aave_oracle:weETHETH:oracle", "falling_rate", "may"] == 24


def test_speed_is_printed(history: MarketHistory, capsys: pytest.CaptureFixture[str]) -> None:
    history.span()

    def ask(first: datetime, last: datetime) -> tuple[float, int]:
        begun = time.perf_counter()
        market = history.window(first, last)
        at, asked = first, 0
        while at <= last:
            for token in ("ETH", "BTC", "USDT"):
                market.price(token, at)
            for name in RATES[:6]:
                market.rate(name, at)
            for venue in ("binance", "bybit", "okx"):
                market.mark(venue, "ETHUSDT-PERP", at)
            asked += 12
            at += HOUR
        return time.perf_counter() - begun, asked

    whole, count = ask(FIRST, LAST)
    month, _ = ask(LAST - timedelta(days=30), LAST)
    early, _ = ask(FIRST, FIRST + timedelta(hours=23))
    late, _ = ask(LAST - timedelta(hours=23), LAST)
    begun = time.perf_counter()
    check_history(history)
    checked = time.perf_counter() - begun
    with capsys.disabled():
        sys.stdout.write(
            f"\n{count} answers over all hours: {whole:.2f} s ({whole / count * 1e6:.1f} µs each); "
            f"30 days {month * 1e3:.0f} ms; first day {early * 1e3:.1f} ms, last day {late * 1e3:.1f} ms; "
            f"checks {checked * 1e3:.0f} ms\n"
        )
    assert whole < 30
