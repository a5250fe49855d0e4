from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta
from decimal import Decimal

import duckdb
import pytest

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.warehouse.catalogue import (
    Since,
    catalogue_info,
    catalogue_is_current,
    catalogue_path,
    connect_memory,
    publish_catalogue,
)
from basis_pipeline.warehouse.dayfiles import DayFile, warehouse_root, write_day
from basis_pipeline.warehouse.lock import writer_lock
from basis_pipeline.warehouse.reading import Reader
from basis_pipeline.warehouse.tables import ALL_TABLES, ALL_VIEWS, table
from basis_pipeline_tests.warehouse.builders import FIRST_DAY, columns, snapshots, write_version

DAYS = [FIRST_DAY + timedelta(days=n) for n in range(3)]
COUNT = "SELECT count(*) AS n, max(ledger_sequence) AS version FROM equity_snapshots"


def counted(home):
    with duckdb.connect(catalogue_path(home), read_only=True) as connection:
        return connection.execute(COUNT).fetchone()


def test_every_view_exists_and_is_empty_before_the_first_day(tmp_path):
    publish_catalogue(tmp_path, [], 1)
    with duckdb.connect(catalogue_path(tmp_path), read_only=True) as connection:
        for declared in (*ALL_TABLES, *ALL_VIEWS):
            result = connection.execute(f"SELECT * FROM {declared.name}")
            found = [(column[0], str(column[1])) for column in result.description]
            assert found == [(c.name, c.type.value) for c in declared.columns], declared.name
            assert len(result.fetchall()) == (declared.name == "catalogue_info")


def test_the_catalogue_describes_its_tables_and_columns(tmp_path):
    publish_catalogue(tmp_path, [], 1)
    with duckdb.connect(catalogue_path(tmp_path), read_only=True) as connection:
        views = dict(connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
        columns_ = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'equity_snapshots'"
        ).fetchall()
    assert views == {d.name: d.description for d in (*ALL_TABLES, *ALL_VIEWS)}
    assert dict(columns_) == {c.name: c.description for c in table("equity_snapshots").columns}


@pytest.mark.parametrize("since", [None, Since(1, frozenset({"prices"}))], ids=["made anew", "carried on"])
def test_the_catalogue_has_the_format_that_every_duckdb_since_1_0_reads(tmp_path, since):
    publish_catalogue(tmp_path, [], 1)
    publish_catalogue(tmp_path, [], 2, since)
    with duckdb.connect(catalogue_path(tmp_path), read_only=True) as connection:
        query = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'basis'"
        assert connection.execute(query).fetchall() == [("v1.0.0+",)]


def test_exactly_the_listed_files_are_shown(tmp_path):
    old = write_version(tmp_path, 1, DAYS)
    new = write_version(tmp_path, 2, DAYS[:1])
    publish_catalogue(tmp_path, old, 1)
    assert counted(tmp_path) == (72, 1)
    publish_catalogue(tmp_path, [*new, *(file for file in old if file.day != DAYS[0])], 2)
    assert counted(tmp_path) == (72, 2)


@pytest.mark.parametrize("since", [1, 7], ids=["carried on", "made anew"])
def test_a_catalogue_carried_on_is_the_same_as_one_made_anew(tmp_path, since):
    old = write_version(tmp_path, 1, DAYS)
    new = write_version(tmp_path, 2, DAYS)
    publish_catalogue(tmp_path, old, 1)
    publish_catalogue(tmp_path, new, 2, Since(since, frozenset({file.table for file in new})))
    assert counted(tmp_path) == (72, 2)
    assert catalogue_is_current(tmp_path, 2)
    with duckdb.connect(catalogue_path(tmp_path), read_only=True) as connection:
        views = dict(connection.execute("SELECT view_name, comment FROM duckdb_views() WHERE NOT internal").fetchall())
    assert views == {d.name: d.description for d in (*ALL_TABLES, *ALL_VIEWS)}


def test_a_damaged_catalogue_is_not_carried_on(tmp_path):
    files = write_version(tmp_path, 1, DAYS)
    publish_catalogue(tmp_path, files, 1)
    catalogue_path(tmp_path).write_bytes(b"not a database")
    publish_catalogue(tmp_path, files, 2, Since(1, frozenset()))
    assert counted(tmp_path) == (72, 1)


def test_publishing_leaves_one_file_and_no_log(tmp_path):
    (tmp_path / "basis.duckdb.wal").write_bytes(b"left by a writing session")
    (tmp_path / ".basis.duckdb.1-aa.tmp").write_bytes(b"left by a killed run")
    (tmp_path / ".basis.duckdb.1-aa.tmp.wal").write_bytes(b"left by a killed run")
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["basis.duckdb", "warehouse"]
    assert counted(tmp_path) == (72, 1)


