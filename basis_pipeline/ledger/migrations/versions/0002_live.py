"""Readings of venues, what reconciling came to, live market observations, and how far entries are published."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from basis_pipeline.ledger.types import ExactDecimal, UtcTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "readings",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("hour", UtcTime, nullable=False),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("account", sa.Text, nullable=False),
        sa.Column("venue", sa.Text, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at", UtcTime, nullable=False),
        sa.Column("observed_at", UtcTime, nullable=False),
        sa.Column("venue_time", UtcTime),
        sa.Column("block_number", sa.BigInteger),
        sa.Column("block_hash", sa.Text),
        sa.Column("block_time", UtcTime),
        sa.Column("observations", sa.Text, nullable=False),
        sa.Column("raw", sa.Text, nullable=False),
        comment="What each account held when it was read, append-only; `attempt` 2 is a second look at drift",
    )
    op.create_index("ix_readings_hour", "readings", ["hour", "portfolio", "account"])
    op.create_table(
        "reconciliations",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("hour", UtcTime, nullable=False),
        sa.Column("reconciled_at", UtcTime, nullable=False),
        sa.Column("portfolio", sa.Text, nullable=False),
        sa.Column("skew_us", sa.BigInteger, nullable=False),
        sa.Column("ledger_sequence", sa.BigInteger, nullable=False),
        sa.Column("outcomes", sa.Text, nullable=False),
        comment="What comparing a portfolio's accounts with its ledger came to, append-only; the last of an hour is it",
    )
    op.create_index("ix_reconciliations_hour", "reconciliations", ["hour", "portfolio"])
    op.create_table(
        "market_observations",
        sa.Column("venue", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("observed_at", UtcTime, primary_key=True),
        sa.Column("value", ExactDecimal, nullable=False),
        sa.Column("fetched_at", UtcTime, nullable=False),
        comment="Prices, marks and rates as fetched, append-only; the first value of a series at a time stays",
        sqlite_with_rowid=False,
    )
    op.create_index("ix_market_observations_observed_at", "market_observations", ["observed_at"])
    op.create_table(
        "outbox",
        sa.Column("portfolio", sa.Text, sa.ForeignKey("portfolios.portfolio"), primary_key=True),
        sa.Column("published_sequence", sa.BigInteger, nullable=False),
        sa.Column("published_at", UtcTime),
        sa.Column("failed_at", UtcTime),
        sa.Column("error", sa.Text),
        comment="How far each portfolio's entries are published to Redis, and what went wrong last",
    )
