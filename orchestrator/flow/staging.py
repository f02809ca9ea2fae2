"""Prove a change on the staging inventory: apply, verify, restore, verify that the old state is back, apply again.

Each step is done by shards, in the hosts' zones; a turn reads what they found, and hands out those of the next step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.canonical import Plain, digest, parse_rfc3339, plain, rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.clusters import why_no_drain
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostJob
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.lock import Platform
from orchestrator.domain.parts import why_not_cut
from orchestrator.domain.plan import Content, PatchPlan
from orchestrator.errors import NotFound, OrchestratorError, Refused
from orchestrator.flow import lockdown, proving, reports
from orchestrator.flow.batching import Working
from orchestrator.flow.concluding import Conclusion
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Crew, Held, Stopped
from orchestrator.flow.findings import Findings, end, has_ended, still_open
from orchestrator.flow.looking import looked, looking_job, run_look, scan, told
from orchestrator.flow.planning import make_plan, survey, surveys
from orchestrator.flow.proving import Choice, staging_shards
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.rehearsing import rehearse
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
        attempt = _freeze(change, content, crew)
        staging, production = _hosts(attempt, content, crew)
        _lease(attempt, staging, crew)
        attempt.wait(crew)
        for shards in _steps(attempt, staging, production, crew):
            if left := still_open(shards, crew.ledger):
                return left
        proof = proving.proof_of(attempt, staging, crew)
        plan, predictions = make_plan(attempt, content, proof, production, crew)
    except OrchestratorError as error:
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


def stage_shard(shard: Shard, working: Working) -> None:
    """Do a step of staging with the hosts of a shard; what it found waits in the store for the next turn."""
    crew, change = working.crew, working.change()
    attempt = _begun(change, crew)
    if attempt is None or not attempt.is_mine(shard.name) or has_ended(shard, crew.ledger):
        return
    refused = ""
    try:
        attempt.go_on(crew)
        findings = _ACTS[shard.task](shard, attempt, crew)
    except (Stopped, Held):
        return  # The next turn ends the attempt, or waits until it may go on.
    except OrchestratorError as error:
        findings, refused = Findings(), str(error)
    with crew.ledger.store.begin() as writing:
        end(shard, findings, writing, refused=refused)


def last_content(change_id: str, crew: Crew) -> str:
    """Return the digest of the content that last worked on the staging hosts of a change. Raises NotFound."""
    begun = crew.ledger.store.documents(change_id, "staging")
    name = next((name for name in _names(change_id, crew) if name in begun), "")
    document = begun.get(name)
    if not isinstance(document, dict):
        raise NotFound(f"change {change_id} was never staged.")
    return reports.text(document, "content")


def _names(change_id: str, crew: Crew) -> list[str]:
    """Name the attempts at staging, the newest first."""
    count = sum(event.tag == ChangeEvent.STAGING_STARTED for event in crew.ledger.store.trail(change_id))
    return [f"s{number}" for number in range(count, 0, -1)]


def _freeze(change: ChangeRequest, content: Content, crew: Crew) -> Attempt:
    """Keep a copy of the content; an attempt that goes on must find what it began with."""
    known = _begun(change, crew)
    if known is not None:
        if known.content != content.digest:
            raise Refused("the content (playbooks, roles, variables) was changed while staging. Stage again.")
        return known
    crew.content.freeze(content)
    found = {where: _those(crew.inventory.resolve(_pattern(change, where), where, content.digest)) for where in _WHERE}
    name, now = _names(change.id, crew)[0], crew.now()
    held = sorted({point.host for point in crew.ledger.store.points(change.id) if point.is_held})
    begun = {"content": content.digest, "ahead": held, "at": rfc3339(now), "hosts": found}
    with crew.ledger.store.begin() as writing:
        writing.keep_document(change.id, "staging", name, plain(begun))
    return Attempt(change=change, content=content.digest, name=name, begun_at=now, hosts=found)


def _begun(change: ChangeRequest, crew: Crew) -> Attempt | None:
    """Return the attempt that is under way, where it has begun."""
    if change.state is not ChangeState.STAGING:
        return None
    name = _names(change.id, crew)[0]
    begun = crew.ledger.store.documents(change.id, "staging", [name]).get(name)
    if not isinstance(begun, dict):
        return None
    # An attempt that an earlier program began has neither.
    at = parse_rfc3339(reports.text(begun, "at")) if "at" in begun else crew.now()
    kept = begun.get("hosts")
    hosts = {where: reports.text(kept, where.value) for where in _WHERE} if isinstance(kept, dict) else {}
    return Attempt(change=change, content=reports.text(begun, "content"), name=name, begun_at=at, hosts=hosts)


def _hosts(attempt: Attempt, content: Content, crew: Crew) -> tuple[Sequence[Host], Sequence[Host]]:
    staging, production = (_resolved(attempt, where, crew) for where in _WHERE)
    both = {h.name for h in staging} & {h.name for h in production}
    if both:
        raise Refused(f"{', '.join(sorted(both))}: a host cannot prove a change to itself, it is in both inventories.")
    if wrong := why_not_cut((*staging, *production), content, crew.throttle):
        raise Refused("; ".join(wrong))
    if wrong := why_no_drain((*staging, *production), content):
        raise Refused("; ".join(wrong))
    return staging, production


def _resolved(attempt: Attempt, where: Environment, crew: Crew) -> Sequence[Host]:
    """Return the hosts. Raises Refused where they are not those with which the attempt began."""
    hosts = crew.inventory.resolve(_pattern(attempt.change, where), where, attempt.content)
    if attempt.hosts.get(where, _those(hosts)) != _those(hosts):
        raise Refused(f"the hosts of the {where} inventory were changed while staging. Stage again.")
    return hosts


def _pattern(change: ChangeRequest, where: Environment) -> str:
    return change.spec.staging if where is Environment.STAGING else change.spec.production


def _those(hosts: Sequence[Host]) -> str:
    """Return a digest of what says how the hosts are cut into shards."""
    return digest([[host.name, host.zone, host.cluster] for host in hosts])


def _lease(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> None:
    with crew.ledger.store.begin() as writing:
        hold = timedelta(seconds=JOB_TIMEOUT)
        writing.lease([host.name for host in hosts], attempt.change.id, now=crew.now(), hold=hold)


def _steps(
    attempt: Attempt, staging: Sequence[Host], production: Sequence[Host], crew: Crew
) -> Iterator[tuple[Shard, ...]]:
    """Give the shards of each step; what the shards before have found says what they are."""
    yield _ahead(attempt, staging, crew)
    yield proving.scans(attempt, staging)
    choice = proving.choose(attempt, staging, crew)
    yield proving.downloads(attempt, choice)
    ready = proving.downloaded(attempt, choice, crew)
    yield from proving.rounds(attempt, ready)
    proving.prove(attempt, choice, ready, crew)  # Where nobody passed, nobody has to look at production.
    yield surveys(attempt, production)


def _ahead(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> tuple[Shard, ...]:
    """Return shards of the staging hosts that an earlier staging of this change has patched."""
    begun = crew.ledger.store.documents(attempt.change.id, "staging").get(attempt.name)
    ahead = reports.texts(begun if isinstance(begun, dict) else {}, "ahead")
    names = [host.name for host in hosts if host.name in ahead]
    return staging_shards(attempt, hosts, names, Task.START_OVER, name="before")


def _start_over(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Put staging hosts back that an earlier staging of this change has patched: their points are still held."""
    hosts = _mine(shard, _resolved(attempt, Environment.STAGING, crew))
    plans = tuple(proving.bare_plan(attempt.change, host) for host in hosts)
    batch = proving.batch_of(attempt, plans, hosts, crew, name=shard.name)
    stuck = [f"{r.host}: {r.problem}" for r in put_back(batch, crew, rehearsal=True).values() if r.problem]
    if stuck:
        raise Refused(f"staging hosts could not be put back to where the last staging began: {'; '.join(stuck)}")
    return Findings()