def test_a_query_that_runs_while_its_days_are_replaced_ends_on_the_old_ones(tmp_path):
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    with duckdb.connect(catalogue_path(tmp_path), read_only=True) as open_before:
        open_before.execute("SELECT ledger_sequence FROM equity_snapshots")
        publish_catalogue(tmp_path, write_version(tmp_path, 2, DAYS), 2)
        assert set(open_before.fetchall()) == {(1,)}
        assert open_before.execute(COUNT).fetchone() == (72, 1)
        assert Reader.open(tmp_path).rows(COUNT) == [{"n": 72, "version": 2}]


@pytest.mark.parametrize("name", ["it's a home", 'double "quotes"', "data[1]", "a*b", "key=value", "ümlaut"])
def test_a_home_may_have_any_name(tmp_path, name):
    home = tmp_path / name
    publish_catalogue(home, write_version(home, 3, DAYS), 1)
    assert Reader.open(home).rows(COUNT) == [{"n": 72, "version": 3}]
    assert len(Reader.open(home).query("SELECT * FROM equity_snapshots").columns) == len(snapshots())
    assert catalogue_is_current(home, 1)


def test_the_one_name_that_duckdb_cannot_write_below_is_refused(tmp_path):
    with pytest.raises(WarehouseError, match=r"'\?'; rename the directory"):
        publish_catalogue(tmp_path / "what?", [], 1)


def test_the_views_work_from_any_directory_and_under_any_database_name(tmp_path, monkeypatch):
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    monkeypatch.chdir("/")
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{catalogue_path(tmp_path)}' AS mine (READ_ONLY)")
        assert connection.execute("SELECT count(*) FROM mine.equity_latest").fetchone() == (1,)


