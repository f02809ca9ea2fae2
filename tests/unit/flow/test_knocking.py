"""One host is asked whether it takes a password before Ansible shows it to all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.inventory import Connection, Environment, Host
from orchestrator.domain.job import HostJob, HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.probe import Needs, ProbeReport, Stage
from orchestrator.errors import InvalidInput
from orchestrator.flow.knocking import KnockingRunner

HOSTS = {name: Host(name=name, connection=Connection(address=name)) for name in ("win1", "win2", "web1", "other")}
JOB = Job(
    id="CHG-0001.w1.protect", change="CHG-0001", playbook="protect.yml", environment=Environment.PRODUCTION,
    content="c", hosts=tuple(HostJob(host=name, patch_job={}) for name in ("win1", "win2", "web1")), timeout=60,
)  # fmt: skip


@dataclass
class Runner:
    """Remembers with which hosts it ran."""

    begun: set[str] = field(default_factory=set)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    let_go_of: list[str] = field(default_factory=list)

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        names = tuple(one.host for one in job.hosts)
        self.ran.append(names)
        found = tuple(HostResult(host=name, outcome=HostOutcome.OK) for name in names)
        return JobResult(
            id=job.id, status=JobStatus.FINISHED, rc=0, started_at=None, finished_at=None, hosts=found
        )  # fmt: skip

    def result(self, job_id: str) -> JobResult | None:
        return None

    def stop(self, job_id: str) -> None:
        """Do nothing."""

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        return go_on()

    def is_begun(self, job_id: str) -> bool:
        return job_id in self.begun

    def let_go(self, job: Job) -> None:
        self.let_go_of.append(job.id)


@dataclass
class Door:
    """A probe that refuses some hosts, each with its stage, and remembers who was knocked at."""

    refused: dict[str, Stage] = field(default_factory=dict)
    knocked: list[tuple[str, ...]] = field(default_factory=list)

    def look(self, hosts: Sequence[Host], needs: Needs) -> Sequence[ProbeReport]:
        raise AssertionError("a knock is no look")

    def knock(self, hosts: Sequence[Host]) -> Sequence[ProbeReport]:
        self.knocked.append(tuple(host.name for host in hosts))
        return [ProbeReport(host=h.name, failed_at=self.refused.get(h.name), detail="not tried") for h in hosts]


def outcomes(result: JobResult) -> dict[str, str]:
    return {one.host: one.outcome.value for one in result.hosts}


def test_hosts_that_are_let_in_are_worked_on_together() -> None:
    runner, door = Runner(), Door()
    result = KnockingRunner(runner=runner, probe=door, hosts=lambda _: HOSTS).run(JOB)
    assert outcomes(result) == {"win1": "ok", "win2": "ok", "web1": "ok"}
    assert (door.knocked, runner.let_go_of) == ([("win1", "win2", "web1")], [])


def test_hosts_that_must_not_be_shown_their_password_are_unreachable_and_the_others_go_on() -> None:
    runner, door = Runner(), Door({"win1": Stage.AUTHENTICATE, "win2": Stage.AUTHENTICATE})
    result = KnockingRunner(runner=runner, probe=door, hosts=lambda _: HOSTS).run(JOB)
    assert outcomes(result) == {"win1": "unreachable", "win2": "unreachable", "web1": "ok"}
    assert result.by_host["win1"].message == "not tried"
    assert (runner.ran, runner.let_go_of) == ([("web1",)], [JOB.id])


def test_without_a_host_that_may_be_tried_nothing_is_started() -> None:
    runner, door = Runner(), Door(dict.fromkeys(("win1", "win2", "web1"), Stage.AUTHENTICATE))
    result = KnockingRunner(runner=runner, probe=door, hosts=lambda _: HOSTS).run(JOB)
    assert (runner.ran, result.status, len(result.hosts)) == ([], JobStatus.NOT_STARTED, 3)
    assert runner.let_go_of == [JOB.id]


def test_what_else_is_wrong_with_a_host_is_for_ansible_to_tell() -> None:
    runner, door = Runner(), Door({"win1": Stage.CONNECT, "win2": Stage.HOST_KEY})
    KnockingRunner(runner=runner, probe=door, hosts=lambda _: HOSTS).run(JOB)
    assert runner.ran == [("win1", "win2", "web1")]


def test_job_that_has_begun_is_waited_for_as_it_is() -> None:
    runner, door = Runner(begun={JOB.id}), Door({"win1": Stage.AUTHENTICATE})
    KnockingRunner(runner=runner, probe=door, hosts=lambda _: HOSTS).run(JOB)
    assert (door.knocked, runner.ran) == ([], [("win1", "win2", "web1")])


def test_inventory_that_cannot_be_read_stops_nothing() -> None:
    def unreadable(_: Job) -> Mapping[str, Host]:
        raise InvalidInput("no inventory")

    runner = Runner()
    KnockingRunner(runner=runner, probe=Door(), hosts=unreadable).run(JOB)
    assert runner.ran == [("win1", "win2", "web1")]
