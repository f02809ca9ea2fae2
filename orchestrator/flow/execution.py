"""Carry out an approved plan: wave by wave, batch by batch, inside the window, within the error budget.

Safe to call again after a crash: the journal says which hosts are settled, every job keeps its id and is never begun
twice, and what nobody saw the end of is settled by asking the host.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.admission import why_too_late
from orchestrator.domain.canonical import Plain, plain, rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState, Wanted
from orchestrator.domain.clusters import why_not_next
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollout import OneAtATimePer, OnTrip, Wave, budget
from orchestrator.domain.run import HostRun, HostStatus, judge, score
from orchestrator.errors import Refused
from orchestrator.flow import lockdown
from orchestrator.flow.batching import Working
from orchestrator.flow.concluding import Conclusion
from orchestrator.flow.crew import Crew
from orchestrator.flow.drifting import look_for_drift, refuse_drift
from orchestrator.flow.patching import OPEN
from orchestrator.flow.releasing import still_held
from orchestrator.flow.returning import CHANGED, back_first
from orchestrator.flow.room import lack_of_room, require_room
from orchestrator.flow.sharding import Shard, lease_all, shards
from orchestrator.flow.soaking import soak, soaked_first
from orchestrator.ports import Writing


def start(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Begin the run in an open window: every planned host is written down as pending, with the move itself."""
    lockdown.refuse(crew.ledger)
    require_room(crew)
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

    def also(writing: Writing) -> None:
        writing.keep_runs(runs)
        lease_all(plan, change.id, crew, writing)

    return crew.ledger.record(
        replace(change, lap=change.lap + 1),
        ChangeEvent.STARTED,
        actor=actor,
        data={"digest": change.digest, "hosts": len(runs)},
        also=also,
    )


def _refuse_lost_window(change: ChangeRequest, crew: Crew) -> None:
    if (end := change.reserved.end) <= crew.now():
        crew.ledger.record(replace(change, slot=None), ChangeEvent.WINDOW_LOST, actor=ORCHESTRATOR)
        raise Refused(
            f"the window of change {change.id} ended at {end:%Y-%m-%d %H:%MZ}, and it was not started. "
            "Cancel it, and submit it again with a later window."
        )


def advance(change_id: str, crew: Crew) -> Conclusion | tuple[Shard, ...] | None:
    """Take a running change to its next move, or to the shards that may be worked on now."""
    working = Working(crew=crew, change_id=change_id)
    while (change := working.change()).state is ChangeState.RUNNING:
        runs = crew.ledger.store.remarkable(change.id)
        # First of all, and not only after the batch: a canary can fail in its soak, and the carrier can have died here.
        if drained := _drained_first(working, change, runs):
            return drained
        if failed := _failed_first(working, change, runs):
            return failed
        if (ended := _interrupted(working, change, runs)) is not None:
            return ended
        todo = _todo(working)
        if todo is None:
            return _finish(working, change)
        if (follows := _step(working, change, todo)) is not None:
            return follows
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    """The next batch: its wave, its number in the wave, and the hosts of it that are not settled."""

    wave: Wave
    number: int
    runs: tuple[HostRun, ...]


def _todo(working: Working) -> Todo | None:
    runs = working.crew.ledger.store.first_batch(working.change_id, OPEN)
    if not runs:
        return None
    wave = next(wave for wave in working.plan().waves if wave.number == runs[0].wave)
    return Todo(wave=wave, number=runs[0].batch, runs=tuple(runs))


def _drained_first(working: Working, change: ChangeRequest, runs: Sequence[HostRun]) -> tuple[Shard, ...]:
    """Go back to hosts that were drained and never touched: whoever did it died before they went on, or back."""
    left = [run for run in runs if run.drained and not run.touched and not run.status.is_settled]
    cut = shards(change, working.plan(), left[0].wave, left[0].batch) if left else ()
    return _only({run.host for run in left}, cut)


def _only(hosts: Collection[str], cut: Sequence[Shard]) -> tuple[Shard, ...]:
    """Return the shards with just these hosts, and none that is empty."""
    mine = (replace(shard, hosts=tuple(host for host in shard.hosts if host in hosts)) for shard in cut)
    return tuple(shard for shard in mine if shard.hosts)


def _failed_first(working: Working, change: ChangeRequest, runs: Sequence[HostRun]) -> tuple[Shard, ...]:
    """Put failed hosts back alone, unless the budget is spent: then the whole change is judged."""
    plan = working.plan()
    if change.spec.rollout.on_trip is OnTrip.NONE or judge(runs, budget(change.spec.rollout, len(plan.hosts))):
        return ()
    failed = [run for run in runs if run.status in (HostStatus.FAILED, HostStatus.RESTORING)]
    return back_first(change, plan, failed)


