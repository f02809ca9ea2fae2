"""The database: SQLite in one file, or PostgreSQL, through SQLAlchemy Core."""

from orchestrator.adapters.store.database import open_database, open_for_engine, upgrade
from orchestrator.adapters.store.store import SqlStore
from orchestrator.adapters.store.workers import SqlWorkers

__all__ = ["SqlStore", "SqlWorkers", "open_database", "open_for_engine", "upgrade"]
