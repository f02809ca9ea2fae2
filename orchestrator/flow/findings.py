"""What shards have found: kept under the shard's name, so that whoever takes the next turn has it from the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.domain.audit import Fact
from orchestrator.domain.canonical import Plain
from orchestrator.errors import Refused
from orchestrator.flow import reports
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.sharding import Shard
from orchestrator.ports import Writing

#: That a shard has ended is kept by itself: what it found may be large, and is read shard by shard.
_ENDED, _FOUND = "ended", "found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a shard has found on each of its hosts, and what the trail is told of that."""

    hosts: Mapping[str, Mapping[str, Plain]] = field(default_factory=dict)
    facts: tuple[Fact, ...] = ()


def end(shard: Shard, findings: Findings, writing: Writing, *, refused: str = "") -> None:
    """Write down that a shard has ended, with what it found, or with the reason why it could not do its work."""
    # As text: a host may report what canonical JSON has no form for.
    found: dict[str, Plain] = {host: json.dumps(told) for host, told in findings.hosts.items()}
    writing.keep_document(shard.change, _FOUND, shard.name, found)
    writing.keep_document(shard.change, _ENDED, shard.name, {"refused": refused})
    for fact in findings.facts:
        writing.note(fact)


def forget(change: str, writing: Writing) -> None:
    """Remove what shards of a staging have found: the plan that came of it is kept, and it may be large."""
    writing.forget_documents(change, _FOUND)


def has_ended(shard: Shard, ledger: Ledger) -> bool:
    """Tell whether it was written down that the shard has ended."""
    return bool(ledger.store.documents(shard.change, _ENDED, [shard.name]))


def still_open(shards: Sequence[Shard], ledger: Ledger) -> tuple[Shard, ...]:
    """Return the shards that have not ended. Raises Refused where all have, and one could not do its work."""
    if not shards:
        return ()
    ended = ledger.store.documents(shards[0].change, _ENDED, [shard.name for shard in shards])
    if left := tuple(shard for shard in shards if shard.name not in ended):
        return left
    told = [reports.text(one, "refused") for one in ended.values() if isinstance(one, dict)]
    if reasons := list(dict.fromkeys(reason for reason in told if reason)):
        raise Refused(" ".join(reasons))
    return ()


def found_by(shard: Shard, ledger: Ledger) -> dict[str, Mapping[str, Plain]]:
    """Return what a shard that has ended found on each of its hosts."""
    kept = ledger.store.documents(shard.change, _FOUND, [shard.name]).get(shard.name)
    return {host: json.loads(str(text)) for host, text in kept.items()} if isinstance(kept, dict) else {}
