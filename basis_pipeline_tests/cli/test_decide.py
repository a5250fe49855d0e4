"""basis decide."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from basis_pipeline_tests.cli.builders import Basis, write_config
from basis_pipeline_tests.live_homes import PORTFOLIO, live_home

LAST_HOUR = "2024-05-13T23:00:00Z"
EQUITY = Decimal("1006093.5")
"""948,900 + 1.1 x 1,000 lent + 49,999.5 on OKX + 2 ETH at 3,047, the price of the last hour of market data."""
HEDGE = {"portfolio": "lending", "kind": "usdt_market_neutral", "allocation": {"okx": "1"}}


def configure(books: Basis, **strategies: dict[str, Any]) -> None:
    write_config(books.home, strategies=strategies)


def test_a_decision_as_json_is_exact_and_as_of_the_end_of_market_data(books: Basis) -> None:
    [decision] = books.rows("decide")
    # 98 % of the equity, 985,971.63, at an index of 1.1; 1,000 are lent.
    assert decision == {
        "strategy": "lender",
        "kind": "usdt_lending",
        "portfolio": "lending",
        "share_class": "USDT",
        "as_of": LAST_HOUR,
        "ledger_sequence": 4,
        "total_equity": str(EQUITY),
        "threshold": "0.02",
        "rebalance": True,
        "reasons": ["aUSDT on wallet: 1000 held, 896337.845454 wanted, 99.89 % off, above 2 % (worth 984,871.63 USD)"],
        "adjustments": [{"kind": "balance", "venue": "wallet", "name": "aUSDT", "delta": "895337.845454"}],
        "deviations": [
            {
                "kind": "balance",
                "venue": "wallet",
                "name": "aUSDT",
                "held": "1000",
                "target": "896337.845454",
                "delta": "895337.845454",
                "relative": "0.998884349238323754",
                "value_usd": "984871.6299994",
            }
        ],
    }


def test_each_strategy_is_told_in_words_whether_it_rebalances_or_stays(books: Basis) -> None:
    hedge = {**HEDGE, "position_deviation_threshold": "0.5", "minimum_deviation_usd": "10000"}
    configure(books, lender={"portfolio": "lending", "kind": "usdt_lending"}, hedge=hedge)
    told = books("decide").stdout
    assert "lender: rebalance by 1 adjustment\n" in told
    assert f"  usdt_lending over lending: 1,006,093.50 USDT of equity, ledger entry 4, {LAST_HOUR}\n" in told
    assert "  aUSDT on wallet: 1000 held, 896337.845454 wanted, 99.89 % off, above 2 % (worth 984,871.63 USD)\n" in told
    # Two ETH are not short: all of it is off, but worth less than the 10,000 USD that it takes.
    assert "hedge: stay\n" in told
    assert "  at most 100 % off; above 50 % and worth 10,000 USD it would be adjusted\n" in told


def test_only_the_strategy_that_is_named_decides(books: Basis) -> None:
    configure(books, lender={"portfolio": "lending", "kind": "usdt_lending"}, hedge=HEDGE)
    assert [row["strategy"] for row in books.rows("decide")] == ["lender", "hedge"]
    assert [row["strategy"] for row in books.rows("decide", "hedge")] == ["hedge"]
    failed = books("decide", "hedger", code=1)
    assert "strategy: 'hedger' is not configured; there are lender, hedge" in failed.stderr


def test_csv_has_a_line_for_each_position_exact(books: Basis) -> None:
    configure(books, hedge=HEDGE)
    [row] = csv.DictReader(io.StringIO(books("decide", "--format", "csv").stdout))
    assert row == {
        "strategy": "hedge",
        "portfolio": "lending",
        "venue": "okx",
        "name": "ETHUSDT-PERP",
        "held": "0",
        "target": "-2",
        "delta": "-2",
        "off": "1",
        "worth_usd": "6094",
        "rebalance": "yes",
    }


def test_without_strategies_it_says_where_they_are_configured(books: Basis) -> None:
    configure(books)
    assert "strategies: none are configured; add one under `strategies:`" in books("decide", code=1).stderr


def test_a_strategy_that_cannot_decide_does_not_keep_the_others_from_it(books: Basis) -> None:
    basis = {"portfolio": "lending", "kind": "basis", "asset": "BTC", "allocation": {"okx": "1"}}
    configure(books, spread=basis, lender={"portfolio": "lending", "kind": "usdt_lending"})
    done = books("decide", "--format", "json", code=1)
    assert '"strategy": "lender"' in done.stdout
    assert "error: strategies.spread: no price of BTC" in done.stderr


def test_what_a_strategy_cannot_be_made_with_is_refused_by_its_key(books: Basis) -> None:
    configure(books, loop={"portfolio": "lending", "kind": "eth_leveraged_loop", "target_ltv": "0.8"})
    refused = books("decide", code=1).stderr
    assert "strategies.loop.kind: eth_leveraged_loop is for ETH, but the share class of lending is USDT" in refused
    configure(books, hedge={**HEDGE, "instrument": "BTCUSDT-PERP"})
    refused = books("decide", code=1).stderr
    assert "strategies.hedge: instrument: BTCUSDT-PERP cannot be short in ETH; give a perpetual of ETH" in refused


def test_deciding_changes_nothing(books: Basis) -> None:
    before = books("export", "--portfolio", "lending").stdout
    books("decide")
    assert books("export", "--portfolio", "lending").stdout == before


def test_live_a_strategy_decides_at_the_prices_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    carry = {"portfolio": PORTFOLIO, "kind": "basis", "asset": "ETH", "allocation": {"binance": "1"}}
    routes = {"USDT": ["binance:USDTUSD:spot"], "ETH": ["binance:ETHUSDT:spot"]}
    with live_home(tmp_path / "home", monkeypatch, prices={"routes": routes}, strategies={"carry": carry}) as home:
        home.venues.set_price("USDTUSD", "0.999")
        before = datetime.now(UTC)
        [decision] = Basis(home.path).rows("decide")
    assert before <= datetime.fromisoformat(decision["as_of"]) <= datetime.now(UTC)
    assert (decision["total_equity"], decision["ledger_sequence"]) == ("10000", 2)
    # Half of 10,000 USDT at 3,000 USDT: 1.666 ETH, and as much short.
    assert [(each["name"], each["delta"]) for each in decision["adjustments"]] == [
        ("ETH", "1.666"),
        ("ETHUSDT-PERP", "-1.666"),
    ]
