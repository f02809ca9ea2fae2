"""Back the database up into one file, prove that the file can be read, and put it back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from orchestrator import __version__
from orchestrator.adapters.store import postgres_dump
from orchestrator.adapters.store.backup_file import measure, pack, sync, unpacked, workroom
from orchestrator.adapters.store.contents import add_checkpoint, newest_checkpoint, read_contents, set_counters
from orchestrator.adapters.store.database import newest_schema, open_database
from orchestrator.adapters.store.store import SqlStore
from orchestrator.domain.audit import broken_at
from orchestrator.domain.backup import (
    FORMAT,
    Checked,
    Contents,
    DatabaseKind,
    Manifest,
    SignedCheckpoint,
    differences,
)
from orchestrator.errors import EvidenceRefused, OrchestratorError, Refused, Unavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseBackups:
    """Implements ``ports.Backups`` for the database at ``url``, which may hold a password.

    A PostgreSQL database that a restore replaces is kept in ``aside``, an SQLite file beside where it was.
    """

    url: str
    site: str
    aside: Path

    @property
    def kind(self) -> DatabaseKind:
        """Return which database it is."""
        return DatabaseKind(sa.make_url(self.url).get_backend_name())

    def create(self, target: Path, at: datetime) -> Checked:
        """Write a backup to this file, readable by its owner, and read it back.

        Raises Refused where a file is there, EvidenceRefused where the database itself does not hold, Unavailable.
        """
        if target.exists():
            raise Refused(f"{target} exists, and a backup replaces nothing: name another file, or a folder.")
        with workroom(target.parent) as room:
            dump = room / self.kind.file
            contents = self._dump(dump)
            sha256, size = measure(dump)
            manifest = Manifest(
                format=FORMAT, kind=self.kind, made_at=at, site=self.site, version=__version__,
                sha256=sha256, size=size, contents=contents,
            )  # fmt: skip
            draft = pack(room / "backup.tar.gz", manifest, dump)
            checked = self.check(draft)
            if checked.problems:
                raise EvidenceRefused(f"no backup was made, it could not be read back: {'; '.join(checked.problems)}")
            draft.rename(target)
        sync(target.parent)
        return checked

    def check(self, file: Path) -> Checked:
        """Read a backup as a restore would, without the database. Raises EvidenceRefused where it is none."""
        with unpacked(file) as (manifest, dump):
            whole, _ = measure(file)
            checkpoint, problems = None, []
            if manifest.contents.schema > newest_schema():
                problems = [f"version {manifest.version} made it, whose tables this program does not know"]
            else:
                try:
                    checkpoint, problems = _examined(manifest, dump)
                except (SQLAlchemyError, sqlite3.Error, ValueError, OrchestratorError) as error:
                    problems = [f"its database cannot be read: {str(error).splitlines()[0]}"]
            return Checked(sha256=whole, manifest=manifest, checkpoint=checkpoint, problems=tuple(problems))

    def present(self) -> Contents | None:
        """Return what the database holds now; None where that is nothing. Raises Unavailable where it is damaged."""
        with self._reading() as connection:
            if connection is None or not sa.inspect(connection).has_table("alembic_version"):
                return None
            contents = read_contents(connection)
            return contents if contents.chains or contents.changes else None

    def newest_checkpoint(self) -> SignedCheckpoint | None:
        """Return the newest checkpoint of the database as it is now."""
        with self._reading() as connection:
            if connection is None or not sa.inspect(connection).has_table("checkpoint"):
                return None
            return newest_checkpoint(connection)

    def restore(
        self, file: Path, *, counters: Mapping[str, int], checkpoint: SignedCheckpoint | None, aside: str
    ) -> str:
        """Put the backup in the database's place; return where the old one is kept.

        Counters and checkpoint are in it before anybody can open it. Raises Refused for a backup of another kind of
        database, Unavailable where it cannot be done; then the database is as it was.
        """
        with unpacked(file) as (manifest, dump):
            if manifest.kind is not self.kind:
                raise Refused(f"{file} is a backup of {manifest.kind}, and [database] url leads to {self.kind}.")
            if self.kind is DatabaseKind.SQLITE:
                try:
                    return self._restore_sqlite(dump, counters, checkpoint, aside)
                except OSError as error:
                    raise Unavailable(f"the backup cannot be put in the place of {self._file}: {error}") from error
            kept = ""
            if self._has_tables():
                kept = str(self.aside / f"database.{aside}.pgdump")
                Path(kept).touch(mode=0o600)
                postgres_dump.keep(self.url, Path(kept))
            script = dump.with_name("restore.sql")
            postgres_dump.restore(self.url, dump, script, counters=counters, checkpoint=checkpoint)
            return kept

    def _dump(self, target: Path) -> Contents:
        target.touch(mode=0o600)
        try:
            if self.kind is DatabaseKind.POSTGRESQL:
                return postgres_dump.dump(self.url, target)
            if not self._file.exists():
                raise Unavailable(f"there is no database {self._file} to back up.")
            with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(target)) as copy:
                source.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # One file, without a log beside it.
            with _opened(target) as connection:
                return read_contents(connection)
        except (SQLAlchemyError, sqlite3.Error) as error:
            raise Unavailable(f"the database cannot be read: {str(error).splitlines()[0]}") from error

    def _restore_sqlite(
        self, dump: Path, counters: Mapping[str, int], checkpoint: SignedCheckpoint | None, aside: str
    ) -> str:
        draft = self._file.with_name(f"{self._file.name}.restoring")
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        shutil.copyfile(dump, draft)
        with _opened(draft) as connection, connection.begin():
            set_counters(connection, counters)
            if checkpoint is not None:
                add_checkpoint(connection, checkpoint)
        sync(draft)
        kept = self._put_aside(aside)
        draft.rename(self._file)
        sync(self._file.parent)
        return kept

    def _put_aside(self, aside: str) -> str:
        """Keep the present database under another name, its log included: a log must not meet another database."""
        if not self._file.exists():
            return ""
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._file)) as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = self._file.with_name(f"{self._file.name}.{aside}")
        for suffix in ("-wal", "-shm"):
            log = self._file.with_name(self._file.name + suffix)
            if log.exists():
                log.rename(kept.with_name(kept.name + suffix))
        # A second name rather than another one: at no moment is there no database, in whose place a new one was made.
        os.link(self._file, kept)
        return str(kept)

    def _has_tables(self) -> bool:
        with self._reading() as connection:
            return connection is not None and bool(sa.inspect(connection).get_table_names())

    @property
    def _file(self) -> Path:
        return Path(str(sa.make_url(self.url).database))

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection | None]:
        if self.kind is DatabaseKind.SQLITE and not (self._file.exists() and self._file.stat().st_size):
            yield None
            return
        database = open_database(self.url)
        try:
            with database.reader.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise Unavailable(f"the present database cannot be read: {str(error).splitlines()[0]}") from error
        finally:
            database.close()


def _examined(manifest: Manifest, dump: Path) -> tuple[SignedCheckpoint | None, list[str]]:
    """Read the whole dump; return its newest checkpoint and what is wrong with it."""
    copy = dump
    if manifest.kind is DatabaseKind.POSTGRESQL:
        copy = dump.with_name("examined.sqlite")
        postgres_dump.unpack(dump, dump.with_name("examined.sql"), copy)
    with closing(sqlite3.connect(copy)) as raw:
        found = [row[0] for row in raw.execute("PRAGMA integrity_check(10)")]
    if found != ["ok"]:
        return None, [f"its database is damaged: {'; '.join(found)}"]
    database = open_database(f"sqlite:///{copy}")
    try:
        with database.reader.connect() as connection:
            contents = read_contents(connection)
            checkpoint = newest_checkpoint(connection)
        problems = [*differences(manifest.contents, contents), *_broken_chains(SqlStore(database), contents)]
        return checkpoint, problems
    finally:
        database.close()


def _broken_chains(store: SqlStore, contents: Contents) -> Iterator[str]:
    for end in contents.chains:
        trail = store.trail(end.chain)
        if broken := broken_at(trail):
            yield f"chain {end.chain}: {broken}"
        if (end.count, end.head) != (len(trail), trail[-1].hash if trail else ""):
            yield f"chain {end.chain} does not end where its head says"


@contextmanager
def _opened(file: Path) -> Iterator[sa.Connection]:
    """Open an SQLite file as it is, without the log that the live database has beside it."""
    engine = sa.create_engine(f"sqlite:///{file}", poolclass=sa.NullPool)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()
