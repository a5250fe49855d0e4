"""Several processes, killed processes and full disks: what was acknowledged is there, once, and the ledger verifies."""

from __future__ import annotations

import random
from itertools import islice
from pathlib import Path

import pytest
import sqlalchemy as sa

from basis_pipeline.domain.errors import BasisError, LedgerError
from basis_pipeline.ledger.database import sqlite_url
from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline_tests.builders import at, state, update, wallet
from basis_pipeline_tests.ledger import writer
from basis_pipeline_tests.ledger.builders import FUND, checked, deposits, ids, problems, replayed, stored, terms
from basis_pipeline_tests.ledger.writer import start, told

pytestmark = pytest.mark.integration
KILLS = 25  # on each database


def test_processes_that_open_a_new_database_at_once_create_it_once(ledger_url: str) -> None:
    started = [start(writer.opens, ledger_url) for _ in range(4)]
    assert [told(pipe) for _, pipe in started] == [["opened"]] * 4
    for process, _ in started:
        process.join()
    with Ledger(ledger_url) as ledger:
        assert ids(ledger) == ["initial-capital:fund"]
        assert problems(ledger) == []


def test_processes_that_append_at_once_lose_nothing_and_double_nothing(ledger: Ledger, ledger_url: str) -> None:
    names, number = ("a", "b", "c"), 15
    started = [start(writer.appends, ledger_url, name, number) for name in names]
    seen = 0
    while any(process.is_alive() for process, _ in started):
        snapshot = ledger.snapshot()
        head = snapshot.state(FUND).head
        entries = sorted(snapshot.entries(FUND, None, None), key=lambda entry: entry.sequence)
        assert [entry.sequence for entry in entries] == list(range(1, head.sequence + 1))
        assert entries[-1].hash == head.hash
        assert head.sequence >= seen
        assert snapshot.book_at(FUND, at(10**6)).book.balances[("wallet", "USDT")] == 1000 + head.sequence - 1
        seen = head.sequence
    receipts = [receipt for _, pipe in started for receipt in told(pipe)]
    assert len(receipts) == 2 * number * len(names)
    assert sum(not receipt.duplicate for receipt in receipts) == number * len(names) + number
    expected = {each.id for name in (*names, "shared") for each in deposits(number, prefix=name)}
    assert sorted(ids(ledger)[1:]) == sorted(expected)
    by_id = {entry.update.id: entry.sequence for entry in stored(ledger)}
    assert all(by_id[receipt.entry_id] == receipt.sequence for receipt in receipts)
    assert problems(ledger) == []


def test_a_writer_killed_at_any_instant_breaks_nothing_and_loses_nothing_it_acknowledged(
    ledger: Ledger, ledger_url: str
) -> None:
    choose = random.Random(1)
    acknowledged: dict[str, int] = {}
    for _ in range(KILLS):
        process, pipe = start(writer.appends_until_killed, ledger_url)
        acknowledged.update(islice(iter(pipe.recv, None), choose.randint(0, 6)))
        process.kill()
        process.join()
        acknowledged.update(told(pipe))
        assert problems(ledger) == []
        by_id = {entry.update.id: entry.sequence for entry in stored(ledger)}
        assert acknowledged.items() <= by_id.items()
        assert len(by_id) <= len(acknowledged) + 1 + KILLS
    assert len(acknowledged) > KILLS
    ledger.append(FUND, update("WITHDRAWAL", wallet("USDT", "-1"), minute=10**5))
    book = ledger.snapshot().book_at(FUND, at(10**5)).book
    assert state(book) == state(replayed(stored(ledger)))


@pytest.mark.parametrize("room", [40_000, 200_000, 500_001])
def test_a_full_disk_is_an_error_that_loses_nothing_and_the_retry_works(tmp_path: Path, room: int) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    with Ledger(url) as ledger:
        ledger.register(terms())
    largest = max(file.stat().st_size for file in tmp_path.iterdir())
    process, pipe = start(writer.appends_with_little_room, url, largest + room)
    *acknowledged, error, again = told(pipe)
    process.join()
    assert isinstance(error, LedgerError)
    assert again == f"deposit-{len(acknowledged) + 1}"
    with Ledger(url) as ledger:
        assert problems(ledger) == []
        assert ids(ledger)[1:] == [*acknowledged, again]


def test_capital_whose_commit_failed_is_not_there_twice_after_the_retry(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    with Ledger(url):
        pass
    process, pipe = start(writer.registers_with_little_room, url, 1)
    error, once, twice = told(pipe)
    process.join()
    assert isinstance(error, LedgerError)
    assert once == "accepted"
    assert isinstance(twice, BasisError), "the capital was spent twice"


def test_a_database_at_its_page_limit_says_that_the_disk_is_full(tmp_path: Path) -> None:
    with Ledger(sqlite_url(tmp_path / "ledger.db")) as ledger:
        ledger.register(terms())

        def limit(connection: sa.Connection) -> None:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")

        sa.event.listen(ledger.engine, "begin", limit)
        with pytest.raises(LedgerError, match=r"disk is full .*nothing was written. Free space and run again"):
            ledger.append_many(FUND, deposits(500))
        assert ids(ledger) == ["initial-capital:fund"]
        assert problems(ledger) == []
        sa.event.remove(ledger.engine, "begin", limit)
        sa.event.listen(
            ledger.engine, "begin", lambda connection: connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        )
        assert len(ledger.append_many(FUND, deposits(500))) == 500
        assert checked(ledger) == (501, ())


def test_a_database_somebody_else_holds_too_long_is_an_error_of_ours(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "ledger.db")
    with Ledger(url) as ledger, Ledger(url) as other:
        ledger.register(terms())
        sa.event.listen(
            other.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout=1") and None
        )
        other.engine.dispose()
        with ledger.engine.connect().execution_options(writing=True) as holder, holder.begin():
            with pytest.raises(LedgerError, match="another process held the database too long"):
                other.append(FUND, deposits(1)[0])
            assert len(other.snapshot().portfolios) == 1, "readers do not wait for the writer"
        assert other.append(FUND, deposits(1)[0]).sequence == 2
