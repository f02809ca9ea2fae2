"""Notice what is no longer as it was approved, before a run and during it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.domain.canonical import plain
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.drift import vanished, voiding
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.plan import PatchPlan
from orchestrator.errors import InvalidInput, Refused
from orchestrator.flow.crew import Crew


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What differs: ``void`` ends the approval, ``dropped`` hosts leave the change; ``hosts`` are those there now."""

    void: tuple[str, ...]
    dropped: Mapping[str, str]
    hosts: Mapping[str, Host]


def look_for_drift(change: ChangeRequest, plan: PatchPlan, crew: Crew) -> Drift:
    """Compare the site as it is with the plan."""
    try:
        hosts = tuple(crew.inventory.resolve(change.spec.production, Environment.PRODUCTION))
    except InvalidInput:
        hosts = ()  # Nothing matches any more: every planned host has vanished, and each is named.
    found = list(voiding(change, plan, crew.content.read(), hosts))
    if broken := crew.content.frozen_is_whole(plan.content.digest):
        found.append(f"the frozen copy of the content was changed: {broken}")
    return Drift(void=tuple(found), dropped=vanished(plan, hosts), hosts={host.name: host for host in hosts})


def refuse_drift(change: ChangeRequest, crew: Crew) -> Drift:
    """Void the approval where it no longer fits, and say why. Raises Refused; before the run only."""
    plan = crew.ledger.store.plan(change.digest)
    drift = look_for_drift(change, plan, crew)
    if drift.void:
        differences = "; ".join(drift.void)
        if change.state in (ChangeState.STAGED, ChangeState.APPROVED, ChangeState.SCHEDULED):
            data = {"differences": plain(drift.void)}
            crew.ledger.record(change, ChangeEvent.DRIFT_FOUND, actor=ORCHESTRATOR, data=data)
        raise Refused(
            f"what would run is not what was approved: {differences}. The approval is void; "
            f"stage the change again: orchestrator change stage {change.id}"
        )
    return drift
