from __future__ import annotations

import os
import random
import subprocess
import sys
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from basis_pipeline.domain.errors import UnknownNameError, WarehouseError
from basis_pipeline.domain.instants import hours_of
from basis_pipeline.warehouse.dayfiles import DayFile, check_files, decimal_array, warehouse_root, write_day, write_days
from basis_pipeline.warehouse.tables import ALL_TABLES, arrow_schema, table
from basis_pipeline_tests.warehouse.builders import FIRST_DAY, columns, snapshots

SNAPSHOTS = "equity_snapshots"


@pytest.fixture
def root(tmp_path):
    return warehouse_root(tmp_path)


@pytest.mark.parametrize("declared", ALL_TABLES, ids=lambda t: t.name)
def test_what_is_written_reads_back_in_the_declared_types(root, declared):
    file = write_day(root, declared.name, FIRST_DAY, columns(declared, version=7))
    rows = pq.read_table(root / file.file)
    assert rows.schema.equals(arrow_schema(declared))
    assert (file.table, file.day, file.rows, rows.num_rows) == (declared.name, FIRST_DAY, 24, 24)


def test_the_name_carries_the_day_and_the_hash_of_the_bytes(root):
    file = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    assert file.file.startswith("equity_snapshots/2024-05-12-")
    assert check_files(root, [file]) == []


def test_the_same_rows_give_the_same_file_whatever_their_order_and_container(root):
    first = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    order = random.Random(5).sample(range(24), 24)
    shuffled = {name: [values[n] for n in order] for name, values in snapshots().items()}
    schema = arrow_schema(table(SNAPSHOTS))
    as_table = pa.concat_tables([pa.table(snapshots(), schema=schema).slice(n, 12) for n in (0, 12)])
    assert write_day(root, SNAPSHOTS, FIRST_DAY, shuffled) == first
    assert write_day(root, SNAPSHOTS, FIRST_DAY, as_table) == first
    assert len(list((root / SNAPSHOTS).iterdir())) == 1


def test_the_same_rows_give_the_same_file_in_another_process(root):
    program = (
        "import sys; from pathlib import Path\n"
        "from basis_pipeline.warehouse.dayfiles import write_day\n"
        "from basis_pipeline_tests.warehouse.builders import FIRST_DAY, snapshots\n"
        "print(write_day(Path(sys.argv[1]), 'equity_snapshots', FIRST_DAY, snapshots()).file)"
    )
    result = subprocess.run([sys.executable, "-c", program, root], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == write_day(root, SNAPSHOTS, FIRST_DAY, snapshots()).file


def test_other_rows_get_a_file_beside_the_first(root):
    first = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots(version=1))
    second = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots(version=2))
    assert first.file != second.file
    assert check_files(root, [first, second]) == []


def test_an_unchanged_file_is_kept_but_counts_as_young_again(root):
    file = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    os.utime(root / file.file, (0, 0))
    inode = (root / file.file).stat().st_ino
    write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    assert (root / file.file).stat().st_ino == inode
    assert (root / file.file).stat().st_mtime > 0


def test_writing_a_day_again_heals_a_damaged_file(root):
    file = write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    (root / file.file).write_bytes(b"\0" * (root / file.file).stat().st_size)
    write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())
    assert check_files(root, [file]) == []


def test_a_day_without_rows_is_a_file_too(root):
    file = write_day(root, SNAPSHOTS, FIRST_DAY, {name: [] for name in snapshots()})
    assert file.rows == 0
    assert pq.read_table(root / file.file).schema.equals(arrow_schema(table(SNAPSHOTS)))


def test_many_days_are_written_in_the_order_given(root):
    days = [(name, FIRST_DAY + timedelta(days=n)) for n in range(20) for name in (SNAPSHOTS, "prices")]
    files = write_days(root, ((name, day, columns(table(name), day)) for name, day in days))
    assert [(file.table, file.day) for file in files] == days
    assert check_files(root, files) == []


def test_a_bad_day_among_many_is_named_and_leaves_no_temporary_file(root):
    days = [FIRST_DAY + timedelta(days=n) for n in range(20)]
    with pytest.raises(WarehouseError, match=r"equity_snapshots\.nav"):
        write_days(
            root, ((SNAPSHOTS, day, snapshots(day) | ({"nav": [None] * 24} if day.day == 25 else {})) for day in days)
        )
    assert not list(root.rglob("*.tmp"))


