"""One detached process carries one change, from the journal, and can be started again whenever it has died."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.errors import Refused, StaleChange
from orchestrator.flow import execution, staging
from orchestrator.flow.crew import Crew

#: States in which a change needs somebody to carry it.
CARRIED = frozenset({ChangeState.STAGING, ChangeState.RUNNING, ChangeState.ROLLING_BACK})

#: Seconds in which a carrier that has nothing left to do is gone.
LEAVING = 5.0


def carry(change_id: str, crew: Crew) -> ChangeRequest:
    """Do the machine work that the change's state asks for, until it ends, pauses or needs a person."""
    change = crew.ledger.store.change(change_id)
    while change.state in CARRIED:
        try:
            change = _carry_once(change, crew)
        except StaleChange:
            # A person has asked for something meanwhile. Everything is in the journal: look again, and go on.
            change = crew.ledger.store.change(change_id)
    return change


def _carry_once(change: ChangeRequest, crew: Crew) -> ChangeRequest:
    if change.state is ChangeState.STAGING:
        return staging.prove(change.id, crew)
    if change.state is ChangeState.RUNNING:
        return execution.carry(change.id, crew)
    return execution.put_everything_back(change.id, crew)


class Carriers:
    """The carrier processes of a site: a lock file for each change, held as long as its carrier lives."""

    def __init__(self, folder: Path, command: Sequence[str]) -> None:
        self._folder, self._command = folder, tuple(command)

    def start(self, change_id: str) -> None:
        """Start a carrier that outlives its caller and its terminal; one that finds another at work leaves it to it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.log(change_id).open("ab") as log:
            subprocess.Popen(
                [*self._command, change_id],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=Path.cwd(),
                env=os.environ.copy(),
            )

    def is_carried(self, change_id: str) -> bool:
        """Tell whether a living process carries the change."""
        path = self._lock(change_id)
        if not path.exists():
            return False
        with path.open("a") as handle:
            return not _take(handle)

    def at_work(self) -> list[str]:
        """Return the changes that a living process carries."""
        return [lock.stem for lock in sorted(self._folder.glob("*.lock")) if self.is_carried(lock.stem)]

    def require_free(self, change_id: str) -> None:
        """Raise Refused where somebody carries the change; one who is just leaving is waited for."""
        until = time.monotonic() + LEAVING
        while self.is_carried(change_id):
            if time.monotonic() >= until:
                raise _carried_elsewhere(change_id)
            time.sleep(0.1)

    @contextmanager
    def hold(self, change_id: str) -> Iterator[None]:
        """Be the one who carries the change. Raises Refused where somebody else does and is not just leaving."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock(change_id).open("a") as handle:
            until = time.monotonic() + LEAVING
            while not _take(handle):
                if time.monotonic() >= until:
                    raise _carried_elsewhere(change_id)
                time.sleep(0.1)
            yield

    def log(self, change_id: str) -> Path:
        """Return where the carrier writes what it has to say."""
        return self._folder / f"{change_id}.log"

    def _lock(self, change_id: str) -> Path:
        return self._folder / f"{change_id}.lock"


def _take(handle: IO[str]) -> bool:
    """Take the lock, where nobody has it; it ends with the handle."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _carried_elsewhere(change_id: str) -> Refused:
    return Refused(f"change {change_id} is being carried by another process: orchestrator change watch {change_id}")
