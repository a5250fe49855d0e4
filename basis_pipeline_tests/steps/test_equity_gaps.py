"""A holding without a usable price costs its portfolio that day, nobody else anything, and is healed by the data."""

from __future__ import annotations

import re

import pytest

from basis_pipeline.domain.errors import MarketDataError, MissingPriceError
from basis_pipeline.home import open_home
from basis_pipeline.steps.equity import EquityIncomplete
from basis_pipeline.steps.rebuild import rebuild
from basis_pipeline_tests.builders import perp, token, wallet
from basis_pipeline_tests.homes import ask, problems, published, rebuild_days, rebuild_stale
from basis_pipeline_tests.steps.builders import DAYS, happened, hour, new_home, record, write_market

HOLE = range(30, 41)
"""Hours of the second day. Two of them are bridged by the price before, which may be two hours old."""
UNUSABLE = range(32, 41)
HOURS_A_DAY = "SELECT portfolio, strftime(as_of, '%d'), count(*) FROM {} GROUP BY ALL ORDER BY ALL"
WHOLE = [(name, day, 24) for name in ("bitcoin", "dollars") for day in ("12", "13", "14", "15")]
WITH_GAP = [row for row in WHOLE if row[:2] != ("bitcoin", "13")]


@pytest.fixture
def home(tmp_path):
    """One portfolio holds bitcoin, whose price has a hole on the second day; the other does not."""
    made = new_home(tmp_path, {"bitcoin": 0, "dollars": 0})
    write_market(tmp_path / "market", {"bybit BTCUSDT spot": HOLE})
    record(made, happened(5, "DEPOSIT", wallet("BTC", "0.5")), portfolio="bitcoin")
    return made


def test_the_day_is_missing_for_that_portfolio_only_and_every_gap_is_listed_once(home):
    with pytest.raises(EquityIncomplete) as caught:
        rebuild_days(home)
    error = caught.value
    assert isinstance(error, MissingPriceError)
    assert [gap[:3] for gap in error.gaps] == [("bitcoin", hour(n), "BTC") for n in UNUSABLE]
    assert all("bybit BTCUSDT spot" in gap.tried for gap in error.gaps)
    assert error.failures == error.gaps
    assert error.failed_days == {hour(24).date()}
    message = str(error)
    assert "1 portfolio-day has no equity rows" in message
    assert "BTC has no usable price from 2024-05-13T08:00:00Z to 2024-05-13T16:00:00Z (9 hours)" in message
    for table in ("equity_snapshots", "equity_positions"):
        days = [row[:2] for row in ask(home, HOURS_A_DAY.format(table))]
        assert days == [row[:2] for row in WITH_GAP]
    assert ask(home, HOURS_A_DAY.format("equity_snapshots")) == WITH_GAP
    assert problems(home) == []


def test_every_other_table_of_the_day_is_published(home):
    with pytest.raises(EquityIncomplete):
        rebuild_days(home)
    assert len(published(home)) == 8 * len(DAYS)
    assert ask(home, "SELECT count(*) FROM wallet_balances WHERE token = 'BTC' AND as_of::DATE = '2024-05-13'") == [
        (24,)
    ]


def test_complete_data_and_another_rebuild_heal_the_day_and_leave_the_others_as_they_were(home, tmp_path):
    with open_home(home) as opened:
        with pytest.raises(EquityIncomplete):
            rebuild(opened.ports(), DAYS)
        before = published(home)
        write_market(tmp_path / "market")
        rebuild(opened.ports(), DAYS)
    assert ask(home, HOURS_A_DAY.format("equity_snapshots")) == WHOLE
    after = published(home)
    changed = {table for table, day in after if after[table, day] != before[table, day]}
    assert changed == {"prices", "equity_positions", "equity_snapshots"}
    assert {day for table, day in after if after[table, day] != before[table, day]} == {hour(24).date()}


def test_a_day_with_a_gap_stays_due_until_the_data_is_complete(home, tmp_path):
    with pytest.raises(EquityIncomplete):
        rebuild_days(home)
    with pytest.raises(EquityIncomplete):
        rebuild_stale(home)
    write_market(tmp_path / "market")
    assert rebuild_stale(home) == [hour(24).date()]
    assert rebuild_stale(home) == []


