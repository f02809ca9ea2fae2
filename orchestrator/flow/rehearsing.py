"""The rehearsal: the whole cycle that production will go through, and back, and through again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.admission import Durations
from orchestrator.domain.canonical import Plain
from orchestrator.domain.health import HealthReport, HostState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment
from orchestrator.domain.rollback import RollbackClass, best
from orchestrator.domain.run import STILL_DRAINED
from orchestrator.flow.crew import Attempt, Batch, Crew, Stopped
from orchestrator.flow.draining import take_out, undrain, with_hook
from orchestrator.flow.phases import Protected, patch, protect, release
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.verifying import ask_services, verify


def rehearse(batch: Batch, attempt: Attempt, crew: Crew) -> dict[str, Durations]:
    """Take every host through the cycle; return how long it took for those that passed. The others are in the trail.

    protect -> patch -> verify -> put back -> verify that it is as before -> patch again -> verify -> release the claim

    A host that a role takes out of service is out of it for each patch and for the way back, as in production.

    Raises Stopped between two of them where somebody has asked for it; the claims are given up then, too.
    """
    try:
        return _rehearse(batch, attempt, crew)
    except Stopped:
        release(batch, crew, keep_point=True)
        raise


def _rehearse(batch: Batch, attempt: Attempt, crew: Crew) -> dict[str, Durations]:
    attempt.go_on(crew)
    services = ask_services(batch, crew)
    protected = protect(batch, crew)
    failed = {
        p.host: p.problem or f"not as it was scanned: {p.dropped}" for p in protected.values() if p.problem or p.dropped
    }
    before = {p.host: p.before for p in protected.values() if p.before is not None}
    left = batch.only([name for name in batch.names if name not in failed])
    attempt.go_on(crew)
    began = crew.now()
    findings = _apply(left, before, services, crew, failed, suffix="")
    attempt.go_on(crew)
    applied = crew.now()
    left = left.only([name for name in left.names if name not in failed])
    able = left.only([name for name in left.names if _has_a_way_back(protected[name])])
    for host, one in put_back(able, crew, rehearsal=True).items() if able.names else ():
        if one.problem:
            failed[host] = f"the old state is not back: {one.problem}"
            failed[host] += f"; {STILL_DRAINED}" if one.drained else ""
    attempt.go_on(crew)
    restored = crew.now()
    left = left.only([name for name in left.names if name not in failed])
    again = left.only([name for name in left.names if name in able.names])
    findings |= _apply(again, before, services, crew, failed, suffix=".again")
    release(batch, crew, keep_point=True)
    passed = [name for name in left.names if name not in failed]
    _tell(batch, failed, findings, [name for name in left.names if name not in able.names], crew)
    return _measured(batch, passed, crew, patching=applied - began, restoring=restored - applied)


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


def _tell(
    batch: Batch, failed: dict[str, str], findings: dict[str, tuple[str, ...]], unrehearsed: list[str], crew: Crew
) -> None:
    with crew.ledger.store.begin() as writing:
        for host in batch.names:
            data: dict[str, Plain] = {"host": host}
            if host in failed:
                data["reason"] = failed[host]
            if host in findings:
                data["findings"] = [*findings[host]]
            if host in unrehearsed:
                data["restore"] = "not rehearsed: the host has no rollback point of a class that promises anything"
            tag = "staging-host-failed" if host in failed else "staging-host-passed"
            writing.note(crew.ledger.fact(batch.change.id, tag, actor=ORCHESTRATOR, data=data))


def _measured(
    batch: Batch, passed: list[str], crew: Crew, *, patching: timedelta, restoring: timedelta
) -> dict[str, Durations]:
    """Keep what the cycle took. Hosts of a batch go side by side, so that each is charged the time of the batch."""
    took = Durations(patch=_whole(patching), reboot=timedelta(0), verify=timedelta(0), rollback=_whole(restoring))
    now: datetime = crew.now()
    with crew.ledger.store.begin() as writing:
        for host in passed:
            writing.keep_durations(batch.change.id, host, Environment.STAGING, replace(took), now)
    return dict.fromkeys(passed, took)


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=int(duration.total_seconds()) + 1)
