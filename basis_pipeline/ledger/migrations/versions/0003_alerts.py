"""Alerts, what each channel was told of them, and the equity that was told last."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from basis_pipeline.ledger.types import ExactDecimal, UtcTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_OPEN = sa.text("resolved_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("number", _ID, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("severity", sa.Text, nullable=False),
        sa.Column("peak", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("raised_at", UtcTime, nullable=False),
        sa.Column("last_raised_at", UtcTime, nullable=False),
        sa.Column("times", sa.BigInteger, nullable=False),
        sa.Column("news", sa.Integer, nullable=False),
        sa.Column("acknowledged_at", UtcTime),
        sa.Column("resolved_at", UtcTime),
        comment="One row per alert while it stands (or event); `news` counts how often it became worth telling at once",
    )
    op.create_index(
        "uq_alerts_open", "alerts", ["kind", "subject"], unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN
    )
    op.create_index("ix_alerts_resolved_at", "alerts", ["resolved_at"])
    op.create_table(
        "alert_deliveries",
        sa.Column("number", sa.BigInteger, sa.ForeignKey("alerts.number"), primary_key=True, autoincrement=False),
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("told_news", sa.Integer, nullable=False),
        sa.Column("told_at", UtcTime),
        sa.Column("told_resolved_at", UtcTime),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("error", sa.Text),
        comment="What each channel was told of each alert, and how often in a row telling it failed",
    )
    op.create_table(
        "alert_channels",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("claim", sa.Text),
        sa.Column("claimed_until", UtcTime),
        sa.Column("sent_at", UtcTime),
        sa.Column("failing_since", UtcTime),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("retry_at", UtcTime),
        sa.Column("error", sa.Text),
        comment="Who is sending to each channel right now, when sending last worked, and since when it fails",
    )
    op.create_table(
        "notified_equity",
        sa.Column("portfolio", sa.Text, primary_key=True),
        sa.Column("measure", sa.Text, primary_key=True),
        sa.Column("share_class", sa.Text, nullable=False),
        sa.Column("value", ExactDecimal, nullable=False),
        sa.Column("as_of", UtcTime, nullable=False),
        sa.Column("notified_at", UtcTime, nullable=False),
        comment="The equity that was told last, which the next change is compared with",
    )
