from __future__ import annotations

import subprocess
import sys

import pytest

from basis_pipeline.domain.errors import UnknownNameError
from basis_pipeline.warehouse.tables import ALL_TABLES, ALL_VIEWS, ColumnType, arrow_schema, relation, table

CONTRACT = {
    "balance_changes": "timestamp recorded_at portfolio sequence entry_id trigger leg venue token instrument action "
    "delta balance size entry_price notional_usd reason",
    "wallet_balances": "as_of portfolio token balance",
    "cex_balances": "as_of portfolio venue token balance",
    "perp_positions": "as_of portfolio venue instrument size entry_price entry_timestamp notional_usd",
    "prices": "as_of symbol kind venue price_usd source observed_at",
    "conversion_rates": "as_of name rate source observed_at",
    "equity_positions": "as_of portfolio account venue token underlying side amount rate price_usd value_usd value",
    "equity_snapshots": "as_of portfolio share_class total_equity assets debts unrealized_pnl in_transit locked nav "
    "ledger_sequence",
    "venue_observations": "hour portfolio account venue key amount status block_number block_hash venue_time "
    "observed_at",
    "reconciliation": "hour portfolio account venue key tracked actual difference tolerance outcome adjusted "
    "observed_at",
    "account_health": "as_of portfolio venue ltv health_factor margin_ratio",
    "equity_by_venue": "as_of portfolio venue value value_usd",
    "equity_by_asset": "as_of portfolio token value value_usd",
    "equity_by_underlying": "as_of portfolio underlying value value_usd",
    "equity_latest": "as_of portfolio share_class total_equity assets debts unrealized_pnl in_transit locked nav "
    "ledger_sequence",
    "reconciliation_latest": "hour portfolio account venue key tracked actual difference tolerance outcome adjusted "
    "observed_at",
    "catalogue_info": "home generation published_at contract",
}


def test_the_analysts_contract_stands():
    declared = {d.name: " ".join(c.name for c in d.columns) for d in (*ALL_TABLES, *ALL_VIEWS)}
    assert declared == CONTRACT


@pytest.mark.parametrize("declared", [*ALL_TABLES, *ALL_VIEWS], ids=lambda d: d.name)
def test_every_table_and_column_is_described_in_one_line(declared):
    for text in (declared.description, *(c.description for c in declared.columns)):
        assert text.endswith(".")
        assert "\n" not in text


@pytest.mark.parametrize("declared", ALL_TABLES, ids=lambda t: t.name)
def test_a_table_is_ordered_by_its_own_columns_beginning_with_its_time(declared):
    assert declared.columns[0].type is ColumnType.TIMESTAMP
    assert declared.sort_by[0] == declared.time_column
    assert set(declared.sort_by) <= {c.name for c in declared.columns}


def test_the_parquet_schema_has_the_declared_types_and_nullability():
    schema = arrow_schema(table("balance_changes"))
    assert str(schema.field("timestamp").type) == "timestamp[us]"
    assert str(schema.field("delta").type) == "decimal128(38, 18)"
    assert str(arrow_schema(table("conversion_rates")).field("rate").type) == "decimal128(38, 27)"
    assert schema.field("delta").nullable
    assert not schema.field("portfolio").nullable


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"'equity'.*equity_snapshots"):
        table("equity")
    with pytest.raises(UnknownNameError, match=r"'equity'.*equity_by_venue"):
        relation("equity")


def test_looking_at_declarations_imports_nothing_heavy():
    program = (
        "import sys, basis_pipeline.warehouse.tables; "
        "sys.exit(str({'pyarrow', 'duckdb', 'pandas', 'numpy'} & set(sys.modules) or ''))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stderr.strip() == ""
