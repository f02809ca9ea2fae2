"""Processes remembered across commands by pid and start time, so that a reused pid is never taken for ours."""

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessMark:
    """One process: its pid, and when it started in clock ticks since the machine's boot."""

    pid: int
    started: int

    @property
    def is_alive(self) -> bool:
        return _start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def mark(pid: int) -> ProcessMark:
    return ProcessMark(pid=pid, started=_start_time(pid))


def remember(path: Path, pid: int) -> None:
    """Write the process down; a reader sees the old mark or the new one, never half of it."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"pid": pid, "started": _start_time(pid)}))
    part.rename(path)


def recall(path: Path) -> ProcessMark | None:
    """Read a remembered process that is still alive."""
    try:
        kept = json.loads(path.read_text())
        found = ProcessMark(pid=int(kept["pid"]), started=int(kept["started"]))
    except (OSError, ValueError, KeyError):
        return None
    return found if found.is_alive else None


def children(pid: int) -> list[ProcessMark]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _parent(int(entry.name)) == pid:
            found.append(mark(int(entry.name)))
    return found


def wait_until_gone(marks: list[ProcessMark], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while any(one.is_alive for one in marks):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _start_time(pid: int) -> int:
    fields = _stat(pid)
    # A zombie has ended: only its parent has not looked yet.
    return -1 if not fields or fields[0] == "Z" else int(fields[19])


def _parent(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[1]) if fields else -1


def _stat(pid: int) -> list[str]:
    """Read /proc/PID/stat from its third field on; the second, the name, may hold blanks and brackets (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