def _interrupted(
    working: Working, change: ChangeRequest, runs: Sequence[HostRun]
) -> Conclusion | tuple[Shard, ...] | None:
    """Do what was asked for, or what the budget says, between two batches."""
    plan = working.plan()
    if reason := judge(runs, budget(change.spec.rollout, len(plan.hosts))):
        return _trip(working, change, reason)
    if change.wanted is Wanted.PAUSE:
        return Conclusion(change=replace(change, wanted=Wanted.NOTHING), event=ChangeEvent.PAUSED)
    if change.wanted is Wanted.ROLL_BACK:
        return _roll_back(change, "asked for by a person")
    if change.wanted is Wanted.STOP:
        return _stop(working, replace(change, wanted=Wanted.NOTHING), "stopped by a person")
    if reason := lockdown.why(working.crew.ledger):
        return Conclusion(change=change, event=ChangeEvent.PAUSED, data={"reason": f"lockdown: {reason}"})
    if reason := lack_of_room(working.crew):
        return Conclusion(change=change, event=ChangeEvent.PAUSED, data={"reason": reason})
    return None


def _step(working: Working, change: ChangeRequest, todo: Todo) -> Conclusion | tuple[Shard, ...] | None:
    """Hand out the shards of a batch, unless drift, the clock or the soak time say otherwise; None: look again."""
    plan = working.plan()
    late: Mapping[str, str] = {}
    if not any(run.touched for run in todo.runs):
        # The look comes after the soak: what drifted in that time must not be missed.
        if not soak(working, change, plan, todo.wave):
            return None
        if soaked := soaked_first(working, change, plan, todo.wave):
            return soaked
        drift = look_for_drift(change, plan, working.crew)
        if drift.void:
            data = {"differences": plain(drift.void)}
            drifted = replace(change, drifted="; ".join(drift.void))
            return Conclusion(change=drifted, event=ChangeEvent.DRIFT_FOUND, data=data)
        gone = [run for run in todo.runs if run.host in drift.dropped]
        if gone:
            working.settle([replace(r, status=HostStatus.SKIPPED, reason=drift.dropped[r.host]) for r in gone])
            return None
        if held := _held(working, change, plan, todo):
            working.settle(
                [replace(r, status=HostStatus.SKIPPED, reason=held[r.host]) for r in todo.runs if r.host in held]
            )
            return None
        late = _too_late(change, todo, working.crew)
        if len(late) == len(todo.runs):
            reason = "; ".join(f"{host}: {why}" for host, why in sorted(late.items())[:3])
            return Conclusion(change=change, event=ChangeEvent.CUTOFF, data={"reason": reason})
    _write_kit(working, change, plan)
    working_on = {run.host for run in todo.runs} - late.keys()
    return _only(working_on, shards(change, plan, todo.wave.number, todo.number))


def _held(working: Working, change: ChangeRequest, plan: PatchPlan, todo: Todo) -> dict[str, str]:
    """Return the hosts that are left alone since another member of their cluster is not in service."""
    if change.spec.rollout.one_at_a_time_per is not OneAtATimePer.CLUSTER:
        return {}
    runs = working.crew.ledger.store.remarkable(change.id)
    clusters = {run.host: plan.by_host[run.host].cluster for run in (*runs, *todo.runs)}
    return why_not_next(runs, clusters, [run.host for run in todo.runs])


def _too_late(change: ChangeRequest, todo: Todo, crew: Crew) -> dict[str, str]:
    hosts = [run.host for run in todo.runs]
    needed = {p.host: p.needed for p in crew.ledger.store.predictions(change.digest, hosts)}
    late = {run.host: why_too_late(change.reserved, needed[run.host], crew.now()) for run in todo.runs}
    return {host: why for host, why in late.items() if why}


def _write_kit(working: Working, change: ChangeRequest, plan: PatchPlan) -> None:
    """Write the rollback kit of the whole change, once a lap, before the first host of it is touched."""
    store, lap = working.crew.ledger.store, f"l{change.lap}"
    if lap in store.documents(change.id, "kit"):
        return
    hosts = working.frozen_hosts()
    working.batch(change, [p.host for p in plan.hosts if p.host in hosts], name=f"{lap}.kit")
    with store.begin() as writing:
        writing.keep_document(change.id, "kit", lap, {"hosts": len(plan.hosts)})


def _trip(working: Working, change: ChangeRequest, reason: str) -> Conclusion | tuple[Shard, ...]:
    """The budget is spent: do with the hosts what was voted on."""
    scope = change.spec.rollout.on_trip
    _note_trip(working, change, scope, reason)
    if scope is OnTrip.ALL:
        return _roll_back(change, reason)
    if scope is OnTrip.FAILED:
        failed = [run for run in working.crew.ledger.store.remarkable(change.id) if run.failed]
        if first := back_first(change, working.plan(), failed):
            return first
    return _stop(working, change, reason)


