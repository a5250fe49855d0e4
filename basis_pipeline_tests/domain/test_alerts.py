"""What alerts say: what happened, where, and what to do about it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from basis_pipeline.domain import alerts
from basis_pipeline.domain.alerts import TEXT_MAX, TITLE_MAX, Alert, AlertKind, Route, Severity
from basis_pipeline.domain.errors import InputError
from basis_pipeline.domain.reconciliation import Comparison, Outcome
from basis_pipeline_tests.builders import START


def compared(key: str, tracked: str, actual: str | None, *, adjusted: bool = False) -> Comparison:
    actually = None if actual is None else Decimal(actual)
    return Comparison(key, Decimal(tracked), actually, Decimal(0), Outcome.DRIFT, adjusted)


def changed(before: str, after: str, measure: str = "total_equity") -> Alert:
    return alerts.equity_change("lending", measure, "USDT", Decimal(before), Decimal(after), START)


EXAMPLES = {
    AlertKind.DRIFT: alerts.drift("loop", "okx", [compared("ETH", "1.3", "1.2")]),
    AlertKind.UNAVAILABLE_VENUE: alerts.unavailable_venue("loop", "okx", "okx: no answer within 10 s"),
    AlertKind.MISSING_PRICE: alerts.missing_price("loop", ["weETH at 03:00: binance: no such series"]),
    AlertKind.EQUITY_CHANGE: changed("1000", "1002.5"),
    AlertKind.FAILED_RUN: alerts.failed_run("balance_changes", "materialize", "7f3a", "disk full", attempts=3),
    AlertKind.FAILED_CHECK: alerts.failed_check("equity_snapshots:totals_agree", "2 rows differ"),
    AlertKind.STALE_PROJECTION: alerts.stale_projection("days", [date(2026, 1, 1), date(2026, 1, 3)], "3 runs failed"),
    AlertKind.LEDGER_BROKEN: alerts.ledger_broken("loop", ["entry 7 was changed"]),
    AlertKind.TEST: alerts.channel_test("chat"),
}


def test_there_is_one_of_every_kind() -> None:
    assert set(EXAMPLES) == set(AlertKind)
    assert all(example.kind is kind for kind, example in EXAMPLES.items())


@pytest.mark.parametrize("kind", AlertKind)
def test_an_alert_says_in_one_line_what_and_where_and_in_the_text_what_to_do(kind: AlertKind) -> None:
    example = EXAMPLES[kind]
    assert "\n" not in example.title
    where = {AlertKind.FAILED_RUN: "materialize", AlertKind.STALE_PROJECTION: "2026-01-01 to 2026-01-03"}
    assert where.get(kind, example.subject.split("/")[0]) in example.title
    assert "basis " in example.text or kind is AlertKind.TEST


def test_drift_that_was_adjusted_is_a_warning_and_what_stays_is_an_error() -> None:
    adjusted, open_key = compared("ETH", "1.30", "1.2", adjusted=True), compared("FOO", "0", None)
    assert alerts.drift("loop", "okx", [adjusted]).severity is Severity.WARNING
    both = alerts.drift("loop", "okx", [adjusted, open_key])
    assert (both.severity, both.subject) == (Severity.ERROR, "loop/okx")
    assert both.text.splitlines()[:2] == [
        "ETH: ledger 1.3, venue 1.2, ledger adjusted to the venue",
        "FOO: ledger 0, venue unknown",
    ]


def test_many_findings_are_counted_and_not_all_spelled_out() -> None:
    found = [compared(f"T{n}", "1", "2") for n in range(12)]
    said = alerts.drift("loop", "okx", found)
    assert said.title.endswith("T0, T1, T2 and 9 more")
    assert "T9: " in said.text
    assert "T10: " not in said.text
    assert "... and 2 more" in said.text


@pytest.mark.parametrize(
    ("before", "after", "title"),
    [
        ("1000", "1002.5", "lending: equity +2.50 USDT (+0.25 %)"),
        ("1000", "990", "lending: equity -10.00 USDT (-1.00 %)"),
        ("-1000", "-990", "lending: equity +10.00 USDT (+1.00 %)"),
        ("0", "0.001", "lending: equity +0.001 USDT"),
        ("99999999999999999999", "1", "lending: equity -99,999,999,999,999,999,998.00 USDT (-100.00 %)"),
    ],
)
def test_a_change_of_equity_says_by_how_much(before: str, after: str, title: str) -> None:
    assert changed(before, after).title == title


def test_amounts_have_the_places_that_the_eye_needs() -> None:
    said = alerts.equity_change("loop", "total_equity", "ETH", Decimal("1234.5"), Decimal("1234.512345678901"), START)
    assert said.title == "loop: equity +0.012346 ETH (+0.00 %)"
    assert "equity of loop is 1,234.512346 ETH as of 20" in said.text
    assert "it was 1,234.500000. " in said.text
    assert "is 0.00 USDT" in changed("1", "0").text


def test_another_measure_is_named() -> None:
    assert changed("1", "2", "nav").title.startswith("lending: nav +1.00 USDT")


def test_titles_are_one_line_and_nothing_is_longer_than_a_channel_takes() -> None:
    long = Alert(AlertKind.TEST, Severity.INFO, "x", "a\nb\t" + "c" * 300, "  " + "d" * 5000)
    assert long.title.startswith("a b ccc")
    assert (len(long.title), len(long.text)) == (TITLE_MAX, TEXT_MAX)


@pytest.mark.parametrize(("subject", "title", "field"), [(" ", "a", "subject"), ("a", "\n", "title")])
def test_an_alert_about_nothing_is_refused(subject: str, title: str, field: str) -> None:
    with pytest.raises(InputError, match=f"{field}: is empty"):
        Alert(AlertKind.TEST, Severity.INFO, subject, title, "")


def test_severities_are_compared_by_rank() -> None:
    assert [s.rank for s in (Severity.INFO, Severity.WARNING, Severity.ERROR)] == [0, 1, 2]


def test_only_events_do_not_stand() -> None:
    assert [kind for kind in AlertKind if not kind.standing] == [AlertKind.EQUITY_CHANGE, AlertKind.TEST]


def test_a_route_takes_what_is_bad_enough_and_of_its_kinds() -> None:
    everything, some = Route("a"), Route("b", Severity.WARNING, [AlertKind.DRIFT])
    assert everything.takes(AlertKind.TEST, Severity.INFO)
    assert some.takes(AlertKind.DRIFT, Severity.ERROR)
    assert not some.takes(AlertKind.DRIFT, Severity.INFO)
    assert not some.takes(AlertKind.FAILED_RUN, Severity.ERROR)
