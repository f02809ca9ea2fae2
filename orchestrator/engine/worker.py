"""The worker: one process that takes work from the engine's lines, and proves that it lives while it does."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy.exc import DBAPIError

from orchestrator.engine import shape
from orchestrator.engine.locks import Alone, take_from_lookers
from orchestrator.errors import Refused
from orchestrator.ports import Clock, Workers, WorkerSeen
from orchestrator.settings import hand_on

if TYPE_CHECKING:
    from orchestrator.engine.durable import Durable

#: A worker that was silent for this long is dead: longer than a database takes to fail over.
LEASE = timedelta(seconds=30)
#: Seconds between two looks of a worker.
PAUSE = 2.0
#: The exit code of a worker that may act no more: its service manager starts it again.
FENCED = 75
#: The only executor of a database that has one worker: what it left, it finds again.
SINGLE = "single"

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a worker works: for which zones, until when, and with which pause between looks.

    Where no zone is named, it carries changes, and works on hosts without a zone; the only worker, on all.
    """

    zones: tuple[str, ...] = ()
    until_idle: float | None = None
    lease: timedelta = LEASE
    pause: float = PAUSE

    def told(self, *, alone: bool) -> str:
        """Return in words for what the worker works."""
        return ", ".join(self.zones) or ("every zone" if alone else "changes, and hosts without a zone")


def this_node() -> str:
    """Return what a process id means something within: this machine, or this container on it."""
    return f"{socket.gethostname()}-{Path('/proc/self/ns/pid').stat().st_ino}"


def new_name() -> str:
    """Return the name of a worker: machine, process, something that never comes again, and the shape it carries."""
    return f"{this_node()}:{os.getpid()}:{uuid.uuid4().hex[:8]}:{shape.SHAPE}"


def shape_of(worker: str) -> str:
    """Return the shape of the workflows that a worker carries, by its name."""
    return worker.rpartition(":")[2]


def has_died_here(worker: WorkerSeen) -> bool:
    """Tell whether a worker was a process of this machine that is gone: nobody has to wait for its lease."""
    process = worker.id.removeprefix(f"{worker.node}:").partition(":")[0]
    return worker.node == this_node() and process.isdigit() and not Path(f"/proc/{process}").exists()


@contextmanager
def only_one(lock: Path, meanwhile: Callable[[], None] | None = None) -> Iterator[Alone]:
    """Hold the lock of a database that has one worker.

    Where there is one already, wait for its end, and do ``meanwhile`` at every look; without that, raise Refused.
    """
    lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock.open("a") as handle:
        if not take_from_lookers(handle):
            if meanwhile is None:
                raise Refused(
                    "another worker works for this site already. With SQLite there is one; more take a PostgreSQL "
                    "database: [database] url in orchestrator.toml."
                )
            log.info("another worker works for this site: it goes on, and this one carries when it has ended")
            while not take_from_lookers(handle):
                _outliving(meanwhile)
                time.sleep(PAUSE)
        yield Alone(handle)


def _outliving(act: Callable[[], T]) -> T | None:
    """Do something for which the database may be away: that is said, and tried again at the next look."""
    try:
        return act()
    except DBAPIError as error:
        log.warning("the database is away: %s", error.orig)
        return None


class Sign:
    """The sign of life of the only worker that a database can have.

    Nobody takes over from it: it may be silent for as long as it likes, and enters itself again where nobody knows it.
    """

    def __init__(self, workers: Workers, name: str, lease: timedelta) -> None:
        self._workers, self._name, self._lease = workers, name, lease
        self._enter: Callable[[], None] = lambda: None
        #: Held while a sign is given, and by whoever is not entered at the moment.
        self._giving = threading.Lock()

    def begin(self, zones: Sequence[str], at: datetime) -> None:
        """Enter the worker, before it takes any work, and prove from now on that it lives."""
        self._enter = partial(self._workers.enter, self._name, node=this_node(), zones=zones, at=at)
        self._enter()
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def leave(self) -> None:
        """Let nobody count on this worker any more. It gives no further sign, unless it ``comes_back``."""
        self._giving.acquire()
        _outliving(lambda: self._workers.leave(self._name))

    def come_back(self) -> None:
        """Enter the worker again that was about to leave."""
        _outliving(self._enter)
        self._giving.release()

    def _beat(self) -> None:
        while True:
            with self._giving:
                self._give()
            time.sleep(self._lease.total_seconds() / 6)

    def _give(self) -> None:
        asked = time.monotonic()
        try:
            if self._workers.beat(self._name):
                self._proved_at(asked)
            else:
                self._is_unknown()
        except DBAPIError as error:
            log.warning("no sign of life could be given: %s", error.orig)

    def _proved_at(self, asked: float) -> None:
        """It has been proved that the worker lived at a moment of this machine's clock."""

    def _is_unknown(self) -> None:
        self._enter()


