"""A worker that has nothing to do leaves, and nothing is left behind that somebody has counted on it for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import cast

import pytest

from orchestrator.engine.durable import Durable
from orchestrator.engine.locks import Alone, is_held, take
from orchestrator.engine.worker import Manner, Worker, only_one
from orchestrator.errors import Refused
from orchestrator.ports import WorkerSeen
from tests.fakes.outside import FakeClock
from tests.fakes.values import EVENING


class Entered:
    """The workers of a database: this one, where it is entered."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def enter(self, worker: str, *, node: str, zones: Sequence[str], at: datetime) -> None:
        del node, zones, at
        self.names.append(worker)

    def beat(self, worker: str) -> bool:
        return worker in self.names

    def leave(self, worker: str) -> None:
        self.names.remove(worker)

    def seen(self) -> list[WorkerSeen]:
        return []

    def fence(self, lease: timedelta) -> list[str]:
        del lease
        return []


class Line:
    """The engine of a site where nothing stands in line, but for what the looks say; notes who was counted on then."""

    def __init__(self, lock: Path, workers: Entered, *looks: Callable[[], bool]) -> None:
        self._lock, self._workers, self._looks = lock, workers, [*looks]
        self.counted_on: list[tuple[bool, bool]] = []

    def launch(self, zones: Sequence[str], *, everywhere: bool) -> None:
        """Begin to take work."""

    def is_idle(self) -> bool:
        self.counted_on.append((bool(self._workers.names), is_held(self._lock)))
        return self._looks.pop(0)()

    def sweep(self, shapes: object = ()) -> int:
        del shapes
        return 0

    def recover(self, alive: Callable[[], set[str]]) -> int:
        del alive
        return 0


def nothing() -> bool:
    return True


def something() -> bool:
    return False


class Site:
    def __init__(self, folder: Path) -> None:
        self.lock, self.workers = folder / "worker.lock", Entered()

    def carries(self, *looks: Callable[[], bool], stopped: bool = False) -> list[tuple[bool, bool]]:
        """Let a worker work until it leaves; tell at each look whether it was entered, and whether it held the lock."""
        line = Line(self.lock, self.workers, *looks)
        with only_one(self.lock) as alone:
            worker = self._worker(line, alone)
            if stopped:
                worker.stop()
            worker.run()
        return line.counted_on

    def carries_among_many(self, *looks: Callable[[], bool]) -> list[bool]:
        """Do so where a database has many workers; tell at each look whether this one was entered."""
        line = Line(self.lock, self.workers, *looks)
        self._worker(line).run()
        return [is_entered for is_entered, _ in line.counted_on]

    def _worker(self, line: Line, alone: Alone | None = None) -> Worker:
        # What watches the lease ends this process when it runs out, and goes on when the worker has left.
        manner = Manner(until_idle=0, lease=timedelta(days=1))
        return Worker(cast(Durable, line), self.workers, "one", manner, FakeClock(EVENING), alone=alone)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_nobody_counts_on_a_worker_when_it_looks_for_the_last_time(site: Site) -> None:
    assert site.carries(nothing, nothing) == [(True, True), (False, False)]
    assert site.workers.names == []


def test_what_came_while_a_worker_was_leaving_is_not_left_behind(site: Site) -> None:
    assert site.carries(nothing, something, nothing, nothing) == [(True, True), (False, False)] * 2
    assert site.workers.names == []


def test_it_is_not_left_behind_either_where_a_database_has_many_workers(site: Site) -> None:
    assert site.carries_among_many(nothing, something, nothing, nothing) == [True, False] * 2
    assert site.workers.names == []


def test_another_worker_that_has_begun_meanwhile_carries_what_came(site: Site) -> None:
    with site.lock.open("a") as other:

        def another_begins() -> bool:
            assert take(other)
            return False

        assert len(site.carries(nothing, another_begins)) == 2
    assert site.workers.names == []


def test_worker_that_is_asked_to_end_does_not_look_again(site: Site) -> None:
    assert site.carries(stopped=True) == []
    assert site.workers.names == []


def test_two_who_look_at_once_do_not_take_each_other_for_a_worker(tmp_path: Path) -> None:
    lock = tmp_path / "worker.lock"
    with lock.open("a") as other:
        assert take(other, shared=True)
        assert not is_held(lock)
    with only_one(lock):
        assert is_held(lock)


def test_who_looks_keeps_no_worker_from_beginning(tmp_path: Path) -> None:
    lock = tmp_path / "worker.lock"
    looks = lock.open("a")
    assert take(looks, shared=True)
    threading.Timer(0.1, looks.close).start()
    with only_one(lock) as alone:
        assert isinstance(alone, Alone)
        with pytest.raises(Refused, match="another worker works for this site already"), only_one(lock):
            pass
