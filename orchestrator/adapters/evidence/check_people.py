"""Checks of who asked, who agreed and who answered for exceptions: signatures, seats, and who was barred."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from orchestrator.adapters.evidence.check_trail import course, data, events
from orchestrator.adapters.evidence.opened import Bundle
from orchestrator.adapters.evidence.strict import (
    Malformed,
    Object,
    entry,
    flag,
    moment,
    number,
    same,
    sha256,
    text,
    texts,
)
from orchestrator.domain.canonical import Plain, canonical, parse_rfc3339
from orchestrator.domain.identity import SignedStatement, Statement

_STATEMENT = frozenset(Statement.__slots__)
_SIGNED = frozenset(SignedStatement.__slots__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a signed statement has to say."""

    subject: str
    digest: str
    signer: str
    decision: str | None = None
    reason: str | None = None


def check_people(bundle: Bundle) -> Iterator[str]:
    """Whoever is named is named with everything that the other checks ask."""
    for person in bundle.entries("people.json"):
        text(person, "name")
        text(person, "account")
        for key in ("roles", "keys", "emails", "acts_for"):
            texts(person, key)
    return iter(())


def check_requester(bundle: Bundle) -> Iterator[str]:
    """The person who is said to have requested the change signed that request."""
    request = bundle.entry("request.json")
    digest = sha256(canonical(request.get("spec")))
    claim = _Claim(subject="request", digest=digest, signer=text(request, "requester"))
    yield from _problems(bundle, request.get("signed"), claim)
    first = events(bundle)[:1]
    if first and data(first[0]).get("request") != digest:
        yield "the request that the trail begins with is another one"
    if first:
        yield from _trail_signature_problems(first[0], request.get("signed"))


def check_votes(bundle: Bundle) -> Iterator[str]:
    """Every vote is for this plan, signed by the voter, in the trail, and given by somebody who may vote."""
    votes = bundle.entries("approvals.json")
    digest = bundle.plan_digest
    answers = list(course(events(bundle)).answers)
    if votes and not digest:
        yield "there are votes, and no plan"
        return
    policy = _policy(bundle) if votes else {}
    for vote in votes:
        name = text(vote, "approver")
        for problem in _vote_problems(bundle, vote, digest, policy):
            yield f"the vote of {name}: {problem}"
        event = next((event for event in answers if _answers(event, vote)), None)
        if event is None:
            yield f"the vote of {name}: the trail knows no such vote on this plan"
            continue
        answers.remove(event)
        for problem in _trail_signature_problems(event, vote.get("signed")):
            yield f"the vote of {name}: {problem}"
    for event in answers:
        yield f"event {event['seq']} is a vote of {event['actor']} that is missing from approvals.json"
    if len({text(vote, "approver") for vote in votes}) != len(votes):
        yield "somebody voted twice"


def check_approval(bundle: Bundle) -> Iterator[str]:
    """When the plan was approved, enough people had agreed, in time, and nobody had said no."""
    way = course(events(bundle))
    if not way.approved:
        return
    policy = _policy(bundle)
    if data(way.approved).get("digest") != way.digest:
        yield "what the trail says was approved is not the plan that stands"
    before = [event for event in way.answers if number(event, "seq") < number(way.approved, "seq")]
    if any(data(event).get("decision") != "approve" for event in way.answers):
        yield "the plan was approved although somebody had said no"
    ends = parse_rfc3339(moment(way.staged, "at")) + _deadline(policy)
    if any(parse_rfc3339(moment(event, "at")) > ends for event in before):
        yield "a vote came after the deadline"
    votes = bundle.entries("approvals.json")
    given = [vote for vote in votes if text(vote, "decision") == "approve" and any(_answers(e, vote) for e in before)]
    required = entry(policy.get("required"), "required")
    for role, needed in required.items():
        there = {text(vote, "approver") for vote in given if role in texts(vote, "seats")}
        if len(there) < number(required, role):
            yield f"it was approved with {len(there)} of {needed} votes from {role}"


def check_waivers(bundle: Bundle) -> Iterator[str]:
    """Every exception is answered for by the person named, and the approvers were shown it."""
    waivers = bundle.entries("waivers.json") if "waivers.json" in bundle.hashes else []
    if bundle.plan_digest:
        shown = bundle.entry("plan.json").get("waivers")
        if not same(shown, [*waivers]):
            yield "the waivers are not those of the plan that was voted on"
    requester = bundle.entry("request.json").get("requester")
    told = [event for event in events(bundle) if text(event, "tag") == "waived"]
    for waiver in waivers:
        subject, by, reason = text(waiver, "subject"), text(waiver, "by"), text(waiver, "reason")
        digest = sha256(canonical(subject))
        claim = _Claim(subject="waiver", digest=digest, signer=by, reason=reason)
        for problem in _problems(bundle, waiver.get("signed"), claim):
            yield f"the waiver of {subject}: {problem}"
        if by == requester:
            yield f"the waiver of {subject}: {by} requested the change"
        mine = [e for e in told if text(e, "actor") == by and data(e).get("subject") == subject]
        if not mine or data(mine[-1]).get("reason") != reason:
            yield f"the waiver of {subject}: the trail knows no such waiver"
        else:
            for problem in _trail_signature_problems(mine[-1], waiver.get("signed")):
                yield f"the waiver of {subject}: {problem}"


