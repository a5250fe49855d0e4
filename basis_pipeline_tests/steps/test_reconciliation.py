from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from basis_pipeline.domain.errors import LedgerError, ReconciliationError
from basis_pipeline.domain.observations import Block, Health, MarketObservation, Reading
from basis_pipeline.domain.reconciliation import Outcome, Rules
from basis_pipeline.ledger import readings
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.terms import Terms
from basis_pipeline.ledger.verification import verify
from basis_pipeline.steps.ports import DayRange
from basis_pipeline.steps.proofs import ProofFailed, prove
from basis_pipeline.steps.publishing import current_day_files
from basis_pipeline.steps.reconciliation import (
    OpeningRefused,
    hour_report,
    project_reconciliation,
    reconcile,
    republish_hour,
)
from basis_pipeline.warehouse.catalogue import attach_catalogue
from basis_pipeline.warehouse.dayfiles import DayFile, warehouse_root, write_day
from basis_pipeline_tests.builders import START, at, deposit, perp, token, update
from basis_pipeline_tests.domain.reconciling import account, position, reading
from basis_pipeline_tests.steps.reconciling import HOUR, NOW, Fund, Scripted, down, says, told

MATCHED = (Outcome.MATCHED, False)
ADJUSTED = (Outcome.DRIFT, True)
DRIFT = (Outcome.DRIFT, False)
PERP = "ETHUSDT-PERP"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.db")
    given: str = request.getfixturevalue("postgres_url")
    return given


@pytest.fixture
def unopened(url: str, tmp_path: Path) -> Iterator[Fund]:
    """A fund of 1,000 USDT of which the ledger knows nothing else."""
    with Ledger(url) as ledger:
        ledger.register(Terms("fund", "USDT", Decimal(1000), START))
        yield Fund(ledger, tmp_path / "home")


@pytest.fixture
def fund(unopened: Fund) -> Fund:
    """The fund with 100 USDT on binance, 50 on okx and 1,000 in the wallet, all long settled."""
    for venue, amount in (("binance", "100"), ("okx", "50")):
        unopened.ledger.append("fund", deposit("USDT", amount, venue=venue, minute=1))
    return unopened


def wallet_says(amount: str = "1000", minute: float = NOW) -> Scripted:
    return Scripted(says("wallet", minute, USDT=amount))


def test_a_fund_that_matches_needs_no_second_look_and_no_entry(fund: Fund) -> None:
    report = fund.reconcile(wallet_says(), Scripted(says("binance", USDT="100")), Scripted(says("okx", USDT="50")))
    assert told(report) == {(venue, "USDT"): MATCHED for venue in ("wallet", "binance", "okx")}
    assert (fund.slept, fund.adjustments(), report.hour, report.notes) == ([], [], HOUR, ())
    assert fund.ledger.snapshot().state("fund").head.sequence == 3


def test_drift_that_stands_is_adjusted_once_to_the_second_reading(fund: Fund) -> None:
    binance = Scripted(says("binance", USDT="90"), says("binance", NOW + 0.1, USDT="89.5"))
    okx = Scripted(says("okx", USDT="50"))
    report = fund.reconcile(wallet_says(), binance, okx)
    assert told(report)["binance", "USDT"] == ADJUSTED
    assert fund.balance("binance", "USDT") == Decimal("89.5")
    assert fund.slept == [5.0]
    assert (binance.times_read, okx.times_read) == (2, 1), "only who drifted is read again"
    (record,) = (each for each in report.accounts if each.account.venue == "binance")
    entry = fund.ledger.entry("fund", f"recon:fund:binance_main:{HOUR:%Y-%m-%dT%H}:1")
    assert (entry.update.id, entry.update.timestamp) == (record.entry_id, at(NOW + 0.1))
    (leg,) = entry.update.token_changes
    assert leg.reason == f"RECONCILIATION_ADJUSTMENT readings {record.readings[0]}, {record.readings[1]}"
    stored = readings.readings_by_id(fund.ledger.engine, record.readings)
    assert [stored[number].balances["USDT"] for number in record.readings] == [90, Decimal("89.5")]

    again = fund.reconcile(wallet_says(minute=NOW + 1), Scripted(says("binance", NOW + 1, USDT="89.5")))
    assert told(again)["binance", "USDT"] == MATCHED
    third = fund.reconcile(Scripted(says("binance", NOW + 2, USDT="1")))
    assert told(third)["binance", "USDT"] == ADJUSTED
    assert [each[-2:] for each in fund.adjustments()] == [":1", ":2"]
    assert not verify(fund.ledger.engine).problems


