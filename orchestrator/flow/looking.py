"""Look at hosts without patching them: what is installed, what is on offer, what a transaction would consist of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.baseline import Candidate
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostJob, HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.lock import LockItem
from orchestrator.flow import reports
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Crew
from orchestrator.flow.findings import Findings
from orchestrator.flow.phases import explain, outcome_of

#: What a scan tells and a plan has no use for; of all that it tells it is the most.
_NOT_KEPT = "installed"
#: How often a look of which nobody saw the end is begun: it changes nothing.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at one host brought: its report, or the problem that stood in the way."""

    problem: str = ""
    report: reports.Report | None = None


def scan(
    attempt: Attempt,
    environment: Environment,
    hosts: Sequence[Host],
    items: Mapping[str, Sequence[LockItem]],
    crew: Crew,
    *,
    name: str,
) -> dict[str, HostResult]:
    """Run ``scan.yml`` over the hosts, with the lock items that each is to be asked about."""
    if not hosts:
        return {}
    jobs = [told(host, looking_job(attempt.change, host.family, items.get(host.name, ()), crew)) for host in hosts]
    return run_look(attempt, environment, "scan.yml", jobs, crew, name=name)


def run_look(
    attempt: Attempt, environment: Environment, playbook: str, jobs: Sequence[HostJob], crew: Crew, *, name: str
) -> dict[str, HostResult]:
    """Run a playbook that patches nothing: no step of the journal, and once for the name where somebody saw its end."""
    job = Job(
        id=f"{attempt.change.id}.{name}",
        change=attempt.change.id,
        playbook=playbook,
        environment=environment,
        content=attempt.content,
        hosts=tuple(jobs),
        timeout=JOB_TIMEOUT,
    )
    result = _run(job, crew)
    for number in range(2, _ATTEMPTS + 1):
        if result.status is not JobStatus.DIED:
            break
        result = _run(replace(job, id=f"{job.id}.{number}"), crew)
    return {one.host: outcome_of(result, one.host) for one in jobs}


def _run(job: Job, crew: Crew) -> JobResult:
    result = crew.runner.run(job)
    with crew.ledger.store.begin() as writing:
        writing.keep_tasks(job.change, job.id, result.tasks)
    return result


def told(host: Host, patch_job: Mapping[str, Plain]) -> HostJob:
    """Return the host's part in a job."""
    return HostJob(host=host.name, patch_job=patch_job, ansible=host.ansible, throttle=host.throttle)


def looking_job(
    change: ChangeRequest, family: str, items: Sequence[LockItem | Candidate], crew: Crew, *, fetch_to: str = ""
) -> dict[str, Plain]:
    """Return the ``patch_job`` of a playbook that looks or downloads."""
    return {
        "change": change.id,
        "token": {"installation": crew.ledger.store.installation(), "counter": 0},
        "family": family,
        "items": [
            {
                "name": i.name,
                "arch": i.arch,
                "version": i.version,
                "from_version": i.from_version if isinstance(i, Candidate) else "",
                "sha256": i.sha256,
                "filename": i.filename,
                "size": i.size,
            }
            for i in items
        ],
        "exclude": [*change.spec.baseline.exclude],
        "packages_dir": str(crew.packages.folder),
        "fetch_to": fetch_to,
    }


def looked(results: Mapping[str, HostResult], kind: str) -> Findings:
    """Return what the next turn has to know of a look whose reports are of this kind."""
    return Findings(hosts={host: _kept(result, kind) for host, result in results.items()})


def look_of(found: Mapping[str, Plain]) -> Look:
    """Read what was kept of a look."""
    report = found.get("report")
    return Look(problem=reports.text(found, "problem"), report=report if isinstance(report, dict) else None)


def _kept(result: HostResult, kind: str) -> dict[str, Plain]:
    report = result.report(kind)
    if result.outcome is not HostOutcome.OK or report is None:
        return {"problem": explain(result)}
    return {"report": {key: value for key, value in report.items() if key != _NOT_KEPT}}
