"""What was done to a simulated host, in order: kept in memory, and in a file that outlives the host."""

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was done to the host, or that the host did by itself."""

    at: float
    deed: str
    details: Mapping[str, object]


class Journal:
    """The entries of one host, oldest first."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def add(self, deed: str, **details: object) -> None:
        entry = Entry(at=round(time.time(), 3), deed=deed, details=details)
        with self._lock:
            self._entries.append(entry)
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps(asdict(entry), default=str) + "\n")

    def entries(self, deed: str = "") -> list[Entry]:
        with self._lock:
            return [entry for entry in self._entries if deed in ("", entry.deed)]


def read(path: Path) -> list[Entry]:
    """Read the journal of a host, running or not; no file is an empty journal."""
    if not path.exists():
        return []
    return [Entry(**json.loads(line)) for line in path.read_text().splitlines()]
