"""What lab hosts say of themselves, read from their disks: also of a host that is down, and without touching it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Unpack
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from lab.host import HostOptions
from lab.instance import Lab
from lab.packages import SERVICE_PORT
from tests.processes import lives
from tests.waiting import wait_for

Record = dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """One lab host."""

    lab: Lab
    name: str

    @property
    def disk(self) -> Path:
        return self.lab.folder / "hosts" / self.name / "root"

    @property
    def address(self) -> str:
        return self.lab.host(self.name).address

    def journal(self) -> list[Record]:
        """Return what the host wrote down of the steps done to it."""
        try:
            lines = (self.disk / "var/lib/patch-orchestrator/journal.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def count(self, step: str, event: str) -> int:
        return sum(record["step"] == step and record["event"] == event for record in self.journal())

    def was_patched(self) -> bool:
        return self.count("patch", "begin") > 0

    def version(self, package: str) -> str:
        """Return the installed version of a package, "" where it is not installed."""
        return next((version for name, version in self.packages().items() if name.partition(":")[0] == package), "")

    def packages(self) -> dict[str, str]:
        """Return every installed package of an apt host."""
        asked = ["dpkg-query", f"--admindir={self.disk}/var/lib/dpkg", "-W", "-f"]
        told = "${Package}:${Architecture}\t${Version}\t${db:Status-Status}\n"
        lines = subprocess.run([*asked, told], capture_output=True, text=True, check=True).stdout.splitlines()
        rows = [line.split("\t") for line in lines]
        return {name: version for name, version, status in rows if status == "installed"}

    def ask(self) -> str:
        """Return what the host's labapp answers on /health: status and text, "" where nothing answers."""
        try:
            with urlopen(f"http://{self.address}:{SERVICE_PORT}/health", timeout=10) as answer:
                return f"{answer.status} {answer.read().decode().strip()}"
        except HTTPError as error:
            return f"{error.code} {error.read().decode().strip()}"
        except (URLError, OSError):
            return ""

    def run(self, *argv: str) -> str:
        """Run a command as root; it must succeed."""
        done = self.lab.run(self.name, argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextmanager
def as_soon_as(what: str, told: Callable[[], object], do: Callable[[], object]) -> Iterator[None]:
    """Do something at once when it is told, beside whatever goes on in the block; it must have been done by its end."""
    over, done, errors = Event(), Event(), list[BaseException]()

    def watch() -> None:
        try:
            while not over.is_set():
                if told():
                    do()
                    done.set()
                    return
                time.sleep(0.01)
        except BaseException as error:
            errors.append(error)

    thread = Thread(target=watch, name=what)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not errors, f"{what}: {errors[0]!r}"
    assert done.is_set(), f"{what} never came"


def kill(process: int) -> None:
    """End a process as a power cut would, and wait until it is gone."""
    assert process, "there is no such process"
    os.kill(process, signal.SIGKILL)
    wait_for(f"the end of process {process}", lambda: not lives(process))


@contextmanager
def held_still(process: int) -> Iterator[None]:
    """Hold a process still for the block, so that what happens meanwhile happens before its next step."""
    assert process, "there is no such process"
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


class Park:
    """The lab's hosts of a test module."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def __getitem__(self, name: str) -> Machine:
        return Machine(self.lab, self.lab.host(name).name)

    def up(self, *names: str, packages: tuple[str, ...] = (), **options: Unpack[HostOptions]) -> None:
        """Bring up hosts of a kind, with packages installed. The distribution's archive is offered to none of them."""
        options.setdefault("no_archive", True)
        self.lab.up_many(names, **options)
        if packages:
            _side_by_side(lambda name: self.lab.install(name, *packages), names)

    @contextmanager
    def cut_off(self, name: str) -> Iterator[None]:
        """Cut the network to a host for the block; what it does goes on."""
        self.lab.cut(name)
        try:
            yield
        finally:
            self.lab.mend(name)

    def keep(self, *names: str) -> None:
        """Remember the hosts as they are now."""
        for name in names:
            self.lab.snapshot(name, "fresh")

    def renew(self, *names: str) -> None:
        """Put the hosts back to what was kept, whatever became of them."""
        for name in names:
            self.lab.mend(name)
        _side_by_side(lambda name: self.lab.restore(name, "fresh"), names)


def _side_by_side(do: Callable[[str], None], names: Sequence[str]) -> None:
    """Do something to hosts, not one after the other: most of it is waiting for them."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        list(pool.map(do, names))