class LeasedSign(Sign):
    """The sign of life of one worker of many. Losing it ends the process: whoever took over must not meet us."""

    def __init__(self, workers: Workers, name: str, lease: timedelta, end: Callable[[], None]) -> None:
        super().__init__(workers, name, lease)
        self._end_process = end
        self._proved = time.monotonic()

    def begin(self, zones: Sequence[str], at: datetime) -> None:
        """Enter the worker, and watch from now on that its lease does not run out."""
        super().begin(zones, at)
        self._proved = time.monotonic()
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def _proved_at(self, asked: float) -> None:
        self._proved = asked

    def _is_unknown(self) -> None:
        self._end("another worker has taken this one for dead")

    def _watch(self) -> None:
        """End by this machine's own clock: a database that cannot be reached cannot tell us that we are dead."""
        while time.monotonic() - self._proved < self._lease.total_seconds() * 0.8:
            time.sleep(0.1)
        self._end("its lease could not be renewed in time")

    def _end(self, why: str) -> None:
        log.error("this worker ends at once: %s. What it began goes on under its supervisors.", why)
        logging.shutdown()
        self._end_process()


def leave() -> None:
    """End the process; its service manager starts it again."""
    os._exit(FENCED)


def begin_anew() -> None:
    """Begin the program anew in this process, where nobody else would start it again."""
    hand_on()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command line


class Worker:
    """Carries what is in line, takes over from the dead, and finds what nobody has in hand."""

    def __init__(
        self,
        durable: Durable,
        workers: Workers,
        name: str,
        manner: Manner,
        clock: Clock,
        *,
        alone: Alone | None = None,
    ) -> None:
        """``alone``: the database has one worker only, which is this one."""
        self._durable, self._workers, self._name = durable, workers, name
        self._manner, self._clock, self._alone = manner, clock, alone
        end = leave if manner.until_idle is None else begin_anew
        self._sign = Sign(workers, name, manner.lease) if alone else LeasedSign(workers, name, manner.lease, end)
        self._unserved: set[str] = set()
        self._ends = threading.Event()

    def stop(self) -> None:
        """Take no more work; what is begun goes on under its supervisors, and is found again."""
        self._ends.set()

    def run(self, tick: Callable[[], None] = lambda: None) -> None:
        """Work until somebody stops it, or until there was nothing to do for as long as was asked for."""
        self._sign.begin(self._manner.zones, self._clock.now())
        self._durable.launch(self._manner.zones, everywhere=self._alone is not None)
        log.info("worker %s works for %s", self._name, self._manner.told(alone=self._alone is not None))
        self._work(tick)
        while not self._leaves():
            log.info("something came while this worker was leaving: it stays")
            self._work(tick)

    def _work(self, tick: Callable[[], None]) -> None:
        idle_since = time.monotonic()
        while not self._ends.is_set():
            if _outliving(lambda: self._is_idle(tick)) is not True:
                idle_since = time.monotonic()
            limit = self._manner.until_idle
            if limit is not None and time.monotonic() - idle_since >= limit:
                break
            self._ends.wait(self._manner.pause)

    def _leaves(self) -> bool:
        """Leave, unless something is left to do; tell whether the worker has left.

        Whoever puts something in line looks afterwards whether a worker is there. So this one first lets nobody count
        on it any more, and looks then: what came before that it sees, and who comes later starts another worker.
        """
        self._sign.leave()
        if self._alone is not None:
            self._alone.let_go()
        if self._ends.is_set() or _outliving(self._durable.is_idle):
            return True
        if self._alone is not None and not self._alone.take_again():
            return True  # Another worker has begun, and finds all there is.
        self._sign.come_back()
        return False

    def _is_idle(self, tick: Callable[[], None]) -> bool:
        tick()
        is_idle = self._durable.is_idle()
        return not self._look(is_idle=is_idle) and is_idle

    def _look(self, *, is_idle: bool) -> int:
        gone = [worker.id for worker in self._workers.seen() if has_died_here(worker)]
        for worker in gone:
            self._workers.leave(worker)
        for dead in [*gone, *self._workers.fence(self._manner.lease)]:
            log.warning("worker %s is dead: its work is taken over", dead)
        found = 0 if is_idle else self._durable.recover(lambda: {worker.id for worker in self._workers.seen()})
        there = self._workers.seen()
        # One is enough to look for work that nobody has in hand: the oldest that carries changes.
        if next((worker.id for worker in there if not worker.zones), "") != self._name:
            return found
        if self._alone is None:
            self._name_unserved(there)
        return found + self._durable.sweep({shape_of(worker.id) for worker in there})

    def _name_unserved(self, there: Sequence[WorkerSeen]) -> None:
        """Say once of each zone that its hosts wait for somebody who reaches them."""
        served = {zone for worker in there for zone in worker.zones} | {""}
        unserved = self._durable.zones_in_line() - served
        for zone in sorted(unserved - self._unserved):
            log.warning("hosts of zone %s wait for a worker: orchestrator worker --zone %s", zone, zone)
        self._unserved = unserved
