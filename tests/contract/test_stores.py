"""SQLite and PostgreSQL keep the contract of a store; what the tables promise beyond it is asked of both."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from orchestrator.adapters.store import SqlStore, SqlWorkers, open_database, open_for_engine, upgrade
from orchestrator.adapters.store import tables as t
from orchestrator.adapters.store.database import Database
from orchestrator.domain.canonical import canonical
from orchestrator.domain.run import HostStatus
from orchestrator.engine.worker import LEASE
from orchestrator.errors import Unavailable
from orchestrator.ports import Store
from tests.contract.store import StoreContract
from tests.contract.stored import a_plan, a_prediction, opened
from tests.fakes.values import EVENING, change, run
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


def go_back(url: str, version: str) -> None:
    """Take the tables back to an earlier version."""
    config = Config()
    config.set_main_option("script_location", "orchestrator:adapters/store/migrations")
    config.attributes["url"] = url
    command.downgrade(config, version)


class SqlContract(StoreContract):
    """What is promised of a database with tables; ``url`` is that of a fresh one."""

    @pytest.fixture
    def database(self, url: str) -> Iterator[Database]:
        database = open_database(url)
        yield database
        database.close()

    @pytest.fixture
    def store(self, database: Database) -> Store:
        return SqlStore(database)

    def test_plan_is_kept_as_the_very_text_its_digest_is_taken_of(self, database: Database, store: Store) -> None:
        plan = a_plan()
        with store.begin() as writing:
            writing.keep_plan(plan, [])
        with database.reader.connect() as connection:
            digest, text = connection.execute(sa.select(t.plan.c.digest, t.plan.c.document)).one()
        assert hashlib.sha256(text.encode()).hexdigest() == digest == plan.digest

    def test_event_is_kept_as_the_line_of_its_trail(self, database: Database, store: Store) -> None:
        opened(store, change())
        with database.reader.connect() as connection:
            text = connection.execute(sa.select(t.audit_event.c.document)).scalar_one()
        assert text.encode() == canonical(store.trail("CHG-0001")[0])

    def test_migrations_lead_to_the_tables_that_the_program_knows(self, database: Database) -> None:
        with database.writer.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), t.metadata) == []

    def test_predictions_and_hosts_of_an_earlier_version_are_found_again(self, url: str, database: Database) -> None:
        plan, beside, store = a_plan(), [a_prediction("web1"), a_prediction("web2")], SqlStore(database)
        by_hand = replace(run("by-hand", HostStatus.DONE), failed=True)
        with store.begin() as writing:
            writing.keep_plan(plan, beside)
            writing.keep_runs([run("a"), run("b", HostStatus.FAILED), run("c", HostStatus.DONE), by_hand])
        database.close()
        go_back(url, "0003")
        upgrade(url)
        assert store.plan(plan.digest) == plan
        assert list(store.predictions(plan.digest)) == beside
        assert [one.host for one in store.remarkable("CHG-0001")] == ["b", "by-hand"]

    def test_worker_lives_as_long_as_it_gives_signs_of_life(self, url: str, database: Database) -> None:
        engine = open_for_engine(url, size=2)
        try:
            workers = SqlWorkers(engine)
            workers.enter("one", node="a", zones=(), at=EVENING)
            workers.enter("two", node="b", zones=("dmz", "attic"), at=EVENING + timedelta(seconds=1))
            assert [(seen.id, seen.node, seen.zones) for seen in workers.seen()] == [
                ("one", "a", ()), ("two", "b", ("attic", "dmz")),
            ]  # fmt: skip
            assert workers.fence(timedelta(seconds=60)) == []
            time.sleep(5)
            assert workers.beat("two")
            assert workers.fence(timedelta(seconds=4)) == ["one"]
            assert not workers.beat("one"), "it was taken for dead, and has to learn of it"
            workers.leave("two")
            assert workers.seen() == []
        finally:
            engine.dispose()

    def test_upgrading_twice_changes_nothing(self, url: str, store: Store) -> None:
        opened(store, change())
        upgrade(url)
        upgrade(url)
        assert list(store.changes()) == [change()]

    def test_store_opened_anew_finds_what_was_written(self, url: str, store: Store) -> None:
        opened(store, change())
        installation = store.installation()
        database = open_database(url)
        try:
            again = SqlStore(database)
            assert (again.change("CHG-0001"), again.installation()) == (change(), installation)
        finally:
            database.close()


class TestSqlite(SqlContract):
    @pytest.fixture
    def url(self, empty_sqlite: Path, tmp_path: Path) -> str:
        return f"sqlite:///{shutil.copy(empty_sqlite, tmp_path / 'state.db')}"

    def test_every_commit_is_on_the_disk(self, database: Database) -> None:
        with database.writer.connect() as connection:
            told = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
        assert told == ["wal", 2]

    def test_file_is_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "new.db"
        open_database(f"sqlite:///{file}").close()
        assert file.stat().st_mode & 0o777 == 0o600

    def test_database_that_cannot_be_opened_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("this is no database, and long enough that SQLite notices it at once")
        with pytest.raises(Unavailable, match="cannot be opened"):
            open_database(f"sqlite:///{tmp_path / 'file'}")


@pytest.mark.postgres
class TestPostgres(SqlContract):
    @pytest.fixture
    def url(self, server: Server, empty_postgres: str) -> str:
        server.empty(empty_postgres)
        return server.url(empty_postgres)

    def test_database_that_is_not_there_is_said_without_its_password(self, server: Server) -> None:
        with pytest.raises(Unavailable, match="cannot be opened") as refused:
            open_database(server.url("nowhere").replace("postgres@", "postgres:hunter2@"))
        assert "hunter2" not in str(refused.value)

    def test_transaction_whose_owner_sleeps_is_ended_before_its_work_is_taken_over(
        self, database: Database, url: str
    ) -> None:
        for_engine = open_for_engine(url)
        try:
            for engine in (database.writer, for_engine):
                with engine.connect() as connection:
                    limit = connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar_one()
                assert limit == "10s"
        finally:
            for_engine.dispose()
        assert timedelta(seconds=10) < LEASE
