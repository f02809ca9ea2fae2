"""Open a database with what this project relies on: durable, one writer at a time on SQLite, no frozen transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection as SqliteConnection

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.errors import Unavailable

#: SQLite waits so long for another writer (milliseconds).
PATIENCE_MS = 30_000
#: A process that falls asleep in the middle of a transaction holds up everybody else until the server ends it: sooner
#: than anybody takes its work over.
ASLEEP_MS = 10_000
#: Whoever makes tables holds the lock of this number.
_MAKING_TABLES = 0x7061746368
_MIGRATIONS = Path(__file__).parent / "migrations"
PRAGMAS = (f"busy_timeout={PATIENCE_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


@dataclass(frozen=True, slots=True)
class Database:
    """Two ways to one database: ``writer`` opens transactions, ``reader`` sees what is committed and never waits."""

    writer: sa.Engine
    reader: sa.Engine

    def close(self) -> None:
        """Give the connections back."""
        self.writer.dispose()
        self.reader.dispose()


def open_database(url: str) -> Database:
    """Open the database at an SQLAlchemy URL. Raises Unavailable where it cannot be reached."""
    try:
        if sa.make_url(url).get_backend_name() == "sqlite":
            database = _open_sqlite(url)
        else:
            options = {"options": f"-c idle_in_transaction_session_timeout={ASLEEP_MS}", "connect_timeout": 10}
            writer = sa.create_engine(url, pool_pre_ping=True, connect_args=options)
            database = Database(writer=writer, reader=writer.execution_options(isolation_level="AUTOCOMMIT"))
        with database.reader.connect() as connection:
            connection.execute(sa.text("SELECT 1"))
    except SQLAlchemyError as error:
        raise Unavailable(
            f"the database {sa.make_url(url).render_as_string()} cannot be opened: {_first_line(error)}. "
            "Check [database] url in orchestrator.toml, and that the server runs (orchestrator doctor)."
        ) from error
    return database


def open_for_engine(url: str, *, size: int = 20) -> sa.Engine:
    """Open the database once more, for the durable engine: its transactions begin with a write or only read."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        engine = sa.create_engine(url, pool_size=size, max_overflow=0)
        sa.event.listen(engine, "connect", _prepare_sqlite_for_engine)
        return engine
    options = {"options": f"-c idle_in_transaction_session_timeout={ASLEEP_MS}", "connect_timeout": 10}
    return sa.create_engine(url, pool_size=size, max_overflow=0, pool_pre_ping=True, connect_args=options)


def upgrade(url: str) -> None:
    """Bring the tables to the version that this program needs; harmless where they are."""
    if _version(url) == newest_schema():
        return
    # Alembic takes half of the time of a short command to import, and is hardly ever needed.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["url"] = url
    with _alone(url):
        command.upgrade(config, "head")


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """Let nobody else make tables meanwhile. SQLite has one writer, and whoever comes second finds them made."""
    if sa.make_url(url).get_backend_name() == "sqlite":
        yield
        return
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MAKING_TABLES})
            yield
    finally:
        engine.dispose()  # Which ends the connection, and the lock with it.


def _version(url: str) -> str:
    database = open_database(url)
    try:
        with database.reader.connect() as connection:
            return str(connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar())
    except SQLAlchemyError:
        return ""  # A new database, in which that table is still to be made.
    finally:
        database.close()


def newest_schema() -> str:
    """Return the version of the newest migration: the files begin with it, and are in order."""
    return max(file.name.partition("_")[0] for file in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def _open_sqlite(url: str) -> Database:
    file = sa.make_url(url).database
    if file and not Path(file).exists():
        Path(file).touch(mode=0o600)
    writer, reader = sa.create_engine(url), sa.create_engine(url)
    for engine in (writer, reader):
        sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(writer, "begin", _begin_immediate)
    return Database(writer=writer, reader=reader)


def _prepare_sqlite(raw: SqliteConnection, _record: object) -> None:
    raw.isolation_level = None  # Python's own BEGIN comes before the first write only: reads would stand outside.
    for pragma in PRAGMAS:
        raw.execute(f"PRAGMA {pragma}")


def _prepare_sqlite_for_engine(raw: SqliteConnection, _record: object) -> None:
    raw.isolation_level = "IMMEDIATE"
    for pragma in PRAGMAS:
        raw.execute(f"PRAGMA {pragma}")


def _begin_immediate(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
