"""See to it that somebody carries a change: a worker that lives, and nobody who works on the change by hand."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.domain.change import CARRIED
from orchestrator.engine.locks import is_held, take
from orchestrator.engine.worker import LEASE, has_died_here
from orchestrator.errors import Refused, Unavailable
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.sticking import is_stuck
from orchestrator.ports import WorkerSeen

#: Gives the variable and the descriptor it names; None where nothing was typed.
Typed = Callable[[], tuple[str, int] | None]

#: Seconds in which somebody who has nothing left to do on a change is gone.
LEAVING = 5.0


class Carriers:
    """The workers of a site, and a lock file for each change: shared by those who carry it, or held by one by hand."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        ledger: Callable[[], Ledger],
        seen: Callable[[], Sequence[WorkerSeen]],
        *,
        is_single: bool,
        typed: Typed = lambda: None,
    ) -> None:
        """``seen`` gives the workers that are entered; in a database that has one only, the lock tells who works.

        ``typed`` gives the descriptor from which a worker reads secrets that were typed for it, with its variable.
        """
        self._typed = typed
        self._folder, self._command, self._ledger = folder, tuple(command), ledger
        self._seen, self._is_single = seen, is_single

    @property
    def lock(self) -> Path:
        """Return the lock of a database that has one worker."""
        return self._folder / "worker.lock"

    @property
    def log(self) -> Path:
        """Return where a worker that was started here writes what it has to say."""
        return self._folder / "worker.log"

    def start(self) -> None:
        """Have a worker: one that is started here outlives its caller and its terminal, and ends when it is idle."""
        if self.have_worker():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        typed = self._typed()
        handed = {} if typed is None else {typed[0]: str(typed[1])}
        try:
            with self.log.open("ab") as log:
                subprocess.Popen(
                    self._command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    cwd=Path.cwd(),
                    env=os.environ | handed,
                    pass_fds=() if typed is None else (typed[1],),
                )
        finally:
            if typed is not None:
                os.close(typed[1])

    def prepare(self, ask: Callable[[], None]) -> None:
        """Ask for what a worker will need before anything is begun, where one has to be started."""
        if not self.have_worker():
            ask()

    def have_worker(self) -> bool:
        """Tell whether a worker lives that carries changes."""
        if self._is_single:
            return is_held(self.lock)
        return any(not worker.zones for worker in self.workers())

    def unserved(self, zones: Collection[str]) -> list[str]:
        """Return those of the zones whose hosts would wait for a worker; where there is one only, it serves all."""
        served = set(zones) if self._is_single else {zone for worker in self.workers() for zone in worker.zones}
        return sorted({*zones} - served - {""})

    def workers(self) -> list[WorkerSeen]:
        """Return the workers that live."""
        return [worker for worker in self._seen() if lives(worker)]

    def is_carried(self, change_id: str) -> bool:
        """Tell whether somebody has the change in hand."""
        ledger = self._ledger()
        state = ledger.store.change(change_id).state
        return state in CARRIED and not is_stuck(change_id, ledger) and self.have_worker()

    def at_work(self) -> list[str]:
        """Return the workers that live, in words: each has the database open. Without one, none does."""
        if self._is_single:
            return ["a worker"] if is_held(self.lock) else []
        try:
            return [f"worker {worker.id}" for worker in self.workers()]
        except Unavailable:
            return []

    def require_free(self, change_id: str) -> None:
        """Raise Refused where somebody works on the change; one who is just leaving is waited for."""
        with self.hold(change_id):
            pass

    @contextmanager
    def hold(self, change_id: str) -> Iterator[None]:
        """Be the only one on this machine who works on the change. Raises Refused where somebody else goes on to."""
        with self._lock(change_id) as handle:
            until = time.monotonic() + LEAVING
            while not take(handle):
                if time.monotonic() >= until:
                    raise Refused(
                        f"change {change_id} is being carried by another process: orchestrator change watch {change_id}"
                    )
                time.sleep(0.1)
            yield

    @contextmanager
    def share(self, change_id: str) -> Iterator[None]:
        """Carry the change beside others who do, as soon as nobody holds it for work by hand."""
        with self._lock(change_id) as handle:
            while not take(handle, shared=True):
                time.sleep(0.1)
            yield

    @contextmanager
    def _lock(self, change_id: str) -> Iterator[IO[str]]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / f"{change_id}.lock").open("a") as handle:
            yield handle


def lives(worker: WorkerSeen) -> bool:
    """Tell whether a worker lives: here its process is looked for, elsewhere its last sign of life counts."""
    return not has_died_here(worker) and worker.silent_for < LEASE
