"""What happened, who did it, and the chain that shows when the record was edited."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from orchestrator.domain.canonical import Plain, canonical

#: ``prev`` of the first event of a chain.
GENESIS = "0" * 64
#: The chain of everything that belongs to no change: sign-ins, settings, keys.
SITE = "site"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """Something that happened, not yet in a chain. ``origin`` is account and address, ``tag`` a past-tense word."""

    chain: str
    at: datetime
    actor: str
    origin: str
    tag: str
    outcome: str = ""
    change: str = ""
    data: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One line of an audit trail: a fact in its place (``seq`` from 1 without gaps) with the hash of all of it."""

    chain: str
    seq: int
    at: datetime
    actor: str
    origin: str
    tag: str
    outcome: str
    change: str
    data: Mapping[str, Plain]
    prev: str
    hash: str


def seal(fact: Fact, *, seq: int, prev: str) -> AuditEvent:
    """Put a fact in its place in the chain."""
    return AuditEvent(**_body(fact, seq, prev), hash=_hash(_body(fact, seq, prev)))  # type: ignore[arg-type]


def line(event: AuditEvent) -> bytes:
    """Return the event as a line of ``trail.jsonl``, without the newline."""
    return canonical(event)


def broken_at(events: Iterable[AuditEvent]) -> str:
    """Return what is wrong with a chain that begins at ``seq`` 1, or an empty text where it is whole."""
    expected, prev = 1, GENESIS
    for event in events:
        if event.seq != expected:
            return f"event {expected} is missing: event {event.seq} follows event {expected - 1}"
        if event.prev != prev:
            return f"event {event.seq} does not follow the event before it: an event was changed or replaced"
        if event.hash != _hash({k: v for k, v in _fields(event).items() if k != "hash"}):
            return f"event {event.seq} ({event.tag}) was changed after it was written"
        expected, prev = expected + 1, event.hash
    return ""


def _body(fact: Fact, seq: int, prev: str) -> dict[str, object]:
    return {
        "chain": fact.chain, "seq": seq, "at": fact.at, "actor": fact.actor, "origin": fact.origin, "tag": fact.tag,
        "outcome": fact.outcome, "change": fact.change, "data": fact.data, "prev": prev,
    }  # fmt: skip


def _fields(event: AuditEvent) -> dict[str, object]:
    return {name: getattr(event, name) for name in AuditEvent.__slots__}


def _hash(body: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical(body)).hexdigest()
