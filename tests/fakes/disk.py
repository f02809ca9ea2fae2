"""Hosts that several processes work on at once: each in a file, with a lock that the kernel gives back."""

from __future__ import annotations

import fcntl
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.domain.health import HealthCheck, HealthReport
from orchestrator.domain.inventory import Host
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from orchestrator.flow.reports import rows, text
from orchestrator.ports import Clock
from tests.fakes.machines import Machine


@dataclass(frozen=True)
class DiskHosts:
    """The hosts of a folder; ``cut`` ones cannot be reached for now, and those of a zone from ``here`` only."""

    folder: Path
    here: Sequence[str] = ()

    def keep(self, machine: Machine) -> None:
        """Write a host down."""
        self.folder.mkdir(exist_ok=True)
        draft = self.folder / f"{machine.name}.draft"
        draft.write_bytes(pickle.dumps(machine))
        draft.rename(self.folder / machine.name)

    def look(self, name: str) -> Machine:
        """Return a host as it stands."""
        machine: Machine = pickle.loads((self.folder / name).read_bytes())  # Written by ourselves, a moment ago.
        return machine

    @contextmanager
    def at_work(self, name: str) -> Iterator[Machine]:
        """Work on a host alone. A second one at the same time would be what leases are to prevent: it is noted."""
        with (self.folder / f"{name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with (self.folder / "collisions").open("a") as file:
                    file.write(f"{name}\n")
                fcntl.flock(lock, fcntl.LOCK_EX)
            machine = self.look(name)
            yield machine
            self.keep(machine)

    def collisions(self) -> Sequence[str]:
        """Return the hosts on which two worked at once."""
        file = self.folder / "collisions"
        return file.read_text().split() if file.exists() else []

    def is_cut(self, name: str) -> bool:
        """Tell whether the network to a host is cut, for somebody who tries to reach it from here: that is noted."""
        zone = self._zone_of(name)
        if zone:
            with (self.folder / "reached").open("a") as file:
                file.write(f"{zone} from {','.join(self.here)}\n")
        return (self.folder / f"{name}.cut").exists() or (zone not in self.here if zone else False)

    def stands_in(self, name: str, zone: str) -> None:
        """Let a host stand in a zone."""
        (self.folder / f"{name}.zone").write_text(zone)

    def reached(self) -> set[str]:
        """Return from where hosts of which zones were reached, or tried."""
        file = self.folder / "reached"
        return set(file.read_text().splitlines()) if file.exists() else set()

    def _zone_of(self, name: str) -> str:
        file = self.folder / f"{name}.zone"
        return file.read_text() if file.exists() else ""

    def cut(self, name: str, *, off: bool) -> None:
        """Cut the network to a host, or mend it."""
        mark = self.folder / f"{name}.cut"
        mark.touch() if off else mark.unlink(missing_ok=True)


@dataclass(frozen=True)
class DiskRunner:
    """Implements ``ports.PlaybookRunner``: a job at most once, whichever process asks; each host takes its time.

    A process that is killed within a job leaves it begun: the next one to ask learns that it died.
    """

    hosts: DiskHosts
    jobs: Path
    clock: Clock
    seconds: float
    fetched: Callable[[Job, Sequence[HostResult]], object] = lambda job, results: None

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Play a job, or wait for who plays it, or tell what came of it."""
        self.jobs.mkdir(exist_ok=True)
        with (self.jobs / f"{job.id}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (known := self.result(job.id)) is not None:
                return known
            started = self.jobs / f"{job.id}.started"
            if started.exists():
                return self._keep(self._died(job))
            started.touch()
            began = self.clock.now()
            results = tuple(self._play(job, one.host) for one in job.hosts)
            self.fetched(job, results)
            played = JobResult(
                id=job.id, status=JobStatus.FINISHED, rc=0, started_at=began, finished_at=self.clock.now(),
                hosts=results,
            )  # fmt: skip
            return self._keep(played)

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place: there is always one here."""
        return go_on()

    def result(self, job_id: str) -> JobResult | None:
        """Tell what came of a job."""
        file = self.jobs / f"{job_id}.result"
        if not file.exists():
            return None
        found: JobResult = pickle.loads(file.read_bytes())
        return found

    def stop(self, job_id: str) -> None:
        """Nothing is stopped between tasks here: a job is a single one."""

    def _play(self, job: Job, name: str) -> HostResult:
        asked = next(one for one in job.hosts if one.host == name)
        if self.hosts.is_cut(name):
            return HostResult(host=name, outcome=HostOutcome.UNREACHABLE, message="no route to host")
        with self.hosts.at_work(name) as machine:
            time.sleep(self.seconds)
            result = machine.play(job.playbook, asked.patch_job)
        if self.hosts.is_cut(name):
            return HostResult(host=name, outcome=HostOutcome.UNREACHABLE, message="connection reset")
        return result

    def _died(self, job: Job) -> JobResult:
        nothing = tuple(
            HostResult(host=one.host, outcome=HostOutcome.NOTHING, message="its supervisor died") for one in job.hosts
        )
        now = self.clock.now()
        return JobResult(
            id=job.id, status=JobStatus.DIED, rc=None, started_at=now, finished_at=now, hosts=nothing,
            message="its supervisor died",
        )  # fmt: skip

    def _keep(self, result: JobResult) -> JobResult:
        draft = self.jobs / f"{result.id}.draft"
        draft.write_bytes(pickle.dumps(result))
        draft.rename(self.jobs / f"{result.id}.result")
        return replace(result)


@dataclass(frozen=True)
class DiskProbe:
    """Implements ``ports.Probe``."""

    hosts: DiskHosts

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        """Let everybody in."""
        return [ProbeReport(host=host.name) for host in hosts]

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        """Look at hosts."""
        return [
            ProbeReport(host=host.name, failed_at=Stage.CONNECT, detail="no route to host")
            if self.hosts.is_cut(host.name)
            else ProbeReport(host=host.name)
            for host in hosts
        ]


@dataclass(frozen=True)
class DiskCheck:
    """Implements ``ports.ServiceCheck``: a service answers whoever reaches its host."""

    hosts: DiskHosts

    def check(self, hosts: Sequence[Host], check: HealthCheck) -> Sequence[HealthReport]:
        """Ask the services."""
        return [
            HealthReport(host=host.name, check=check.name, passed=not self.hosts.is_cut(host.name)) for host in hosts
        ]


@dataclass(frozen=True)
class DiskPackages:
    """Implements ``ports.PackageKeeper``: bytes are a file under their sha256."""

    folder: Path

    def missing(self, digests: Iterable[str]) -> Sequence[str]:
        """Return those that never arrived."""
        return sorted(digest for digest in digests if not (self.folder / digest).exists())

    def fetch(self, job: Job, results: Sequence[HostResult]) -> None:
        """Keep what a job has downloaded."""
        self.folder.mkdir(exist_ok=True)
        for result in results if job.playbook == "download.yml" else ():
            report = result.report("download") or {}
            for row in rows(report, "items"):
                (self.folder / text(row, "sha256")).touch()
