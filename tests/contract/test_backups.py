"""Backups of SQLite and of PostgreSQL keep one contract; what each has beside it is asked of each."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.adapters.store import open_database, postgres_dump, upgrade
from orchestrator.adapters.store.backup import DatabaseBackups
from orchestrator.adapters.store.backup_file import unpacked
from orchestrator.domain.canonical import canonical
from orchestrator.errors import Refused, Unavailable
from tests.contract.backups import BackupsContract, filled, moved, restored
from tests.fakes.values import EVENING
from tests.postgres import Server, running


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "empty.db"
    upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def empty_postgres(server: Server) -> str:
    name = server.new_database()
    upgrade(server.url(name))
    return name


class TestSqlite(BackupsContract):
    @pytest.fixture
    def url(self, empty_sqlite: Path, tmp_path: Path) -> str:
        return f"sqlite:///{shutil.copy(empty_sqlite, tmp_path / 'state.db')}"

    @pytest.fixture
    def backups(self, url: str, tmp_path: Path) -> DatabaseBackups:
        return DatabaseBackups(url=url, site="example", aside=tmp_path)

    def test_old_database_is_kept_beside(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        moved(url)
        assert restored(backups, tmp_path / "b.tar.gz") == str(tmp_path / "state.db.before")
        with closing(sqlite3.connect(tmp_path / "state.db.before")) as old:
            assert old.execute("SELECT count(*) FROM change").fetchone() == (2,)
        assert (tmp_path / "state.db").stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / "state.db.restoring").exists()

    def test_log_of_the_old_database_does_not_meet_the_restored_one(
        self, backups: DatabaseBackups, url: str, tmp_path: Path
    ) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        database = open_database(url)
        with database.writer.begin() as connection:
            connection.exec_driver_sql("UPDATE change SET title = 'later'")
        assert (tmp_path / "state.db-wal").stat().st_size > 0
        restored(backups, tmp_path / "b.tar.gz")
        assert not (tmp_path / "state.db-wal").exists()
        database.close()
        with closing(sqlite3.connect(tmp_path / "state.db")) as new:
            assert new.execute("SELECT title FROM change WHERE title = 'later'").fetchall() == []
            assert new.execute("PRAGMA integrity_check").fetchone() == ("ok",)

    def test_damaged_database_is_replaced_and_kept(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        (tmp_path / "state.db").write_text("no database at all, and long enough to be noticed as such" * 20)
        with pytest.raises(Unavailable, match="cannot be opened"):
            backups.present()
        assert restored(backups, tmp_path / "b.tar.gz")
        assert backups.present() is not None
        assert (tmp_path / "state.db.before").read_text().startswith("no database")

    def test_there_may_be_no_database_yet(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        (tmp_path / "state.db").unlink()
        assert backups.present() is None
        assert restored(backups, tmp_path / "b.tar.gz") == ""
        assert backups.present() is not None

    def test_backup_of_the_other_database_is_refused(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        other = DatabaseBackups(url="postgresql+psycopg://nobody@nowhere/x", site="example", aside=tmp_path)
        with pytest.raises(Refused, match="a backup of sqlite"):
            restored(other, tmp_path / "b.tar.gz")


@pytest.mark.postgres
class TestPostgres(BackupsContract):
    @pytest.fixture
    def url(self, server: Server, empty_postgres: str) -> str:
        server.empty(empty_postgres)
        return server.url(empty_postgres)

    @pytest.fixture
    def backups(self, url: str, tmp_path: Path) -> DatabaseBackups:
        return DatabaseBackups(url=url.replace("postgres@", "postgres:hunter2@"), site="example", aside=tmp_path)

    def test_old_database_is_kept_aside(self, backups: DatabaseBackups, url: str, tmp_path: Path) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        kept = Path(restored(backups, tmp_path / "b.tar.gz"))
        assert (kept.parent, kept.read_bytes()[:5], kept.stat().st_mode & 0o777) == (tmp_path, b"PGDMP", 0o600)

    def test_restore_into_a_database_without_tables(
        self, backups: DatabaseBackups, url: str, server: Server, tmp_path: Path
    ) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        new = DatabaseBackups(url=server.url(server.new_database()), site="example", aside=tmp_path)
        assert restored(new, tmp_path / "b.tar.gz") == ""
        assert new.present() == backups.present()

    def test_restore_that_fails_leaves_the_database_as_it_was(
        self, backups: DatabaseBackups, url: str, tmp_path: Path
    ) -> None:
        filled(url)
        backups.create(tmp_path / "b.tar.gz", EVENING)
        moved(url)
        before = backups.present()
        with pytest.raises(Unavailable, match="psql ended"):
            backups.restore(tmp_path / "b.tar.gz", counters={"x" * 100: 1}, checkpoint=None, aside="before")
        assert backups.present() == before

    def test_password_is_in_no_file_and_on_no_command_line(
        self, backups: DatabaseBackups, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled(url)
        for program in ("pg_dump", "pg_restore", "psql"):
            wrapper = tmp_path / "bin" / program
            wrapper.parent.mkdir(exist_ok=True)
            wrapper.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/given\nexec {shutil.which(program)} "$@"\n')
            wrapper.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        backups.create(tmp_path / "b.tar.gz", EVENING)
        restored(backups, tmp_path / "b.tar.gz")
        with unpacked(tmp_path / "b.tar.gz") as (manifest, dump):
            postgres_dump.unpack(dump, tmp_path / "dump.sql", tmp_path / "dump.sqlite")
            (tmp_path / "manifest.json").write_bytes(canonical(manifest))
        assert {"given", "dump.sql", "manifest.json"} <= {path.name for path in tmp_path.rglob("*")}
        assert [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()] == []

    def test_tools_that_are_missing_are_named(
        self, backups: DatabaseBackups, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        filled(url)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(Unavailable, match="install postgresql-client"):
            backups.create(tmp_path / "b.tar.gz", EVENING)
