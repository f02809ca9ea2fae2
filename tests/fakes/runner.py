"""Ansible that is none: it plays the playbooks on machines in memory, each job at most once, and can be killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus, TaskResult
from orchestrator.errors import Refused
from tests.fakes.machines import Fault, Machine, counter_of
from tests.fakes.outside import FakeClock, FakePackages


class Killed(BaseException):
    """``kill -9`` of the process that called."""


class When(StrEnum):
    """Where in a job its caller is killed."""

    BEFORE = "before the job began"
    AFTER = "after the job ended"
    DURING = "with the job's supervisor, while the hosts were at work"


@dataclass
class FakeRunner:
    """Implements ``ports.PacedRunner``; ``begun`` are the jobs in the order in which they began.

    While ``full``, there is no place for a job that wants one, and each look at that takes a second.
    """

    machines: dict[Environment, dict[str, Machine]]
    clock: FakeClock
    packages: FakePackages
    log: list[str]
    seconds: int = 10
    watch: Callable[[Job], object] = lambda job: None
    asked: list[Job] = field(default_factory=list)
    begun: list[Job] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    full: bool = False
    _results: dict[str, JobResult] = field(default_factory=dict)
    _works: dict[str, tuple[str, ...]] = field(default_factory=dict)
    _hooks: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    _dying: dict[str, Fault | None] = field(default_factory=dict)
    _kill: tuple[int, When] | None = None

    def kill_caller(self, nth: int, when: When) -> None:
        """Kill the caller at the nth job that is begun from now on (0 is the next)."""
        self._kill = (len(self.begun) + nth, when)

    def during(self, ending: str, act: Callable[[], object]) -> None:
        """Do something, once, while the job whose id ends so is at work."""
        self._hooks.append((ending, act))

    def dies(self, ending: str, fault: Fault | None = Fault.LOST_AFTER) -> None:
        """Let the job whose id ends so die: nobody learns what the hosts did, which is what ``fault`` says."""
        self._dying[ending] = fault

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Play a job, or tell again what came of it."""
        self.asked.append(job)
        work = (job.playbook, job.change, job.environment.value, job.content)
        if self._works.setdefault(job.id, work) != work:
            raise Refused(f"job {job.id} was asked for before, as something else")
        if job.id not in self._results:
            when = self._kill[1] if self._kill is not None and self._kill[0] == len(self.begun) else None
            self._begin(job, when)
        if on_wait is not None:
            on_wait()
        return self._results[job.id]

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Wait as long as the controller is full."""
        while go_on():
            if not self.full or job.id in self._results:
                return True
            self.clock.sleep(20)
        return False

    def result(self, job_id: str) -> JobResult | None:
        """Tell what came of a job."""
        return self._results.get(job_id)

    def stop(self, job_id: str) -> None:
        """Remember that somebody wanted the job to end."""
        self.stopped.append(job_id)

    def jobs(self, playbook: str, environment: Environment = Environment.PRODUCTION) -> list[tuple[str, ...]]:
        """Return the hosts of each job that ran a playbook, in order."""
        return [
            tuple(one.host for one in job.hosts)
            for job in self.begun
            if job.playbook == playbook and job.environment is environment
        ]

    def tokens(self, environment: Environment = Environment.PRODUCTION) -> list[int]:
        """Return the token of each job that acted on hosts, in order."""
        acting = [job for job in self.begun if job.environment is environment]
        return [token for job in acting if (token := counter_of(job.hosts[0].patch_job))]

    def _begin(self, job: Job, when: When | None) -> None:
        if when is When.BEFORE:
            self._kill = None
            raise Killed(job.id)
        self.begun.append(job)
        self.log.append(job.id)
        self.watch(job)
        for ending, act in [hook for hook in self._hooks if job.id.endswith(hook[0])]:
            self._hooks.remove((ending, act))
            act()
        died = when is When.DURING or next((True for ending in self._dying if job.id.endswith(ending)), False)
        self.clock.pass_by(self.seconds)
        self._results[job.id] = self._died(job) if died else self._played(job)
        if when is not None:
            self._kill = None
            raise Killed(job.id)

    def _played(self, job: Job) -> JobResult:
        machines = self.machines[job.environment]
        results = tuple(machines[one.host].play(job.playbook, one.patch_job) for one in job.hosts)
        if job.playbook == "download.yml":
            self._fetch(job, results)
        return JobResult(
            id=job.id,
            status=JobStatus.FINISHED,
            rc=0,
            started_at=self.clock.now(),
            finished_at=self.clock.now(),
            hosts=results,
            tasks=tuple(_task(number, job, result) for number, result in enumerate(results)),
        )

    def _died(self, job: Job) -> JobResult:
        fault = next((fault for ending, fault in self._dying.items() if job.id.endswith(ending)), Fault.LOST_AFTER)
        for one in job.hosts:
            self.machines[job.environment][one.host].play(job.playbook, one.patch_job, fault)
        nothing = tuple(
            HostResult(host=one.host, outcome=HostOutcome.NOTHING, message="its supervisor died") for one in job.hosts
        )
        played = self._played(replace(job, hosts=()))
        return replace(played, status=JobStatus.DIED, rc=None, hosts=nothing, message="its supervisor died")

    def _fetch(self, job: Job, results: tuple[HostResult, ...]) -> None:
        for one, result in zip(job.hosts, results, strict=True):
            report = result.report("download")
            rows = report["items"] if report is not None and one.patch_job.get("fetch_to") else []
            assert isinstance(rows, list)
            self.packages.kept |= {str(row["sha256"]) for row in rows if isinstance(row, dict)}


def _task(number: int, job: Job, result: HostResult) -> TaskResult:
    return TaskResult(
        number=number, host=result.host, task=job.playbook, action="play", outcome=result.outcome.value,
        milliseconds=1, message=result.message,
    )  # fmt: skip
