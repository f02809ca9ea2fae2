"""Prove a change on the staging inventory: apply, verify, restore, verify that the old state is back, apply again.

Each step is done by shards, in the hosts' zones; a turn reads what they found, and hands out those of the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace

from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.identity import Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.journal import Step
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.plan import PatchPlan
from orchestrator.errors import OrchestratorError
from orchestrator.flow import lockdown, proving
from orchestrator.flow.attempting import begun_attempt, both_inventories, freeze, hosts_now, lease_staging
from orchestrator.flow.concluding import Conclusion
from orchestrator.flow.crew import Attempt, Crew, Stopped
from orchestrator.flow.findings import has_ended, still_open
from orchestrator.flow.planning import make_plan, surveys
from orchestrator.flow.proving import staging_shards
from orchestrator.flow.room import require_room
from orchestrator.flow.sharding import Shard, Task


def begin(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Say that staging begins; every vote given before is void. ``prove`` does the work."""
    lockdown.refuse(crew.ledger)
    require_room(crew)
    change = crew.ledger.store.change(change_id)
    return crew.ledger.record(change, ChangeEvent.STAGING_STARTED, actor=actor)


def prove(change_id: str, crew: Crew) -> Conclusion | tuple[Shard, ...]:
    """Take staging to the shards that may be worked on now, or to its end.

    Ends STAGED, CANCELLED where somebody asked for an end, or back at REQUESTED with the reason in the trail.
    """
    change = crew.ledger.store.change(change_id)
    try:
        content = crew.content.read()
        attempt = freeze(change, content, crew)
        staging, production = both_inventories(attempt, content, crew)
        lease_staging(attempt, staging, crew)
        attempt.wait(crew)
        for shards in _steps(attempt, staging, production, crew):
            if left := still_open(shards, crew.ledger):
                return left
        proof = proving.proof_of(attempt, staging, crew)
        plan, predictions = make_plan(attempt, content, proof, production, crew)
    except OrchestratorError as error:
        if left := _let_go_first(change, crew):
            return left
        stopped = isinstance(error, Stopped)
        return Conclusion(
            change=crew.ledger.store.change(change_id) if stopped else change,
            event=ChangeEvent.CANCELLED if stopped else ChangeEvent.STAGING_FAILED,
            data={"reason": str(error)},
            free=True,
        )
    with crew.ledger.store.begin() as writing:
        writing.keep_plan(plan, predictions)  # Under its digest: nobody knows of it before the change names it.
    return _staged(replace(change, plan_digest=plan.digest, staged_at=crew.now()), plan)


def _steps(
    attempt: Attempt, staging: Sequence[Host], production: Sequence[Host], crew: Crew
) -> Iterator[tuple[Shard, ...]]:
    """Give the shards of each step; what the shards before have found says what they are."""
    yield _ahead(attempt, staging)
    yield proving.scans(attempt, staging)
    choice = proving.choose(attempt, staging, crew)
    yield proving.downloads(attempt, choice)
    ready = proving.downloaded(attempt, choice, crew)
    yield from proving.rounds(attempt, ready)
    proving.prove(attempt, choice, ready, crew)  # Where nobody passed, nobody has to look at production.
    yield surveys(attempt, production)


def _ahead(attempt: Attempt, hosts: Sequence[Host]) -> tuple[Shard, ...]:
    """Return shards of the staging hosts that an earlier staging of this change has patched."""
    names = [host.name for host in hosts if host.name in attempt.ahead]
    return staging_shards(attempt, hosts, names, Task.START_OVER, name="before")


def _let_go_first(change: ChangeRequest, crew: Crew) -> tuple[Shard, ...]:
    """Return shards of the hosts that a rehearsal has claimed, and was not there any more to let go."""
    if (attempt := begun_attempt(change, crew)) is None:
        return ()
    steps = [s for s in crew.ledger.store.steps(change.id) if attempt.is_mine(s.job.removeprefix(f"{change.id}."))]
    ended = {step.host for step in steps if step.step is Step.RELEASE and step.finished_at is not None}
    claimed = {step.host for step in steps if step.step is Step.PROTECT} - ended
    with suppress(OrchestratorError):  # Where nobody knows any more how to reach them, there is nothing to be done.
        hosts = hosts_now(attempt, Environment.STAGING, crew) if claimed else ()
        names = [host.name for host in hosts if host.name in claimed]
        shards = staging_shards(attempt, hosts, names, Task.LET_GO, name="end")
        return tuple(shard for shard in shards if not has_ended(shard, crew.ledger))
    return ()


def _staged(change: ChangeRequest, plan: PatchPlan) -> Conclusion:
    return Conclusion(
        change=change,
        event=ChangeEvent.STAGED,
        data={
            "digest": plan.digest,
            "content": plan.content.digest,
            "hosts": len(plan.hosts),
            "not_included": {n.host: n.reason for n in plan.not_included},
            "items": sum(len(lock.items) for lock in plan.lock.platforms),
        },
    )
