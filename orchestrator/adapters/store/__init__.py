"""The database: SQLite in one file, or PostgreSQL, through SQLAlchemy Core."""

from orchestrator.adapters.store.database import open_database, upgrade
from orchestrator.adapters.store.store import SqlStore

__all__ = ["SqlStore", "open_database", "upgrade"]
