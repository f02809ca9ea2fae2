"""The life of a change: one table, one guard per gate, one function that moves.

An event is named for what has happened, so that the same word is the transition, the audit tag, the notification and
the line on the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.audit import Fact
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.change import ChangeState as S
from orchestrator.domain.identity import Actor
from orchestrator.errors import IllegalMove, Refused


class ChangeEvent(StrEnum):
    """What can happen to a change."""

    REQUESTED = "requested"
    STAGING_STARTED = "staging-started"
    STAGED = "staged"
    STAGING_FAILED = "staging-failed"
    WAIVED = "waived"
    VOTED = "voted"
    APPROVED = "approved"
    REJECTED = "rejected"
    VOTE_EXPIRED = "vote-expired"
    SCHEDULED = "scheduled"
    WINDOW_LOST = "window-lost"
    DRIFT_FOUND = "drift-found"
    STARTED = "started"
    PAUSE_REQUESTED = "pause-requested"
    STOP_REQUESTED = "stop-requested"
    ROLLBACK_REQUESTED = "rollback-requested"
    PAUSED = "paused"
    CUTOFF = "cutoff"
    RESUMED = "resumed"
    SUCCEEDED = "succeeded"
    ROLLBACK_STARTED = "rollback-started"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CLOSED = "closed"


E = ChangeEvent

MOVES: Mapping[S, Mapping[ChangeEvent, S]] = {
    S.REQUESTED: {E.STAGING_STARTED: S.STAGING, E.WAIVED: S.REQUESTED, E.CANCELLED: S.CANCELLED},
    S.STAGING: {
        E.STAGED: S.STAGED, E.STAGING_FAILED: S.REQUESTED, E.STOP_REQUESTED: S.STAGING, E.CANCELLED: S.CANCELLED,
    },
    S.STAGED: {
        E.VOTED: S.STAGED, E.APPROVED: S.APPROVED, E.REJECTED: S.REJECTED, E.VOTE_EXPIRED: S.REQUESTED,
        E.WAIVED: S.REQUESTED, E.DRIFT_FOUND: S.REQUESTED, E.STAGING_STARTED: S.STAGING, E.CANCELLED: S.CANCELLED,
    },
    S.APPROVED: {
        E.SCHEDULED: S.SCHEDULED, E.DRIFT_FOUND: S.REQUESTED, E.STAGING_STARTED: S.STAGING, E.CANCELLED: S.CANCELLED,
    },
    S.SCHEDULED: {
        E.STARTED: S.RUNNING, E.WINDOW_LOST: S.APPROVED, E.DRIFT_FOUND: S.REQUESTED,
        E.STAGING_STARTED: S.STAGING, E.CANCELLED: S.CANCELLED,
    },
    S.RUNNING: {
        E.PAUSE_REQUESTED: S.RUNNING, E.STOP_REQUESTED: S.RUNNING, E.ROLLBACK_REQUESTED: S.RUNNING,
        E.PAUSED: S.PAUSED, E.CUTOFF: S.PAUSED, E.DRIFT_FOUND: S.PAUSED, E.SUCCEEDED: S.SUCCEEDED,
        E.ROLLBACK_STARTED: S.ROLLING_BACK, E.FAILED: S.FAILED, E.CANCELLED: S.CANCELLED,
    },
    S.PAUSED: {
        E.RESUMED: S.RUNNING, E.SCHEDULED: S.PAUSED, E.ROLLBACK_STARTED: S.ROLLING_BACK, E.FAILED: S.FAILED,
        E.CANCELLED: S.CANCELLED,
    },
    S.SUCCEEDED: {E.ROLLBACK_STARTED: S.ROLLING_BACK, E.CLOSED: S.CLOSED},
    S.ROLLING_BACK: {E.ROLLED_BACK: S.ROLLED_BACK, E.FAILED: S.FAILED},
    S.ROLLED_BACK: {E.CLOSED: S.CLOSED},
    S.FAILED: {E.ROLLBACK_STARTED: S.ROLLING_BACK, E.CLOSED: S.CLOSED},
    S.CLOSED: {},
    S.REJECTED: {},
    S.CANCELLED: {},
}  # fmt: skip

#: Moves that make every vote worthless: what was voted on is no longer what stands.
VOIDING = frozenset({E.STAGING_STARTED, E.DRIFT_FOUND, E.VOTE_EXPIRED, E.WAIVED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change before and after one event, and the fact that goes into the audit trail."""

    before: ChangeRequest
    after: ChangeRequest
    fact: Fact


