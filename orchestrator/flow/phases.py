"""The phases of work on one batch: each begun in the journal before the act, and finished after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.drift import why_drop
from orchestrator.domain.health import HostState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.job import HostOutcome, HostResult, Job, JobResult, JobStatus
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.domain.plan import HostPlan, Transition
from orchestrator.domain.rollback import NEVER_REVERTED, RollbackClass, RollbackPoint, allowed, best, worst
from orchestrator.flow import reports
from orchestrator.flow.crew import JOB_TIMEOUT, Batch, Crew
from orchestrator.ports import Occasion, Subject

PATCH = "patch.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protected:
    """What came of protecting a host. A problem means that nothing on it may be touched.

    ``dropped``: the host is not as planned, and leaves the change for that.
    """

    host: str
    problem: str = ""
    dropped: str = ""
    points: tuple[RollbackPoint, ...] = ()
    before: HostState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patched:
    """What Ansible says of a host's patch phase; ``is_sure`` False: it lost sight of the host.

    ``left_out``: what was on offer no more, and was left out on purpose.
    """

    host: str
    ok: bool
    is_sure: bool
    reason: str = ""
    predicted: tuple[Transition, ...] = ()
    actual: tuple[Transition, ...] = ()
    not_restarted: tuple[str, ...] = ()
    left_out: tuple[Transition, ...] = ()
    after: HostState | None = None
    reboot_seconds: int = 0


def run_phase(
    batch: Batch, step: Step, playbook: str, crew: Crew, *, suffix: str = "", more: Mapping[str, Plain] | None = None
) -> JobResult:
    """Run a playbook over the batch, at most once for batch, step and suffix, with journal entries around it."""
    job = _job(batch, step.value + suffix, playbook, more or {})
    begun = _begun(batch, step, job.id, crew)
    began_on = crew.ledger.store.documents(job.change, "node", [job.id]).get(job.id, crew.node)
    with crew.ledger.store.begin() as writing:
        writing.keep_steps(begun)
        writing.keep_document(job.change, "node", job.id, began_on)
    result = crew.runner.run(job) if began_on == crew.node else _result_from_elsewhere(job, str(began_on), crew)
    if all(record.finished_at for record in begun):
        return result  # Entered before a crash: the record says a thing once.
    ended = [_finished(record, result, crew) for record in begun]
    longer = _journals(result, crew, job.change)
    with crew.ledger.store.begin() as writing:
        writing.keep_steps(ended)
        for host, length in longer.items():
            writing.keep_document(job.change, "journal", host, {"length": length})
        writing.keep_tasks(job.change, job.id, result.tasks)
        writing.keep_document(
            job.change, "job", job.id, plain({"status": result.status, "artifacts": result.artifacts})
        )
        writing.note(
            crew.ledger.fact(
                job.change, "phase-finished", actor=ORCHESTRATOR, outcome=result.status.value,
                data={"job": job.id, "step": step.value, "hosts": len(job.hosts),
                      "artifacts": {a.kind: a.sha256 for a in result.artifacts}},
            )
        )  # fmt: skip
    return result


def _result_from_elsewhere(job: Job, node: str, crew: Crew) -> JobResult:
    """Return what came of a job that another machine began: never is it begun here, too."""
    if (known := crew.runner.result(job.id)) is not None:
        return known
    message = f"begun on {node}, whose worker is gone: only the hosts know what came of it"
    hosts = tuple(HostResult(host=one.host, outcome=HostOutcome.NOTHING, message=message) for one in job.hosts)
    return JobResult(
        id=job.id, status=JobStatus.DIED, rc=None, started_at=None, finished_at=None, hosts=hosts, message=message
    )


def _job(batch: Batch, name: str, playbook: str, more: Mapping[str, Plain]) -> Job:
    return Job(
        id=batch.job_id(name),
        change=batch.change.id,
        playbook=playbook,
        environment=batch.environment,
        content=batch.content,
        hosts=tuple(batch.host_job(plan, **more) for plan in batch.plans),
        timeout=JOB_TIMEOUT,
    )


def run_again_if_it_died(
    batch: Batch, step: Step, playbook: str, crew: Crew, *, suffix: str = "", more: Mapping[str, Plain] | None = None
) -> JobResult:
    """Run a phase that is harmless to repeat, and repeat it where nobody saw its end."""
    result = run_phase(batch, step, playbook, crew, suffix=suffix, more=more)
    for attempt in range(2, 4):
        if result.status is not JobStatus.DIED:
            break
        result = run_phase(batch, step, playbook, crew, suffix=f"{suffix}.{attempt}", more=more)
    return result


def protect(batch: Batch, crew: Crew) -> dict[str, Protected]:
    """Claim the hosts, look at them, secure old and new packages, and take every rollback point that the plan names."""
    result = run_again_if_it_died(batch, Step.PROTECT, "protect.yml", crew)
    found = {plan.host: _prepared(plan, outcome_of(result, plan.host)) for plan in batch.plans}
    ready = [host for host, protected in found.items() if not protected.problem and not protected.dropped]
    taken = _take_points(batch.only(ready), result, crew)
    for host in ready:
        points, problem = taken[host]
        found[host] = replace(found[host], points=points, problem=problem)
    with crew.ledger.store.begin() as writing:
        writing.keep_points([point for protected in found.values() for point in protected.points])
        for host, protected in found.items():
            if protected.before is not None:
                writing.keep_document(batch.change.id, "state.before", host, plain(protected.before))
    return found


def may_begin(
    batch: Batch, step: Step, playbook: str, crew: Crew, go_on: Callable[[], bool], *, suffix: str = ""
) -> bool:
    """Wait for the controller to have a place for a phase, as long as ``go_on`` says; False: it has none."""
    return crew.runner.reserve(_job(batch, step.value + suffix, playbook, {}), go_on)


def may_patch(batch: Batch, crew: Crew, go_on: Callable[[], bool]) -> bool:
    """Wait for the controller to have a place for the patch phase, as long as ``go_on`` says; False: it has none."""
    return may_begin(batch, Step.PATCH, PATCH, crew, go_on)


def patch(batch: Batch, crew: Crew, *, suffix: str = "") -> dict[str, Patched]:
    """Install exactly the lock, restart or reboot, look again."""
    result = run_phase(batch, Step.PATCH, PATCH, crew, suffix=suffix)
    return {host: _patched(outcome_of(result, host), result.status) for host in batch.names}


def look(batch: Batch, crew: Crew, *, suffix: str = "") -> dict[str, HostResult]:
    """Look at the hosts without changing anything; their own journals are part of the answer."""
    result = run_again_if_it_died(batch, Step.VERIFY, "verify.yml", crew, suffix=suffix)
    return {host: outcome_of(result, host) for host in batch.names}


def release(batch: Batch, crew: Crew, *, keep_point: bool, suffix: str = "") -> dict[str, HostResult]:
    """Give rival updaters back and end the claim; give up the packages point too, unless it is kept."""
    more: dict[str, Plain] = {"keep_point": keep_point}
    result = run_again_if_it_died(batch, Step.RELEASE, "release.yml", crew, suffix=suffix, more=more)
    return {host: outcome_of(result, host) for host in batch.names}


def outcome_of(result: JobResult, host: str) -> HostResult:
    """Return what a job says of a host; nothing, where the host was not in it."""
    return result.by_host.get(host) or HostResult(host=host, outcome=HostOutcome.NOTHING, message=result.message)


def occasion(batch: Batch, crew: Crew, step: str) -> Occasion:
    """Return for what a provider is asked to work."""
    return Occasion(
        change=batch.change.id,
        environment=batch.environment,
        content=batch.content,
        job=batch.job_id(step),
        expires_at=crew.now() + batch.change.spec.rollback.hold,
    )


def subject(batch: Batch, plan: HostPlan, prepared: Mapping[str, Plain] | None = None) -> Subject:
    """Return a host as a provider sees it."""
    return Subject(host=batch.hosts[plan.host], patch_job=batch.patch_job(plan), prepared=prepared)


def explain(result: HostResult) -> str:
    """Return in one line what a host's failure was."""
    told = {
        HostOutcome.UNREACHABLE: "unreachable",
        HostOutcome.NOTHING: "the run ended before it said anything of this host",
    }.get(result.outcome, "failed")
    where = f" at '{result.task}'" if result.task else ""
    return f"{told}{where}: {result.message}" if result.message else f"{told}{where}"


