"""The one door through which a change moves, and through which anything enters the audit trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.domain.audit import SITE, Fact
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.identity import Actor
from orchestrator.domain.lifecycle import ChangeEvent, advance
from orchestrator.ports import Clock, Store, Writing


@dataclass(frozen=True, slots=True)
class Ledger:
    """The store and the clock that stamps what goes into it."""

    store: Store
    clock: Clock

    def record(
        self,
        change: ChangeRequest,
        event: ChangeEvent,
        *,
        actor: Actor,
        data: Mapping[str, Plain] | None = None,
        also: Callable[[Writing], None] | None = None,
    ) -> ChangeRequest:
        """Move the change and return it as it now stands.

        The change, its audit event, the outbox row and whatever ``also`` writes are one transaction.
        """
        move = advance(change, event, at=self.clock.now(), actor=actor, data=data)
        with self.store.begin() as writing:
            writing.move(move)
            if also is not None:
                also(writing)
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
