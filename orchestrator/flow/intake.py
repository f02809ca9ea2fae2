"""Take in a request: once, signed by the person who asks."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.domain.calendar import occurrence
from orchestrator.domain.canonical import digest, plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.identity import Action
from orchestrator.domain.lifecycle import requested
from orchestrator.errors import Refused
from orchestrator.flow.acting import Caller, Desk, Wording, person_key, signer
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import RenderedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """The change, and whether it is new or was submitted from the same source before."""

    change: ChangeRequest
    is_new: bool


def submit(rendered: RenderedRequest, caller: Caller, *, ledger: Ledger, desk: Desk) -> Submitted:
    """Enter a request. Raises Refused for a window that has passed.

    The same source twice is the same change as long as that has not ended; after that it is asked for anew.
    """
    source = rendered.source_key
    again = 1
    while (known := ledger.store.change_from(source)) is not None:
        if not known.state.has_ended:
            return Submitted(change=known, is_new=False)
        again += 1
        source = f"{rendered.source_key}.{again}"
    person = signer(desk.signers.people(), desk.signers, caller, Action.SUBMIT)
    now = ledger.clock.now()
    if (slot := occurrence(rendered.spec.window)).end <= now:
        raise Refused(
            f"the window ended at {slot.end:%Y-%m-%d %H:%MZ}, it is {now:%Y-%m-%d %H:%MZ}. Choose a later start."
        )
    change_id = ledger.store.next_change_id()
    reason = rendered.spec.reason or rendered.spec.title
    wording = Wording(subject="request", change=change_id, digest=rendered.digest, decision="request", reason=reason)
    signature = desk.sign(person, caller, wording)
    change = ChangeRequest(
        id=change_id,
        spec=rendered.spec,
        requester=person.name,
        requested=signature.signed,
        source_key=source,
        created_at=now,
    )
    data = {"title": rendered.spec.title, "template": rendered.spec.template, "request": rendered.digest}
    data["signed"] = digest(signature.signed)
    with ledger.store.begin() as writing:
        writing.open(change, requested(change, at=now, actor=signature.actor, data=data))
        writing.keep_document(change.id, "people", person_key(person), plain(person))
    return Submitted(change=change, is_new=True)
