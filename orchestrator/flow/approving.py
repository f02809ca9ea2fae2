"""Collect the answers to a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.domain.approval import Decision, Vote, refuse_vote, seats_of, why_barred
from orchestrator.domain.canonical import digest as digest_of
from orchestrator.domain.canonical import plain
from orchestrator.domain.change import ChangeRequest, ChangeState, Waiver
from orchestrator.domain.identity import ORCHESTRATOR, Action, Actor, Person
from orchestrator.domain.lifecycle import MOVES, ChangeEvent, advance
from orchestrator.errors import IllegalMove, NotPermitted, Refused
from orchestrator.flow.acting import Caller, Desk, Signature, Wording, person_key, signer
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What somebody answers to the plan that they were shown."""

    decision: Decision
    reason: str
    shown: str


def vote(change_id: str, answer: Answer, caller: Caller, *, ledger: Ledger, desk: Desk) -> ChangeRequest:
    """Enter one person's signed answer. The last one needed approves the change, a single no rejects it.

    Raises NotPermitted or Refused: nobody's key, the requester's, a second vote, another plan, too late, no reason.
    """
    change = ledger.store.change(change_id)
    if change.state is not ChangeState.STAGED:
        raise IllegalMove(change.id, ChangeEvent.VOTED, change.state, _events(change))
    person = signer(desk.signers.people(), desk.signers, caller, Action.VOTE)
    _refuse(change, person, answer, caller, ledger=ledger, desk=desk)
    wording = Wording(
        subject="vote", change=change.id, digest=change.digest, decision=answer.decision.value, reason=answer.reason
    )
    signature = desk.sign(person, caller, wording)
    given = Vote(
        approver=person.name,
        seats=seats_of(person, change.spec.approval),
        decision=answer.decision,
        digest=change.digest,
        reason=answer.reason,
        at=ledger.clock.now(),
        account=caller.account,
        signed=signature.signed,
    )
    return _enter(change, given, signature, ledger=ledger)


def waive(change_id: str, subject: str, reason: str, caller: Caller, *, ledger: Ledger, desk: Desk) -> ChangeRequest:
    """Take responsibility for an exception; the plan is void and has to be made again, with the waiver in it."""
    kind, _, name = subject.partition(":")
    if kind not in ("rollback", "unproven") or not name:
        raise Refused(f"{subject!r} cannot be waived; write rollback:HOST or unproven:PACKAGE.")
    if not reason.strip():
        raise Refused("a waiver needs a reason: --reason …")
    change = ledger.store.change(change_id)
    person = signer(desk.signers.people(), desk.signers, caller, Action.WAIVE)
    if person.name == change.requester:
        raise Refused(f"{person.name} requested this change, and nobody waives a safeguard of their own request.")
    wording = Wording(subject="waiver", change=change.id, digest=digest_of(subject), decision="waive", reason=reason)
    signature = desk.sign(person, caller, wording)
    waiver = Waiver(subject=subject, reason=reason, by=person.name, signed=signature.signed)
    others = tuple(w for w in change.waivers if w.subject != subject)
    return ledger.record(
        replace(change, waivers=(*others, waiver)),
        ChangeEvent.WAIVED,
        actor=signature.actor,
        data={"subject": subject, "reason": reason, "signed": digest_of(signature.signed)},
        also=_known_as(signature, change),
    )


def require_genuine(change: ChangeRequest, *, ledger: Ledger, desk: Desk) -> None:
    """See that every vote is what its voter has signed, with a key that people.yml gives them. Raises NotPermitted.

    Whoever can write to the database could enter a vote there; only its signature says whose it is.
    """
    for vote in change.votes:
        if reason := _why_not_genuine(change, vote, desk):
            data = {"approver": vote.approver, "reason": reason}
            ledger.note(change.id, "vote-not-genuine", actor=ORCHESTRATOR, data=dict(data))
            raise NotPermitted(
                f"the vote of {vote.approver} on {change.id} is not good: {reason}. "
                f"Find out why, and stage the change again to ask anew: orchestrator change stage {change.id}"
            )