def advance(
    change: ChangeRequest, event: ChangeEvent, *, at: datetime, actor: Actor, data: Mapping[str, Plain] | None = None
) -> Move:
    """Return the move that this event makes. Raises IllegalMove or Refused where it may not be made.

    ``change`` already carries the new facts (a plan digest, a vote, a slot); only this function touches ``state`` and
    ``version``.
    """
    allowed = MOVES[change.state]
    if event not in allowed:
        raise IllegalMove(change.id, event, change.state, allowed)
    after = replace(change, state=allowed[event], version=change.version + 1)
    if guard := GUARDS.get(event):
        guard(after, at)
    if event in VOIDING and change.state is not S.RUNNING:
        after = replace(after, plan_digest="", staged_at=None, votes=(), slot=None)
    fact = Fact(
        chain=change.id, change=change.id, at=at, actor=actor.name, origin=actor.origin, tag=event.value,
        outcome=after.state.value, data=dict(data or {}),
    )  # fmt: skip
    return Move(before=change, after=after, fact=fact)


def requested(change: ChangeRequest, *, at: datetime, actor: Actor, data: Mapping[str, Plain]) -> Fact:
    """Return the first fact of a change's trail."""
    return Fact(
        chain=change.id, change=change.id, at=at, actor=actor.name, origin=actor.origin, tag=E.REQUESTED.value,
        outcome=change.state.value, data=dict(data),
    )  # fmt: skip


def _has_a_plan(change: ChangeRequest, _at: datetime) -> None:
    _ = change.digest


def _everyone_agreed(change: ChangeRequest, _at: datetime) -> None:
    barred = frozenset({change.requester})
    missing = change.spec.approval.outstanding(change.votes, digest=change.digest, barred=barred)
    if missing:
        needs = ", ".join(f"{count} of {role}" for role, count in sorted(missing.items()))
        raise Refused(f"change {change.id} still needs {needs}: orchestrator change approve {change.id} --reason …")


def _window_lies_ahead(change: ChangeRequest, at: datetime) -> None:
    _everyone_agreed(change, at)
    if at >= change.reserved.end:
        raise Refused(f"the window of change {change.id} ended at {change.reserved.end:%Y-%m-%d %H:%MZ}.")


def _window_is_open(change: ChangeRequest, at: datetime) -> None:
    _everyone_agreed(change, at)
    slot = change.reserved
    if not slot.is_open(at):
        raise Refused(
            f"change {change.id} may run from {slot.start:%Y-%m-%d %H:%MZ} to {slot.end:%Y-%m-%d %H:%MZ}; "
            f"it is {at:%Y-%m-%d %H:%MZ} now."
        )


def _nothing_drifted(change: ChangeRequest, at: datetime) -> None:
    _window_is_open(change, at)
    if change.drifted:
        raise Refused(
            f"change {change.id} was stopped by drift ({change.drifted}): what would go on is not what was approved. "
            f"Roll back or stop it: orchestrator change rollback {change.id}, or change cancel {change.id}."
        )


GUARDS: Mapping[ChangeEvent, Callable[[ChangeRequest, datetime], None]] = {
    E.STAGED: _has_a_plan,
    E.APPROVED: _everyone_agreed,
    E.SCHEDULED: _window_lies_ahead,
    E.STARTED: _window_is_open,
    E.RESUMED: _nothing_drifted,
}
