"""One supervised run of a playbook over one batch: what is asked, and what came of each host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from orchestrator.domain.canonical import Plain
from orchestrator.domain.inventory import Environment

#: The playbook that puts hosts back.
RESTORE = "restore.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostJob:
    """What one host is told: its ``patch_job`` variable (docs/playbook-interface.md).

    ``ansible`` is the installation that works on it ("" is the controller's own), ``throttle`` the groups whose limit
    counts it.
    """

    host: str
    patch_job: Mapping[str, Plain]
    ansible: str = ""
    throttle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A playbook to run at most once under this id, from the frozen content of that digest.

    ``id`` is unique for ever and a safe file name; ``timeout`` is in seconds, after which the run is ended.
    """

    id: str
    change: str
    playbook: str
    environment: Environment
    content: str
    hosts: tuple[HostJob, ...]
    timeout: int

    @property
    def puts_back(self) -> bool:
        """Tell whether it puts hosts back to what they were."""
        return self.playbook == RESTORE


class JobStatus(StrEnum):
    """How the run of the playbook ended. DIED: it was begun, and its supervisor left no result."""

    FINISHED = "finished"
    STOPPED = "stopped"
    TIMED_OUT = "timed-out"
    DIED = "died"
    NOT_STARTED = "not-started"


class HostOutcome(StrEnum):
    """What Ansible says of a host. NOTHING: it says nothing, because the run ended before."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostResult:
    """One host's part of a job: every ``report`` its tasks gave, in order, and where it failed, if it did."""

    host: str
    outcome: HostOutcome
    reports: tuple[Mapping[str, Plain], ...] = ()
    task: str = ""
    message: str = ""
    changed: int = 0

    def report(self, kind: str) -> Mapping[str, Plain] | None:
        """Return the last report of this kind, if there is one."""
        return next((r for r in reversed(self.reports) if r.get("kind") == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a job left behind, by content: path under the state folder, sha256, size in bytes, what it is."""

    path: str
    sha256: str
    size: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskResult:
    """One task on one host. ``outcome`` is ok, changed, failed, unreachable or skipped; ``message`` says why it failed.

    ``number`` counts the results of a job in the order in which they came.
    """

    number: int
    host: str
    task: str
    action: str
    outcome: str
    milliseconds: int
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSeen(TaskResult):
    """A task's result as it is found again: with the job that it was part of."""

    job: str


@dataclass(frozen=True, kw_only=True)  # Without slots: what is cached needs a place.
class JobResult:
    """What came of a job; every host that was asked for is in it. ``message`` says why it did not finish."""

    id: str
    status: JobStatus
    rc: int | None
    started_at: datetime | None
    finished_at: datetime | None
    hosts: tuple[HostResult, ...]
    artifacts: tuple[Artifact, ...] = ()
    message: str = ""
    tasks: tuple[TaskResult, ...] = ()

    @cached_property
    def by_host(self) -> Mapping[str, HostResult]:
        """Return the results by host name, found once: every host asks for its own."""
        return {result.host: result for result in self.hosts}