def test_instants_are_stored_as_utc_whatever_zone_they_come_in(root):
    east = timezone(timedelta(hours=5, minutes=30))
    moved = snapshots(as_of=[moment.astimezone(east) for moment in hours_of(FIRST_DAY)])
    assert write_day(root, SNAPSHOTS, FIRST_DAY, moved) == write_day(root, SNAPSHOTS, FIRST_DAY, snapshots())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"nav": [Decimal("1e-19")] * 24}, r"equity_snapshots\.nav: 1E-19 has more than 18 places"),
        ({"nav": [Decimal("1e20")] * 24}, r"equity_snapshots\.nav: 1E\+20 is too large"),
        ({"nav": [Decimal("NaN")] * 24}, r"equity_snapshots\.nav: NaN is not a finite"),
        ({"nav": [1.5] * 24}, r"equity_snapshots\.nav: 1\.5 \(float\)"),
        ({"nav": pa.array([1.5] * 24)}, r"equity_snapshots\.nav: floats are not exact"),
        ({"nav": [Decimal(1)] * 23 + [None]}, r"equity_snapshots\.nav: row 23 has no value"),
        ({"nav": [Decimal(1)] * 23}, r"equity_snapshots: columns differ in length"),
        ({"ledger_sequence": ["1"] * 24}, r"equity_snapshots\.ledger_sequence: does not fit BIGINT"),
        ({"ledger_sequence": [2**63] * 24}, r"equity_snapshots\.ledger_sequence: does not fit BIGINT"),
        ({"portfolio": [1] * 24}, r"equity_snapshots\.portfolio: does not fit VARCHAR"),
        ({"as_of": [datetime(2024, 5, 12)] * 24}, r"equity_snapshots\.as_of: .*time zone"),  # noqa: DTZ001
        ({"as_of": hours_of(date(2024, 5, 13))}, r"equity_snapshots\.as_of: 2024-05-13 00:00:00 is not in the day"),
        ({"surprise": [1] * 24}, r"equity_snapshots: column surprise is not declared"),
    ],
)
def test_what_does_not_fit_the_declaration_is_refused_by_name(root, bad, message):
    with pytest.raises(WarehouseError, match=message):
        write_day(root, SNAPSHOTS, FIRST_DAY, snapshots() | bad)
    assert not root.exists()


def test_a_missing_column_and_an_unknown_table_are_refused_by_name(root):
    incomplete = {name: values for name, values in snapshots().items() if name != "nav"}
    with pytest.raises(WarehouseError, match="equity_snapshots: column nav is missing"):
        write_day(root, SNAPSHOTS, FIRST_DAY, incomplete)
    with pytest.raises(UnknownNameError, match="'nonsense'"):
        write_day(root, "nonsense", FIRST_DAY, {})


def test_a_full_disk_is_a_clear_error_that_leaves_nothing_behind(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "basis_pipeline_tests.warehouse.process", "fill_disk", tmp_path, "day"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "free disk space" in result.stdout
    assert "equity_positions" in result.stdout
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_checking_names_each_missing_changed_and_miscounted_file(root):
    files = [write_day(root, SNAPSHOTS, FIRST_DAY, snapshots(version=n)) for n in range(4)]
    (root / files[0].file).unlink()
    (root / files[1].file).write_bytes(b"PAR1 not")
    miscounted = DayFile(files[2].table, files[2].day, files[2].file, 99)
    problems = check_files(root, [files[0], files[1], miscounted, files[3]])
    assert [problem.split(": ")[1] for problem in problems] == [
        "missing",
        "its content is not the one that was published",
        "has 24 rows, 99 were published",
    ]


@given(
    st.lists(
        st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=18, max_value=10**19, min_value=-(10**19))
    )
)
def test_decimals_survive_exactly(values):
    array = decimal_array(values, 18)
    assert array.type == pa.decimal128(38, 18)
    assert array.to_pylist() == values


@given(st.integers(min_value=-(10**38) + 1, max_value=10**38 - 1), st.sampled_from([18, 27]))
def test_every_integer_of_38_digits_is_a_decimal_at_either_scale(digits, places):
    value = Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -places))
    assert decimal_array([value], places).to_pylist() == [value]


@given(st.decimals(allow_nan=False, allow_infinity=False))
@example(Decimal("6.47779406198198444023999484469E-28"))
@example(Decimal("9E-57"))
def test_any_decimal_is_stored_exactly_or_refused(value):
    try:
        stored = decimal_array([value], 18).to_pylist()
    except WarehouseError:
        numerator, denominator = value.as_integer_ratio()
        assert abs(value) >= 10**20 or (numerator * 10**18) % denominator
    else:
        assert stored == [value]


@pytest.mark.parametrize("text", ["0E+40", "-0", "1.0000000000000000000000000000000000000000000000000", "5E+3"])
def test_unusual_spellings_of_exact_numbers_are_taken(text):
    assert decimal_array([Decimal(text)], 18).to_pylist() == [Decimal(text)]
