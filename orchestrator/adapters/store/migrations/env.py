"""Alembic's entry: run the migrations on the database named by the caller."""

from __future__ import annotations

from alembic import context

from orchestrator.adapters.store.database import open_database
from orchestrator.adapters.store.tables import metadata

database = open_database(context.config.attributes["url"])
try:
    with database.writer.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()
finally:
    database.close()
