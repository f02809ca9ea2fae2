"""Putting work in line: with the move that causes it, or not at all, and many at once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.adapters.store import open_database, open_for_engine, upgrade
from orchestrator.domain.change import ChangeState
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.engine.durable import line_of, lines_of, zone_of
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import Manner
from orchestrator.errors import StaleChange
from orchestrator.flow import staging
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.sharding import Shard, Task
from orchestrator.founding import make_site
from orchestrator.wiring import Site as Wired
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import EVENING
from tests.postgres import Server

ROOT = Path(__file__).parents[2]
AT_ONCE = 40


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'site.db'}"
    upgrade(url)
    return url


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = open_for_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def site(url: str, engine: sa.Engine, tmp_path: Path) -> Iterator[FakeSite]:
    with closing(open_database(url)) as database:
        site = FakeSite(database, tmp_path)
        site.ledger = Ledger(site.store, site.clock, LazyQueue(url, lambda: engine))
        yield site


#: A worker that waits, with everything imported, until it is told to begin; it looks for work once, and ends.
WORKER = """
import sys
from orchestrator.cli.main import app
from orchestrator.engine import durable
print("ready", flush=True)
sys.stdin.read()
app(["--site", sys.argv[1], "worker", "--until-idle", "0"])
"""


@pytest.mark.postgres
def test_workers_that_begin_together_with_an_empty_database_all_begin(server: Server, tmp_path: Path) -> None:
    site = tmp_path / "site"
    make_site(site, tmp_path / "state", at=EVENING)
    settings = site / "orchestrator.toml"
    settings.write_text(f'{settings.read_text()}\n[database]\nurl = "{server.url(server.new_database())}"\n')
    argv = [sys.executable, "-c", WORKER, str(site)]
    told = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    begun = [subprocess.Popen(argv, cwd=ROOT, **told) for _ in range(4)]  # type: ignore[call-overload]
    for process in begun:
        process.stdout.readline()  # It has imported everything.
    said = [process.communicate()[1] for process in begun]
    assert [process.returncode for process in begun] == [0, 0, 0, 0], said
    assert all("works for changes, and hosts without a zone" in words for words in said)


class Begun(Exception):
    """The engine would begin now."""


def test_engine_finds_its_tables_made_when_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own start does not keep others from making them at the same moment; ours does."""
    tables: list[str] = []

    def begin(*, engine: sa.Engine, **_: object) -> None:
        tables.extend(sa.inspect(engine).get_table_names())
        raise Begun

    make_site(tmp_path / "site", tmp_path / "state", at=EVENING)
    monkeypatch.setattr("orchestrator.engine.durable.Durable", begin)
    with pytest.raises(Begun), Wired(tmp_path / "site").worker(Manner(until_idle=0)):
        pass
    assert {"workflow_status", "queues"} <= {*tables}


def in_line(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        ids = connection.execute(sa.text("SELECT workflow_uuid FROM workflow_status")).scalars()
        return sorted(one.partition("~")[0] for one in ids)


def test_forty_changes_begin_at_once_and_each_is_in_line(site: FakeSite, engine: sa.Engine) -> None:
    ids = [site.submit(source=f"file:{number}").id for number in range(AT_ONCE)]
    crew = site.crew_with_ledger()
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        moved = list(pool.map(lambda one: staging.begin(one, OMAR, crew), ids))
    assert {change.state for change in moved} == {ChangeState.STAGING}
    assert in_line(engine) == sorted(ids)


def test_move_that_is_refused_puts_nothing_in_line(site: FakeSite, engine: sa.Engine) -> None:
    change = site.submit()
    crew = site.crew_with_ledger()
    staging.begin(change.id, OMAR, crew)
    with pytest.raises(StaleChange):
        crew.ledger.record(change, ChangeEvent.STAGING_STARTED, actor=OMAR)
    assert in_line(engine) == [change.id]


@pytest.mark.parametrize("zone", ["", "dmz", "plant.north"])
def test_no_window_waits_for_a_rehearsal_and_no_way_back_for_a_window(zone: str) -> None:
    lines = {task: line_of(Shard(change="CHG-0001", name="a", zone=zone, hosts=(), task=task)) for task in Task}
    assert len({lines[task] for task in (Task.REHEARSE, Task.PATCH, Task.PUT_BACK)}) == 3
    assert {*lines.values()} == {*lines_of(zone)}, "a worker of the zone takes from all of them"
    assert {zone_of(line) for line in lines.values()} == {zone}
