from __future__ import annotations

from datetime import date

from basis_pipeline.ledger.ledger import Ledger
from basis_pipeline.ledger.publications import (
    Publication,
    current_files,
    forget,
    publish,
    superseded,
    withdraw,
    withdraw_all,
)
from basis_pipeline.ledger.snapshot import Head
from basis_pipeline_tests.builders import at

FIRST = {"fund": Head(3, "a" * 64)}
SECOND = {"fund": Head(5, "b" * 64), "other": Head(1, "c" * 64)}


def day_file(table: str, day: int, name: str, heads: dict[str, Head] = FIRST) -> Publication:
    return Publication(table, date(2024, 5, day), f"{table}/2024-05-{day}-{name}.parquet", 24, heads)


def test_what_was_published_comes_back_with_the_heads_it_was_built_from(ledger: Ledger) -> None:
    files = (day_file("prices", 12, "x"), day_file("prices", 13, "y", SECOND))
    returned = publish(ledger.engine, files, at(0))
    assert returned == current_files(ledger.engine)
    assert returned.files == files


def test_a_newer_file_takes_the_place_of_its_day_only(ledger: Ledger) -> None:
    publish(ledger.engine, [day_file("prices", 12, "x"), day_file("prices", 13, "y")], at(0))
    before = current_files(ledger.engine).generation
    again = publish(ledger.engine, [day_file("prices", 12, "z", SECOND), day_file("rates", 12, "r")], at(60))
    assert [p.file[-9:] for p in again.files] == ["z.parquet", "y.parquet", "r.parquet"]
    assert again.generation > before
    assert superseded(ledger.engine) == {"prices/2024-05-12-x.parquet": at(60)}


def test_a_superseded_file_is_kept_on_record_until_it_is_forgotten(ledger: Ledger) -> None:
    for minute, name in ((0, "x"), (60, "y"), (120, "z")):
        publish(ledger.engine, [day_file("prices", 12, name)], at(minute))
    assert superseded(ledger.engine) == {
        "prices/2024-05-12-x.parquet": at(60),
        "prices/2024-05-12-y.parquet": at(120),
    }
    forget(ledger.engine, ["prices/2024-05-12-x.parquet", "prices/2024-05-12-z.parquet"])
    assert set(superseded(ledger.engine)) == {"prices/2024-05-12-y.parquet"}
    assert [p.file for p in current_files(ledger.engine).files] == ["prices/2024-05-12-z.parquet"]


def test_a_file_that_is_current_again_is_not_superseded(ledger: Ledger) -> None:
    for minute, name in ((0, "x"), (60, "y"), (120, "x")):
        publish(ledger.engine, [day_file("prices", 12, name)], at(minute))
    assert set(superseded(ledger.engine)) == {"prices/2024-05-12-y.parquet"}


def test_the_run_that_saw_more_entries_wins_whichever_ends_last(ledger: Ledger) -> None:
    publish(ledger.engine, [day_file("prices", 12, "newer", SECOND)], at(0))
    late = publish(ledger.engine, [day_file("prices", 12, "older", FIRST), day_file("prices", 13, "new")], at(60))
    assert [p.file[-13:] for p in late.files] == ["newer.parquet", "3-new.parquet"]
    assert superseded(ledger.engine) == {}


def test_publishing_nothing_changes_nothing(ledger: Ledger) -> None:
    publish(ledger.engine, [day_file("prices", 12, "x")], at(0))
    before = current_files(ledger.engine)
    assert publish(ledger.engine, [], at(60)) == before


def test_withdrawn_files_count_as_never_published(ledger: Ledger) -> None:
    files = [day_file("prices", 12, "x"), day_file("prices", 13, "y")]
    publish(ledger.engine, files, at(0))
    withdraw(ledger.engine, [files[0].file])
    assert [p.file for p in current_files(ledger.engine).files] == [files[1].file]
    withdraw_all(ledger.engine)
    assert current_files(ledger.engine) == (0, ())
    assert superseded(ledger.engine) == {}
