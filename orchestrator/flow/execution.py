"""Carry out an approved plan: wave by wave, batch by batch, inside the window, within the error budget.

Safe to call again after a crash: the journal says which hosts are settled, every job keeps its id and is never begun
twice, and what nobody saw the end of is settled by asking the host.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.admission import why_too_late
from orchestrator.domain.canonical import plain, rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState, Wanted
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.inventory import Environment
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollout import OnTrip, Wave, budget
from orchestrator.domain.run import HostRun, HostStatus, judge, score
from orchestrator.errors import Refused
from orchestrator.flow.batching import Working, work
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.drifting import Drift, look_for_drift, refuse_drift
from orchestrator.flow.phases import release
from orchestrator.flow.returning import return_failed, return_hosts
from orchestrator.flow.soaking import soak

#: A lease outlives the night; the token is what protects the host.
LEASE = timedelta(hours=12)


def start(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Begin the run in an open window: every planned host is written down as pending, with the move itself."""
    change = crew.ledger.store.change(change_id)
    if change.state is ChangeState.SCHEDULED:
        _refuse_lost_window(change, crew)
        refuse_drift(change, crew)
    plan = crew.ledger.store.plan(change.digest)
    runs = [
        HostRun(change=change.id, host=host, wave=wave.number, batch=number, updated_at=crew.now())
        for wave in plan.waves
        for number, batch in enumerate(wave.batches, start=1)
        for host in batch
    ]
    return crew.ledger.record(
        replace(change, lap=change.lap + 1),
        ChangeEvent.STARTED,
        actor=actor,
        data={"digest": change.digest, "hosts": len(runs)},
        also=lambda writing: writing.keep_runs(runs),
    )


def _refuse_lost_window(change: ChangeRequest, crew: Crew) -> None:
    if (end := change.reserved.end) <= crew.now():
        crew.ledger.record(replace(change, slot=None), ChangeEvent.WINDOW_LOST, actor=ORCHESTRATOR)
        raise Refused(
            f"the window of change {change.id} ended at {end:%Y-%m-%d %H:%MZ}, and it was not started. "
            "Cancel it, and submit it again with a later window."
        )


def carry(change_id: str, crew: Crew) -> ChangeRequest:
    """Carry a running change to where it ends or pauses."""
    working = Working(crew=crew, change_id=change_id)
    while True:
        if working.change().state is not ChangeState.RUNNING:
            return working.change()
        # First of all, and not only after the batch: a canary can fail in its soak, and the carrier can have died here.
        return_failed(working)
        change = working.change()
        if (ended := _interrupted(working, change)) is not None:
            return ended
        todo = next(_todo(working), None)
        if todo is None:
            return _finish(working, change)
        if (ended := _step(working, change, todo)) is not None:
            return ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """The next batch: its wave, its number in the wave, and the hosts of it that are not settled."""

    wave: Wave
    number: int
    runs: tuple[HostRun, ...]


def _todo(working: Working) -> Iterator[Todo]:
    runs = {run.host: run for run in working.runs()}
    for wave in working.plan().waves:
        for number, hosts in enumerate(wave.batches, start=1):
            mine = tuple(runs[host] for host in hosts if _is_open(runs[host]))
            if mine:
                yield Todo(wave=wave, number=number, runs=mine)


def _is_open(run: HostRun) -> bool:
    # What nobody could find out stays unknown: working on such a host again would be guessing. What is on its way back
    # goes back: taken for patched, it could even pass its checks again, as the old version does.
    return not run.status.is_settled and run.status not in (HostStatus.UNKNOWN, HostStatus.RESTORING)


def _interrupted(working: Working, change: ChangeRequest) -> ChangeRequest | None:
    """Do what was asked for, or what the budget says, between two batches."""
    plan = working.plan()
    if reason := judge(working.runs(), budget(change.spec.rollout, len(plan.hosts))):
        return _trip(working, change, reason)
    if change.wanted is Wanted.PAUSE:
        return working.record(replace(change, wanted=Wanted.NOTHING), ChangeEvent.PAUSED)
    if change.wanted is Wanted.ROLL_BACK:
        return _roll_back(working, change, "asked for by a person")
    if change.wanted is Wanted.STOP:
        return _stop(working, replace(change, wanted=Wanted.NOTHING), "stopped by a person")
    return None


def _step(working: Working, change: ChangeRequest, todo: Todo) -> ChangeRequest | None:
    """Work on one batch, unless drift, the clock or the soak time say otherwise; return the change where it paused."""
    crew, plan = working.crew, working.plan()
    begun = [run for run in todo.runs if run.touched]
    if not begun:
        # The look comes after the soak: what drifted in that time must not be missed.
        if not soak(working, change, plan, todo.wave):
            return None
        drift = look_for_drift(change, plan, crew)
        if drift.void:
            data = {"differences": plain(drift.void)}
            drifted = replace(change, drifted="; ".join(drift.void))
            return working.record(drifted, ChangeEvent.DRIFT_FOUND, data=data)
        gone = [run for run in todo.runs if run.host in drift.dropped]
        if gone:
            working.settle([replace(r, status=HostStatus.SKIPPED, reason=drift.dropped[r.host]) for r in gone])
            return None
        late = _too_late(change, todo, crew)
        fitting = [run for run in todo.runs if run.host not in late]
        if not fitting:
            reason = "; ".join(f"{host}: {why}" for host, why in sorted(late.items())[:3])
            return working.record(change, ChangeEvent.CUTOFF, data={"reason": reason})
        todo = replace(todo, runs=tuple(fitting))
    else:
        drift = Drift(void=(), dropped={}, hosts=working.frozen_hosts())
    batch = _lease(change, plan, todo, drift, crew)
    work(working, batch, todo.runs)
    return None


