"""Looking: equity and SQL read what is published, positions read the ledger itself."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from basis_pipeline.cli.homes import chosen_portfolios, published
from basis_pipeline.cli.options import (
    AtOption,
    FormatOption,
    HomeOption,
    OnlyPortfolioOption,
    examples,
)
from basis_pipeline.cli.output import Format, emit, note
from basis_pipeline.domain.errors import InputError
from basis_pipeline.reports.equity import By

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_AT_ONCE = 5_000


@examples(
    "equity",
    "basis equity",
    "basis equity --by venue --portfolio lending",
    "basis equity --by asset --at 2024-05-12T12:00:00Z",
    "basis equity --format json",
)
def equity(
    *,
    portfolio: OnlyPortfolioOption = None,
    at: AtOption = None,
    by: Annotated[By, typer.Option("--by", help="What to break it down by.")] = By.PORTFOLIO,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Equity of each portfolio in its share class, at the newest materialized hour or the newest up to --at.

    total_equity is assets less debts; nav adds unrealized PnL, transfers under way and locked withdrawals.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.reports.equity import read_equity

    with open_home(home) as opened:
        if portfolio is not None:
            chosen_portfolios(opened, portfolio)
        report = read_equity(published(opened), by, at, portfolio)
        emit(report, form)
        if not report.rows:
            note("nothing is materialized for that; run `basis materialize`")


@examples(
    "positions",
    "basis positions",
    "basis positions --portfolio lending --at 2024-05-12T12:00:00Z",
    "basis positions --format csv",
)
def positions(
    *,
    portfolio: OnlyPortfolioOption = None,
    at: AtOption = None,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Balances and open perpetuals, from the ledger: all entries so far, or up to --at.

    Amounts are token units; those of Aave's aTokens and debt tokens are scaled (times the index they are the claim).
    Nothing needs to be materialized.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.reports.positions import positions as arranged

    with open_home(home) as opened:
        snapshot = opened.ledger.snapshot()
        books = []
        for name in chosen_portfolios(opened, portfolio):
            moment = at or snapshot.state(name).last_timestamp
            books.append((name, moment, snapshot.book_at(name, moment).book))
        emit(arranged(books), form)


@examples(
    "sql",
    'basis sql "SELECT portfolio, nav FROM equity_latest"',
    'basis sql "DESCRIBE equity_snapshots"',
    'basis sql "FROM wallet_balances" --format csv > balances.csv',
    'echo "SELECT max(as_of) FROM prices" | basis sql -',
)
def sql(
    query: Annotated[str, typer.Argument(help="One query in DuckDB's SQL; - reads it from standard input.")],
    *,
    form: FormatOption = Format.TABLE,
    home: HomeOption,
) -> None:
    """Ask the warehouse a question, read-only. Times are UTC, amounts exact decimals.

    SHOW TABLES lists the tables and views, DESCRIBE a table its columns.
    """
    from basis_pipeline.home import open_home
    from basis_pipeline.reports.report import Column, Kind, Report

    text = sys.stdin.read() if query == "-" else query
    _check_read_only(text)
    with open_home(home) as opened:
        result = published(opened).arrow(text)
    columns = tuple(Column(field.name, Kind.NUMBER if _is_number(field.type) else Kind.TEXT) for field in result.schema)
    emit(Report(columns, _rows(result)), form)


def _check_read_only(text: str) -> None:
    import duckdb

    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise InputError(f"sql: {error}") from None
    kinds = [statement.type for statement in statements]
    if len(kinds) != 1 or kinds[0] not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        found = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InputError(f"sql: one query is answered at a time, and nothing is changed here (found: {found})")


def _is_number(arrow_type: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_decimal(arrow_type) or pa.types.is_integer(arrow_type) or pa.types.is_floating(arrow_type))


def _rows(result: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows as Python values, a few thousand in memory at a time."""
    for batch in result.to_batches(max_chunksize=ROWS_AT_ONCE):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
