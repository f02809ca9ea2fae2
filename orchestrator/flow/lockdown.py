"""The stop for everything: nothing starts, and what runs holds at its next safe point. Going back still works."""

from __future__ import annotations

from orchestrator.domain.canonical import rfc3339
from orchestrator.domain.identity import Actor
from orchestrator.errors import InvalidInput, Refused
from orchestrator.flow.ledger import Ledger

#: The site's own document: it belongs to no change.
_SITE, _KIND, _NAME = "", "site", "lockdown"


def begin(reason: str, actor: Actor, ledger: Ledger) -> None:
    """Hold everything. Raises InvalidInput without a reason, and Refused where everything is held already."""
    if not reason.strip():
        raise InvalidInput("a lockdown needs a reason: --reason …")
    refuse(ledger)
    _write(ledger, actor, "lockdown-begun", reason)


def lift(reason: str, actor: Actor, ledger: Ledger) -> None:
    """Let changes start again; those that were paused are resumed by hand. Raises Refused without a lockdown."""
    if not why(ledger):
        raise Refused("there is no lockdown to lift.")
    _write(ledger, actor, "lockdown-lifted", reason)


def why(ledger: Ledger) -> str:
    """Return why everything is held, or an empty text."""
    document = ledger.store.documents(_SITE, _KIND, [_NAME]).get(_NAME)
    return str(document.get("reason", "")) if isinstance(document, dict) else ""


def refuse(ledger: Ledger) -> None:
    """Raise Refused while everything is held."""
    if reason := why(ledger):
        raise Refused(f"everything is held: {reason}. Lift it first: orchestrator lockdown lift --reason …")


def _write(ledger: Ledger, actor: Actor, tag: str, reason: str) -> None:
    kept = reason if tag == "lockdown-begun" else ""
    with ledger.store.begin() as writing:
        writing.keep_document(
            _SITE, _KIND, _NAME, {"reason": kept, "by": actor.name, "at": rfc3339(ledger.clock.now())}
        )
        writing.note(ledger.fact("", tag, actor=actor, data={"reason": reason}))