def _journals(result: JobResult, crew: Crew, change: str) -> dict[str, int]:
    """Return how long each host's own journal is now, where the host told: it never gets shorter by itself."""
    told = {host: one.report("state") for host, one in result.by_host.items()}
    found = {host: reports.journal_length(report) for host, report in told.items() if report is not None}
    kept = crew.ledger.store.documents(change, "journal", found)
    known = {host: reports.number(row, "length") for host, row in kept.items() if isinstance(row, dict)}
    return {host: length for host, length in found.items() if length > known.get(host, 0)}


def _begun(batch: Batch, step: Step, job: str, crew: Crew) -> list[StepRecord]:
    """Return the steps as they begin; one that began before a crash keeps its beginning."""
    known = {step.host: step for step in crew.ledger.store.steps(batch.change.id, batch.names) if step.job == job}
    return [
        known.get(host)
        or StepRecord(change=batch.change.id, host=host, step=step, token=batch.token, job=job, started_at=crew.now())
        for host in batch.names
    ]


def _finished(record: StepRecord, result: JobResult, crew: Crew) -> StepRecord:
    outcome = outcome_of(result, record.host)
    known = {HostOutcome.OK: Outcome.OK, HostOutcome.FAILED: Outcome.FAILED}.get(outcome.outcome, Outcome.UNKNOWN)
    detail = "" if known is Outcome.OK else explain(outcome)
    return replace(record, finished_at=crew.now(), outcome=known, detail=detail)


