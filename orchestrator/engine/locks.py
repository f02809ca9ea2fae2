"""Locks on files, which end with the process that holds them. Whoever only looks shares one for a moment."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

#: Seconds for which one who only looks may stand in the way of one who takes the lock: far longer than a look.
_LOOK = 0.5


def take(handle: IO[str], *, shared: bool = False) -> bool:
    """Take the lock, where nobody has it; it ends with the handle. A shared one goes together with others."""
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_from_lookers(handle: IO[str]) -> bool:
    """Take the lock where nobody has it, or only those who look whether it is held."""
    until = time.monotonic() + _LOOK
    while not take(handle):
        if time.monotonic() >= until:
            return False
        time.sleep(0.005)
    return True


class Alone:
    """The right to be the only worker of a database: a lock, where others might begin."""

    def __init__(self, handle: IO[str] | None = None) -> None:
        self._handle = handle

    def let_go(self) -> None:
        """Let another one begin."""
        if self._handle is not None:
            fcntl.flock(self._handle, fcntl.LOCK_UN)

    def take_again(self) -> bool:
        """Be the only one again; False where another one has begun."""
        return self._handle is None or take_from_lookers(self._handle)


def is_held(lock: Path) -> bool:
    """Tell whether somebody holds the lock alone."""
    if not lock.exists():
        return False
    with lock.open("a") as handle:
        return not take(handle, shared=True)
