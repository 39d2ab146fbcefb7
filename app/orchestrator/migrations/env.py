"""Runs migrations on the application's own database connection."""

from __future__ import annotations

from alembic import context
from orchestrator.database import db

with db.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=db.metadata,
        render_as_batch=True,  # SQLite alters a table by copying it
        transactional_ddl=True,  # a migration that is killed half-way has not happened
    )
    with context.begin_transaction():
        context.run_migrations()
