from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from basis_pipeline.domain.errors import WarehouseError
from basis_pipeline.home import open_home
from basis_pipeline.steps.proofs import ProofFailed, prove
from basis_pipeline.steps.publishing import current_day_files, publish
from basis_pipeline.warehouse.dayfiles import DayFile, warehouse_root, write_day
from basis_pipeline_tests.homes import import_sample, published, rebuild_days, write_sample_home

Change = Callable[[pa.Table], pa.Table]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two published days of the sample."""
    home = tmp_path_factory.mktemp("proofs")
    import_sample(home, write_sample_home(home, days=2))
    rebuild_days(home)
    return home


def files_with(home: Path, table: str, change: Change) -> list[DayFile]:
    """Everything published, but one day of one table changed."""
    with open_home(home) as opened:
        files = current_day_files(opened.ports())
    chosen = max((file for file in files if file.table == table), key=lambda file: file.day)
    rows = change(pq.read_table(warehouse_root(home) / chosen.file))
    changed = write_day(warehouse_root(home), table, chosen.day, rows)
    return [changed if file == chosen else file for file in files]


def first_changed(column: str, change: Callable[[Any], object]) -> Change:
    """The table with its first value of a column replaced."""

    def changed(rows: pa.Table) -> pa.Table:
        values = rows[column].combine_chunks()
        replaced = pa.concat_arrays([pa.array([change(values[0].as_py())], values.type), values[1:]])
        return rows.set_column(rows.column_names.index(column), column, replaced)

    return changed


def one_digit_more(value: Decimal) -> Decimal:
    return value + Decimal("1E-18")


def test_what_the_steps_publish_passes_every_proof(home: Path) -> None:
    with open_home(home) as opened:
        prove(home, current_day_files(opened.ports()))


@pytest.mark.parametrize(
    ("table", "change", "named"),
    [
        ("equity_snapshots", first_changed("nav", one_digit_more), "sides_add_up"),
        ("equity_snapshots", first_changed("total_equity", one_digit_more), "sides_add_up"),
        ("equity_positions", first_changed("value", one_digit_more), "sides_add_up"),
        ("equity_positions", lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]), "keys_unique"),
        ("wallet_balances", first_changed("balance", lambda value: -value - 1), "never_negative"),
        ("prices", first_changed("observed_at", lambda at: at.replace(year=2099)), "known_in_time"),
    ],
    ids=["nav", "total", "line", "double", "negative", "future"],
)
def test_a_wrong_number_is_refused_before_it_is_published(home: Path, table: str, change: Change, named: str) -> None:
    before = published(home)
    with open_home(home) as opened, pytest.raises(ProofFailed, match=f"contradict.* {named} ") as refused:
        publish(opened.ports(), files_with(home, table, change), {})
    assert isinstance(refused.value, WarehouseError)
    assert "Nothing of this step was published" in str(refused.value)
    assert published(home) == before
