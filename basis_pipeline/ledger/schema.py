"""The ledger's tables. Changing one needs a migration in ``migrations/versions``; a test compares the two."""

from __future__ import annotations

import sqlalchemy as sa

from basis_pipeline.ledger.types import ExactDecimal, UtcTime

metadata = sa.MetaData()

portfolios = sa.Table(
    "portfolios",
    metadata,
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

entries = sa.Table(
    "entries",
    metadata,
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
    sa.Index("ix_entries_portfolio_timestamp", "portfolio", "timestamp", "sequence"),
    comment="One row per balance update, append-only, hash-chained per portfolio",
    sqlite_with_rowid=False,
)

legs = sa.Table(
    "legs",
    metadata,
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

checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("portfolio", sa.Text, sa.ForeignKey("portfolios.portfolio"), primary_key=True),
    sa.Column("as_of", UtcTime, primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
    sa.Column("book", sa.Text, nullable=False),
    comment="A cache, outside the hash chain: the book with every entry up to and including as_of",
)

publications = sa.Table(
    "publications",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("table_name", sa.Text, nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("file", sa.Text, nullable=False),
    sa.Column("row_count", sa.BigInteger, nullable=False),
    sa.Column("heads", sa.Text, nullable=False),
    sa.Column("published_at", UtcTime, nullable=False),
    sa.Column("superseded_at", UtcTime),
    sa.Index("ix_publications_current", "table_name", "day", "superseded_at"),
    sa.Index("ix_publications_file", "file"),
    comment="Which warehouse file is (superseded_at null) or was current, and the heads it was built from",
)

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

readings = sa.Table(
    "readings",
    metadata,
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
    sa.Index("ix_readings_hour", "hour", "portfolio", "account"),
    comment="What each account held when it was read, append-only; `attempt` 2 is a second look at drift",
)

reconciliations = sa.Table(
    "reconciliations",
    metadata,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("hour", UtcTime, nullable=False),
    sa.Column("reconciled_at", UtcTime, nullable=False),
    sa.Column("portfolio", sa.Text, nullable=False),
    sa.Column("skew_us", sa.BigInteger, nullable=False),
    sa.Column("ledger_sequence", sa.BigInteger, nullable=False),
    sa.Column("outcomes", sa.Text, nullable=False),
    sa.Index("ix_reconciliations_hour", "hour", "portfolio"),
    comment="What comparing a portfolio's accounts with its ledger came to, append-only; the last of an hour is it",
)

market_observations = sa.Table(
    "market_observations",
    metadata,
    sa.Column("venue", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("observed_at", UtcTime, primary_key=True),
    sa.Column("value", ExactDecimal, nullable=False),
    sa.Column("fetched_at", UtcTime, nullable=False),
    sa.Index("ix_market_observations_observed_at", "observed_at"),
    comment="Prices, marks and rates as fetched, append-only; the first value of a series at a time stays",
    sqlite_with_rowid=False,
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("portfolio", sa.Text, sa.ForeignKey("portfolios.portfolio"), primary_key=True),
    sa.Column("published_sequence", sa.BigInteger, nullable=False),
    sa.Column("published_at", UtcTime),
    sa.Column("failed_at", UtcTime),
    sa.Column("error", sa.Text),
    comment="How far each portfolio's entries are published to Redis, and what went wrong last",
)

_OPEN = sa.text("resolved_at IS NULL")

alerts = sa.Table(
    "alerts",
    metadata,
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
    sa.Index("uq_alerts_open", "kind", "subject", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
    sa.Index("ix_alerts_resolved_at", "resolved_at"),
    comment="One row per alert while it stands (or event); `news` counts how often it became worth telling at once",
)

alert_deliveries = sa.Table(
    "alert_deliveries",
    metadata,
    sa.Column("number", sa.BigInteger, sa.ForeignKey("alerts.number"), primary_key=True, autoincrement=False),
    sa.Column("channel", sa.Text, primary_key=True),
    sa.Column("told_news", sa.Integer, nullable=False),
    sa.Column("told_at", UtcTime),
    sa.Column("told_resolved_at", UtcTime),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("error", sa.Text),
    comment="What each channel was told of each alert, and how often in a row telling it failed",
)

alert_channels = sa.Table(
    "alert_channels",
    metadata,
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

notified_equity = sa.Table(
    "notified_equity",
    metadata,
    sa.Column("portfolio", sa.Text, primary_key=True),
    sa.Column("measure", sa.Text, primary_key=True),
    sa.Column("share_class", sa.Text, nullable=False),
    sa.Column("value", ExactDecimal, nullable=False),
    sa.Column("as_of", UtcTime, nullable=False),
    sa.Column("notified_at", UtcTime, nullable=False),
    comment="The equity that was told last, which the next change is compared with",
)