def _why_not_genuine(change: ChangeRequest, vote: Vote, desk: Desk) -> str:
    said = vote.signed.statement
    person = next((p for p in desk.signers.people().everyone if p.name == vote.approver), None)
    if person is None:
        return "people.yml does not know them"
    if vote.signed.key.split()[:2] not in [key.split()[:2] for key in person.keys]:
        return "the key is none that people.yml gives them"
    told = ("vote", change.id, vote.digest, vote.decision.value, vote.reason, vote.approver)
    if told != (said.subject, said.change, said.digest, said.decision, said.reason, said.signer):
        return "it says something else than what was signed"
    if not set(vote.seats) <= person.roles:
        return "it is given from a seat that people.yml does not give them"
    return "" if desk.signers.is_valid(vote.signed) else "the signature is not good"


def _refuse(
    change: ChangeRequest, person: Person, answer: Answer, caller: Caller, *, ledger: Ledger, desk: Desk
) -> None:
    now, ends = ledger.clock.now(), change.voting_ends
    if ends is not None and now > ends:
        ledger.record(change, ChangeEvent.VOTE_EXPIRED, actor=ORCHESTRATOR)
        raise Refused(f"voting on {change.id} ended at {ends:%Y-%m-%d %H:%MZ}. Stage it again to ask anew.")
    if not answer.reason.strip():
        raise Refused("a vote needs a reason: --reason …")
    people = desk.signers.people()
    written = _authors(change, ledger)
    # Content that is not committed yet has its owner's account as its author.
    authors = frozenset(p.name for p in people.everyone if {p.name, p.account, *p.emails} & written)
    reason = why_barred(
        person, requester=change.requester, voting_account=people.with_account(caller.account), authors=authors,
        policy=change.spec.approval,
    )  # fmt: skip
    if reason:
        ledger.note(change.id, "vote-refused", actor=_actor(person, caller), data={"reason": reason})
        raise Refused(f"this vote does not count: {reason}.")
    refuse_vote(change.votes, person, digest=change.digest, shown=answer.shown, now=now, deadline=ends or now)


def _enter(change: ChangeRequest, given: Vote, signature: Signature, *, ledger: Ledger) -> ChangeRequest:
    now, data = ledger.clock.now(), {"decision": given.decision.value, "digest": given.digest, "reason": given.reason}
    data["signed"] = digest_of(signature.signed)
    voted = replace(change, votes=(*change.votes, given))
    if given.decision is Decision.REJECT:
        return ledger.record(
            voted, ChangeEvent.REJECTED, actor=signature.actor, data=data, also=_known_as(signature, change)
        )
    first = advance(voted, ChangeEvent.VOTED, at=now, actor=signature.actor, data=data)
    barred = frozenset({change.requester})
    missing = change.spec.approval.outstanding(first.after.votes, digest=change.digest, barred=barred)
    with ledger.store.begin() as writing:
        writing.move(first)
        _known_as(signature, change)(writing)
        if missing:
            return first.after
        names: list[str] = [v.approver for v in first.after.votes if v.decision is Decision.APPROVE]
        second = advance(
            first.after, ChangeEvent.APPROVED, at=now, actor=ORCHESTRATOR,
            data={"digest": change.digest, "approvers": [*names]},
        )  # fmt: skip
        writing.move(second)
    return second.after


def _authors(change: ChangeRequest, ledger: Ledger) -> set[str]:
    return set(ledger.store.plan(change.digest).content.authors)


def _actor(person: Person, caller: Caller) -> Actor:
    return Actor(name=person.name, account=caller.account, address=caller.address)


def _events(change: ChangeRequest) -> list[str]:
    return [event.value for event in MOVES[change.state]]


def _known_as(signature: Signature, change: ChangeRequest) -> Callable[[Writing], None]:
    """Return what keeps the person as evidence, as people.yml knows them now."""
    person = signature.person
    return lambda writing: writing.keep_document(change.id, "people", person_key(person), plain(person))
