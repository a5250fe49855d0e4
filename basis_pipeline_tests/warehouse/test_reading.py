from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pytest

from basis_pipeline.domain.errors import InputError, UnknownNameError, WarehouseError
from basis_pipeline.warehouse.catalogue import publish_catalogue
from basis_pipeline.warehouse.dayfiles import warehouse_root
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline_tests.warehouse.builders import FIRST_DAY, write_version

DAYS = [FIRST_DAY + timedelta(days=n) for n in range(3)]
EXACT = Decimal("12345678901234567890.123456789012345678")


@pytest.fixture
def files(tmp_path):
    return write_version(tmp_path, 1, DAYS, ("equity_snapshots", "equity_positions", "prices"))


@pytest.fixture
def reader(tmp_path, files):
    publish_catalogue(tmp_path, files, 1)
    return Reader.open(tmp_path)


def test_a_table_comes_as_a_frame_with_exact_decimals(reader):
    frame = reader.table("equity_snapshots")
    assert len(frame) == 72
    assert frame["nav"].dtype == pd.ArrowDtype(pa.decimal128(38, 18))
    assert frame["as_of"].dtype == "datetime64[us]"
    assert frame["as_of"].is_monotonic_increasing
    assert frame["nav"].sum() == Decimal(72)


def test_a_frame_keeps_every_digit(reader):
    assert reader.query("SELECT ?::DECIMAL(38,18) AS v", [EXACT])["v"][0] == EXACT


def test_rows_are_plain_python_with_aware_instants(reader):
    (row,) = reader.rows(
        "SELECT as_of, nav, ledger_sequence, now() AS now FROM equity_snapshots ORDER BY as_of LIMIT 1"
    )
    assert row["as_of"] == datetime(2024, 5, 12, tzinfo=UTC)
    assert (row["nav"], type(row["nav"]), row["ledger_sequence"]) == (Decimal(1), Decimal, 1)
    assert row["now"].utcoffset() == timedelta(0)


def test_a_range_includes_its_start_and_not_its_end(reader):
    assert len(reader.table("equity_snapshots", start=DAYS[1])) == 48
    assert len(reader.table("equity_snapshots", DAYS[1], DAYS[2])) == 24
    noon = datetime(2024, 5, 12, 14, tzinfo=timezone(timedelta(hours=2)))
    assert list(reader.table("equity_snapshots", noon, noon + timedelta(hours=2))["as_of"].dt.hour) == [12, 13]


def test_one_portfolio_can_be_asked_for(reader):
    assert len(reader.table("equity_by_venue", portfolio="x")) == 0
    assert len(reader.table("equity_positions", portfolio="x")) == 72
    assert len(reader.table("equity_positions", portfolio="it's not there")) == 0


def test_parameters_go_by_place_or_by_name(reader):
    at = datetime(2024, 5, 12, 3, tzinfo=UTC)
    assert reader.rows("SELECT count(*) AS n FROM equity_snapshots WHERE as_of = ?", [at]) == [{"n": 1}]
    assert reader.rows("SELECT count(*) AS n FROM equity_snapshots WHERE as_of = $at", {"at": at}) == [{"n": 1}]


def test_columns_of_one_name_do_not_swallow_each_other(reader):
    assert reader.rows("SELECT a.i, b.i FROM (SELECT 1 AS i) a, (SELECT 2 AS i) b") == [{"i": 1, "i_2": 2}]


def test_a_statement_without_a_result_gives_no_rows(reader):
    assert reader.rows("SET threads = 1") == []
    assert {row["name"] for row in reader.rows("SHOW TABLES")} >= {"equity_snapshots", "equity_latest"}


def test_nothing_can_be_changed_through_a_reader(reader):
    with pytest.raises(WarehouseError, match="read-only"):
        reader.rows("CREATE TABLE mine (a INTEGER)")


def test_a_mistake_in_a_query_is_told_as_duckdb_tells_it(reader):
    with pytest.raises(WarehouseError, match="no_such_column"):
        reader.rows("SELECT no_such_column FROM equity_snapshots")


def test_a_python_variable_is_not_a_table(reader):
    surprise = pa.table({"a": [1]})
    with pytest.raises(WarehouseError, match="surprise"):
        reader.rows("SELECT * FROM surprise")
    assert surprise.num_rows == 1


def test_what_a_table_cannot_be_chosen_by_is_refused(reader):
    with pytest.raises(InputError, match="prices: has no column portfolio"):
        reader.table("prices", portfolio="x")
    with pytest.raises(InputError, match="no time zone"):
        reader.table("prices", start=datetime(2024, 5, 12))  # noqa: DTZ001
    with pytest.raises(UnknownNameError, match="equity_by_venue"):
        reader.table("equity")


def test_before_the_first_publication_the_reader_says_what_to_run(tmp_path):
    with pytest.raises(WarehouseError, match="basis materialize"):
        Reader.open(tmp_path / "nowhere")


def test_a_damaged_or_deleted_day_file_says_what_to_run(tmp_path, files, reader):
    path = warehouse_root(tmp_path) / files[3].file
    path.write_bytes(b"PAR1" + b"\0" * 500)
    with pytest.raises(WarehouseError, match="basis rebuild"):
        reader.table("equity_snapshots"), reader.table("equity_positions"), reader.table("prices")
    path.unlink()
    with pytest.raises(WarehouseError, match="basis rebuild"):
        reader.table("equity_snapshots"), reader.table("equity_positions"), reader.table("prices")


def test_a_reader_kept_open_sees_the_next_publication(tmp_path, reader):
    before = reader.table("equity_latest", start=date(2024, 5, 1))["ledger_sequence"][0]
    publish_catalogue(tmp_path, write_version(tmp_path, 9, DAYS), 2)
    assert (before, reader.table("equity_latest")["ledger_sequence"][0]) == (1, 9)