def test_a_moved_home_is_noticed_and_published_again(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    files = write_version(old, 1, DAYS)
    publish_catalogue(old, files, 5)
    assert catalogue_is_current(old, 5)
    old.rename(new)
    assert not catalogue_is_current(new, 5)
    with pytest.raises(WarehouseError, match=r"moved from .*old to .*new; run `basis materialize`"):
        Reader.open(new).rows(COUNT)
    publish_catalogue(new, files, 5)
    assert catalogue_is_current(new, 5)
    assert Reader.open(new).rows(COUNT) == [{"n": 72, "version": 1}]


def test_a_symbolic_link_to_a_home_is_the_same_home(tmp_path):
    home = tmp_path / "home"
    publish_catalogue(home, write_version(home, 1, DAYS), 1)
    (tmp_path / "link").symlink_to(home)
    assert catalogue_is_current(tmp_path / "link", 1)


def test_a_crash_before_the_rename_is_noticed_by_the_generation(tmp_path):
    publish_catalogue(tmp_path, [], 1)
    info = catalogue_info(tmp_path)
    assert info is not None
    assert (info.home, info.generation) == (tmp_path.resolve(), 1)
    assert not catalogue_is_current(tmp_path, 2)


@pytest.mark.parametrize("content", [b"", b"not a database", b"\0" * 100_000])
def test_a_damaged_catalogue_counts_as_none_and_is_replaced(tmp_path, content):
    catalogue_path(tmp_path).write_bytes(content)
    assert catalogue_info(tmp_path) is None
    with pytest.raises(WarehouseError, match="basis rebuild"):
        Reader.open(tmp_path).rows(COUNT)
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    assert counted(tmp_path) == (72, 1)


def test_a_half_copied_catalogue_counts_as_none(tmp_path):
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    path = catalogue_path(tmp_path)
    os.truncate(path, path.stat().st_size // 2)
    assert catalogue_info(tmp_path) is None


def test_somebody_elses_database_counts_as_none(tmp_path):
    with duckdb.connect(catalogue_path(tmp_path)) as connection:
        connection.execute("CREATE TABLE catalogue_info AS SELECT 'x' AS home, 'many' AS generation")
    assert catalogue_info(tmp_path) is None
    assert catalogue_info(tmp_path / "nowhere") is None


def test_a_reader_with_write_access_does_not_stop_a_publication(tmp_path):
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    with duckdb.connect(catalogue_path(tmp_path)) as connection:
        publish_catalogue(tmp_path, write_version(tmp_path, 2, DAYS), 2)
        assert connection.execute(COUNT).fetchone() == (72, 1)
    assert Reader.open(tmp_path).rows(COUNT) == [{"n": 72, "version": 2}]


def test_a_deleted_day_file_is_left_out_and_handed_back(tmp_path):
    files = write_version(tmp_path, 1, DAYS)
    (warehouse_root(tmp_path) / files[0].file).unlink()
    assert publish_catalogue(tmp_path, files, 1) == (files[0],)
    assert counted(tmp_path) == (48, 1)


def test_a_deleted_warehouse_is_published_empty_and_the_same_rows_come_back_under_the_same_names(tmp_path):
    files = write_version(tmp_path, 1, DAYS)
    publish_catalogue(tmp_path, files, 1)
    shutil.rmtree(warehouse_root(tmp_path))
    assert set(publish_catalogue(tmp_path, files, 2)) == set(files)
    assert counted(tmp_path) == (0, None)
    assert write_version(tmp_path, 1, DAYS) == files


def test_files_of_a_table_that_another_version_declares_are_passed_over(tmp_path):
    unknown = DayFile("tomorrows_table", FIRST_DAY, "tomorrows_table/2024-05-12-0123456789abcdef.parquet", 1)
    assert publish_catalogue(tmp_path, [unknown], 1) == ()


def test_our_own_commands_read_the_same_views_without_a_catalogue(tmp_path):
    files = write_version(tmp_path, 4, DAYS)
    with connect_memory(tmp_path, files) as connection:
        assert connection.execute(COUNT).fetchone() == (72, 4)
    assert not catalogue_path(tmp_path).exists()


def test_our_own_commands_refuse_to_compute_on_missing_files(tmp_path):
    files = write_version(tmp_path, 4, DAYS)
    (warehouse_root(tmp_path) / files[0].file).unlink()
    with pytest.raises(WarehouseError, match=r"1 day files are missing, first equity_snapshots/2024-05-12"):
        connect_memory(tmp_path, files)


def test_a_full_disk_leaves_the_previous_publication(tmp_path):
    publish_catalogue(tmp_path, write_version(tmp_path, 1, DAYS), 1)
    result = subprocess.run(
        [sys.executable, "-m", "basis_pipeline_tests.warehouse.process", "fill_disk", tmp_path, "catalogue"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "free disk space" in result.stdout
    assert counted(tmp_path) == (72, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["basis.duckdb", "warehouse"]


def test_equity_adds_up_exactly_by_venue_asset_and_underlying(tmp_path):
    declared = table("equity_positions")
    hour = columns(declared)["as_of"][0]
    lines = [
        ("aave", "aWETH", "ETH", "asset", "0.100000000000000001"),
        ("aave", "variableDebtWETH", "ETH", "debt", "-0.000000000000000003"),
        ("binance", "USDT", "USDT", "asset", "99999999999999999.999999999999999999"),
        ("binance", "ETHUSDT-PERP", "ETH", "perp", "500"),
        ("etherfi", "weETH", "ETH", "locked", "500"),
    ]
    rows = {
        "as_of": [hour] * 5,
        "portfolio": ["p"] * 5,
        "account": ["wallet"] * 5,
        "venue": [line[0] for line in lines],
        "token": [line[1] for line in lines],
        "underlying": [line[2] for line in lines],
        "side": [line[3] for line in lines],
        **{name: [Decimal(line[4]) for line in lines] for name in ("amount", "price_usd", "value_usd", "value")},
        "rate": [Decimal(1)] * 5,
    }
    file = write_day(warehouse_root(tmp_path), declared.name, FIRST_DAY, rows)
    publish_catalogue(tmp_path, [file], 1)
    reader = Reader.open(tmp_path)
    total = Decimal("100000000000000000.099999999999999997")
    for view in ("equity_by_venue", "equity_by_asset", "equity_by_underlying"):
        assert reader.rows(f"SELECT sum(value) AS v, typeof(sum(value)) AS t FROM {view} GROUP BY portfolio") == [
            {"v": total, "t": "DECIMAL(38,18)"}
        ]
    assert {r["venue"]: r["value"] for r in reader.rows("SELECT * FROM equity_by_venue")} == {
        "aave": Decimal("0.099999999999999998"),
        "binance": Decimal("99999999999999999.999999999999999999"),
    }


def test_the_latest_equity_is_the_newest_row_of_each_portfolio(tmp_path):
    long, short = snapshots(version=1), {name: values[:5] for name, values in snapshots(version=2).items()}
    both = {name: [*long[name], *short[name]] for name in long} | {"portfolio": ["long"] * 24 + ["short"] * 5}
    publish_catalogue(tmp_path, [write_day(warehouse_root(tmp_path), "equity_snapshots", FIRST_DAY, both)], 1)
    rows = Reader.open(tmp_path).rows("SELECT portfolio, hour(as_of) AS hour FROM equity_latest ORDER BY portfolio")
    assert rows == [{"portfolio": "long", "hour": 23}, {"portfolio": "short", "hour": 4}]


def test_two_publishers_take_turns_and_the_one_that_waits_too_long_is_told(tmp_path):
    with (
        writer_lock(tmp_path),
        pytest.raises(WarehouseError, match="another process has been publishing"),
        writer_lock(tmp_path, timeout_s=0),
    ):
        pytest.fail("the lock was given twice")
    with writer_lock(tmp_path, timeout_s=0):
        pass
