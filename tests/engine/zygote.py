"""Processes that carry a change of a fake site and can be killed anywhere: forked here, where all is imported already.

A line of JSON on stdin asks for one; the answer is a line with its exit code. ``kill -9`` is ``os._exit``: nothing is
cleaned up, no transaction is ended, no thread is told.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

from orchestrator.adapters.store import SqlStore, SqlWorkers, codec, open_database, open_for_engine
from orchestrator.adapters.store.writing import SqlWriting
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import CARRIED, ChangeState
from orchestrator.engine import durable, shape
from orchestrator.engine.durable import Durable
from orchestrator.engine.locks import Alone
from orchestrator.engine.queueing import LazyQueue
from orchestrator.engine.worker import SINGLE, Manner, Worker, new_name
from orchestrator.flow.ledger import Ledger
from tests.fakes.site import FakeSite
from tests.fakes.world import WatchedRunner, load

KILLED = 9


def place(moment: str) -> str:
    """Return where in the code a moment is, whichever host or batch it is about."""
    return moment.partition(" (")[0]


@dataclass
class Passing:
    """Counts how often each place was passed, by processes before this one too, and kills this one where it is to die.

    ``kills``: the place, and which of its passings it is; the place "" is any.
    """

    kills: Mapping[str, int]
    file: Path
    counts: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        for moment in self.file.read_text().splitlines() if self.file.exists() else ():
            self._count(moment)

    def __call__(self, name: str) -> None:
        with self.lock:
            with self.file.open("a") as file:
                file.write(name + "\n")
            self._count(name)
            if any(self.kills.get(key) == self.counts[key] for key in (place(name), "")):
                os._exit(KILLED)

    def _count(self, moment: str) -> None:
        self.counts.update((place(moment), ""))


class WatchedStore(SqlStore):
    """The store; each write, each turn and each move of the engine is a moment at which one can be killed."""

    passes: Passing

    @contextmanager
    def begin(self) -> Iterator[SqlWriting]:
        """Write, and pass the moment at which everything is written and nothing committed.

        Right after the commit is no moment of its own: what is left then is what the next moment leaves.
        """
        name = caller()
        with super().begin() as writing:
            yield writing
            self.passes(f"within {name}")

    def joined(self, transaction: object) -> SqlWriting:
        """Write in a transaction of the engine's."""
        self.passes(f"within {caller()}")
        return super().joined(transaction)

    def documents(self, change: str, kind: str, names: Collection[str] | None = None) -> Mapping[str, Plain]:
        """Read, and pass a moment where a turn begins: the move before it has been committed."""
        if kind == "carrying":
            self.passes("turn")
        return super().documents(change, kind, names)


def caller() -> str:
    """Return who writes: the first function outside the store and the ledger, with its module."""
    # inspect.stack would look every frame's source up, which is most of what a play costs.
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(("orchestrator.flow", "orchestrator.engine")) and not module.endswith(".ledger"):
            return f"{module.removeprefix('orchestrator.')}.{frame.f_code.co_name}"
        frame = frame.f_back
    return "?"


def serve() -> None:
    """Fork a process for each line that is asked for."""
    warnings.simplefilter("error")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            work(json.loads(line))
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps(os.waitstatus_to_exitcode(status)) + "\n")
        sys.stdout.flush()


def work(asked: Mapping[str, Any]) -> None:
    """Begin what is to be carried, unless it has begun, and carry it until there is nothing more to do."""
    try:
        _carry(asked)
        os._exit(0)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        raise
    finally:
        os._exit(1)


def _carry(asked: Mapping[str, Any]) -> None:
    shape.SHAPE = str(asked.get("shape", shape.SHAPE))
    durable.POLL = 0.05
    url, folder = str(asked["url"]), Path(str(asked["folder"]))
    database, engine = open_database(url), open_for_engine(url)
    passes = Passing(dict(asked["kills"]), folder / "passed")
    site = FakeSite(database, folder, web=int(asked["web"]))
    load(site, folder / "world")
    store = WatchedStore(database)
    store.passes = passes
    site.store = store
    site.ledger = Ledger(store, site.clock, LazyQueue(url, lambda: engine))
    site.crew = replace(site.crew, ledger=site.ledger, runner=WatchedRunner(site, folder / "world", passes))
    site.id = str(asked["change"])
    if site.change.state is ChangeState(str(asked["from"])):
        getattr(site, str(asked["act"]))()
    single = url.startswith("sqlite")
    name = new_name()
    engine_here = Durable(
        crew=site.crew,
        engine=engine,
        executor=SINGLE if single else name,
        codec=codec,
        sharing=lambda change: nullcontext(),
    )
    workers = SqlWorkers(open_for_engine(url, size=2))
    worker = Worker(engine_here, workers, name, Manner(pause=0.1), site.clock, alone=Alone() if single else None)

    def look() -> None:
        if site.change.state not in CARRIED and engine_here.is_idle():
            worker.stop()

    worker.run(look)


if __name__ == "__main__":
    serve()