def _vote_problems(bundle: Bundle, vote: Object, digest: str, policy: Object) -> Iterator[str]:
    name, seats = text(vote, "approver"), texts(vote, "seats")
    claim = _Claim(
        subject="vote", digest=digest, signer=name, decision=text(vote, "decision"), reason=text(vote, "reason")
    )
    moment(vote, "at")
    if text(vote, "decision") not in {"approve", "reject"}:
        yield "it is neither yes nor no"
    if text(vote, "digest") != digest:
        yield f"it was given for plan {vote['digest']}, not for this one"
    if not seats or not set(seats) <= entry(policy.get("required"), "required").keys():
        yield "it is not given from a seat that the policy asks for"
    yield from _bars(bundle, vote, policy)
    yield from _problems(bundle, vote.get("signed"), claim, roles=frozenset(seats))


def _bars(bundle: Bundle, vote: Object, policy: Object) -> Iterator[str]:
    requester = text(bundle.entry("request.json"), "requester")
    name, account = text(vote, "approver"), text(vote, "account")
    voter = _records(bundle, name)
    if name == requester:
        yield "the voter requested this change"
    if any(requester in texts(record, "acts_for") for record in voter):
        yield f"the voter acts for {requester}, who requested this change"
    if account and any(text(record, "account") == account for record in _records(bundle, requester)):
        yield f"it was given from the account of {requester}, who requested this change"
    if flag(policy, "exclude_authors"):
        authors = set(texts(entry(bundle.entry("plan.json").get("content"), "content"), "authors"))
        if any(authors & {name, *texts(record, "emails")} for record in voter):
            yield "the voter wrote content that the change runs"


def _problems(bundle: Bundle, signed: Plain, claim: _Claim, *, roles: frozenset[str] = frozenset()) -> Iterator[str]:
    """Say what does not hold of a signed statement: its words, whose key made it, and the signature."""
    fields = entry(signed, "signed", _SIGNED)
    statement = entry(fields.get("statement"), "statement", _STATEMENT)
    said = {key: text(statement, key) for key in _STATEMENT}
    moment(statement, "at")
    for key, wanted in _wanted(bundle, claim).items():
        if said[key] != wanted:
            yield f"what was signed says {key} {said[key]!r} instead of {wanted!r}"
    key = " ".join(text(fields, "key").split()[:2])
    holders = [r for r in _records(bundle, claim.signer) if key in _keys(r) and roles <= set(texts(r, "roles"))]
    if not holders:
        yield f"the key is not one that people.json gives {claim.signer}" + (" in these roles" if roles else "")
    pinned = bundle.pins.signers
    if pinned is not None and key not in pinned.get(claim.signer, frozenset()):
        yield f"the key is not one that your own list gives {claim.signer}"
    made = SignedStatement(statement=Statement(**said), signature=text(fields, "signature"), key=text(fields, "key"))
    if not bundle.is_valid(made):
        yield f"the signature is not one of {claim.signer} for these words"


def _wanted(bundle: Bundle, claim: _Claim) -> Mapping[str, str]:
    wanted = {
        "subject": claim.subject, "change": bundle.change, "digest": claim.digest,
        "signer": claim.signer, "decision": claim.decision, "reason": claim.reason,
    }  # fmt: skip
    return {key: value for key, value in wanted.items() if value is not None}


def _trail_signature_problems(event: Object, signed: Plain) -> Iterator[str]:
    told = data(event).get("signed")
    if told is not None and told != sha256(canonical(signed)):
        yield "the trail names another signature"


def _answers(event: Object, vote: Object) -> bool:
    told = data(event)
    same_words = all(told.get(key) == text(vote, key) for key in ("decision", "digest", "reason"))
    wanted = "rejected" if text(vote, "decision") == "reject" else "voted"
    return same_words and text(event, "actor") == text(vote, "approver") and text(event, "tag") == wanted


def _records(bundle: Bundle, name: str) -> Sequence[Object]:
    return [record for record in bundle.entries("people.json") if text(record, "name") == name]


def _keys(record: Object) -> set[str]:
    return {" ".join(key.split()[:2]) for key in texts(record, "keys")}


def _policy(bundle: Bundle) -> Object:
    return entry(entry(bundle.entry("plan.json").get("spec"), "spec").get("approval"), "approval")


def _deadline(policy: Object) -> timedelta:
    try:
        return timedelta(seconds=number(policy, "deadline"))
    except OverflowError as error:
        raise Malformed("the deadline for votes is out of all proportion") from error
