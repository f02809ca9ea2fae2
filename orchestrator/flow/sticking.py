"""A change that cannot be carried on by itself is left where it is, with the reason, until a person takes it up."""

from __future__ import annotations

from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Writing

_KIND, _NAME = "stuck", "carrying"


def stick(change_id: str, why: str, ledger: Ledger, writing: Writing) -> None:
    """Leave the change where it is."""
    writing.keep_document(change_id, _KIND, _NAME, {"reason": why})
    writing.note(ledger.fact(change_id, "carrying-stopped", actor=ORCHESTRATOR, data={"reason": why}))


def is_stuck(change_id: str, ledger: Ledger) -> str:
    """Return why nobody carries the change, or an empty text."""
    document = ledger.store.documents(change_id, _KIND, [_NAME]).get(_NAME)
    return str(document.get("reason", "")) if isinstance(document, dict) else ""


def take_up(change_id: str, actor: Actor, ledger: Ledger) -> None:
    """Have a change carried again that was left where it is; one that is not stuck is in somebody's hand."""
    change = ledger.store.change(change_id)
    if not (was := is_stuck(change_id, ledger)):
        return
    if ledger.queue is not None:
        ledger.queue.ready()
    with ledger.store.begin() as writing:
        writing.keep_document(change_id, _KIND, _NAME, {"reason": ""})
        writing.note(ledger.fact(change_id, "taken-up", actor=actor, data={"stopped_by": was}))
        if ledger.queue is not None:
            ledger.queue.enqueue(change, writing)