def _prepared(plan: HostPlan, result: HostResult) -> Protected:
    report = result.report("state")
    before = reports.state(report) if report is not None else None
    if result.outcome is not HostOutcome.OK:
        return Protected(host=plan.host, before=before, problem=explain(result))
    if before is None:
        return Protected(host=plan.host, problem="protect.yml told nothing of the host's state")
    return Protected(host=plan.host, before=before, dropped=why_drop(plan, before.packages))


def _take_points(batch: Batch, result: JobResult, crew: Crew) -> dict[str, tuple[tuple[RollbackPoint, ...], str]]:
    """Have each provider take its points, those of one provider together; a host that has one keeps it."""
    known = {(p.host, p.provider): p for p in crew.ledger.store.points(batch.change.id, batch.names) if p.is_held}
    taken: dict[str, list[RollbackPoint]] = {host: [] for host in batch.names}
    problems: dict[str, list[str]] = {host: [] for host in batch.names}
    for name in _provider_names(batch.plans):
        wanting = [p for p in batch.plans if name in p.providers and not problems[p.host]]
        for plan in wanting:
            if (point := known.get((plan.host, name))) is not None:
                taken[plan.host].append(point)
        new = [p for p in wanting if (p.host, name) not in known]
        for plan in (p for p in new if not allowed((name,), p.statefulness)):
            problems[plan.host].append(f"{name} must not be used for it: {NEVER_REVERTED}")
        new = [p for p in new if not problems[p.host]]
        subjects = [subject(batch, p, outcome_of(result, p.host).report("point")) for p in new]
        if not subjects:
            continue
        for answer in crew.providers[name].take(subjects, occasion(batch, crew, f"take-{name}")):
            if answer.point is None:
                problems[answer.host].append(f"no rollback point from {name}: {answer.problem}")
            else:
                taken[answer.host].append(answer.point)
    plans = {plan.host: plan for plan in batch.plans}
    return {
        host: (tuple(points), "; ".join(problems[host]) or _too_weak(plans[host], points))
        for host, points in taken.items()
    }


def _too_weak(plan: HostPlan, points: Sequence[RollbackPoint]) -> str:
    got = best(point.rollback_class for point in points)
    if worst((got, plan.rollback_class)) is not plan.rollback_class and got is RollbackClass.NONE:
        why = "" if plan.providers else f": {NEVER_REVERTED}"
        return f"the rollback point would be of class {got}, approved was {plan.rollback_class}{why}"
    return ""


def _provider_names(plans: Sequence[HostPlan]) -> list[str]:
    return sorted({name for plan in plans for name in plan.providers})


def _patched(result: HostResult, status: JobStatus) -> Patched:
    report, after = result.report("transaction"), result.report("state")
    done = reports.transaction(report) if report is not None else None
    reboot = result.report("reboot")
    lost = result.outcome in (HostOutcome.UNREACHABLE, HostOutcome.NOTHING)
    return Patched(
        host=result.host,
        ok=result.outcome is HostOutcome.OK,
        is_sure=not lost and (result.outcome is HostOutcome.OK or status is JobStatus.FINISHED),
        reason="" if result.outcome is HostOutcome.OK else explain(result),
        predicted=done.predicted if done else (),
        actual=done.actual if done else (),
        not_restarted=done.not_restarted if done else (),
        left_out=done.missing if done else (),
        after=reports.state(after) if after is not None else None,
        reboot_seconds=reports.number(reboot, "seconds") if reboot is not None else 0,
    )
