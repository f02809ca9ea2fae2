"""The folder of one job: what lies in it, who carries it, and how a file gets there in one piece.

Standard library only and few imports: every supervisor's start is time inside a maintenance window.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident

MARKER = "ORCHESTRATOR_JOB"


class JobDir:
    """Where the files of one job are; none of them is readable by others.

    ``order`` is what was asked, ``started`` the proof that it was begun, ``result`` what came of it; ``waiting`` says
    what it waits for before it may begin.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.order = path / "job.json"
        self.inventory = path / "inventory.json"
        self.started = path / "started"
        self.stop = path / "stop"
        self.waiting = path / "waiting"
        self.events = path / "events.jsonl"
        self.events_packed = path / "events.jsonl.gz"
        self.reports = path / "reports.jsonl"
        self.progress = path / "progress.jsonl"
        self.tasks = path / "tasks.json"
        self.output = path / "stdout.log"
        self.trouble = path / "supervisor.log"
        self.result = path / "result.json"
        self._lock = path / "lock"

    def create(self) -> None:
        """Make the folder, readable by its owner only."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.chmod(0o700)

    @property
    def marker(self) -> str:
        """Return the environment entry that every process of this job carries."""
        return f"{MARKER}={self.path}"

    def read(self, file: Path) -> dict[str, object]:
        """Return the object in one of the folder's JSON files, empty where there is none."""
        try:
            found = json.loads(file.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, file: Path, value: object) -> None:
        """Put a JSON file there in one rename, so that it is whole or absent."""
        write_whole(file, json.dumps(value, separators=(",", ":")).encode() + b"\n")

    def begin(self, facts: Mapping[str, object]) -> bool:
        """Set the ``started`` marker; False where somebody has been here before."""
        draft = self.path / f"begin.{os.getpid()}"
        write_whole(draft, json.dumps(facts).encode() + b"\n")
        try:
            # A link fails where the name exists, and unlike an exclusive open it never shows half a marker.
            os.link(draft, self.started)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        _sync_folder(self.path)
        return True

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the job's lock for the block; yields False where another process holds it."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _lock_now(descriptor)
        finally:
            os.close(descriptor)

    def is_begun(self) -> bool:
        """Tell whether the job was begun, or is carried, or has ended."""
        return self.path.exists() and (self.started.exists() or self.result.exists() or self.is_carried())

    def is_carried(self) -> bool:
        """Tell whether a supervisor holds the job, or somebody who clears up after a dead one."""
        with self.held() as free:
            return not free


def write_whole(file: Path, content: bytes) -> None:
    """Write a private file in one rename, after its bytes have reached the disk."""
    # Two callers may write the same file at once: each has a draft of its own.
    draft = file.with_name(f"{file.name}.{os.getpid()}.{get_ident()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    draft.rename(file)
    _sync_folder(file.parent)


def appender(file: Path) -> int:
    """Return a descriptor that appends to a private file: what was written stays when the writer is killed."""
    return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rows(file: Path) -> Iterator[dict[str, object]]:
    """Read a line-JSON file; a line that was cut short by a crash is left out."""
    with suppress(FileNotFoundError), file.open("rb") as handle:
        for line in handle:
            with suppress(ValueError):
                row = json.loads(line)
                if isinstance(row, dict):
                    yield row


def boot_id() -> str:
    """Return the id of this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def processes_of(job: JobDir) -> list[int]:
    """Return the processes that still work for a job, by the entry in their environment.

    SSH's shared connections are left out: they stay open for later runs and do nothing by themselves.
    """
    marker, found = job.marker.encode(), []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            if marker in Path(entry.path, "environ").read_bytes().split(b"\0") and not _is_shared_ssh(entry.path):
                found.append(int(entry.name))
    return found


def _is_shared_ssh(process: str) -> bool:
    return Path(process, "cmdline").read_bytes().startswith(b"ssh: ")


def _lock_now(descriptor: int) -> bool:
    # Somebody who only looks holds the lock for an instant; that must not turn a supervisor away.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.002)
        else:
            return True
    return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