def test_how_old_a_price_may_be_is_configured(tmp_path):
    home = new_home(tmp_path, {"bitcoin": 0}, prices={"max_age_by_name": {"BTC": "11h"}})
    write_market(tmp_path / "market", {"bybit BTCUSDT spot": HOLE})
    record(home, happened(5, "DEPOSIT", wallet("BTC", "0.5")), portfolio="bitcoin")
    with pytest.raises(EquityIncomplete) as caught:
        rebuild_days(with_max_age(home, "10h"))
    assert [gap.instant for gap in caught.value.gaps] == [hour(40)]
    rebuild_days(with_max_age(home, "11h"))
    assert len(ask(home, HOURS_A_DAY.format("equity_snapshots"))) == 4


def with_max_age(home, age):
    config = home / "basis.yaml"
    config.write_text(re.sub(r"BTC: \d+h", f"BTC: {age}", config.read_text()))
    return home


def test_a_price_is_needed_only_while_something_is_held(home, tmp_path):
    home = new_home(tmp_path / "sold", {"bitcoin": 0})
    write_market(tmp_path / "sold" / "market", {"bybit BTCUSDT spot": HOLE})
    record(
        home,
        happened(5, "DEPOSIT", wallet("BTC", "0.5")),
        happened(29.5, "WITHDRAWAL", wallet("BTC", "-0.5")),
        happened(32.1, "DEPOSIT", wallet("BTC", "0.5")),
        happened(32.9, "WITHDRAWAL", wallet("BTC", "-0.5")),
        happened(40.5, "DEPOSIT", wallet("BTC", "0.5")),
        portfolio="bitcoin",
    )
    rebuild_days(home)
    assert len(ask(home, HOURS_A_DAY.format("equity_snapshots"))) == 4


def test_a_perpetual_without_a_mark_of_its_own_venue_is_a_gap(tmp_path):
    home = new_home(tmp_path)
    record(
        home,
        happened(26, "PERP_OPENED", perp("OPEN", "-2", venue="okx", fill_price="3000"), token("okx", "USDT", "-1.5")),
        happened(28.5, "PERP_CLOSED", perp("CLOSE", venue="okx"), token("okx", "USDT", "1.6")),
    )
    with pytest.raises(EquityIncomplete) as caught:
        rebuild_days(home)
    assert [gap[:3] for gap in caught.value.gaps] == [("book", hour(n), "okx ETHUSDT-PERP") for n in (26, 27, 28)]
    assert "okx ETHUSDT perp" in caught.value.gaps[0].tried


def test_the_price_of_the_share_class_is_needed_by_everybody(home, tmp_path):
    write_market(tmp_path / "market", {"aave_oracle USDTUSD oracle": range(47, 96), "bybit BTCUSDT spot": ()})
    with pytest.raises(EquityIncomplete) as caught:
        rebuild_days(home)
    assert {(gap.portfolio, gap.token) for gap in caught.value.gaps} == {
        ("bitcoin", "BTC"),
        ("bitcoin", "USDT"),
        ("dollars", "USDT"),
    }
    days = [row[:2] for row in ask(home, HOURS_A_DAY.format("equity_snapshots"))]
    assert days == [(name, day) for name in ("bitcoin", "dollars") for day in ("12", "13")]


@pytest.mark.parametrize(("name", "kept"), [("prices", 0), ("prices", 0.99), ("aave_reserve_hourly", 0.5)])
def test_a_half_copied_file_is_named_and_nothing_published_changes(home, tmp_path, name, kept):
    write_market(tmp_path / "market")
    rebuild_days(home)
    before, equity = published(home), ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL")
    path = tmp_path / "market" / f"{name}.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    record(home, happened(7, "DEPOSIT", wallet("USDT", "1")), portfolio="dollars")
    with pytest.raises(MarketDataError, match=rf"{name}\.parquet: cannot be read, it may be damaged or half copied"):
        rebuild_days(home, DAYS)
    assert ask(home, "SELECT * FROM equity_snapshots ORDER BY ALL") == equity
    after = published(home)
    assert {key[0] for key in after if after[key] != before[key]} <= {"balance_changes", "wallet_balances"}
    assert problems(home) == []
    path.write_bytes(whole)
    assert rebuild_stale(home) == list(DAYS)
    assert ask(home, "SELECT max(total_equity) FROM equity_snapshots WHERE portfolio = 'dollars'") == [(1001,)]