def _scan(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Look at staging hosts."""
    hosts = _mine(shard, _resolved(attempt, Environment.STAGING, crew))
    found = looked(scan(attempt, Environment.STAGING, hosts, {}, crew, name=shard.name), "scan")
    dead: list[Plain] = [f"{host}: {told['problem']}" for host, told in found.hosts.items() if "problem" in told]
    fact = crew.ledger.fact(attempt.change.id, "staging-host-dead", actor=ORCHESTRATOR, data={"hosts": dead})
    return replace(found, facts=(fact,) if dead else ())


def _download(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Fetch the whole transaction of each host."""
    choice = proving.choose(attempt, _resolved(attempt, Environment.STAGING, crew), crew)
    jobs = [job for job in _download_jobs(attempt, choice, crew) if job.host in shard.hosts]
    results = run_look(attempt, Environment.STAGING, "download.yml", jobs, crew, name=shard.name)
    found = looked(results, "download")
    facts = [
        crew.ledger.fact(
            attempt.change.id, "staging-host-failed", actor=ORCHESTRATOR,
            data={"host": host, "reason": reports.text(told, "problem")},
        )
        for host, told in found.hosts.items()
        if "problem" in told
    ]  # fmt: skip
    return replace(found, facts=tuple(facts))


def _download_jobs(attempt: Attempt, choice: Choice, crew: Crew) -> Iterator[HostJob]:
    """Give each host's part: the bytes come to the controller once for each platform."""
    covered: dict[Platform, set[tuple[str, str]]] = {}
    for one in choice.chosen:
        keys = {(i.name, i.version) for i in one.items}
        fetch = not keys <= covered.setdefault(one.platform, set())
        covered[one.platform] |= keys
        fetch_to = str(crew.packages.folder) if fetch else ""
        patch_job = looking_job(attempt.change, one.platform.family, one.items, crew, fetch_to=fetch_to)
        yield told(one.host, patch_job)


def _rehearse(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Take staging hosts through the whole cycle."""
    choice = proving.choose(attempt, _resolved(attempt, Environment.STAGING, crew), crew)
    ready = proving.downloaded(attempt, choice, crew)
    return rehearse(proving.to_rehearse(shard, attempt, ready, crew), attempt, crew)


def _survey(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Look at production, read-only, with what staging has proved."""
    proof = proving.proof_of(attempt, _resolved(attempt, Environment.STAGING, crew), crew)
    hosts = _mine(shard, _resolved(attempt, Environment.PRODUCTION, crew))
    return survey(attempt, proof, hosts, crew, name=shard.name)


def _mine(shard: Shard, hosts: Sequence[Host]) -> list[Host]:
    wanted = set(shard.hosts)
    return [host for host in hosts if host.name in wanted]


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


_WHERE = (Environment.STAGING, Environment.PRODUCTION)
_ACTS: Mapping[Task, Callable[[Shard, Attempt, Crew], Findings]] = {
    Task.START_OVER: _start_over,
    Task.SCAN: _scan,
    Task.DOWNLOAD: _download,
    Task.REHEARSE: _rehearse,
    Task.SURVEY: _survey,
}
#: What shards do for staging.
TASKS = frozenset(_ACTS)
