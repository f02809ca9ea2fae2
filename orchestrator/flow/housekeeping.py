"""Give back the room that ended changes take; the trail says what went, before it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import Actor
from orchestrator.domain.retention import (
    REMOVED,
    Clearance,
    Holding,
    HoldingKind,
    Past,
    RetentionPolicy,
    clear,
    ended_at,
    named,
    removed,
)
from orchestrator.errors import Refused, Unavailable
from orchestrator.flow import reports
from orchestrator.flow.ledger import Ledger
from orchestrator.ports import Holdings, Store


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was removed: ``freed`` in bytes; ``problems`` say what stayed against the plan."""

    clearance: Clearance
    freed: int
    problems: tuple[str, ...]


def look(ledger: Ledger, holdings: Holdings, policy: RetentionPolicy) -> Clearance:
    """Return what may go now; nothing is touched."""
    changes = {change.id: change for change in ledger.store.changes()}
    kept = [replace(h, needed_by=h.needed_by & changes.keys()) for h in holdings.kept()]
    here = {change for holding in kept for change in holding.needed_by}
    wanting = [c for c in changes.values() if c.id in here or not c.state.has_ended]
    needs = _needs(wanting, ledger.store)
    kept = [replace(h, needed_by=h.needed_by | needs.get((h.kind, h.name), frozenset())) for h in kept]
    past = [_past(change, ledger.store) for change in wanting]
    if staging := frozenset(c.id for c in wanting if c.state is ChangeState.STAGING):
        # What a change needs of these is written down at the end of its staging: until then, all of it may be.
        shared = {HoldingKind.CONTENT, HoldingKind.PACKAGE}
        kept = [replace(h, needed_by=h.needed_by | staging) if h.kind in shared else h for h in kept]
    return clear(kept, past, policy, now=ledger.clock.now())


def tidy(
    actor: Actor,
    ledger: Ledger,
    holdings: Holdings,
    policy: RetentionPolicy,
    *,
    hold: Callable[[str], AbstractContextManager[None]],
) -> Tidied:
    """Remove what may go. ``hold`` keeps others from carrying a change meanwhile.

    1. The site's chain says what is about to go; then, change by change, its own chain names every file of task events.
    2. The files go. A crash in between leaves files that the trail calls removed, and the next time they go.
    """
    clearance = look(ledger, holdings, policy)
    if not clearance.going:
        return Tidied(clearance, 0, ())
    ledger.note("", "housekeeping-started", actor=actor, data=_told(clearance))
    freed, problems, stayed = 0, list[str](), set[str]()
    for change, why in clearance.changes.items():
        try:
            with hold(change):
                _say_what_goes(change, why, actor, ledger)
                freed += sum(holdings.remove(holding) for holding in clearance.of(change))
        except (Refused, Unavailable) as error:
            problems.append(f"{change}: {error}")
            stayed.add(change)
    for holding in clearance.shared:
        try:
            freed += holdings.remove(holding) if not holding.needed_by & stayed else 0
        except (Refused, Unavailable) as error:
            problems.append(str(error))
    done: dict[str, Plain] = {"bytes": freed, "problems": list(problems)}
    ledger.note("", "housekeeping-done", actor=actor, data=done)
    return Tidied(clearance, freed, tuple(problems))


def counts(holdings: Sequence[Holding]) -> dict[str, int]:
    """Return how many things of each kind these are."""
    found = Counter(holding.kind.value for holding in holdings)
    return {kind.value: found[kind.value] for kind in HoldingKind if found[kind.value]}


def _needs(changes: Sequence[ChangeRequest], store: Store) -> dict[tuple[HoldingKind, str], frozenset[str]]:
    needs: dict[tuple[HoldingKind, str], frozenset[str]] = {}
    for change in changes:
        for key in _needed(change, store):
            needs[key] = needs.get(key, frozenset()) | {change.id}
    return needs


def _needed(change: ChangeRequest, store: Store) -> Iterator[tuple[HoldingKind, str]]:
    for begun in store.documents(change.id, "staging").values():
        yield HoldingKind.CONTENT, reports.text(begun if isinstance(begun, dict) else {}, "content")
    if change.plan_digest:
        plan = store.plan(change.plan_digest)
        yield HoldingKind.CONTENT, plan.content.digest
        yield from ((HoldingKind.PACKAGE, digest) for digest in plan.lock.files)


def _past(change: ChangeRequest, store: Store) -> Past:
    points = sum(point.is_held for point in store.points(change.id))
    at = ended_at(store.trail(change.id)) if change.state.has_ended else None
    return Past(change=change.id, ended_at=at, points=points)


def _say_what_goes(change: str, why: str, actor: Actor, ledger: Ledger) -> None:
    trail = ledger.store.trail(change)
    if gone := sorted(named(trail) - removed(trail)):
        fact = ledger.fact(change, REMOVED, actor=actor, data={"removed": list(gone), "reason": why})
        with ledger.store.begin() as writing:
            writing.note(fact)
            writing.forget_tasks(change)


def _told(clearance: Clearance) -> dict[str, Plain]:
    contents: list[Plain] = [h.name for h in clearance.going if h.kind is HoldingKind.CONTENT]
    return {
        "changes": dict(clearance.changes),
        "counts": dict(counts(clearance.going)),
        "bytes": clearance.size,
        "contents": contents,
    }
