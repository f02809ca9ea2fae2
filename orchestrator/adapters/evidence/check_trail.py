"""Checks of the trail: whole, as long as was signed, covered by the checkpoint, and nothing done unfounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.adapters.evidence.keys import read_signature
from orchestrator.adapters.evidence.opened import Bundle
from orchestrator.adapters.evidence.strict import (
    Malformed,
    Object,
    entry,
    hash_text,
    is_hash,
    moment,
    number,
    text,
    texts,
)
from orchestrator.adapters.evidence.trust import Pins
from orchestrator.domain.audit import AuditEvent, broken_at
from orchestrator.domain.canonical import canonical, parse_rfc3339
from orchestrator.domain.evidence import Checkpoint, leaf, read_checkpoint, verify_inclusion

EVENT = tuple(AuditEvent.__slots__)

_VOIDING = frozenset({"staging-started", "vote-expired", "waived"})
_NEED_A_PLAN = frozenset({"voted", "rejected", "approved"})
_NEED_APPROVAL = frozenset({"scheduled", "started", "resumed"})


@dataclass(slots=True)
class Course:
    """How the change went, as its trail tells: the plan that stands and what happened to that plan.

    ``answers`` are the events of votes, ``unfounded`` those that needed a plan or an approval and had none.
    """

    digest: str = ""
    staged: Object = field(default_factory=dict)
    answers: list[Object] = field(default_factory=list)
    approved: Object = field(default_factory=dict)
    scheduled: list[Object] = field(default_factory=list)
    started: Object = field(default_factory=dict)
    unfounded: list[Object] = field(default_factory=list)


def events(bundle: Bundle) -> list[Object]:
    """Return the events of the trail, each of the right shape. Raises NotThere, Malformed."""
    if not bundle.checked:
        found = bundle.entries("trail.jsonl", *EVENT)
        for event in found:
            require_event(event)
        bundle.checked.extend(found)
    return bundle.checked


def require_event(event: Object) -> None:
    """Raise Malformed unless every field of an event is of its kind."""
    for key in ("chain", "actor", "origin", "tag", "outcome", "change"):
        text(event, key)
    number(event, "seq")
    moment(event, "at")
    hash_text(event, "prev")
    hash_text(event, "hash")
    data(event)


def data(event: Object) -> Object:
    """Return the data of an event."""
    return entry(event.get("data"), "data")


def course(trail: Sequence[Object]) -> Course:
    """Follow a trail from its beginning to its end."""
    now = Course()
    for event in trail:
        tag = text(event, "tag")
        if tag == "staged":
            now = Course(digest=hash_text(data(event), "digest"), staged=event, unfounded=now.unfounded)
        elif tag in _VOIDING or (tag == "drift-found" and text(event, "outcome") == "requested"):
            now = Course(unfounded=now.unfounded)
        elif tag in {"voted", "rejected"}:
            now.answers.append(event)
        elif tag == "approved":
            now.approved = event
        if (tag in _NEED_APPROVAL and not now.approved) or (tag in _NEED_A_PLAN and not now.digest):
            now.unfounded.append(event)
        if tag == "scheduled":
            now.scheduled.append(event)
        elif tag == "started" and not now.started:
            now.started = event
    return now


def check_trail(bundle: Bundle) -> Iterator[str]:
    """The trail is one whole chain, about this change, and ends where the manifest says."""
    trail, change, end = events(bundle), bundle.change, bundle.end
    for event in trail:
        if not text(event, "chain") == text(event, "change") == change:
            yield f"event {event['seq']} belongs to another change or chain"
    if broken := broken_at(as_event(event) for event in trail):
        yield broken
    if not trail or end != (len(trail), text(trail[-1], "hash")):
        yield f"it has {len(trail)} events, but not the {end[0]} with the last hash that the manifest names"
    if trail and text(trail[0], "tag") != "requested":
        yield "it does not begin with the request"
    for event in course(trail).unfounded:
        needed = "plan" if event["tag"] in _NEED_A_PLAN else "approval"
        yield f"event {event['seq']} ({event['tag']}) happened while there was no {needed}"


def check_checkpoint(bundle: Bundle) -> Iterator[str]:
    """The checkpoint covers exactly this trail, is signed by a pinned key, and is the one that was sent outside."""
    fields = bundle.entry("checkpoint.json", "checkpoint", "index", "leaf", "path", "signature")
    document, checkpoint = _checkpoint(fields)
    mine = leaf(bundle.change, *bundle.end)
    if canonical(fields.get("leaf")) != mine:
        yield "its leaf is not this change with the count and last hash that the manifest names"
    path, index = texts(fields, "path"), number(fields, "index")
    if not all(map(is_hash, path)) or not verify_inclusion(mine, index, checkpoint.size, path, checkpoint.root):
        yield "the path does not lead from this trail to the root of the checkpoint"
    yield from _signature_problems(bundle, fields, document)
    yield from _outside_problems(bundle.pins, checkpoint, document)


def as_event(fields: Object) -> AuditEvent:
    """Return the event that fields of the right shape say."""
    return AuditEvent(**{**fields, "at": parse_rfc3339(text(fields, "at"))})  # type: ignore[arg-type]


def _checkpoint(fields: Object) -> tuple[bytes, Checkpoint]:
    document = canonical(fields.get("checkpoint"))
    try:
        return document, read_checkpoint(document)
    except ValueError as error:
        raise Malformed(str(error)) from error


def _signature_problems(bundle: Bundle, fields: Object, document: bytes) -> Iterator[str]:
    signature = read_signature(fields.get("signature"))
    signer = bundle.pins.signer(signature, document)
    if signer is None and bundle.signer() is not None:
        yield f"the bundle is signed by a pinned key, but its checkpoint by {signature.key}, which is none"
    at = moment(entry(fields.get("checkpoint"), "checkpoint"), "at")
    for key in {key.public.fingerprint: key for key in (signer, bundle.signer()) if key}.values():
        if key.retired and parse_rfc3339(at) > parse_rfc3339(key.retired):
            yield f"it is of {at}, but the key {key.public.fingerprint} was replaced at {key.retired}"


def _outside_problems(pins: Pins, checkpoint: Checkpoint, document: bytes) -> Iterator[str]:
    if pins.checkpoints is None:
        return
    seq, outside = checkpoint.seq, pins.checkpoints
    if seq not in outside:
        yield f"checkpoint {seq} is not among those that you hold"
    elif outside[seq] != document:
        yield f"checkpoint {seq} is another one than the checkpoint {seq} that you hold: the past was rewritten"
