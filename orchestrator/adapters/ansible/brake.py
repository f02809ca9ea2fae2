"""Stop a run between tasks: no further task begins, and what the hosts are doing goes on.

Ansible has no such stop: its own cancelling leaves the task in flight unrecorded. So its main process, which hands out
the tasks and does none of the work, is frozen at the right moment and ended from there; the processes that talk to the
hosts are never touched, since a connection that is cut may take the package manager with it. Events tell of a moment
that has passed, so a callback inside Ansible (``callbacks/``) holds the next task back where it would begin.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.tally import FAILED, FINAL, UNREACHABLE


class Brake:
    """Watches the events of a run and tells when it can be ended.

    1. Asked to stop while no host is in a task: at once.
    2. While every host is in the task or past it: as soon as the last of them has reported.
    3. While hosts still wait for their turn in the task: nobody else may begin, so the main process is frozen now and
       ended when those at work have finished; their reports are lost with it, and the hosts will be asked.
    """

    def __init__(self, job: JobDir, hosts: Iterable[str]) -> None:
        self._job = job
        self._hosts = frozenset(hosts)
        self._asked = self._due = self._frozen = False
        self._main: int | None = None
        self._begun: set[str] = set()
        self._at_work: set[str] = set()
        self._out: set[str] = set()

    @property
    def is_asked(self) -> bool:
        """Tell whether somebody wants the run to end."""
        self._asked = self._asked or self._job.stop.exists()
        return self._asked

    @property
    def at_work(self) -> list[str]:
        """Return the hosts that began a task and have not reported its end."""
        return sorted(self._at_work)

    def ask(self) -> None:
        """Want the run to end."""
        self._asked = True
        self._job.write(self._job.stop, {"by": os.getpid()})

    def watch(self, event: Mapping[str, object]) -> None:
        """Follow where the hosts stand, and take the moment when it comes."""
        name, data, process = str(event.get("event")), event.get("event_data"), event.get("pid")
        if isinstance(process, int):
            self._main = process
        host = str(data.get("host")) if isinstance(data, dict) else ""
        if name == "playbook_on_task_start":
            self._begun.clear()
        elif name == "runner_on_start":
            self._begun.add(host)
            self._at_work.add(host)
        elif name in FINAL:
            self._at_work.discard(host)
            if FINAL[name] in (FAILED, UNREACHABLE):
                self._out.add(host)
        if self.is_asked:
            self._consider()

    def is_due(self) -> bool:
        """Tell whether Ansible can be ended now."""
        if self.is_asked:
            self._consider()
        if self._frozen and not self._due:
            self._due = self._main is None or all(_has_finished(worker) for worker in _children(self._main))
        return self._due

    def end_ansible(self) -> None:
        """End Ansible's main process now, whatever it is doing."""
        self._signal(signal.SIGKILL)

    def _consider(self) -> None:
        waiting = self._hosts - self._begun - self._out
        if self._frozen or (self._at_work and not waiting):
            return
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def _signal(self, number: signal.Signals) -> None:
        if self._main is not None:
            with suppress(ProcessLookupError):
                os.kill(self._main, number)


def _children(process: int) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                if int(_fields(int(entry.name))[1]) == process:
                    found.append(int(entry.name))
    return found


def _has_finished(worker: int) -> bool:
    """Tell whether a worker is gone, or has nothing left to do but to hand over its result to the frozen process."""
    try:
        if _fields(worker)[0] == "Z":
            return True
        return "pipe_w" in Path(f"/proc/{worker}/wchan").read_text()
    except OSError:
        return True


def _fields(process: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; the name before it may hold spaces."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
