"""Ask one host whether it takes an account's password before Ansible shows it to all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from orchestrator.domain.inventory import Host
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.probe import Stage
from orchestrator.errors import OrchestratorError
from orchestrator.ports import PacedRunner, Probe


class BegunRunner(PacedRunner, Protocol):
    """A runner that tells which jobs have begun, and takes back a place that it gave."""

    def is_begun(self, job_id: str) -> bool:
        """Tell whether the job, or a part of it, was ever begun."""

    def let_go(self, job: Job) -> None:
        """Give up the place that was reserved for the job, if there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnockingRunner:
    """Implements ``ports.PacedRunner``: hosts that a password must not be shown to are no part of the run.

    Ansible logs in to all hosts of a job side by side: with a password that is wrong, or was changed since the look,
    that is a refusal by each, and the account is locked out. ``hosts`` gives those of a job's change by name, as the
    inventory has them.
    """

    runner: BegunRunner
    probe: Probe
    hosts: Callable[[Job], Mapping[str, Host]]

    def run(self, job: Job, *, on_wait: Callable[[], None] | None = None) -> JobResult:
        """Run the job with the hosts that may be shown their password; the others are told as unreachable."""
        left_out = {} if self.runner.is_begun(job.id) else self._left_out(job)
        if not left_out:
            return self.runner.run(job, on_wait=on_wait)
        # A place was kept for a job that may have been cut differently.
        self.runner.let_go(job)
        going = tuple(one for one in job.hosts if one.host not in left_out)
        result = self.runner.run(replace(job, hosts=going), on_wait=on_wait) if going else _nobody(job)
        by_host = {**result.by_host, **left_out}
        return replace(result, hosts=tuple(by_host[one.host] for one in job.hosts if one.host in by_host))

    def result(self, job_id: str) -> JobResult | None:
        """Return what is known of a job that was once started, or None."""
        return self.runner.result(job_id)

    def stop(self, job_id: str) -> None:
        """Ask the job to end."""
        self.runner.stop(job_id)

    def reserve(self, job: Job, go_on: Callable[[], bool]) -> bool:
        """Get a place for a job."""
        return self.runner.reserve(job, go_on)

    def _left_out(self, job: Job) -> dict[str, HostResult]:
        try:
            known = self.hosts(job)
        except OrchestratorError:
            # Putting back must not wait for an inventory that cannot be read: Ansible reads it by itself.
            return {}
        return {
            report.host: HostResult(host=report.host, outcome=HostOutcome.UNREACHABLE, message=report.detail)
            for report in self.probe.knock([known[one.host] for one in job.hosts if one.host in known])
            if report.failed_at is Stage.AUTHENTICATE
        }


def _nobody(job: Job) -> JobResult:
    told = "no host of the job may be shown its password"
    return JobResult(
        id=job.id, status=JobStatus.NOT_STARTED, rc=None, started_at=None, finished_at=None, hosts=(), message=told
    )
