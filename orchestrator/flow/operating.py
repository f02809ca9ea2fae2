"""What a person may ask of a change on its way: pause, go on, stop, put back."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.change import ChangeRequest, ChangeState, Wanted
from orchestrator.domain.identity import Actor
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.run import HostStatus
from orchestrator.errors import Refused
from orchestrator.flow.crew import Crew
from orchestrator.flow.drifting import look_for_drift
from orchestrator.flow.ledger import Ledger


def pause(change_id: str, reason: str, actor: Actor, ledger: Ledger) -> ChangeRequest:
    """Ask the run to pause; it does so between two steps."""
    change = replace(ledger.store.change(change_id), wanted=Wanted.PAUSE)
    return ledger.record(change, ChangeEvent.PAUSE_REQUESTED, actor=actor, data={"reason": reason})


def resume(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Go on with a paused change in its open window, with the same approval. Raises Refused after drift."""
    change = crew.ledger.store.change(change_id)
    if change.state is ChangeState.PAUSED and not change.drifted:
        drift = look_for_drift(change, crew.ledger.store.plan(change.digest), crew)
        if drift.void:
            change = replace(change, drifted="; ".join(drift.void))
    again = replace(change, lap=change.lap + 1, wanted=Wanted.NOTHING)
    return crew.ledger.record(again, ChangeEvent.RESUMED, actor=actor)


def cancel(change_id: str, reason: str, actor: Actor, ledger: Ledger, *, roll_back: bool) -> ChangeRequest:
    """Stop a change. Before the run it is cancelled; a run stops between two steps, and puts back if that was asked.

    A paused run that has touched hosts ends FAILED, or rolls back.
    """
    change, data = ledger.store.change(change_id), {"reason": reason}
    if change.state is ChangeState.RUNNING:
        wanted = Wanted.ROLL_BACK if roll_back else Wanted.STOP
        event = ChangeEvent.ROLLBACK_REQUESTED if roll_back else ChangeEvent.STOP_REQUESTED
        return ledger.record(replace(change, wanted=wanted), event, actor=actor, data=data)
    if change.state is ChangeState.PAUSED and any(run.touched for run in ledger.store.runs(change_id)):
        if roll_back:
            return roll_back_now(change_id, reason, actor, ledger)
        return ledger.record(change, ChangeEvent.FAILED, actor=actor, data=data, also=lambda w: w.free(change_id))
    return ledger.record(change, ChangeEvent.CANCELLED, actor=actor, data=data, also=lambda w: w.free(change_id))


def roll_back_now(change_id: str, reason: str, actor: Actor, ledger: Ledger) -> ChangeRequest:
    """Put every touched host of a paused, succeeded or failed change back. Raises Refused without points to go to."""
    change = ledger.store.change(change_id)
    touched = {r.host for r in ledger.store.runs(change_id) if r.touched and r.status is not HostStatus.RESTORED}
    held = {point.host for point in ledger.store.points(change_id) if point.is_held}
    if change.state is not ChangeState.RUNNING and not touched & held:
        raise Refused(f"change {change_id} holds no rollback point of a changed host: there is nothing to put back.")
    if change.state is ChangeState.RUNNING:
        return cancel(change_id, reason, actor, ledger, roll_back=True)
    return ledger.record(change, ChangeEvent.ROLLBACK_STARTED, actor=actor, data={"reason": reason})
