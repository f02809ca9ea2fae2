"""Going back by packages: what the host's reports become."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from orchestrator.adapters.rollback.packages import PackagesProvider
from orchestrator.domain.canonical import Plain
from orchestrator.domain.inventory import Connection, Environment, Host
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.rollback import PointTaken, PutBack, RollbackClass, RollbackPoint
from orchestrator.ports import Occasion, Subject

NOW = datetime(2026, 11, 20, 22, tzinfo=UTC)
OCCASION = Occasion(
    change="CHG-0001", environment=Environment.PRODUCTION, content="c" * 64, job="CHG-0001.b1.restore", expires_at=NOW
)
POINT = RollbackPoint(
    change="CHG-0001", host="web1", provider="packages", rollback_class=RollbackClass.PACKAGE,
    taken_at=NOW, expires_at=NOW,
)  # fmt: skip
BACK: dict[str, Plain] = {"kind": "transaction", "missing": []}


class Runner:
    """Answers every job with the results it was given, and remembers the jobs."""

    def __init__(self, *hosts: HostResult, status: JobStatus = JobStatus.FINISHED, message: str = "") -> None:
        self.hosts, self.status, self.message = hosts, status, message
        self.jobs: list[Job] = []

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        self.jobs.append(job)
        return JobResult(
            id=job.id, status=self.status, rc=0, started_at=None, finished_at=None, hosts=self.hosts,
            message=self.message,
        )  # fmt: skip

    def result(self, job_id: str) -> JobResult | None:
        return None

    def stop(self, job_id: str) -> None:
        raise AssertionError(job_id)


def subject(prepared: dict[str, Plain] | None = None) -> Subject:
    return Subject(
        host=Host(name="web1", connection=Connection(address="192.0.2.1")),
        patch_job={"change": "CHG-0001"},
        prepared=prepared,
    )


def taken(prepared: dict[str, Plain] | None) -> PointTaken:
    return PackagesProvider(runner=Runner(), now=lambda: NOW).take([subject(prepared)], OCCASION)[0]


def restored(runner: Runner) -> PutBack:
    return PackagesProvider(runner=runner).restore([POINT], [subject()], OCCASION)[0]


def test_report_of_the_host_becomes_a_point() -> None:
    point = taken(
        {"kind": "point", "class": "package", "items": [{"name": "openssl"}], "missing": [], "size": 12}
    ).point
    assert point is not None
    assert (point.rollback_class, point.size, point.taken_at) == (RollbackClass.PACKAGE, 12, NOW)
    assert point.reference == {"folder": "/var/lib/patch-orchestrator/points/CHG-0001", "files": "1"}


def test_old_file_that_could_not_be_secured_makes_the_class_none_and_is_named() -> None:
    missing: Plain = {"name": "foo", "arch": "amd64", "version": "1", "reason": "no repository has it"}
    point = taken({"kind": "point", "class": "none", "items": [], "missing": [missing], "size": 0}).point
    assert point is not None
    assert point.rollback_class is RollbackClass.NONE
    assert point.reference["missing"] == "foo:amd64 1 (no repository has it)"


@pytest.mark.parametrize("prepared", [None, {}, {"class": "splendid"}])
def test_host_that_reported_no_point_has_none(prepared: dict[str, Plain] | None) -> None:
    answer = taken(prepared)
    assert answer.point is None
    assert answer.problem


def test_restore_is_one_job_under_the_id_of_the_occasion() -> None:
    runner = Runner(HostResult(host="web1", outcome=HostOutcome.OK, reports=(BACK,)))
    assert restored(runner) == PutBack(host="web1", restored=True)
    (job,) = runner.jobs
    assert (job.id, job.playbook, job.content) == (OCCASION.job, "restore.yml", OCCASION.content)
    assert [(one.host, one.patch_job) for one in job.hosts] == [("web1", {"change": "CHG-0001"})]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (HostResult(host="web1", outcome=HostOutcome.UNREACHABLE, message="no route"), "unreachable .*: no route"),
        (HostResult(host="web1", outcome=HostOutcome.FAILED, task="Put back", message="dpkg"), "'Put back': dpkg"),
        (
            HostResult(
                host="web1", outcome=HostOutcome.FAILED, reports=({"kind": "refused", "reason": "token 1 is old"},)
            ),
            "refused the restore: token 1 is old",
        ),
        (HostResult(host="web1", outcome=HostOutcome.OK), "without saying what it did"),
        (
            HostResult(
                host="web1",
                outcome=HostOutcome.OK,
                reports=({"kind": "transaction", "missing": [{"name": "a", "arch": "all"}]},),
            ),
            "1 packages did not go back: a:all",
        ),
    ],
)
def test_host_that_is_not_known_to_be_back_is_told(result: HostResult, told: str) -> None:
    answer = restored(Runner(result))
    assert not answer.restored
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(answer.problem)


@pytest.mark.parametrize("hosts", [(), (HostResult(host="web1", outcome=HostOutcome.NOTHING),)])
def test_job_that_died_leaves_no_host_unnamed(hosts: tuple[HostResult, ...]) -> None:
    answer = restored(Runner(*hosts, status=JobStatus.DIED, message="nobody carries it"))
    assert (answer.host, answer.restored) == ("web1", False)
    assert "(died) before it said anything of this host: nobody carries it" in answer.problem


def test_point_without_a_host_is_named_and_starts_nothing() -> None:
    runner = Runner()
    answers = PackagesProvider(runner=runner).restore([POINT], [], OCCASION)
    assert not answers[0].restored
    assert runner.jobs == []
