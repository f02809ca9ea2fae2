"""Let hosts go when the work on a change ends: rival updaters are given back, the claims end, the points stay."""

from __future__ import annotations

from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.journal import Step
from orchestrator.domain.plan import PatchPlan
from orchestrator.flow.batching import Working
from orchestrator.flow.phases import release
from orchestrator.flow.sharding import Shard, Task, cut_up


def still_held(working: Working, change: ChangeRequest, plan: PatchPlan) -> tuple[Shard, ...]:
    """Return shards of the hosts that were claimed, and have not been let go since the change stands as it does."""
    mine, name = f"{change.id}.l", f"l{change.lap}.end{change.version}"
    steps = [step for step in working.crew.ledger.store.steps(change.id) if step.job.startswith(mine)]
    ended = [step for step in steps if step.step is Step.RELEASE and step.finished_at is not None]
    let_go = {step.host for step in ended if step.job.startswith(f"{change.id}.{name}.")}
    claimed = {step.host for step in steps}
    # Cut before those are left out that have gone: a shard's name is the same after a crash.
    held = cut_up(change, plan, [p.host for p in plan.hosts if p.host in claimed], Task.RELEASE, name=name)
    return tuple(shard for shard in held if not let_go.issuperset(shard.hosts))


def let_go(working: Working, change: ChangeRequest) -> None:
    """Let every host go here and now."""
    for shard in still_held(working, change, working.plan()):
        release_shard(shard, working)


def release_shard(shard: Shard, working: Working) -> None:
    """Let the hosts of a shard go; one that does not answer is named, and keeps nobody waiting."""
    batch = working.batch(working.change(), shard.hosts, name=shard.name)
    for host, result in release(batch, working.crew, keep_point=True).items():
        if result.report("released") is None:
            working.note("host-not-released", data={"host": host, "reason": result.message or "no answer"})
