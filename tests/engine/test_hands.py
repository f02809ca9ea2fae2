"""What was lost between the line and a thread is found; what only waits for its thread is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from orchestrator.adapters.store import SqlWorkers, open_for_engine, upgrade
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.engine.hands import Hands, Taken
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import SINGLE
from orchestrator.flow import execution
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Writing
from tests.engine.crowd import CROWD
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool
from tests.fakes.site import OMAR
from tests.fakes.values import spec
from tests.processes import lives
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PATIENCE = 10.0
CHANGES, DMZ = "changes", "zone.dmz"


class Watch:
    """A clock that is set by hand."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def hands(watch: Watch) -> Hands:
    return Hands(PATIENCE, watch)


def taken(name: str, line: str = CHANGES, at: int = 1) -> Taken:
    return Taken(name=name, line=line, at=at)


def lost(hands: Hands, *held: Taken) -> list[str]:
    return [one.name for one in hands.lost(held)]


def test_what_nobody_begins_with_is_lost(hands: Hands, watch: Watch) -> None:
    assert lost(hands, taken("a")) == []
    watch.seconds = PATIENCE
    assert lost(hands, taken("a")) == ["a"]


def test_what_is_in_hand_is_not_lost_however_long_it_takes(hands: Hands, watch: Watch) -> None:
    with hands.carry("a", CHANGES):
        for watch.seconds in (0, PATIENCE, 100 * PATIENCE):
            assert lost(hands, taken("a")) == []


def test_what_waits_while_others_of_its_line_begin_is_left_alone(hands: Hands, watch: Watch) -> None:
    with ExitStack() as begun:
        crowd = [taken(f"c{number}") for number in range(100)]
        for number, one in enumerate(crowd):
            watch.seconds = number * PATIENCE / 2
            assert lost(hands, *crowd) == []
            begun.enter_context(hands.carry(one.name, one.line))


def test_what_was_overtaken_in_its_line_is_lost_however_busy_the_line_is(hands: Hands, watch: Watch) -> None:
    lost(hands, taken("a", at=1))
    watch.seconds = PATIENCE
    with hands.carry("b", CHANGES):
        assert lost(hands, taken("a", at=1), taken("b", at=2)) == ["a"]


def test_what_overtook_nobody_in_another_line_proves_nothing(hands: Hands, watch: Watch) -> None:
    with hands.carry("a", DMZ), hands.carry("b", CHANGES):
        lost(hands, taken("w", DMZ, at=2))
        watch.seconds = PATIENCE - 1
        with hands.carry("c", DMZ):
            watch.seconds = PATIENCE
            assert lost(hands, taken("w", DMZ, at=2), taken("a", DMZ, at=1), taken("b", at=3)) == []


def test_what_was_put_in_line_again_has_its_patience_anew(hands: Hands, watch: Watch) -> None:
    lost(hands, taken("a"))
    watch.seconds = PATIENCE
    assert lost(hands, taken("a")) == ["a"]
    assert lost(hands) == []
    assert lost(hands, taken("a", at=2)) == []


class ForgetfulQueue(LazyQueue):
    """Takes a change from its line for the only worker, who does not learn of it: as a connection does that breaks."""

    def enqueue(self, change: ChangeRequest, writing: Writing) -> None:
        """Put a change in line, and take it in the same transaction."""
        super().enqueue(change, writing)
        assert isinstance(writing.transaction, sa.Connection)
        writing.transaction.execute(
            sa.text(
                "UPDATE workflow_status SET status = 'PENDING', executor_id = :me, started_at_epoch_ms = 1 "
                "WHERE workflow_uuid LIKE :change"
            ),
            {"me": SINGLE, "change": f"{change.id}~%"},
        )


@pytest.mark.timeout(120)
def test_change_that_was_lost_between_line_and_thread_is_carried_all_the_same(workers: Pool, tmp_path: Path) -> None:
    url = new_database(tmp_path)
    disk = DiskSite(url=url, folder=str(tmp_path), hosts=1, seconds=0, shard=50, began=time.time(), lost_after=1.0)
    disk.prepare(spec())
    with disk.opened() as site, closing_engine(url) as engine:
        queue = ForgetfulQueue(url, lambda: engine)
        queue.ready()
        worker = workers.start(disk)
        until(lambda: bool(SqlWorkers(engine).seen()))
        time.sleep(2)  # What a worker finds of its own when it begins is another matter.
        site.ledger = Ledger(site.store, site.ledger.clock, queue)
        execution.start(site.id, OMAR, site.crew_with_ledger())
        until(lambda: site.change.state is ChangeState.SUCCEEDED)
        assert lives(worker)
    workers.end_all()
    assert "was lost, and is put in line again" in (tmp_path / "workers.log").read_text()


@pytest.mark.timeout(120)
def test_crowd_that_waits_for_its_threads_is_left_alone(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "tests.engine.crowd", new_database(tmp_path), str(tmp_path)]
    done = subprocess.run(argv, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {"staged": 1, "requested": CROWD - 1}
    assert b"was lost" not in done.stderr


def new_database(folder: Path) -> str:
    url = f"sqlite:///{folder / 'site.db'}"
    upgrade(url)
    return url


@contextmanager
def closing_engine(url: str) -> Iterator[sa.Engine]:
    engine = open_for_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