def _note_trip(working: Working, change: ChangeRequest, scope: OnTrip, reason: str) -> None:
    """Enter once a lap that the budget is spent: what follows takes several turns."""
    ledger, lap = working.crew.ledger, f"l{change.lap}"
    if lap in ledger.store.documents(change.id, "tripped", [lap]):
        return
    told = ledger.fact(change.id, "budget-tripped", actor=ORCHESTRATOR, outcome=scope.value, data={"reason": reason})
    with ledger.store.begin() as writing:
        writing.note(told)
        writing.keep_document(change.id, "tripped", lap, {"reason": reason})


def _roll_back(change: ChangeRequest, reason: str) -> Conclusion:
    rolling = replace(change, wanted=Wanted.NOTHING, issues=(*change.issues, reason))
    return Conclusion(change=rolling, event=ChangeEvent.ROLLBACK_STARTED, data={"reason": reason})


def _stop(working: Working, change: ChangeRequest, reason: str) -> Conclusion | tuple[Shard, ...]:
    if held := still_held(working, change, working.plan()):
        return held
    if not any(run.touched for run in working.runs()):
        return Conclusion(change=change, event=ChangeEvent.CANCELLED, data={"reason": reason}, free=True)
    failed = replace(change, issues=(*change.issues, reason))
    return _ended(working, failed, ChangeEvent.FAILED, {"reason": reason})


def _finish(working: Working, change: ChangeRequest) -> Conclusion | tuple[Shard, ...]:
    """All hosts are settled: give back what was held, and say how it went."""
    if held := still_held(working, change, working.plan()):
        return held
    runs = working.runs()
    issues = [f"{run.host}: {run.status} ({run.account})" for run in runs if run.status is not HostStatus.DONE]
    issues += [f"{run.host}: {warning}" for run in runs for warning in run.warnings]
    change = working.change()
    if not score(runs).done:
        reason = "no host was patched"
        failed = replace(change, issues=(*change.issues, *issues, reason))
        return _ended(working, failed, ChangeEvent.FAILED, {"reason": reason})
    succeeded = replace(change, issues=(*change.issues, *issues))
    return _ended(working, succeeded, ChangeEvent.SUCCEEDED, {"issues": plain(issues)})


def put_everything_back(change_id: str, crew: Crew) -> Conclusion | tuple[Shard, ...]:
    """Restore every touched host, newest first. ROLLED_BACK means that none is left changed; otherwise FAILED."""
    working = Working(crew=crew, change_id=change_id)
    change, plan = working.change(), working.plan()
    _try_again(working, change)
    # A change of thousands has hundreds of batches: each turn reads the one that is next, and the last turn all.
    if first := back_first(change, plan, crew.ledger.store.last_batch(change_id, CHANGED)):
        return first
    runs = working.runs()
    if first := back_first(change, plan, runs):
        return first
    stuck = [f"{r.host}: {r.account}" for r in runs if r.touched and r.status is not HostStatus.RESTORED]
    waiting = [r for r in runs if not r.status.is_settled and not r.touched]
    working.settle([replace(r, status=HostStatus.SKIPPED, reason="the change was rolled back before") for r in waiting])
    if held := still_held(working, change, plan):
        return held
    if change.reserved.end < crew.now():
        working.note("window-overrun", data={"ended": rfc3339(change.reserved.end)})
    if stuck:
        failed = replace(change, issues=(*change.issues, *stuck))
        return _ended(working, failed, ChangeEvent.FAILED, {"not_restored": plain(stuck)})
    return _ended(working, change, ChangeEvent.ROLLED_BACK, {})


def _try_again(working: Working, change: ChangeRequest) -> None:
    """Have hosts that could not be put back before go back once more: once for each time that this is asked for."""
    ledger, asked = working.crew.ledger, f"v{change.version}"
    if asked in ledger.store.documents(change.id, "put-back", [asked]):
        return
    again = [run for run in working.runs() if run.status is HostStatus.RESTORE_FAILED]
    with ledger.store.begin() as writing:
        writing.keep_runs([replace(r, status=HostStatus.RESTORING, updated_at=working.crew.now()) for r in again])
        writing.keep_document(change.id, "put-back", asked, {"again": [run.host for run in again]})


def _ended(working: Working, change: ChangeRequest, event: ChangeEvent, data: Mapping[str, Plain]) -> Conclusion:
    return Conclusion(change=change, event=event, data={**data, **working.tally()}, free=True)
