"""What the UI shows of a table (its columns), of a day (a few numbers to plot) and of a run (a small table)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from basis_pipeline.ledger.snapshot import Head
from basis_pipeline.steps.publishing import Closing, StepReport
from basis_pipeline.warehouse.tables import Table

Metadata = dict[str, Any]


def table_metadata(table: Table) -> Metadata:
    """The declared columns of a table, for its definition."""
    columns = [
        dg.TableColumn(
            column.name, column.type.value, column.description, dg.TableColumnConstraints(nullable=column.nullable)
        )
        for column in table.columns
    ]
    return {"dagster/column_schema": dg.TableSchema(columns), "dagster/table_name": table.name}


def day_metadata(report: StepReport, table: str, day: date, *, with_equity: bool) -> Metadata:
    """A few numbers of one table and day. Floats on purpose: the UI plots them; the exact ones are in the tables."""
    metadata: Metadata = {"dagster/partition_row_count": report.rows[table, day]}
    if report.heads:
        metadata["ledger entries"] = sum(head.sequence for head in report.heads.values())
    if with_equity:
        for portfolio, closing in sorted(report.closings.get(day, {}).items()):
            unit = closing.share_class
            metadata[f"{portfolio} equity ({unit})"] = round(float(closing.equity.total_equity), 6)
            metadata[f"{portfolio} nav ({unit})"] = round(float(closing.equity.nav), 6)
    return metadata


def run_metadata(report: StepReport, table: str, *, with_equity: bool) -> Metadata:
    """What the run did as a whole; attached to its last day, which is what the asset's page shows first."""
    metadata: Metadata = {"rows in this run": report.row_count(table)}
    if report.heads:
        metadata["ledger heads"] = _heads_table(report.heads)
    if with_equity and report.closings:
        metadata["last equity"] = _closings_table(report.closings[max(report.closings)])
    return metadata


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """A Markdown table. What cells hold is shown as it stands: a venue may answer with HTML."""
    lines = [names, ["---"] * len(names), *([_as_it_stands(str(cell)) for cell in row] for row in rows)]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _as_it_stands(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")


def _heads_table(heads: Mapping[str, Head]) -> dg.MarkdownMetadataValue:
    rows = [(name, head.sequence, f"`{head.hash[:12]}`") for name, head in sorted(heads.items())]
    return markdown_table(("portfolio", "sequence", "hash"), rows)


def _closings_table(closings: Mapping[str, Closing]) -> dg.MarkdownMetadataValue:
    rows = [
        (name, closing.share_class, f"{closing.equity.total_equity:,.6f}", f"{closing.equity.nav:,.6f}")
        for name, closing in sorted(closings.items())
    ]
    return markdown_table(("portfolio", "in", "equity", "nav"), rows)
