"""Close a change: give up its rollback points, say how it ended, leave nothing behind on the hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.change import ChangeRequest, ChangeState, CloseCode
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lifecycle import MOVES, ChangeEvent
from orchestrator.domain.lock import Platform
from orchestrator.domain.plan import HostPlan
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.run import HostStatus
from orchestrator.errors import IllegalMove, InvalidInput, Refused
from orchestrator.flow.attempting import last_content
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.phases import occasion, release, subject
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.sharding import LEASE

#: The last point of such a host is never given up by closing: it may be the only way back.
_KEPT = frozenset({HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED})
_UNDER_WAY = frozenset(
    {ChangeState.STAGING, ChangeState.RUNNING, ChangeState.PAUSED, ChangeState.ROLLING_BACK, ChangeState.SCHEDULED}
)
_REACHED_PRODUCTION = frozenset({ChangeState.SUCCEEDED, ChangeState.CLOSED})


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


def give_up_points(change: ChangeRequest, crew: Crew, *, hosts: Sequence[str] = (), expired: bool = False) -> list[str]:
    """Release the held points of a change; return what stayed, and why.

    Where hosts are named, only theirs; with ``expired``, only those of hosts whose points have all expired.
    """
    if change.state in _UNDER_WAY:
        raise Refused(f"change {change.id} is {change.state}: its points may still be needed. End it first.")
    ended = {run.host: run.status for run in crew.ledger.store.runs(change.id)}
    held = [p for p in crew.ledger.store.points(change.id) if p.is_held and (not hosts or p.host in hosts)]
    if expired:
        lasting = {p.host for p in held if p.expires_at > crew.now()}
        held = [p for p in held if p.host not in lasting]
    # The last way back goes only where somebody names the host.
    kept = [p for p in held if ended.get(p.host) in _KEPT and p.host not in hosts]
    going = [p for p in held if p not in kept]
    problems = [f"{p.host}: the {p.provider} point is kept, the host ended {ended[p.host]}" for p in kept]
    present = {environment: _present(change, environment, crew) for environment in Environment}
    there = {name for hosts in present.values() for name in hosts}
    problems += [
        f"{p.host}: no longer in the inventory, its {p.provider} point stays" for p in going if p.host not in there
    ]
    for environment, found in present.items():
        problems += _release(change, environment, going, found, crew)
    with crew.ledger.store.begin() as writing:
        writing.free(change.id)
    return problems


def expired_points(crew: Crew) -> dict[str, list[RollbackPoint]]:
    """Return the points that are held beyond their time, by change; those of a change under way may be needed."""
    found: dict[str, list[RollbackPoint]] = {}
    for point in crew.ledger.store.points():
        if point.expires_at <= crew.now():
            found.setdefault(point.change, []).append(point)
    return {c: points for c, points in found.items() if crew.ledger.store.change(c).state not in _UNDER_WAY}


def _release(
    change: ChangeRequest, environment: Environment, points: Sequence[RollbackPoint], hosts: dict[str, Host], crew: Crew
) -> list[str]:
    mine = [point for point in points if point.host in hosts]
    if not mine:
        return []
    batch = _batch(change, environment, sorted({p.host for p in mine}), hosts, crew)
    problems: dict[str, str] = {}
    if environment is Environment.STAGING and change.state not in _REACHED_PRODUCTION:
        # Staging would be ahead of production, and the next change would find nothing to prove there.
        problems |= {b.host: b.problem for b in put_back(batch, crew, rehearsal=True).values() if b.problem}
    problems |= {
        host: result.message or "did not answer"
        for host, result in release(batch, crew, keep_point=False).items()
        if result.report("released") is None
    }
    for provider in sorted({p.provider for p in mine}):
        these = [p for p in mine if p.provider == provider]
        subjects = [subject(batch, plan) for plan in batch.only([p.host for p in these]).plans]
        problems |= crew.providers[provider].release(these, subjects, occasion(batch, crew, f"release-{provider}"))
    _mark_released(change, [p for p in mine if p.host not in problems], crew)
    return [f"{host}: {why}" for host, why in problems.items()]


def _mark_released(change: ChangeRequest, points: Sequence[RollbackPoint], crew: Crew) -> None:
    with crew.ledger.store.begin() as writing:
        writing.keep_points([replace(point, released_at=crew.now()) for point in points])
        for point in points:
            data: dict[str, Plain] = {"host": point.host, "provider": point.provider}
            writing.note(crew.ledger.fact(change.id, "point-released", actor=ORCHESTRATOR, data=data))


def _present(change: ChangeRequest, environment: Environment, crew: Crew) -> dict[str, Host]:
    """Return the hosts of the change that the inventory still has."""
    pattern = change.spec.staging if environment is Environment.STAGING else change.spec.production
    try:
        return {host.name: host for host in crew.inventory.resolve(pattern, environment)}
    except InvalidInput:
        return {}  # Nothing matches any more: each point of these hosts is named below.


def _batch(
    change: ChangeRequest, environment: Environment, names: Sequence[str], hosts: dict[str, Host], crew: Crew
) -> Batch:
    content, known = _proved(change, crew)
    with crew.ledger.store.begin() as writing:
        token = writing.lease(list(names), change.id, now=crew.now(), hold=LEASE)
    return Batch(
        change=change,
        environment=environment,
        content=content,
        # Each time anew, and harmless to repeat: a host that did not answer then may do so now.
        name=f"close{change.version}.{environment.value}.{token}",
        plans=tuple(known.get(name) or _bare(hosts[name]) for name in names),
        hosts={name: hosts[name] for name in names},
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
    )


def _proved(change: ChangeRequest, crew: Crew) -> tuple[str, Mapping[str, HostPlan]]:
    """Return the digest of the content that worked on the hosts, and what was planned for each.

    A change whose plan was voided has none any more; then only staging hosts were touched.
    """
    if change.plan_digest:
        plan = crew.ledger.store.plan(change.plan_digest)
        return plan.content.digest, plan.by_host
    return last_content(change.id, crew), {}


def _bare(host: Host) -> HostPlan:
    """Return the plan of a staging host as far as giving up its point needs one."""
    nothing = Platform(family=host.family, distribution="", release="", arch="")
    return HostPlan(host=host.name, platform=nothing, items=(), ansible=host.ansible, drain=host.drain)