def test_drift_that_the_second_reading_does_not_confirm_is_not_adjusted(fund: Fund) -> None:
    report = fund.reconcile(Scripted(says("binance", USDT="90"), says("binance", NOW + 0.1, USDT="100", ETH="1")))
    assert told(report) == {("binance", "USDT"): MATCHED, ("binance", "ETH"): (Outcome.UNEXPECTED, False)}
    assert fund.adjustments() == []


def test_an_unavailable_account_blocks_nobody_and_is_not_adjusted(fund: Fund) -> None:
    report = fund.reconcile(Scripted(down("binance")), Scripted(says("okx", USDT="55")))
    assert told(report) == {("binance", "USDT"): (Outcome.UNAVAILABLE, False), ("okx", "USDT"): ADJUSTED}
    assert fund.balance("binance", "USDT") == 100
    assert [each.account.venue for each in report.unavailable] == ["binance"]
    assert report.unavailable[0].error == "binance: HTTP 503"


def test_an_account_that_fails_its_second_reading_is_not_adjusted(fund: Fund) -> None:
    report = fund.reconcile(Scripted(says("binance", USDT="90"), down("binance")))
    assert told(report) == {("binance", "USDT"): DRIFT}
    assert "second reading failed (binance: HTTP 503)" in report.accounts[0].note
    assert (fund.adjustments(), len(report.accounts[0].readings)) == ([], 2)


def test_a_reader_that_is_late_is_unavailable_and_nobody_waits_for_it(fund: Fund) -> None:
    began = time.monotonic()
    late = Scripted(says("binance", USDT="100"), delay=60)
    report = fund.reconcile(late, Scripted(says("okx", USDT="50")), deadline=Rules().deadline / 300)
    assert time.monotonic() - began < 10
    assert told(report) == {("binance", "USDT"): (Outcome.UNAVAILABLE, False), ("okx", "USDT"): MATCHED}
    assert report.unavailable[0].error == "no answer within 0.1 s; see `reconciliation.deadline`"


