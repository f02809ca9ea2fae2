"""Carry a change: turn by turn, until it ends, pauses or needs a person.

A turn does what has to be done before the next decision, and says what follows: a move of the change, or shards of
hosts to be worked on. Whoever carries (``engine/``) does that, and asks again. Every turn may be taken again after a
crash: the journal says what was done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.errors import StaleChange
from orchestrator.flow import execution, staging
from orchestrator.flow.batching import Working
from orchestrator.flow.concluding import Conclusion, conclude
from orchestrator.flow.crew import Crew
from orchestrator.flow.patching import patch_shard
from orchestrator.flow.releasing import release_shard
from orchestrator.flow.returning import return_shard
from orchestrator.flow.sharding import Shard, Task
from orchestrator.flow.soaking import look_after_soak
from orchestrator.flow.stepping import TASKS, stage_shard
from orchestrator.flow.tracing import trace_at_rest

#: What follows a turn: a move, shards that may be worked on side by side, or nothing more for machines to do.
Turn = Conclusion | tuple[Shard, ...] | None


def take_turn(change_id: str, crew: Crew) -> Turn:
    """Do what the change's state asks for up to the next decision, and return what follows."""
    state = crew.ledger.store.change(change_id).state
    if state is ChangeState.STAGING:
        return staging.prove(change_id, crew)
    if state is ChangeState.RUNNING:
        return execution.advance(change_id, crew)
    if state is ChangeState.ROLLING_BACK:
        return execution.put_everything_back(change_id, crew)
    if crew.tracer is not None:
        trace_at_rest(change_id, crew.ledger, crew.tracer)
    return None


def work_on(shard: Shard, crew: Crew) -> None:
    """Do with the hosts of a shard what is to be done; what was done before a crash is found, and left."""
    _ACTS[shard.task](shard, Working(crew=crew, change_id=shard.change))


def carry(change_id: str, crew: Crew) -> ChangeRequest:
    """Carry a change in this thread, shard after shard."""
    while (turn := take_turn(change_id, crew)) is not None:
        if isinstance(turn, Conclusion):
            # A person may have asked for something meanwhile. Everything is in the journal: look again, and go on.
            with suppress(StaleChange):
                conclude(turn, crew.ledger)
        else:
            for shard in turn:
                work_on(shard, crew)
    return crew.ledger.store.change(change_id)


_ACTS: Mapping[Task, Callable[[Shard, Working], None]] = {
    **dict.fromkeys(TASKS, stage_shard),
    Task.PATCH: patch_shard,
    Task.SOAKED: look_after_soak,
    Task.PUT_BACK: return_shard,
    Task.RELEASE: release_shard,
}
