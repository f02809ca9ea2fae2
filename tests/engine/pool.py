"""Worker processes, forked where all is imported already: a line of JSON asks for one, the answer is its process id."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.engine.disk_site import DiskSite, fork

ROOT = Path(__file__).parents[2]


@dataclass
class Pool:
    """Starts workers and ends those that it started, however the test ends."""

    process: subprocess.Popen[str]
    alive: list[int] = field(default_factory=list)

    def start(self, site: DiskSite) -> int:
        """Start a worker."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(asdict(site)) + "\n")
        self.process.stdin.flush()
        worker = int(self.process.stdout.readline())
        self.alive.append(worker)
        return worker

    def signal(self, worker: int, number: signal.Signals) -> None:
        """Send a signal to a worker; one that has ended by itself is forgotten."""
        try:
            os.kill(worker, number)
        except ProcessLookupError:
            number = signal.SIGKILL
        if number is signal.SIGKILL and worker in self.alive:
            self.alive.remove(worker)

    def end_all(self) -> None:
        """End every worker."""
        for worker in [*self.alive]:
            self.signal(worker, signal.SIGKILL)


@contextmanager
def pool() -> Iterator[Pool]:
    """Give a pool."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.engine.pool"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        workers = Pool(process)
        try:
            yield workers
        finally:
            workers.end_all()
            assert process.stdin
            process.stdin.close()


def serve() -> None:
    """Fork a worker for each line."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        sys.stdout.write(f"{fork(DiskSite(**json.loads(line)))}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
