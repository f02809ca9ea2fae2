"""A job whose hosts need several Ansible runs is carried in parts, and told as one.

How it was cut is written down before any part begins: whoever goes on after a crash asks with newer tokens and perhaps
for fewer hosts, and must find every host in the part that it was in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

from orchestrator.adapters.ansible.jobdir import JobDir
from orchestrator.adapters.ansible.runner import SupervisedRunner
from orchestrator.domain.job import Artifact, HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.parts import Part, Round, cut
from orchestrator.errors import Unavailable

#: What the whole is where its parts ended differently: the first of these that one of them was.
_GRAVEST = (
    JobStatus.DIED, JobStatus.TIMED_OUT, JobStatus.STOPPED, JobStatus.NOT_STARTED, JobStatus.FINISHED,
)  # fmt: skip
_LOOK = 0.1


class PartedRunner:
    """Implements ``ports.PacedRunner``: parts of a round side by side, each under an id of its own.

    A job that needs one run only is that run, under its own id.
    """

    def __init__(self, runner: SupervisedRunner, *, jobs: Path, throttle: Mapping[str, int]) -> None:
        self._runner = runner
        self._jobs = jobs.absolute()
        self._throttle = throttle

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Run the job at most once for its id and wait for the result; see ``SupervisedRunner.run``.

        A part that cannot begin, because its Ansible is missing, is told as not started; the others are not lost by
        that. Raises Unavailable where none could begin.
        """
        rounds = self._rounds(job)
        if sum(len(parts) for parts in rounds) < 2:
            return self._runner.run(job, on_wait=on_wait)
        results: list[JobResult | Unavailable] = []
        first = 1
        for parts in rounds:
            mine = [_part_of(job, part, number) for number, part in enumerate(parts, start=first)]
            results += self._side_by_side([part for part in mine if part.hosts or self._is_begun(part.id)], on_wait)
            first += len(parts)
        told = [one for one in results if isinstance(one, JobResult)]
        missing = [one for one in results if isinstance(one, Unavailable)]
        if missing and not told:
            raise missing[0]
        return _as_one(job.id, [one.host for one in job.hosts], [*told, *map(_not_begun, missing)])

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place for a job's first part; those beside it wait for their places when it runs.

        One place, since whoever held some and waited for more could wait for somebody who does the same.
        """
        rounds = self._rounds(job)
        if sum(len(parts) for parts in rounds) < 2:
            return self._runner.reserve(job, go_on)
        return self._runner.reserve(_part_of(job, rounds[0][0], 1), go_on)

    def result(self, job_id: str) -> JobResult | None:
        """Return what came of a job that was once started, or None; wait for it while it runs."""
        rounds = self._written(job_id)
        if not rounds:
            return self._runner.result(job_id)
        results = [found for part in _ids(job_id, rounds) if (found := self._runner.result(part))]
        hosts = [host for parts in rounds for part in parts for host in part.hosts]
        return _as_one(job_id, hosts, results) if results else None

    def is_running(self, job_id: str) -> bool:
        """Tell whether somebody carries the job, or a part of it, now."""
        return any(map(self._runner.is_running, (job_id, *_ids(job_id, self._written(job_id)))))

    def stop(self, job_id: str) -> None:
        """Ask the job to end: no further task begins in any part, and no further part."""
        # The whole first: who is about to begin a part looks there, after he has written how it is cut.
        self._runner.stop(job_id)
        for part in _ids(job_id, self._written(job_id)):
            self._runner.stop(part)

    def is_begun(self, job_id: str) -> bool:
        """Tell whether the job, or a part of it, was ever begun."""
        return any(map(self._is_begun, (job_id, *_ids(job_id, self._written(job_id)))))

    def let_go(self, job: Job) -> None:
        """Give up the place that was reserved for the job, if there is one."""
        for job_id in (job.id, *_ids(job.id, self._written(job.id))):
            self._runner.let_go(job_id)

    def _rounds(self, job: Job) -> tuple[Round, ...]:
        """Return how the job is cut: as it was, once any of it has begun."""
        folder = self._folder(job.id)
        written = self._written(job.id)
        if any(map(self._is_begun, _ids(job.id, written))):
            return written
        rounds = () if self._is_begun(job.id) else cut(job.hosts, self._throttle)
        if sum(len(parts) for parts in rounds) < 2:
            if written:
                _cut_file(folder).unlink()
            return rounds
        folder.create()
        told = [[{"ansible": part.ansible, "hosts": list(part.hosts)} for part in parts] for parts in rounds]
        folder.write(_cut_file(folder), {"rounds": told})
        return rounds

    def _written(self, job_id: str) -> tuple[Round, ...]:
        folder = self._folder(job_id)
        rounds = folder.read(_cut_file(folder)).get("rounds")
        return tuple(
            tuple(Part(ansible=str(part["ansible"]), hosts=tuple(part["hosts"])) for part in parts)
            for parts in (rounds if isinstance(rounds, list) else ())
        )

    def _is_begun(self, job_id: str) -> bool:
        return self._folder(job_id).is_begun()

    def _side_by_side(
        self, jobs: Sequence[Job], on_wait: Callable[[], None] | None
    ) -> Sequence[JobResult | Unavailable]:
        if not jobs:
            return []
        for job in jobs:
            if self._folder(_whole_id(job.id)).stop.exists():
                self._runner.stop(job.id)
        if len(jobs) == 1:
            return [_run(self._runner, jobs[0], on_wait)]
        return _Together(self._runner, jobs).results(on_wait)

    def _folder(self, job_id: str) -> JobDir:
        return JobDir(self._jobs / job_id)


class _Left(Exception):
    """Whoever waited for the parts waits no more: what has not begun must not begin unseen."""


class _Together:
    """Parts that run at the same time, a thread waiting for each."""

    def __init__(self, runner: SupervisedRunner, jobs: Sequence[Job]) -> None:
        self._runner, self._jobs = runner, jobs
        self._left = Event()
        self._found: dict[str, JobResult | Unavailable] = {}
        self._errors: list[BaseException] = []

    def results(self, on_wait: Callable[[], None] | None) -> Sequence[JobResult | Unavailable]:
        threads = [Thread(target=self._carry, args=(job,), name=job.id, daemon=True) for job in self._jobs]
        for thread in threads:
            thread.start()
        try:
            self._wait(threads, on_wait)
        except BaseException:
            self._left.set()
            raise
        for error in self._errors:
            raise error
        return [self._found[job.id] for job in self._jobs]

    def _wait(self, threads: Sequence[Thread], on_wait: Callable[[], None] | None) -> None:
        turns = 0
        for thread in threads:
            while thread.is_alive():
                thread.join(_LOOK)
                turns += 1
                if on_wait and turns % int(1 / _LOOK) == 0:
                    on_wait()

    def _carry(self, job: Job) -> None:
        try:
            self._found[job.id] = _run(self._runner, job, self._go_on)
        except BaseException as error:
            self._errors.append(error)

    def _go_on(self) -> None:
        if self._left.is_set():
            raise _Left


def _run(runner: SupervisedRunner, job: Job, on_wait: Callable[[], None] | None) -> JobResult | Unavailable:
    try:
        return runner.run(job, on_wait=on_wait)
    except Unavailable as error:
        return error


def _not_begun(error: Unavailable) -> JobResult:
    return JobResult(
        id="not started", status=JobStatus.NOT_STARTED, rc=None, started_at=None, finished_at=None, hosts=(),
        message=str(error),
    )  # fmt: skip


def _cut_file(folder: JobDir) -> Path:
    return folder.path / "parts.json"


def _ids(job_id: str, rounds: Sequence[Round]) -> list[str]:
    return [_part_id(job_id, number) for number in range(1, 1 + sum(len(parts) for parts in rounds))]


def _part_id(job_id: str, number: int) -> str:
    return f"{job_id}.part{number}"


def _whole_id(part_id: str) -> str:
    return part_id.rpartition(".part")[0]


def _part_of(job: Job, part: Part, number: int) -> Job:
    names = frozenset(part.hosts)
    mine = tuple(replace(one, ansible=part.ansible) for one in job.hosts if one.host in names)
    return replace(job, id=_part_id(job.id, number), hosts=mine)


def _as_one(job_id: str, hosts: Sequence[str], results: Sequence[JobResult]) -> JobResult:
    """Return the results of the parts as one; a host that was in none of them is told as such."""
    by_host = {name: one for result in results for name, one in result.by_host.items()}
    message = "\n".join(f"{result.id}: {result.message}" for result in results if result.message)
    codes = [result.rc for result in results]
    begun = [result.started_at for result in results if result.started_at]
    ended = [result.finished_at for result in results if result.finished_at]
    statuses = {result.status for result in results} or {JobStatus.NOT_STARTED}
    return JobResult(
        id=job_id,
        status=next(status for status in _GRAVEST if status in statuses),
        rc=None if None in codes else max((code for code in codes if code is not None), default=None),
        started_at=min(begun, default=None),
        finished_at=max(ended, default=None),
        hosts=tuple(
            by_host.get(name) or HostResult(host=name, outcome=HostOutcome.NOTHING, message=message) for name in hosts
        ),
        artifacts=tuple(_named(artifact, result.id) for result in results for artifact in result.artifacts),
        tasks=tuple(
            replace(task, number=number) for number, task in enumerate(task for r in results for task in r.tasks)
        ),
        message=message,
    )


def _named(artifact: Artifact, part_id: str) -> Artifact:
    """Tell the parts' files apart: each part has one of every kind."""
    return replace(artifact, kind=f"{artifact.kind}.{part_id.rpartition('.')[2]}")
