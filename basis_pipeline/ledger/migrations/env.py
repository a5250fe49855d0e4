"""Alembic's entry point. ``database.migrate`` hands over the connection; there is no alembic.ini to get wrong."""

from __future__ import annotations

from alembic import context

from basis_pipeline.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction covers the whole migration
)
context.run_migrations()
