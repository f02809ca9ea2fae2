"""Run playbooks under a supervisor that outlives its caller: each job at most once, whoever waits for it."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread

from orchestrator.adapters.ansible.controller import Controller
from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.leftovers import settle
from orchestrator.adapters.ansible.lookups import Lookup, LookupKind, followed
from orchestrator.adapters.ansible.order import is_placed, place, search_path
from orchestrator.adapters.ansible.outcome import read_result
from orchestrator.adapters.ansible.redaction import Redactor
from orchestrator.adapters.ansible.slots import Place
from orchestrator.adapters.ansible.vault import harvest, lookups
from orchestrator.domain.inventory import Secret
from orchestrator.domain.job import Job, JobResult
from orchestrator.errors import InvalidInput, Unavailable

POLL = 0.05
WAIT = 0.5
"""Seconds between two looks for a place."""
ATTEMPTS = 3
"""How often a supervisor is started for a job that none has begun; more often would hide what is wrong."""

#: What programs need to work at all. The rest of the caller's environment, its secrets included, stays with the caller.
_INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "TZ", "USER")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}")
_PACKAGES = Path(__file__).parents[3]
_log = logging.getLogger(__name__)


class SupervisedRunner:
    """A ``PlaybookRunner`` for jobs of one Ansible installation each. One object serves many threads.

    ``content_root`` gives the frozen content for a digest; ``secrets`` are masked in everything that is written,
    besides the vault password, vaulted values, and passwords that the inventory looks up.
    """

    def __init__(
        self,
        *,
        jobs: Path,
        content_root: Callable[[str], Path],
        forks: int = 20,
        controller: Controller | None = None,
        vault_password: Secret | None = None,
        secrets: Sequence[Secret] = (),
    ) -> None:
        self._jobs = jobs.absolute()
        self._content_root = content_root
        self._forks = forks
        self._controller = controller or Controller()
        self._vault_password = vault_password or Secret("")
        self._secrets = tuple(secrets)
        self._lookups: dict[str, frozenset[Lookup]] = {}
        self._harvests: dict[str, frozenset[str]] = {}
        self._harvesting = Lock()
        self._reserved: dict[str, int] = {}

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Run the job at most once for its id and wait for the result, whoever started it.

        Raises Unavailable, with nothing begun, where Ansible or the content is missing, and Refused where the id was
        used for something else.
        """
        folder = self._folder(job.id)
        if not is_placed(folder, job):
            place(folder, job, self._content_root(job.content), self._forks, self._controller.programs(job))
        try:
            result = self._wait(folder, on_wait, job)
        finally:
            _give_up(self._reserved.pop(job.id, None))
        if result is None:
            raise Unavailable(f"job {job.id} could not be begun in {folder.path}.")
        return result

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place for a job that this process is to run next, while ``go_on`` says so; a job begun needs none."""
        folder = self._folder(job.id)
        try:
            while go_on():
                if job.id in self._reserved or folder.is_begun():
                    return True
                place = self._controller.place(job)
                if not place.why:
                    if place.descriptor is not None:
                        self._reserved[job.id] = place.descriptor
                    return True
                folder.create()
                _say_that_it_waits(folder, place.why)
                time.sleep(WAIT)
            return False
        finally:
            folder.waiting.unlink(missing_ok=True)

    def let_go(self, job_id: str) -> None:
        """Give up the place that was reserved for a job, if there is one."""
        _give_up(self._reserved.pop(job_id, None))

    def result(self, job_id: str) -> JobResult | None:
        """Return what came of a job that was once started, or None; wait for it while it runs.

        Waiting is the only truthful answer then: None would read as "never started". ``is_running`` does not wait.
        """
        return self._wait(self._folder(job_id), None, None)

    def is_running(self, job_id: str) -> bool:
        """Tell whether somebody carries the job now."""
        folder = self._folder(job_id)
        return folder.path.exists() and not folder.result.exists() and folder.is_carried()

    def stop(self, job_id: str) -> None:
        """Ask the job to end: no further task begins; what the hosts are doing goes on. One not begun never begins."""
        folder = self._folder(job_id)
        folder.create()
        folder.write(folder.stop, {"by": os.getpid()})

    def _wait(self, folder: JobDir, on_wait: Callable[[], None] | None, job: Job | None) -> JobResult | None:
        """Wait for the result; start supervisors for it only where ``job`` is given, and as there are places."""
        pulse = _Pulse(on_wait)
        carrier: Thread | None = None
        attempts = 0
        while not folder.result.exists():
            if not folder.path.exists():
                return None
            if folder.is_carried() or (carrier and carrier.is_alive()):
                pulse.beat()
            elif folder.started.exists():
                settle(folder, self._redactor, pulse.beat)
            elif job is None:
                return None
            elif attempts == ATTEMPTS:
                raise Unavailable(_why_no_supervisor(folder))
            elif (started := self._start_when_there_is_a_place(folder, job)) is not None:
                attempts += 1
                carrier = started
            else:
                time.sleep(WAIT)
                pulse.beat()
        if carrier:
            carrier.join(timeout=5)
        return read_result(folder)

    def _start_when_there_is_a_place(self, folder: JobDir, job: Job) -> Thread | None:
        # A job that was stopped while it waited ends at once: its supervisor starts no Ansible.
        reserved = self._reserved.pop(job.id, None)
        ready = reserved is not None or folder.stop.exists()
        place = Place(reserved, "") if ready else self._controller.place(job)
        if place.why:
            _say_that_it_waits(folder, place.why)
            return None
        try:
            return self._start(folder, job.content, place.descriptor)
        finally:
            folder.waiting.unlink(missing_ok=True)
            _give_up(place.descriptor)

    def _start(self, folder: JobDir, content: str, place: int | None) -> Thread:
        """Start a supervisor in a session of its own, and a thread that collects it when it ends.

        It inherits the lock of its place, and with it the place, which is free again when it has ended.
        """
        secrets = {
            "vault_password": self._vault_password.reveal(),
            "variables": self._looked_up(content),
            "redact": sorted(self._texts(content)),
            "place": place,
        }
        trouble = os.open(folder.trouble, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            child = subprocess.Popen(
                [sys.executable, "-m", "orchestrator.adapters.ansible.supervisor", str(folder.path)],
                cwd=_PACKAGES,
                env=self._variables(),
                stdin=subprocess.PIPE,
                stdout=trouble,
                stderr=trouble,
                start_new_session=True,
                pass_fds=() if place is None else (place,),
            )
        except OSError as error:
            raise Unavailable(f"no supervisor can be started for {folder.path.name}: {error}.") from error
        finally:
            os.close(trouble)
        assert child.stdin
        with suppress(BrokenPipeError), child.stdin:
            child.stdin.write(json.dumps(secrets).encode())
        collector = Thread(target=child.wait, name=f"supervisor of {folder.path.name}", daemon=True)
        collector.start()
        return collector

    def _variables(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        given = {"HOME": str(Path.home()), "LANG": "C.UTF-8", **inherited, **self._controller.environment}
        return {**given, "PATH": search_path(given.get("PATH", ""), Path(sys.executable).parent)}

    def _redactor(self, content: str) -> Redactor:
        return Redactor([*self._texts(content), self._vault_password.reveal()])

    def _texts(self, content: str) -> frozenset[str]:
        with self._harvesting:
            if content not in self._harvests:
                self._harvests[content] = harvest(self._content_root(content), self._vault_password)
            harvested = self._harvests[content]
        return harvested | self._kept_elsewhere(content) | {secret.reveal() for secret in self._secrets}

    def _looked_up(self, content: str) -> dict[str, str]:
        """Return the environment variables in which the inventory says that passwords are kept, as far as there."""
        found = {}
        for lookup in self._lookups_of(content):
            if lookup.kind is LookupKind.ENV:
                with suppress(Unavailable):
                    found[lookup.target] = followed(lookup, self._controller.variables)
        return found

    def _kept_elsewhere(self, content: str) -> frozenset[str]:
        """Return the passwords that the inventory keeps elsewhere, as they are now; what is not there nobody shows."""
        found = set()
        for lookup in self._lookups_of(content):
            with suppress(Unavailable):
                found.add(followed(lookup, self._controller.variables))
        return frozenset(found)

    def _lookups_of(self, content: str) -> frozenset[Lookup]:
        if content not in self._lookups:
            found = lookups(self._content_root(content), self._vault_password)
            # What every run inherits is no secret, and what the records are full of.
            usual = {Lookup(LookupKind.ENV, name) for name in _INHERITED}
            self._lookups[content] = found - usual
        return self._lookups[content]

    def _folder(self, job_id: str) -> JobDir:
        if not _SAFE_ID.fullmatch(job_id):
            raise InvalidInput(f"{job_id!r} cannot be the id of a job: use letters, digits, dots, dashes, underscores.")
        return JobDir(self._jobs / job_id)


class _Pulse:
    """Lets time pass while waiting, and calls somebody about once a second."""

    def __init__(self, call: Callable[[], None] | None) -> None:
        self._call = call
        self._next = time.monotonic() + 1

    def beat(self) -> None:
        time.sleep(POLL)
        if self._call and time.monotonic() >= self._next:
            self._next = time.monotonic() + 1
            self._call()


def _give_up(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _say_that_it_waits(folder: JobDir, why: str) -> None:
    if folder.read(folder.waiting).get("why") != why:
        folder.write(folder.waiting, {"why": why, "pid": os.getpid()})
        _log.warning("job %s waits: %s", folder.path.name, why)


def _why_no_supervisor(folder: JobDir) -> str:
    said = folder.trouble.read_text(errors="replace").strip() if folder.trouble.exists() else ""
    last = said.splitlines()[-1] if said else "it said nothing"
    return f"job {folder.path.name} was not begun: its supervisor ended {ATTEMPTS} times without taking it ({last})."