def _too_late(change: ChangeRequest, todo: Todo, crew: Crew) -> dict[str, str]:
    needed = {p.host: p.needed for p in crew.ledger.store.predictions(change.digest)}
    late = {run.host: why_too_late(change.reserved, needed[run.host], crew.now()) for run in todo.runs}
    return {host: why for host, why in late.items() if why}


def _lease(change: ChangeRequest, plan: PatchPlan, todo: Todo, drift: Drift, crew: Crew) -> Batch:
    names = [run.host for run in todo.runs]
    hosts = {name: drift.hosts[name] for name in names}
    with crew.ledger.store.begin() as writing:
        token = writing.lease(names, change.id, now=crew.now(), hold=LEASE)
        leased = [run if run.touched else replace(run, status=HostStatus.LEASED) for run in todo.runs]
        writing.keep_runs([replace(run, token=token, updated_at=crew.now()) for run in leased])
    batch = Batch(
        change=change,
        environment=Environment.PRODUCTION,
        content=plan.content.digest,
        name=f"l{change.lap}.w{todo.wave.number}.b{todo.number}",
        plans=tuple(plan.host(name) for name in names),
        hosts=hosts,
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
    )
    crew.kit.write(plan, tuple(drift.hosts.values()), {p.host: batch.patch_job(p) for p in plan.hosts})
    return batch


def _trip(working: Working, change: ChangeRequest, reason: str) -> ChangeRequest:
    """The budget is spent: do with the hosts what was voted on."""
    scope = change.spec.rollout.on_trip
    working.note("budget-tripped", outcome=scope.value, data={"reason": reason})
    if scope is OnTrip.ALL:
        return _roll_back(working, change, reason)
    if scope is OnTrip.FAILED:
        back = HostStatus.RESTORED
        return_hosts(working, [r for r in working.runs() if r.failed and r.touched and r.status is not back])
    return _stop(working, change, reason)


def _roll_back(working: Working, change: ChangeRequest, reason: str) -> ChangeRequest:
    rolling = replace(change, wanted=Wanted.NOTHING, issues=(*change.issues, reason))
    working.record(rolling, ChangeEvent.ROLLBACK_STARTED, data={"reason": reason})
    return put_everything_back(working.change_id, working.crew)


def _stop(working: Working, change: ChangeRequest, reason: str) -> ChangeRequest:
    let_go(working, change)
    if not any(run.touched for run in working.runs()):
        return working.record(change, ChangeEvent.CANCELLED, data={"reason": reason}, free=True)
    failed = replace(change, issues=(*change.issues, reason))
    return working.record(failed, ChangeEvent.FAILED, data={"reason": reason} | working.tally(), free=True)


def _finish(working: Working, change: ChangeRequest) -> ChangeRequest:
    """All hosts are settled: give back what was held, and say how it went."""
    let_go(working, change)
    runs = working.runs()
    issues = [f"{run.host}: {run.status} ({run.reason})" for run in runs if run.status is not HostStatus.DONE]
    issues += [f"{run.host}: {warning}" for run in runs for warning in run.warnings]
    change = working.change()
    if not score(runs).done:
        reason = "no host was patched"
        failed = replace(change, issues=(*change.issues, *issues, reason))
        return working.record(failed, ChangeEvent.FAILED, data={"reason": reason} | working.tally(), free=True)
    succeeded = replace(change, issues=(*change.issues, *issues))
    return working.record(succeeded, ChangeEvent.SUCCEEDED, data={"issues": plain(issues)} | working.tally(), free=True)


def put_everything_back(change_id: str, crew: Crew) -> ChangeRequest:
    """Restore every touched host, newest first. ROLLED_BACK means that none is left changed; otherwise FAILED."""
    working = Working(crew=crew, change_id=change_id)
    change = working.change()
    return_hosts(working, [r for r in working.runs() if r.touched and r.status is not HostStatus.RESTORED])
    stuck = [f"{r.host}: {r.reason}" for r in working.runs() if r.touched and r.status is not HostStatus.RESTORED]
    waiting = [r for r in working.runs() if not r.status.is_settled and not r.touched]
    working.settle([replace(r, status=HostStatus.SKIPPED, reason="the change was rolled back before") for r in waiting])
    let_go(working, change)
    if change.reserved.end < crew.now():
        working.note("window-overrun", data={"ended": rfc3339(change.reserved.end)})
    change = working.change()
    if stuck:
        failed = replace(change, issues=(*change.issues, *stuck))
        return working.record(
            failed, ChangeEvent.FAILED, data={"not_restored": plain(stuck)} | working.tally(), free=True
        )
    return working.record(change, ChangeEvent.ROLLED_BACK, data=working.tally(), free=True)


def let_go(working: Working, change: ChangeRequest) -> None:
    """Give rival updaters back and end the claims on every host that was claimed; the points stay."""
    claimed = {s.host for s in working.crew.ledger.store.steps(change.id) if s.job.startswith(f"{change.id}.l")}
    plan, hosts = working.plan(), working.frozen_hosts()
    names = [p.host for p in plan.hosts if p.host in claimed]
    if not names:
        return
    batch = working.batch(change, names, hosts, name=f"l{change.lap}.end{change.version}")
    for host, result in release(batch, working.crew, keep_point=True).items():
        if result.report("released") is None:
            working.note("host-not-released", data={"host": host, "reason": result.message or "no answer"})
