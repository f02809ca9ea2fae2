"""The rehearsal: the whole cycle that production will go through, and back, and through again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from orchestrator.domain.admission import Durations
from orchestrator.domain.audit import Fact
from orchestrator.domain.canonical import Plain
from orchestrator.domain.health import HealthReport, HostState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment
from orchestrator.domain.journal import Step
from orchestrator.domain.rollback import RollbackClass, best
from orchestrator.domain.run import STILL_DRAINED
from orchestrator.flow.crew import Attempt, Batch, Crew, Stopped
from orchestrator.flow.draining import take_out, undrain, with_hook
from orchestrator.flow.findings import Findings
from orchestrator.flow.phases import Protected, patch, protect, release
from orchestrator.flow.proving import took
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.verifying import ask_services_once, verify


def rehearse(batch: Batch, attempt: Attempt, crew: Crew) -> Findings:
    """Take every host through the cycle; find how long it took for those that passed, and the problem of the others.

    protect -> patch -> verify -> put back -> verify that it is as before -> patch again -> verify -> release the claim

    A host that a role takes out of service is out of it for each patch and for the way back, as in production.

    Raises Stopped between two of them where somebody has asked for it; the claims are given up then, too. Raises Held
    in a lockdown: then the claims stay, and whoever rehearses again finds the jobs and goes on where it was.
    """
    try:
        return _rehearse(batch, attempt, crew)
    except Stopped:
        release(batch, crew, keep_point=True)
        raise


def _rehearse(batch: Batch, attempt: Attempt, crew: Crew) -> Findings:
    attempt.go_on(crew)
    services = ask_services_once(batch, crew, kind=f"services.{batch.name}")
    protected = protect(batch, crew)
    failed = {
        p.host: p.problem or f"not as it was scanned: {p.dropped}" for p in protected.values() if p.problem or p.dropped
    }
    before = {p.host: p.before for p in protected.values() if p.before is not None}
    left = batch.only([name for name in batch.names if name not in failed])
    attempt.go_on(crew)
    began = crew.now()
    findings = _apply(left, before, services, crew, failed, suffix="")
    patching = max(crew.now() - began, _by_the_journal(batch, crew, (Step.DRAIN, Step.PATCH, Step.UNDRAIN), ""))
    attempt.go_on(crew)
    began = crew.now()
    left = left.only([name for name in left.names if name not in failed])
    able = left.only([name for name in left.names if _has_a_way_back(protected[name])])
    for host, one in put_back(able, crew, rehearsal=True).items() if able.names else ():
        if one.problem:
            failed[host] = f"the old state is not back: {one.problem}"
            failed[host] += f"; {STILL_DRAINED}" if one.drained else ""
    restoring = max(crew.now() - began, _by_the_journal(able, crew, (Step.RESTORE,), ""))
    attempt.go_on(crew)
    left = left.only([name for name in left.names if name not in failed])
    again = left.only([name for name in left.names if name in able.names])
    findings |= _apply(again, before, services, crew, failed, suffix=".again")
    release(batch, crew, keep_point=True)
    passed = [name for name in left.names if name not in failed]
    durations = took(patch=_whole(patching), rollback=_whole(restoring))
    _keep(batch, passed, durations, crew)
    unrehearsed = [name for name in left.names if name not in able.names]
    return Findings(hosts=_found(batch, failed, durations), facts=_facts(batch, failed, findings, unrehearsed, crew))


def _apply(
    batch: Batch,
    before: dict[str, HostState],
    services: dict[str, tuple[HealthReport, ...]],
    crew: Crew,
    failed: dict[str, str],
    *,
    suffix: str,
) -> dict[str, tuple[str, ...]]:
    """Patch and verify. Adds hosts that did not pass to ``failed``; returns what else there is to tell of hosts."""
    not_out, _ = take_out(batch, crew, suffix=suffix)
    failed |= not_out
    batch = batch.only([host for host in batch.names if host not in not_out])
    if not batch.names:
        return {}
    patched = patch(batch, crew, suffix=suffix)
    verdicts = verify(batch, patched, before, services, crew)
    for host, verdict in verdicts.items():
        if verdict.damage:
            failed[host] = "; ".join((*verdict.damage, *_stays_out(batch, host)))
    well = batch.only([host for host in batch.names if host not in failed])
    failed |= {host: f"not back in service: {why}" for host, why in undrain(well, crew, suffix=suffix).items()}
    return {host: verdict.warnings for host, verdict in verdicts.items() if verdict.warnings}


def _stays_out(batch: Batch, host: str) -> tuple[str, ...]:
    return (STILL_DRAINED,) if host in with_hook(batch).names else ()


def _has_a_way_back(protected: Protected) -> bool:
    return best(point.rollback_class for point in protected.points) is not RollbackClass.NONE


def _found(batch: Batch, failed: Mapping[str, str], durations: Durations) -> dict[str, dict[str, Plain]]:
    times: dict[str, Plain] = {
        "patch": int(durations.patch.total_seconds()),
        "rollback": int(durations.rollback.total_seconds()),
    }
    return {host: {"problem": failed[host]} if host in failed else times for host in batch.names}


def _facts(
    batch: Batch,
    failed: Mapping[str, str],
    findings: Mapping[str, tuple[str, ...]],
    unrehearsed: Sequence[str],
    crew: Crew,
) -> tuple[Fact, ...]:
    facts = []
    for host in batch.names:
        data: dict[str, Plain] = {"host": host}
        if host in failed:
            data["reason"] = failed[host]
        if host in findings:
            data["findings"] = [*findings[host]]
        if host in unrehearsed:
            data["restore"] = "not rehearsed: the host has no rollback point of a class that promises anything"
        tag = "staging-host-failed" if host in failed else "staging-host-passed"
        facts.append(crew.ledger.fact(batch.change.id, tag, actor=ORCHESTRATOR, data=data))
    return tuple(facts)


def _by_the_journal(batch: Batch, crew: Crew, steps: Collection[Step], suffix: str) -> timedelta:
    """Return what steps took: whoever goes on after a crash finds them done, and would take them for quick."""
    jobs = {batch.job_id(f"{step}{suffix}") for step in steps}
    mine = [step for step in crew.ledger.store.steps(batch.change.id, batch.names) if step.job in jobs]
    ends = [step.finished_at for step in mine if step.finished_at is not None]
    return max(ends) - min(step.started_at for step in mine) if ends else timedelta(0)


def _keep(batch: Batch, passed: Sequence[str], durations: Durations, crew: Crew) -> None:
    """Keep what the cycle took. Hosts of a batch go side by side, so that each is charged the time of the batch."""
    with crew.ledger.store.begin() as writing:
        for host in passed:
            writing.keep_durations(batch.change.id, host, Environment.STAGING, durations, crew.now())


def _whole(duration: timedelta) -> int:
    return int(duration.total_seconds()) + 1
