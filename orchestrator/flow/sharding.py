"""Shards: hosts of one batch that one worker takes through the phases, beside other shards of the same batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollout import cut
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.flow.batching import Working, work
from orchestrator.flow.crew import Batch, Crew
from orchestrator.ports import Writing

#: A lease outlives the night; the token is what protects the host.
LEASE = timedelta(hours=12)

#: So many hosts go through the phases in one run of Ansible at the most.
SHARD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Hosts of a batch. ``name`` is unique within the change for ever, and part of every job's id."""

    change: str
    name: str
    zone: str
    hosts: tuple[str, ...]


def shards(change: ChangeRequest, plan: PatchPlan, wave: int, number: int) -> tuple[Shard, ...]:
    """Cut a batch of the plan into shards: the same ones whenever it is asked, whatever became of the hosts."""
    batch = next(w for w in plan.waves if w.number == wave).batches[number - 1]
    zones = {planned.host: planned.zone for planned in plan.hosts}
    name = f"l{change.lap}.w{wave}.b{number}"
    pieces = cut(batch, zones, SHARD)
    return tuple(
        Shard(change=change.id, name=name if len(pieces) == 1 else f"{name}.s{at}", zone=zones[hosts[0]], hosts=hosts)
        for at, hosts in enumerate(pieces, start=1)
    )


def lease_all(plan: PatchPlan, change_id: str, crew: Crew, writing: Writing) -> None:
    """Lease every host of the plan, and every cluster that one of them is in. Raises Refused, naming the holder."""
    clusters = {f"cluster:{planned.cluster}" for planned in plan.hosts if planned.cluster}
    writing.lease([*(planned.host for planned in plan.hosts), *sorted(clusters)], change_id, now=crew.now(), hold=LEASE)


def is_open(run: HostRun) -> bool:
    """Tell whether a host still has to be worked on."""
    # What nobody could find out stays unknown: working on such a host again would be guessing. What is on its way back
    # goes back: taken for patched, it could even pass its checks again, as the old version does.
    return not run.status.is_settled and run.status not in (HostStatus.UNKNOWN, HostStatus.RESTORING)


def work_on(shard: Shard, crew: Crew) -> None:
    """Lease the shard's hosts under a new token and take them through the phases; those that are settled are left."""
    working = Working(crew=crew, change_id=shard.change)
    if working.change().state is not ChangeState.RUNNING:
        return
    mine = set(shard.hosts)
    runs = [run for run in working.runs() if run.host in mine and is_open(run)]
    if runs:
        work(working, _lease(working, shard, runs), runs)


def _lease(working: Working, shard: Shard, runs: list[HostRun]) -> Batch:
    """Draw the token here, where it is used: whoever takes the work over draws a newer one, and the hosts refuse us."""
    crew, change, plan, hosts = working.crew, working.change(), working.plan(), working.frozen_hosts()
    names = [run.host for run in runs]
    with crew.ledger.store.begin() as writing:
        token = writing.lease(names, change.id, now=crew.now(), hold=LEASE)
        leased = [run if run.touched else replace(run, status=HostStatus.LEASED) for run in runs]
        writing.keep_runs([replace(run, token=token, updated_at=crew.now()) for run in leased])
    batch = Batch(
        change=change,
        environment=Environment.PRODUCTION,
        content=plan.content.digest,
        name=shard.name,
        plans=tuple(plan.host(name) for name in names),
        hosts={name: hosts[name] for name in names},
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
    )
    # A host refuses tokens older than one it has seen, so the kit has to know each new one.
    crew.kit.write(plan, tuple(hosts.values()), {p.host: batch.patch_job(p) for p in batch.plans})
    return batch
