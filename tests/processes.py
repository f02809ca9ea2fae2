"""What the kernel says of processes that may end at any moment: also between finding their file and reading it."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path


def state_of(process: int) -> str:
    """Return the letter of proc(5) for the state of a process, such as T where it was stopped; "" where it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def lives(process: int) -> bool:
    """Tell whether a process has not ended; one that only its parent has not asked about has."""
    return state_of(process) not in ("", "Z", "X")


def with_words(*words: str) -> Sequence[int]:
    """Return the processes whose command line has all of these words."""
    wanted = {os.fsencode(word) for word in words}
    return [process for process in _all() if wanted <= set(_read(process, "cmdline").split(b"\0"))]


def end_all_that_name(folder: Path) -> None:
    """End every process that names a file below a folder in its command line or its environment, and what they start.

    ``folder`` is to be a test's own.
    """
    name = os.fsencode(f"{folder}/")
    while found := [one for one in _all() if name in _read(one, "cmdline") + _read(one, "environ") and lives(one)]:
        for process in found:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue


def _all() -> list[int]:
    own = os.getpid()
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit() and int(entry.name) != own]


def _read(process: int, file: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{file}").read_bytes()
    except OSError:
        return b""
