"""Going back by packages: the old files lie on the host, secured by ``protect.yml``; ``restore.yml`` puts them back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from orchestrator.domain.canonical import Plain
from orchestrator.domain.job import HostJob, HostOutcome, HostResult, Job, JobResult
from orchestrator.domain.rollback import PointTaken, PutBack, RollbackClass, RollbackPoint
from orchestrator.ports import Occasion, PlaybookRunner, Subject

#: Where the points lie on a host (docs/playbook-interface.md).
POINTS = "/var/lib/patch-orchestrator/points"
WINDOWS_POINTS = "C:\\ProgramData\\patch-orchestrator\\points"

_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PackagesProvider:
    """Implements ``ports.RollbackProvider``. ``timeout`` is in seconds, for one restore of a whole batch."""

    runner: PlaybookRunner
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    timeout: int = 4 * 3600

    @property
    def rollback_class(self) -> RollbackClass:
        """Return the best class that this provider can promise."""
        return RollbackClass.PACKAGE

    def take(self, subjects: Sequence[Subject], occasion: Occasion) -> Sequence[PointTaken]:
        """Write down the point that ``protect.yml`` took on each host; the host itself keeps one that is there.

        A point of class ``none`` names what could not be secured; whether that is enough was decided by approval.
        """
        return [self._taken(subject, occasion) for subject in subjects]

    def restore(
        self, points: Sequence[RollbackPoint], subjects: Sequence[Subject], occasion: Occasion
    ) -> Sequence[PutBack]:
        """Run ``restore.yml`` over all hosts at once; it changes nothing where the old packages are back."""
        known = {subject.host.name: subject for subject in subjects}
        hosts = tuple(_told(known[point.host]) for point in points if point.host in known)
        result = self.runner.run(self._job(hosts, occasion)) if hosts else None
        return [_put_back(point.host, result if point.host in known else None) for point in points]

    def release(
        self,
        points: Sequence[RollbackPoint],  # noqa: ARG002
        subjects: Sequence[Subject],  # noqa: ARG002
        occasion: Occasion,  # noqa: ARG002
    ) -> Mapping[str, str]:
        """Do nothing: ``release.yml``, which ends the claim on the host, drops the point there."""
        return {}

    def _taken(self, subject: Subject, occasion: Occasion) -> PointTaken:
        host, report = subject.host.name, subject.prepared
        if report is None:
            return PointTaken(host=host, problem="protect.yml reported no rollback point for it")
        try:
            rollback_class = RollbackClass(str(report.get("class")))
        except ValueError:
            return PointTaken(host=host, problem=f"protect.yml reported an unknown class {report.get('class')!r}")
        point = RollbackPoint(
            change=occasion.change,
            host=host,
            provider="packages",
            rollback_class=rollback_class,
            reference=_reference(report, _folder(subject, occasion)),
            size=_number(report.get("size")),
            taken_at=self.now(),
            expires_at=occasion.expires_at,
        )
        return PointTaken(host=host, point=point)

    def _job(self, hosts: tuple[HostJob, ...], occasion: Occasion) -> Job:
        return Job(
            id=occasion.job,
            change=occasion.change,
            playbook="restore.yml",
            environment=occasion.environment,
            content=occasion.content,
            hosts=hosts,
            timeout=self.timeout,
        )


def _told(subject: Subject) -> HostJob:
    host = subject.host
    return HostJob(host=host.name, patch_job=subject.patch_job, ansible=host.ansible, throttle=host.throttle)


def _folder(subject: Subject, occasion: Occasion) -> str:
    is_windows = subject.host.family == "windows"
    return f"{WINDOWS_POINTS}\\{occasion.change}" if is_windows else f"{POINTS}/{occasion.change}"


def _reference(report: Mapping[str, Plain], folder: str) -> dict[str, str]:
    found = {"folder": folder, "files": str(len(_rows(report, "items")))}
    missing = [
        f"{row.get('name')}:{row.get('arch')} {row.get('version')} ({row.get('reason')})"
        for row in _rows(report, "missing")
    ]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        found["missing"] = "; ".join(missing[:_SHOWN]) + more
    return found


def _rows(report: Mapping[str, Plain], key: str) -> list[dict[str, Plain]]:
    rows = report.get(key)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _number(value: Plain) -> int:
    return value if isinstance(value, int) else 0


def _put_back(host: str, result: JobResult | None) -> PutBack:
    if result is None:
        return PutBack(host=host, restored=False, problem="nothing was handed over that says how to restore it")
    one = result.by_host.get(host)
    problem = _why_not(one, result) if one else _ended_before(result)
    return PutBack(host=host, restored=not problem, problem=problem)


def _why_not(one: HostResult, result: JobResult) -> str:
    """Return why the host is not known to be back, or an empty text."""
    if one.outcome is HostOutcome.NOTHING:
        return _ended_before(result)
    if one.outcome is HostOutcome.UNREACHABLE:
        return f"it was unreachable during the restore: {one.message or 'no answer'}"
    if one.outcome is HostOutcome.FAILED:
        refused = one.report("refused")
        if refused is not None:
            return f"the host refused the restore: {refused.get('reason') or one.message}"
        return f"the restore failed at '{one.task}': {one.message or 'no reason given'}"
    transaction = one.report("transaction")
    if transaction is None:
        return "restore.yml ended without saying what it did"
    missing = _rows(transaction, "missing")
    names = ", ".join(f"{row.get('name')}:{row.get('arch')}" for row in missing[:_SHOWN])
    return f"{len(missing)} packages did not go back: {names}" if missing else ""


def _ended_before(result: JobResult) -> str:
    told = f": {result.message}" if result.message else ""
    return f"the restore {result.id} ended ({result.status}) before it said anything of this host{told}"
