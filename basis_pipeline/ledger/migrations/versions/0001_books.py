"""Portfolios, entries, legs, checkpoints and publications."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from basis_pipeline.ledger.types import ExactDecimal, UtcTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "portfolios",
        sa.Column("portfolio", sa.Text, primary_key=True),
        sa.Column("share_class", sa.Text, nullable=False),
        sa.Column("initial_capital", ExactDecimal, nullable=False),
        sa.Column("start", UtcTime, nullable=False),
        sa.Column("head_sequence", sa.BigInteger, nullable=False),
        sa.Column("head_hash", sa.Text, nullable=False),
        sa.Column("last_timestamp", UtcTime, nullable=False),
        sa.Column("restatements", sa.BigInteger, nullable=False),
        comment="One row per portfolio: its terms, the head of its chain, and how often an entry arrived out of order",
    )
    op.create_table(
        "entries",
        sa.Column("portfolio", sa.Text, sa.ForeignKey("portfolios.portfolio"), primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("entry_id", sa.Text, nullable=False),
        sa.Column("timestamp", UtcTime, nullable=False),
        sa.Column("recorded_at", UtcTime, nullable=False),
        sa.Column("trigger", sa.Text, nullable=False),
        sa.Column("reverses", sa.Text),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("previous_hash", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.UniqueConstraint("portfolio", "entry_id", name="uq_entries_portfolio_entry_id"),
        comment="One row per balance update, append-only, hash-chained per portfolio",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_entries_portfolio_timestamp", "entries", ["portfolio", "timestamp", "sequence"])
    op.create_table(
        "legs",
        sa.Column("portfolio", sa.Text, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("leg", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("venue", sa.Text, nullable=False),
        sa.Column("token", sa.Text),
        sa.Column("delta", ExactDecimal),
        sa.Column("new_balance", ExactDecimal),
        sa.Column("reason", sa.Text),
        sa.Column("instrument", sa.Text),
        sa.Column("action", sa.Text),
        sa.Column("size", ExactDecimal),
        sa.Column("entry_price", ExactDecimal),
        sa.Column("entry_timestamp", UtcTime),
        sa.Column("notional_usd", ExactDecimal),
        sa.Column("fill_size", ExactDecimal),
        sa.Column("fill_price", ExactDecimal),
        sa.Column("fee", ExactDecimal),
        sa.Column("realized_pnl", ExactDecimal),
        sa.ForeignKeyConstraint(
            ["portfolio", "sequence"], ["entries.portfolio", "entries.sequence"], name="fk_legs_entries"
        ),
        comment="The legs of each entry in order: of a token (token, delta) or of a perpetual (instrument, action)",
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("portfolio", sa.Text, sa.ForeignKey("portfolios.portfolio"), primary_key=True),
        sa.Column("as_of", UtcTime, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("book", sa.Text, nullable=False),
        comment="A cache, outside the hash chain: the book with every entry up to and including as_of",
    )
    op.create_table(
        "publications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("table_name", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("file", sa.Text, nullable=False),
        sa.Column("row_count", sa.BigInteger, nullable=False),
        sa.Column("heads", sa.Text, nullable=False),
        sa.Column("published_at", UtcTime, nullable=False),
        sa.Column("superseded_at", UtcTime),
        comment="Which warehouse file is (superseded_at null) or was current, and the heads it was built from",
    )
    op.create_index("ix_publications_current", "publications", ["table_name", "day", "superseded_at"])
    op.create_index("ix_publications_file", "publications", ["file"])
