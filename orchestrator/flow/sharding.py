"""Shards: hosts of one zone that one worker works on, beside other shards of the same step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollout import cut
from orchestrator.flow.crew import Crew
from orchestrator.ports import Writing

#: A lease outlives the night; the token is what protects the host.
LEASE = timedelta(hours=12)

#: So many hosts go through the phases in one run of Ansible at the most.
SHARD = 50


class Task(StrEnum):
    """What is done with the hosts of a shard.

    START_OVER, SCAN, DOWNLOAD, REHEARSE and LET_GO are done on staging; SURVEY looks at production before the plan is
    made, and SOAKED at canaries when they have soaked.
    """

    START_OVER = "start-over"
    SCAN = "scan"
    DOWNLOAD = "download"
    REHEARSE = "rehearse"
    LET_GO = "let-go"
    SURVEY = "survey"
    PATCH = "patch"
    SOAKED = "soaked"
    PUT_BACK = "put-back"
    RELEASE = "release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Hosts of one zone. ``name`` is unique within the change for ever, and part of every job's id."""

    change: str
    name: str
    zone: str
    hosts: tuple[str, ...]
    task: Task = Task.PATCH


def shards(change: ChangeRequest, plan: PatchPlan, wave: int, number: int) -> tuple[Shard, ...]:
    """Cut a batch of the plan into shards: the same ones whenever it is asked, whatever became of the hosts."""
    batch = next(w for w in plan.waves if w.number == wave).batches[number - 1]
    return cut_up(change, plan, batch, Task.PATCH, name=f"l{change.lap}.w{wave}.b{number}")


def cut_up(change: ChangeRequest, plan: PatchPlan, hosts: Sequence[str], task: Task, *, name: str) -> tuple[Shard, ...]:
    """Cut hosts of the plan into shards of one zone each."""
    planned = plan.by_host
    return by_zone(change.id, {host: planned[host].zone for host in hosts}, hosts, task, name=name)


def by_zone(change: str, zones: Mapping[str, str], hosts: Sequence[str], task: Task, *, name: str) -> tuple[Shard, ...]:
    """Cut hosts into shards of one zone each; where one is enough, it has the name itself."""
    pieces = cut(hosts, zones, SHARD)
    return tuple(
        Shard(
            change=change,
            name=name if len(pieces) == 1 else f"{name}.s{at}",
            zone=zones[piece[0]],
            hosts=piece,
            task=task,
        )
        for at, piece in enumerate(pieces, start=1)
    )


def lease_all(plan: PatchPlan, change_id: str, crew: Crew, writing: Writing) -> None:
    """Lease every host of the plan, and every cluster that one of them is in. Raises Refused, naming the holder."""
    clusters = {f"cluster:{planned.cluster}" for planned in plan.hosts if planned.cluster}
    writing.lease([*(planned.host for planned in plan.hosts), *sorted(clusters)], change_id, now=crew.now(), hold=LEASE)