def test_a_reader_that_raises_is_unavailable_and_its_message_stays_out_of_everything(
    fund: Fund, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Scripted(KeyError("https://node.example/secret-key"), of=account("binance"))
    report = fund.reconcile(broken, Scripted(says("okx", USDT="50")))
    assert told(report)["binance", "USDT"] == (Outcome.UNAVAILABLE, False)
    assert report.unavailable[0].error == "the reader failed with KeyError, which is a defect; the log has where"
    (defect,) = (record.getMessage() for record in caplog.records if record.levelname == "ERROR")
    assert "KeyError" in defect
    assert "reconciling.py" in defect, "the log leads to the defect"
    assert "secret-key" not in caplog.text


def test_a_reader_that_forgets_an_account_leaves_it_unavailable(fund: Fund) -> None:
    forgetful = Scripted(says("okx", USDT="50"), of=account("binance"))
    assert told(fund.reconcile(forgetful)) == {("binance", "USDT"): (Outcome.UNAVAILABLE, False)}


def test_skew_is_the_time_between_the_first_and_the_last_answer(fund: Fund) -> None:
    report = fund.reconcile(
        Scripted(says("binance", USDT="100")),
        Scripted(says("okx", NOW + 2, USDT="50")),
        Scripted(down("wallet", NOW + 9)),
    )
    assert report.skew.total_seconds() == 120
    assert hour_report(fund.ports, HOUR).skew == report.skew


def test_alert_mode_looks_twice_and_changes_nothing(fund: Fund) -> None:
    binance = Scripted(says("binance", USDT="90"))
    report = fund.reconcile(binance, on_drift="alert")
    assert told(report) == {("binance", "USDT"): DRIFT}
    assert (binance.times_read, fund.adjustments()) == (2, [])
    assert report.unexplained[0][1].difference == -10


def test_an_adjustment_that_the_ledger_refuses_leaves_drift_and_says_why(fund: Fund) -> None:
    fund.ledger.append("fund", update("WITHDRAWAL", token("wallet", "USDT", "-900"), minute=NOW - 1))
    found = reading("wallet", {"USDT": "500"}, when=at(NOW), block=Block(1, "0x1", at(NOW - 30)))
    report = fund.reconcile(Scripted(found), Scripted(says("okx", USDT="55")))
    assert told(report)["wallet", "USDT"] == DRIFT
    assert "the ledger refuses the adjustment" in report.accounts[0].note
    assert "below zero" in report.accounts[0].note
    assert told(report)["okx", "USDT"] == ADJUSTED
    assert fund.balance("wallet", "USDT") == 100


def test_what_the_ledger_refuses_of_an_account_does_not_hold_up_the_rest_of_it(fund: Fund) -> None:
    fund.ledger.append("fund", update("PERP_OPENED", perp("OPEN", "-2", fill_price="3000"), minute=2))
    fund.ledger.append("fund", update("PERP_ADJUSTED", perp("ADJUST", "-3", fill_price="3000"), minute=NOW + 1))
    positions = {"BTCUSDT-PERP": position("1", "60000")}
    found = reading("binance", {"USDT": "90", "ETH": "1"}, positions=positions, when=at(NOW))
    report = fund.reconcile(Scripted(found), Scripted(says("okx", USDT="1e21", ETH="1")))
    assert told(report) == {
        ("binance", "USDT"): ADJUSTED,
        ("binance", "ETH"): (Outcome.UNEXPECTED, True),
        ("binance", "BTCUSDT-PERP"): (Outcome.UNEXPECTED, True),
        ("binance", PERP): (Outcome.MISSING, False),
        ("okx", "USDT"): DRIFT,
        ("okx", "ETH"): (Outcome.UNEXPECTED, True),
    }
    closing, too_large = (record.note for record in report.accounts)
    assert "bringing ETHUSDT-PERP to the venue" in closing
    assert "which is not open" in closing
    assert "too large" in too_large
    assert [each[-2:] for each in fund.adjustments()] == [":1", ":1"], "one entry for each account"
    assert not verify(fund.ledger.engine).problems


def test_what_is_under_way_arrives_once(fund: Fund) -> None:
    legs = token("wallet", "USDT", "-60"), token("in_transit", "USDT", "60")
    fund.ledger.append("fund", update("VENUE_TRANSFER", *legs, minute=NOW - 120))

    def reconciled(wallet: str, binance: str, okx: str) -> dict[str, tuple[Outcome, bool]]:
        readers = (Scripted(says(v, USDT=a)) for v, a in (("wallet", wallet), ("binance", binance), ("okx", okx)))
        found = told(fund.reconcile(*readers))
        return {venue: found[venue, "USDT"] for venue in ("wallet", "binance", "okx")}

    under_way = (Outcome.IN_FLIGHT, False)
    assert reconciled("940", "130", "80") == {"wallet": MATCHED, "binance": under_way, "okx": under_way}
    assert reconciled("940", "130", "110") == {"wallet": MATCHED, "binance": ADJUSTED, "okx": under_way}
    assert (fund.balance("binance", "USDT"), fund.balance("okx", "USDT")) == (130, 50)
    assert reconciled("1000", "130", "110") == {"wallet": under_way, "binance": MATCHED, "okx": under_way}


def test_positions_are_brought_to_the_venue_with_size_and_entry_price(fund: Fund) -> None:
    fund.ledger.append("fund", update("PERP_OPENED", perp("OPEN", "-2", fill_price="3000"), minute=2))
    held = {"USDT": "100"}
    positions = {PERP: position("-3", "3100"), "BTCUSDT-PERP": position("1", "60000")}
    report = fund.reconcile(Scripted(reading("binance", held, positions=positions, when=at(NOW))))
    assert told(report) == {
        ("binance", "USDT"): MATCHED,
        ("binance", PERP): ADJUSTED,
        ("binance", f"{PERP}/entry_price"): ADJUSTED,
        ("binance", "BTCUSDT-PERP"): (Outcome.UNEXPECTED, True),
    }
    again = fund.reconcile(Scripted(reading("binance", held, positions=positions, when=at(NOW + 1))))
    assert {outcome for outcome, _ in told(again).values()} == {Outcome.MATCHED}
    gone = fund.reconcile(Scripted(reading("binance", held, when=at(NOW + 2))))
    assert told(gone)["binance", PERP] == (Outcome.MISSING, True)
    assert fund.ledger.snapshot().book_at("fund", at(10**6)).book.positions == {}


def test_an_unmapped_asset_is_told_every_time_and_never_looked_at_twice(fund: Fund) -> None:
    okx = Scripted(reading("okx", {"USDT": "50"}, unmapped={"PEPE": "7"}, when=at(NOW)))
    assert told(fund.reconcile(okx))["okx", "UNMAPPED:PEPE"] == (Outcome.UNEXPECTED, False)
    assert okx.times_read == 1


def test_a_crash_after_the_adjustment_is_harmless(fund: Fund, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise LedgerError("the power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(readings, "record_reconciliations", crash)
        with pytest.raises(LedgerError, match="power"):
            fund.reconcile(Scripted(says("binance", USDT="90")))
    assert len(fund.adjustments()) == 1
    with pytest.raises(ReconciliationError, match="has no reconciliation"):
        hour_report(fund.ports, HOUR)
    assert told(fund.reconcile(Scripted(says("binance", NOW + 1, USDT="90")))) == {("binance", "USDT"): MATCHED}
    assert len(fund.adjustments()) == 1


def test_an_update_recorded_while_the_adjustment_is_worked_out_makes_it_be_worked_out_anew(
    fund: Fund, monkeypatch: pytest.MonkeyPatch
) -> None:
    append_many, calls = fund.ledger.append_many, []

    def overtaken(*arguments: object, **more: object) -> object:
        if not calls:
            calls.append(1)
            append_many("fund", [update("WITHDRAWAL", token("binance", "USDT", "-10"), minute=NOW - 1)])
        return append_many(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fund.ledger, "append_many", overtaken)
    report = fund.reconcile(Scripted(says("binance", USDT="90")))
    assert calls == [1]
    assert told(report) == {("binance", "USDT"): MATCHED}
    assert (fund.adjustments(), fund.balance("binance", "USDT")) == ([], 90)


def test_a_ledger_that_never_rests_leaves_drift_to_the_next_hour(fund: Fund, monkeypatch: pytest.MonkeyPatch) -> None:
    append_many = fund.ledger.append_many

    def overtaken(*arguments: object, **more: object) -> object:
        append_many("fund", [deposit("ETH", "1", minute=NOW - 1)])
        return append_many(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(fund.ledger, "append_many", overtaken)
    report = fund.reconcile(Scripted(says("binance", USDT="90")))
    assert told(report) == {("binance", "USDT"): DRIFT}
    assert "written to 20 times meanwhile" in report.accounts[0].note


@pytest.mark.parametrize("later", [0.0, 0.2, -0.2])
@pytest.mark.parametrize("hours_apart", [0, 60])
def test_two_that_reconcile_at_once_adjust_once(fund: Fund, url: str, later: float, hours_apart: float) -> None:
    both_looked_once = threading.Barrier(2, timeout=30)

    def run(ledger: Ledger, minute: float, read_at: float) -> None:
        async def meet(_seconds: float) -> None:
            await asyncio.to_thread(both_looked_once.wait)

        own = Fund(ledger, fund.home, minute)
        reader = Scripted(says("binance", read_at, USDT="90"))
        asyncio.run(reconcile(own.ports, [reader], Rules(), sleep=meet))

    with Ledger(url) as other, ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, fund.ledger, NOW, NOW)
        second = pool.submit(run, other, NOW + hours_apart, NOW + later)
        first.result(60)
        second.result(60)
    assert fund.balance("binance", "USDT") == 90
    assert len(fund.adjustments()) == 1
    assert not verify(fund.ledger.engine).problems


class TestOpening:
    def test_books_open_with_what_is_there_once_every_account_answers(self, unopened: Fund) -> None:
        wallet = Scripted(reading("wallet", {"aUSDT": "500"}, when=at(NOW), block=Block(9, "0x9", at(NOW - 13))))
        report = unopened.reconcile(wallet, Scripted(down("binance")))
        assert told(report) == {}
        assert "its books open with the first complete reading; still missing binance_main" in report.notes[0]
        assert unopened.ledger.snapshot().state("fund").head.sequence == 1

        held = reading(
            "binance", {"USDT": "440", "ETH": "0.003"}, positions={PERP: position("-0.1", "3010")}, when=at(NOW)
        )
        report = unopened.reconcile(wallet, Scripted(held))
        assert report.opened == ("fund",)
        assert {outcome for outcome, _ in told(report).values()} == {Outcome.MATCHED}
        entry = unopened.ledger.entry("fund", "opening:fund:wallet_main")
        assert entry.update.timestamp == at(NOW - 13), "the earliest reading: no hour shows a part of the fund"
        assert entry.update.timestamp == unopened.ledger.entry("fund", "opening:fund:binance_main").update.timestamp
        assert all(
            leg.reason and leg.reason.startswith("OPENING_BALANCE reading ") for leg in entry.update.token_changes
        )
        assert (unopened.balance("wallet", "USDT"), unopened.balance("wallet", "aUSDT")) == (0, 500)

        drifted = unopened.reconcile(wallet, Scripted(says("binance", NOW + 1, USDT="440")))
        assert drifted.opened == ()
        assert told(drifted)["binance", "ETH"] == (Outcome.MISSING, True)

    def test_what_is_not_worth_the_capital_is_refused_with_both_numbers(self, unopened: Fund) -> None:
        with pytest.raises(OpeningRefused, match=r"worth 989 USDT.*initial capital is 1000 USDT.*accounts:") as refused:
            unopened.reconcile(wallet_says("989"))
        assert unopened.ledger.snapshot().state("fund").head.sequence == 1
        assert "worth 989 USDT" in hour_report(unopened.ports, HOUR).notes[0]
        assert refused.value.report.accounts[0].comparisons == ()
        assert unopened.reconcile(wallet_says("990", NOW + 1)).opened == ("fund",)

    def test_what_cannot_be_valued_is_refused_naming_it(self, unopened: Fund) -> None:
        with pytest.raises(OpeningRefused, match=r"no usable price of KING \(tried .*Record market data first"):
            unopened.reconcile(Scripted(says("wallet", USDT="1000", KING="3")))
        assert unopened.ledger.snapshot().state("fund").head.sequence == 1

    def test_what_the_ledger_cannot_hold_is_refused_like_any_other_opening(self, unopened: Fund) -> None:
        with pytest.raises(OpeningRefused, match=r"fund: the ledger cannot hold .* is too large") as caught:
            unopened.reconcile(Scripted(says("wallet", USDT="1e21")), Scripted(says("binance", USDT="3")))
        assert len(caught.value.report.accounts) == 2
        assert unopened.ledger.snapshot().state("fund").head.sequence == 1

    def test_one_fund_that_cannot_open_does_not_keep_another_from_reconciling(self, unopened: Fund) -> None:
        unopened.ledger.register(Terms("other", "USDT", Decimal(70), START))
        other = Scripted(reading("wallet", {"USDT": "70"}, portfolio="other", when=at(NOW)))
        with pytest.raises(OpeningRefused) as refused:
            unopened.reconcile(wallet_says("5"), other)
        assert refused.value.report.opened == ("other",)
        assert unopened.ledger.snapshot().state("other").head.sequence == 2

    def test_capital_that_is_where_it_was_configured_opens_books_too(self, unopened: Fund) -> None:
        assert unopened.reconcile(wallet_says()).opened == ("fund",)
        report = unopened.reconcile(wallet_says("1005", NOW + 1))
        assert (report.opened, told(report)) == ((), {("wallet", "USDT"): ADJUSTED})

    def test_without_a_wallet_the_capital_is_where_the_accounts_have_it(self, unopened: Fund) -> None:
        report = unopened.reconcile(Scripted(says("okx", USDT="1000")))
        assert (told(report), report.opened) == ({("okx", "USDT"): MATCHED}, ("fund",))
        assert (unopened.balance("wallet", "USDT"), unopened.balance("okx", "USDT")) == (0, 1000)

    def test_a_reading_from_before_the_start_is_not_compared(self, unopened: Fund) -> None:
        old = reading("wallet", {"USDT": "1000"}, when=at(1), block=Block(1, "0x1", at(-10)))
        report = unopened.reconcile(Scripted(old))
        assert (told(report), report.opened) == ({}, ())
        assert "starts at 2024-05-12T01:00:00Z" in report.notes[0]

    def test_a_fund_that_traded_before_it_was_first_reconciled_has_drift_instead(self, unopened: Fund) -> None:
        unopened.ledger.append("fund", deposit("ETH", "1", minute=5))
        report = unopened.reconcile(Scripted(says("wallet", USDT="400", ETH="1")))
        assert (report.opened, told(report)["wallet", "USDT"]) == ((), ADJUSTED)

    def test_two_that_open_at_once_open_once(self, unopened: Fund, url: str) -> None:
        with Ledger(url) as other, ThreadPoolExecutor(2) as pool:
            runs = [
                pool.submit(Fund(ledger, unopened.home).reconcile, Scripted(says("okx", NOW + later, USDT="1000")))
                for ledger, later in ((unopened.ledger, 0), (other, 0.1))
            ]
            for run in runs:
                run.result(60)
        assert unopened.balance("okx", "USDT") == 1000
        assert unopened.balance("wallet", "USDT") == 0
        assert unopened.adjustments() == []


def test_a_position_whose_price_the_venue_does_not_tell_stays_unexpected_and_says_why(fund: Fund) -> None:
    found = reading("binance", {"USDT": "100"}, positions={PERP: position("-2", None)}, when=at(NOW))
    report = fund.reconcile(Scripted(found))
    assert told(report)["binance", PERP] == (Outcome.UNEXPECTED, False)
    assert report.accounts[0].note == f"not adjusted: {PERP}: binance tells no entry price"
    assert fund.adjustments() == []


def test_without_accounts_there_is_nothing_to_reconcile(fund: Fund) -> None:
    report = fund.reconcile()
    assert (report.accounts, report.hour) == ((), HOUR)
    assert readings.last_reconciled_hour(fund.ledger.engine) is None


def test_holdings_that_no_account_reads_are_noted(fund: Fund) -> None:
    report = fund.reconcile(wallet_says())
    assert report.notes == tuple(
        f"fund: {venue}: the ledger has holdings there, but no account under `accounts:` reads it"
        for venue in ("binance", "okx")
    )


def test_rates_that_came_with_a_reading_are_recorded_and_senseless_ones_are_not(fund: Fund) -> None:
    def rate(value: str) -> MarketObservation:
        return MarketObservation("aave_reserve", "WETH", "liquidity_index", Decimal(value), at(NOW), at(NOW))

    report = fund.reconcile(Scripted(reading("okx", {"USDT": "50"}, when=at(NOW), market=(rate("1.05"), rate("0")))))
    assert report.market == (rate("1.05"),)
    with fund.ledger.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM market_observations").scalar() == 1


class TestStore:
    def test_a_reading_comes_back_as_it_was_told(self, fund: Fund) -> None:
        told_reading = Reading(
            account("binance"),
            says("binance").status,
            at(1),
            at(2),
            {"USDT": Decimal("-0.123456789012345678")},
            {PERP: position("-2", None, "6000.5")},
            {"USDT": Decimal("0.2")},
            {"PÉPE\ud800": Decimal("1e30")},
            Health(Decimal("0.5"), None, Decimal("0.01")),
            Block(7, "0xabc", at(1)),
            at(1.5),
            raw='{"answer": "\x00\ud800 plenty"}',
        )
        (number,) = readings.record_readings(fund.ledger.engine, HOUR, 1, [told_reading])
        assert readings.raw_answer(fund.ledger.engine, number) == '{"answer": "\\x00\\ud800 plenty"}'
        stored = readings.readings_by_id(fund.ledger.engine, [number])[number]
        for name in ("account", "balances", "positions", "debts", "unmapped", "health", "block", "venue_time", "as_of"):
            assert getattr(stored, name) == getattr(told_reading, name), name

    def test_the_last_run_of_an_hour_counts_and_earlier_ones_stay(self, fund: Fund) -> None:
        fund.reconcile(Scripted(down("binance")))
        fund.reconcile(Scripted(says("binance", USDT="100")))
        fund.minute += 60
        fund.reconcile(Scripted(says("binance", NOW + 60, USDT="90")))
        engine = fund.ledger.engine
        first, second = readings.reconciliations_between(engine, HOUR, at(NOW + 60))
        assert [record.accounts[0].comparisons[0].outcome for record in (first, second)] == ["MATCHED", "DRIFT"]
        assert readings.latest_reconciliations(engine) == [second]
        assert readings.last_reconciled_hour(engine) == second.hour
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM reconciliations").scalar() == 3

    def test_a_ledger_that_was_never_reconciled_says_so(self, fund: Fund) -> None:
        assert readings.last_reconciled_hour(fund.ledger.engine) is None
        assert readings.latest_reconciliations(fund.ledger.engine) == []
        with pytest.raises(LedgerError, match="reading 12 does not exist"):
            readings.raw_answer(fund.ledger.engine, 12)


class TestTables:
    def query(self, fund: Fund, sql: str) -> list[tuple[object, ...]]:
        connection: duckdb.DuckDBPyConnection = attach_catalogue(fund.home)
        with connection:
            return connection.execute(sql).fetchall()

    def test_an_hour_is_published_as_it_was_and_can_be_published_again(self, fund: Fund) -> None:
        wallet = reading(
            "wallet",
            {"USDT": "1000"},
            when=at(NOW),
            block=Block(7, "0x7", at(NOW - 13)),
            health=Health(ltv=Decimal("0.7")),
        )
        drifting = reading("okx", {"USDT": "55"}, unmapped={"PEPE": "1e30"}, when=at(NOW))
        fund.reconcile(Scripted(wallet), Scripted(down("binance")), Scripted(drifting))
        day = DayRange(HOUR.date(), HOUR.date())
        report = project_reconciliation(fund.ports, day)
        assert {table: report.row_count(table) for table in report.tables} == {
            "venue_observations": 4,
            "reconciliation": 4,
            "account_health": 1,
        }
        assert self.query(
            fund, "SELECT venue, key, amount, status, block_number FROM venue_observations ORDER BY venue, key"
        ) == [
            ("binance", None, None, "UNAVAILABLE", None),
            ("okx", "UNMAPPED:PEPE", None, "AVAILABLE", None),
            ("okx", "USDT", 55, "AVAILABLE", None),
            ("wallet", "USDT", 1000, "AVAILABLE", 7),
        ]
        assert self.query(
            fund,
            "SELECT venue, key, tracked, actual, difference, outcome, adjusted FROM reconciliation_latest "
            "ORDER BY venue, key",
        ) == [
            ("binance", "USDT", 100, None, None, "UNAVAILABLE", False),
            ("okx", "UNMAPPED:PEPE", 0, None, None, "UNEXPECTED", False),
            ("okx", "USDT", 50, 55, 5, "DRIFT", True),
            ("wallet", "USDT", 1000, 1000, 0, "MATCHED", False),
        ]
        assert self.query(fund, "SELECT as_of, ltv, health_factor FROM account_health") == [
            (HOUR.replace(tzinfo=None), Decimal("0.7"), None)
        ]
        files = current_day_files(fund.ports)
        assert republish_hour(fund.ports, HOUR).rows == report.rows
        assert current_day_files(fund.ports) == files

    def test_a_position_is_observed_with_its_entry_price_where_the_venue_tells_one(self, fund: Fund) -> None:
        positions = {PERP: position("-2", "3000.5"), "BTCUSDT-PERP": position("1", None)}
        found = reading("binance", {"USDT": "100", "ETH": "0"}, positions=positions, when=at(NOW))
        fund.reconcile(Scripted(found), on_drift="alert")
        project_reconciliation(fund.ports, DayRange(HOUR.date(), HOUR.date()))
        assert self.query(fund, "SELECT key, amount FROM venue_observations ORDER BY key") == [
            ("BTCUSDT-PERP", 1),
            (PERP, -2),
            (f"{PERP}/entry_price", Decimal("3000.5")),
            ("USDT", 100),
        ]

    def test_a_past_hour_without_record_says_that_it_is_too_late(self, fund: Fund) -> None:
        with pytest.raises(
            ReconciliationError, match=r"hour: .* has no reconciliation, and .* cannot be read any more"
        ):
            republish_hour(fund.ports, HOUR)

    def test_days_without_reconciliation_publish_nothing(self, fund: Fund) -> None:
        assert project_reconciliation(fund.ports, DayRange(HOUR.date(), HOUR.date())).rows == {}
        assert current_day_files(fund.ports) == []

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"difference": 6}, "differences_add_up"),
            ({"outcome": "UNAVAILABLE"}, "differences_add_up"),
            ({"outcome": "MATCHED"}, "outcomes_true"),
            ({"outcome": "WITHIN_TOLERANCE"}, "outcomes_true"),
            ({"tolerance": 5}, "outcomes_true"),
            ({"outcome": "IN_FLIGHT"}, "adjusted_only_drift"),
            ({"key": "UNMAPPED:USDT"}, "adjusted_only_drift"),
        ],
        ids=lambda value: "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
    )
    def test_rows_that_contradict_each_other_are_never_published(
        self, tmp_path: Path, change: dict[str, object], named: str
    ) -> None:
        drift = {
            "hour": HOUR,
            "portfolio": "fund",
            "account": "okx_main",
            "venue": "okx",
            "key": "USDT",
            "tracked": 50,
            "actual": 55,
            "difference": 5,
            "tolerance": 0,
            "outcome": "DRIFT",
            "adjusted": True,
            "observed_at": HOUR,
        }
        root = warehouse_root(tmp_path)

        def written(row: dict[str, object]) -> DayFile:
            return write_day(root, "reconciliation", HOUR.date(), {name: [value] for name, value in row.items()})

        prove(tmp_path, [written(drift)])
        with pytest.raises(ProofFailed, match=f"contradict {named} "):
            prove(tmp_path, [written({**drift, **change})])
