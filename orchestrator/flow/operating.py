"""What a person may ask of a change on its way: pause, go on, stop, put back."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.change import ChangeRequest, ChangeState, Wanted
from orchestrator.domain.identity import Actor
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.run import HostStatus
from orchestrator.errors import Refused
from orchestrator.flow import lockdown
from orchestrator.flow.batching import Working
from orchestrator.flow.crew import Crew
from orchestrator.flow.drifting import look_for_drift
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.releasing import let_go
from orchestrator.flow.room import require_room
from orchestrator.flow.sharding import lease_all


def pause(change_id: str, reason: str, actor: Actor, ledger: Ledger) -> ChangeRequest:
    """Ask the run to pause; it does so between two steps."""
    change = replace(ledger.store.change(change_id), wanted=Wanted.PAUSE)
    return ledger.record(change, ChangeEvent.PAUSE_REQUESTED, actor=actor, data={"reason": reason})


def resume(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Go on with a paused change in its open window, with the same approval. Raises Refused after drift."""
    lockdown.refuse(crew.ledger)
    require_room(crew)
    change = crew.ledger.store.change(change_id)
    if change.state is ChangeState.PAUSED and not change.drifted:
        drift = look_for_drift(change, crew.ledger.store.plan(change.digest), crew)
        if drift.void:
            change = replace(change, drifted="; ".join(drift.void))
    again = replace(change, lap=change.lap + 1, wanted=Wanted.NOTHING)
    plan = crew.ledger.store.plan(change.digest)
    # In a long pause the leases have run out, and others may have come.
    return crew.ledger.record(
        again, ChangeEvent.RESUMED, actor=actor, also=lambda writing: lease_all(plan, change_id, crew, writing)
    )


def cancel(change_id: str, reason: str, actor: Actor, crew: Crew, *, roll_back: bool) -> ChangeRequest:
    """Stop a change. Before the run it is cancelled; a run stops between two steps, and puts back if that was asked.

    Staging stops between two steps as well, and the change is cancelled then; its staging hosts keep their points.

    A paused run that has touched hosts ends FAILED, or rolls back.
    """
    ledger = crew.ledger
    change, data = ledger.store.change(change_id), {"reason": reason}
    if change.state is ChangeState.RUNNING:
        return _ask(change, Wanted.ROLL_BACK if roll_back else Wanted.STOP, reason, actor, ledger)
    if change.state is ChangeState.STAGING:
        return _ask(change, Wanted.STOP, reason, actor, ledger)
    touched = any(run.touched for run in ledger.store.runs(change_id))
    if change.state is ChangeState.PAUSED:
        if touched and roll_back:
            return roll_back_now(change_id, reason, actor, ledger)
        let_go(Working(crew=crew, change_id=change_id), change)
    event = ChangeEvent.FAILED if change.state is ChangeState.PAUSED and touched else ChangeEvent.CANCELLED
    return ledger.record(change, event, actor=actor, data=data, also=lambda writing: writing.free(change_id))


def roll_back_now(change_id: str, reason: str, actor: Actor, ledger: Ledger) -> ChangeRequest:
    """Put every touched host of a paused, succeeded or failed change back. Raises Refused without points to go to."""
    change = ledger.store.change(change_id)
    touched = {r.host for r in ledger.store.runs(change_id) if r.touched and r.status is not HostStatus.RESTORED}
    held = {point.host for point in ledger.store.points(change_id) if point.is_held}
    if change.state is not ChangeState.RUNNING and not touched & held:
        raise Refused(f"change {change_id} holds no rollback point of a changed host: there is nothing to put back.")
    if change.state is ChangeState.RUNNING:
        return _ask(change, Wanted.ROLL_BACK, reason, actor, ledger)
    return ledger.record(change, ChangeEvent.ROLLBACK_STARTED, actor=actor, data={"reason": reason})


def _ask(change: ChangeRequest, wanted: Wanted, reason: str, actor: Actor, ledger: Ledger) -> ChangeRequest:
    """Ask the run to stop between two steps, and to put back what was touched if that is wanted."""
    event = ChangeEvent.ROLLBACK_REQUESTED if wanted is Wanted.ROLL_BACK else ChangeEvent.STOP_REQUESTED
    return ledger.record(replace(change, wanted=wanted), event, actor=actor, data={"reason": reason})
