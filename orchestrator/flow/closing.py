"""Close a change: give up its rollback points, say how it ended, leave nothing behind on the hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.canonical import plain
from orchestrator.domain.change import ChangeRequest, ChangeState, CloseCode
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lifecycle import MOVES, ChangeEvent
from orchestrator.domain.lock import Platform
from orchestrator.domain.plan import HostPlan
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.run import HostStatus
from orchestrator.errors import IllegalMove, InvalidInput
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.execution import LEASE
from orchestrator.flow.phases import occasion, release, subject

#: The last point of such a host is never given up by closing: it may be the only way back.
_KEPT = frozenset({HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED})


def close(change_id: str, note: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Release the points of a change that has ended, and close it with ServiceNow's close code."""
    change = crew.ledger.store.change(change_id)
    if ChangeEvent.CLOSED not in MOVES[change.state]:
        raise IllegalMove(change.id, ChangeEvent.CLOSED, change.state, [e.value for e in MOVES[change.state]])
    problems = give_up_points(change, crew)
    code = close_code(change)
    data = {"code": code.value, "note": note, "issues": plain(change.issues), "not_released": plain(problems)}
    return crew.ledger.record(
        replace(change, close_code=code), ChangeEvent.CLOSED, actor=actor, data=data, also=lambda w: w.free(change.id)
    )


def close_code(change: ChangeRequest) -> CloseCode:
    """Return how the change ended."""
    if change.state is not ChangeState.SUCCEEDED:
        return CloseCode.UNSUCCESSFUL
    return CloseCode.SUCCESSFUL_WITH_ISSUES if change.issues else CloseCode.SUCCESSFUL


def give_up_points(change: ChangeRequest, crew: Crew, *, hosts: Sequence[str] = ()) -> list[str]:
    """Release the held points of a change (of these hosts only, where some are named); return what stayed, and why."""
    ended = {run.host: run.status for run in crew.ledger.store.runs(change.id)}
    held = [p for p in crew.ledger.store.points(change.id) if p.is_held and (not hosts or p.host in hosts)]
    kept = [p for p in held if ended.get(p.host) in _KEPT]
    going = [p for p in held if p not in kept]
    problems = [f"{p.host}: the {p.provider} point is kept, the host ended {ended[p.host]}" for p in kept]
    for environment in Environment:
        problems += _release(change, environment, going, crew)
    return problems


def _release(change: ChangeRequest, environment: Environment, points: Sequence[RollbackPoint], crew: Crew) -> list[str]:
    pattern = change.spec.staging if environment is Environment.STAGING else change.spec.production
    try:
        hosts = {host.name: host for host in crew.inventory.resolve(pattern, environment)}
    except InvalidInput as error:
        return [str(error)] if environment is Environment.PRODUCTION and points else []
    mine = [point for point in points if point.host in hosts]
    if not mine:
        return []
    batch = _batch(change, environment, sorted({p.host for p in mine}), hosts, crew)
    problems: list[str] = []
    freed = []
    answers = release(batch, crew, keep_point=False)
    for provider in sorted({p.provider for p in mine}):
        these = [p for p in mine if p.provider == provider]
        subjects = [subject(batch, plan) for plan in batch.plans if plan.host in {p.host for p in these}]
        problems += crew.providers[provider].release(these, subjects, occasion(batch, crew, f"release-{provider}"))
    for point in mine:
        if answers[point.host].report("released") is None:
            problems.append(f"{point.host}: {answers[point.host].message or 'did not answer'}")
        else:
            freed.append(replace(point, released_at=crew.now()))
    with crew.ledger.store.begin() as writing:
        writing.keep_points(freed)
        for point in freed:
            data = plain({"host": point.host, "provider": point.provider})
            fact = crew.ledger.fact(
                change.id, "point-released", actor=ORCHESTRATOR, data=data if isinstance(data, dict) else {}
            )
            writing.note(fact)
    return problems


def _batch(
    change: ChangeRequest, environment: Environment, names: Sequence[str], hosts: dict[str, Host], crew: Crew
) -> Batch:
    plan = crew.ledger.store.plan(change.digest)
    with crew.ledger.store.begin() as writing:
        token = writing.lease(list(names), change.id, now=crew.now(), hold=LEASE)
    known = plan.by_host
    return Batch(
        change=change,
        environment=environment,
        content=plan.content.digest,
        name=f"close{change.version}.{environment.value}",
        plans=tuple(known.get(name) or _bare(hosts[name]) for name in names),
        hosts={name: hosts[name] for name in names},
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
    )


def _bare(host: Host) -> HostPlan:
    """Return the plan of a staging host as far as giving up its point needs one."""
    nothing = Platform(family=host.family, distribution="", release="", arch="")
    return HostPlan(host=host.name, platform=nothing, items=())
