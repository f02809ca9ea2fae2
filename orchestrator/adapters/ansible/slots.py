"""Places for Ansible runs: a file each, locked as long as the run's supervisor lives, whoever started it.

The lock is taken here and handed on to the supervisor, which inherits it; a process that is killed gives it back.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.domain.limits import Limits, Load, why_wait

_SLOT = re.compile(r"slot-(\d+)")


def free_memory() -> int:
    """Return the MiB of memory that a new process could have (MemAvailable, proc(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) >> 10
    return 1 << 30


class Place(NamedTuple):
    """A locked place, as an open descriptor, or why there is none now."""

    descriptor: int | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """The places of a site's controller, in a folder that all its processes share."""

    folder: Path
    limits: Limits
    free_memory: Callable[[], int] = free_memory

    def take(self, *, puts_back: bool = False) -> Place:
        """Take a place, or tell what a run would have to wait for."""
        with self._alone():
            held = {number: _locked(self.folder / f"slot-{number}") for number in self._numbers()}
            free = {number: descriptor for number, descriptor in held.items() if descriptor is not None}
            load = Load(runs=len(held) - len(free), free_memory=self.free_memory())
            why = why_wait(load, self.limits, puts_back=puts_back)
            mine = None if why else min(free)
            for number, descriptor in free.items():
                if number != mine:
                    os.close(descriptor)
            return Place(free[mine] if mine is not None else None, why)

    def _numbers(self) -> set[int]:
        """Return the places there are, with those that a larger limit of before has left in use."""
        left = {int(found[1]) for file in self.folder.iterdir() if (found := _SLOT.fullmatch(file.name))}
        return left | set(range(self.limits.jobs))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep others from counting while we do: each would see the other's look as a run."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / "counting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _locked(file: Path) -> int | None:
    """Lock the file and return its descriptor; None where somebody has it."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
