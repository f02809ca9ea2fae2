"""The one door through which a change moves, and through which anything enters the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from orchestrator.domain.audit import SITE, Fact
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import CARRIED, ChangeRequest
from orchestrator.domain.identity import Actor
from orchestrator.domain.lifecycle import ChangeEvent, advance
from orchestrator.ports import Clock, Store, WorkQueue, Writing


@dataclass(frozen=True, slots=True)
class Ledger:
    """The store, the clock that stamps what goes into it, and where work for machines is put in line."""

    store: Store
    clock: Clock
    queue: WorkQueue | None = None

    def record(
        self,
        change: ChangeRequest,
        event: ChangeEvent,
        *,
        actor: Actor,
        data: Mapping[str, Plain] | None = None,
        also: Callable[[Writing], None] | None = None,
        writing: Writing | None = None,
    ) -> ChangeRequest:
        """Move the change and return it as it now stands.

        The change, its audit event, the outbox row, the machine work that follows and whatever ``also`` writes are one
        transaction: the one that is given, or one of its own.
        """
        move = advance(change, event, at=self.clock.now(), actor=actor, data=data)
        queue = self.queue if move.after.state in CARRIED and change.state not in CARRIED else None
        if queue is not None:
            queue.ready()
        with nullcontext(writing) if writing is not None else self.store.begin() as here:
            here.move(move)
            if also is not None:
                also(here)
            if queue is not None:
                queue.enqueue(move.after, here)
        return move.after

    def fact(
        self, change: str, tag: str, *, actor: Actor, outcome: str = "", data: Mapping[str, Plain] | None = None
    ) -> Fact:
        """Return a fact about a change (or about the site, where ``change`` is empty) that moves nothing."""
        return Fact(
            chain=change or SITE, change=change, at=self.clock.now(), actor=actor.name, origin=actor.origin, tag=tag,
            outcome=outcome, data=dict(data or {}),
        )  # fmt: skip

    def note(
        self, change: str, tag: str, *, actor: Actor, outcome: str = "", data: Mapping[str, Plain] | None = None
    ) -> None:
        """Enter a fact that moves nothing."""
        with self.store.begin() as writing:
            writing.note(self.fact(change, tag, actor=actor, outcome=outcome, data=data))
