"""The verification of some days: what it reads, finds, and leaves to the verification of the whole ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from basis_pipeline.domain.instants import DAY, HOUR, day_start
from basis_pipeline.ledger.entries import read_entries
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.publications import Publication, publish
from basis_pipeline.ledger.verification import Verified, verify_between
from basis_pipeline_tests.builders import at, update, wallet
from basis_pipeline_tests.ledger.builders import FUND, fresh_portfolio, problems, tamper

SECOND_DAY = day_start(date(2024, 5, 13))
FIRST_INSIDE, LAST_INSIDE = 24, 47


def hourly(ledger: Ledger, first: int, last: int, portfolio: str = FUND) -> None:
    updates = [update("DEPOSIT", wallet("USDT", "1"), minute=60 * n, entry_id=f"hour-{n}") for n in range(first, last)]
    ledger.append_many(portfolio, updates)


@pytest.fixture
def hours(ledger: Ledger) -> Ledger:
    """The capital at 01:00 of the first day and an entry an hour until the third: 24 to 47 are of the second."""
    hourly(ledger, 1, 60)
    assert problems(ledger) == []
    return ledger


def second_day(ledger: Ledger) -> Verified:
    return verify_between(ledger.engine, SECOND_DAY, SECOND_DAY + DAY)


def found_in(verified: Verified) -> list[str]:
    return [str(problem) for problem in verified.problems]


def change(sequence: int) -> str:
    return f"UPDATE legs SET delta = '7' WHERE portfolio = 'fund' AND sequence = {sequence}"


def remove(first: int, last: int) -> list[str]:
    where = f"WHERE portfolio = 'fund' AND sequence BETWEEN {first} AND {last}"
    return [f"DELETE FROM legs {where}", f"DELETE FROM entries {where}"]


def test_the_entries_of_the_days_and_the_ones_around_them_are_read(hours: Ledger) -> None:
    assert second_day(hours) == (24 + 2, ())
    assert verify_between(hours.engine, at(0), at(1)) == (1 + 1, ())
    assert verify_between(hours.engine, at(59 * 60), at(1_000_000)) == (1 + 1, ())
    assert verify_between(hours.engine, at(-600), at(-1)) == (0, ())


@pytest.mark.parametrize("sequence", [FIRST_INSIDE, 30, LAST_INSIDE])
def test_a_change_within_the_days_is_found_and_named(hours: Ledger, sequence: int) -> None:
    tamper(hours, change(sequence))
    (found,) = found_in(second_day(hours))
    assert found == f"fund entry {sequence} (hour-{sequence - 1}): its content was changed after it was recorded"
    assert problems(hours) == [found]


@pytest.mark.parametrize("sequence", [2, FIRST_INSIDE - 2, LAST_INSIDE + 2, 60])
def test_a_change_outside_is_left_to_the_whole_ledger(hours: Ledger, sequence: int) -> None:
    tamper(hours, change(sequence))
    assert found_in(second_day(hours)) == []
    assert problems(hours) == [
        f"fund entry {sequence} (hour-{sequence - 1}): its content was changed after it was recorded"
    ]


@pytest.mark.parametrize(
    ("first", "last", "finding"),
    [
        (FIRST_INSIDE - 1, FIRST_INSIDE - 1, "fund entry 24 (hour-23): entry 23 is missing before it"),
        (FIRST_INSIDE, FIRST_INSIDE, "fund entry 25 (hour-24): entry 24 is missing before it"),
        (30, 31, "fund entry 32 (hour-31): entries 30 to 31 are missing before it"),
        (LAST_INSIDE, LAST_INSIDE, "fund entry 48 (hour-47): entry 47 is missing before it"),
        (LAST_INSIDE + 1, LAST_INSIDE + 1, "fund entry 49 (hour-48): entry 48 is missing before it"),
    ],
)
def test_an_entry_removed_within_or_at_the_edge_is_found_and_named(
    hours: Ledger, first: int, last: int, finding: str
) -> None:
    tamper(hours, *remove(first, last))
    found = found_in(second_day(hours))
    assert found[0] == finding
    assert finding in problems(hours)


@pytest.mark.parametrize(("first", "last"), [(FIRST_INSIDE, LAST_INSIDE), (3, 4)])
def test_entries_removed_where_none_is_read_are_found_by_counting(hours: Ledger, first: int, last: int) -> None:
    tamper(hours, *remove(first, last))
    left = 60 - (last - first + 1)
    assert found_in(second_day(hours)) == [
        f"fund entry 60: the ledger holds {left} entries up to it: some are missing; `basis verify` names where"
    ]
    assert any(f"entries {first} to {last} are missing" in problem for problem in problems(hours))


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        (
            ["UPDATE entries SET timestamp = '2024-05-12T01:30:00.000000+00:00' WHERE sequence = 24"],
            "fund entry 24 (hour-23): its content was changed",
        ),
        (["UPDATE entries SET hash = 'x' WHERE sequence = 23"], "fund entry 24 (hour-23): does not continue the entry"),
        (
            ["UPDATE entries SET previous_hash = 'x' WHERE sequence = 48"],
            "fund entry 48 (hour-47): does not continue the entry before it",
        ),
        (
            ["UPDATE entries SET trigger = 'NO_SUCH_TRIGGER' WHERE sequence = 30"],
            "fund entry 30 (hour-29): its content was changed after it was recorded and cannot be read",
        ),
        (["UPDATE legs SET fee = '1' WHERE sequence = 30"], "fund entry 30 (hour-29): its legs were changed"),
        (remove(60, 60), "fund entry 60: the head is entry 60, but the chain ends at 59: entries were cut off"),
        (remove(1, 60), "fund entry 60: the head is entry 60, but the chain ends at 0: entries were cut off"),
        (["UPDATE portfolios SET head_hash = 'x'"], "fund entry 60: the head is entry 60, but the chain ends at 60"),
    ],
)
def test_what_was_moved_unlinked_unreadable_or_cut_off_is_found(
    hours: Ledger, statements: list[str], finding: str
) -> None:
    tamper(hours, *statements)
    found = found_in(second_day(hours))
    assert any(problem.startswith(finding) for problem in found), found
    assert set(found) <= set(problems(hours))


def test_an_unreadable_entry_hides_no_other(hours: Ledger) -> None:
    tamper(hours, "UPDATE entries SET trigger = 'NO_SUCH_TRIGGER' WHERE sequence = 30", change(31), change(46))
    assert [problem.split(":")[0] for problem in found_in(second_day(hours))] == [
        f"fund entry {sequence} (hour-{sequence - 1})" for sequence in (30, 31, 46)
    ]


def test_a_late_entry_is_read_with_the_day_it_happened_on(hours: Ledger) -> None:
    hours.append(FUND, update("DEPOSIT", wallet("USDT", "1"), minute=30 * 60, entry_id="late"))
    hourly(hours, 60, 62)
    assert second_day(hours) == (24 + 2 + 3, ())
    tamper(hours, change(61))
    assert found_in(second_day(hours)) == ["fund entry 61 (late): its content was changed after it was recorded"]


def test_each_portfolio_is_verified(hours: Ledger) -> None:
    other = fresh_portfolio(hours)
    hourly(hours, 1, 60, other)
    tamper(hours, change(30), f"UPDATE legs SET delta = '7' WHERE portfolio = '{other}' AND sequence = 40")
    verified = second_day(hours)
    assert verified.entries == 2 * (24 + 2)
    assert {(problem.portfolio, problem.sequence) for problem in verified.problems} == {(FUND, 30), (other, 40)}


def test_an_end_cut_off_together_with_the_head_is_found_by_what_these_days_published(hours: Ledger) -> None:
    head = hours.snapshot().heads()
    publish(hours.engine, [Publication("prices", SECOND_DAY.date(), "prices/13.parquet", 1, head)], at(10_000))
    assert found_in(second_day(hours)) == []
    tamper(
        hours,
        "UPDATE portfolios SET head_sequence = 59, head_hash = (SELECT hash FROM entries WHERE sequence = 59), "
        "last_timestamp = (SELECT timestamp FROM entries WHERE sequence = 59)",
        *remove(60, 60),
    )
    gone = ["fund entry 60: a published day was built on it, but the ledger no longer holds it"]
    assert found_in(second_day(hours)) == gone
    assert found_in(verify_between(hours.engine, SECOND_DAY + HOUR, SECOND_DAY + 2 * HOUR)) == gone
    assert found_in(verify_between(hours.engine, SECOND_DAY + DAY, SECOND_DAY + 2 * DAY)) == []


class Work:
    """Counts the rows of entries and the statements of a verification."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = self.statements = 0

        def counted(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
            for row in rows:
                self.rows += 1
                yield row

        monkeypatch.setattr(f"{verify_between.__module__}.read_entries", lambda rows: read_entries(counted(rows)))
        sa.event.listen(ledger.engine, "before_cursor_execute", self._count)

    def _count(self, *_: object) -> None:
        self.statements += 1

    def of(self, ledger: Ledger, start: datetime, end: datetime) -> tuple[int, int]:
        self.rows = self.statements = 0
        assert verify_between(ledger.engine, start, end).problems == ()
        return self.rows, self.statements


def test_a_longer_history_costs_no_more_rows_or_statements_and_a_longer_range_no_more_statements(
    hours: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work(hours, monkeypatch)
    rows, statements = work.of(hours, SECOND_DAY, SECOND_DAY + DAY)
    assert rows == 24 + 2
    hourly(hours, 60, 600)
    assert work.of(hours, SECOND_DAY, SECOND_DAY + DAY) == (rows, statements)
    assert work.of(hours, SECOND_DAY, SECOND_DAY + 20 * DAY) == (20 * 24 + 2, statements)
