"""Prove a change on the staging inventory: apply, verify, restore, verify that the old state is back, apply again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.admission import Durations
from orchestrator.domain.baseline import Candidate, LeftOut, select
from orchestrator.domain.canonical import plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.clusters import why_no_drain
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostOutcome, JobResult
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.lock import LockItem, Platform, lock_of
from orchestrator.domain.parts import why_not_cut
from orchestrator.domain.plan import HostPlan, PlannedItem
from orchestrator.domain.rollback import RollbackClass
from orchestrator.domain.rollout import RolloutPolicy, waves
from orchestrator.errors import NotFound, OrchestratorError, Refused
from orchestrator.flow import lockdown, reports
from orchestrator.flow.concluding import Conclusion
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Batch, Crew, Stopped
from orchestrator.flow.phases import explain, outcome_of
from orchestrator.flow.planning import Proof, looking_job, make_plan, providers_of, run_look, scan, told
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.rehearsing import rehearse
from orchestrator.flow.room import require_room


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """What one staging host's transaction consists of, bytes included."""

    host: Host
    platform: Platform
    items: tuple[Candidate, ...]


def begin(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Say that staging begins; every vote given before is void. ``prove`` does the work."""
    lockdown.refuse(crew.ledger)
    require_room(crew)
    change = crew.ledger.store.change(change_id)
    return crew.ledger.record(change, ChangeEvent.STAGING_STARTED, actor=actor)


def prove(change_id: str, crew: Crew) -> Conclusion:
    """Carry staging to its end, and go on where it was when the carrier died: every job keeps its id.

    Ends STAGED, CANCELLED where somebody asked for an end, or back at REQUESTED with the reason in the trail.
    """
    change = crew.ledger.store.change(change_id)
    try:
        attempt = _freeze(change, _names(change_id, crew)[0], crew)
        content = attempt.content
        staging, production = _hosts(attempt, crew)
        proof = _prove(attempt, staging, crew)
        attempt.go_on(crew)
        plan, predictions = make_plan(attempt, proof, production, crew)
        attempt.go_on(crew)
        if crew.content.read().digest != content.digest:
            raise Refused("the content (playbooks, roles, variables) was changed while staging. Stage again.")
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
    return Conclusion(
        change=replace(change, plan_digest=plan.digest, staged_at=crew.now()),
        event=ChangeEvent.STAGED,
        data={
            "digest": plan.digest,
            "content": content.digest,
            "hosts": len(plan.hosts),
            "not_included": {n.host: n.reason for n in plan.not_included},
            "items": sum(len(lock.items) for lock in plan.lock.platforms),
        },
    )


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


def _freeze(change: ChangeRequest, name: str, crew: Crew) -> Attempt:
    """Keep a copy of the content; an attempt that goes on after a crash must find what it began with."""
    content = crew.content.read()
    known = crew.ledger.store.documents(change.id, "staging").get(name)
    if isinstance(known, dict) and known.get("content") != content.digest:
        raise Refused("the content was changed while staging was interrupted. Stage again.")
    crew.content.freeze(content)
    if known is None:
        held = sorted({point.host for point in crew.ledger.store.points(change.id) if point.is_held})
        with crew.ledger.store.begin() as writing:
            writing.keep_document(change.id, "staging", name, {"content": content.digest, "ahead": plain(held)})
    return Attempt(change=change, content=content, name=name)


def _hosts(attempt: Attempt, crew: Crew) -> tuple[Sequence[Host], Sequence[Host]]:
    spec, content = attempt.change.spec, attempt.content.digest
    staging = crew.inventory.resolve(spec.staging, Environment.STAGING, content)
    production = crew.inventory.resolve(spec.production, Environment.PRODUCTION, content)
    both = {h.name for h in staging} & {h.name for h in production}
    if both:
        raise Refused(f"{', '.join(sorted(both))}: a host cannot prove a change to itself, it is in both inventories.")
    if wrong := why_not_cut((*staging, *production), attempt.content, crew.throttle):
        raise Refused("; ".join(wrong))
    if wrong := why_no_drain((*staging, *production), attempt.content):
        raise Refused("; ".join(wrong))
    return staging, production


def _prove(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> Proof:
    with crew.ledger.store.begin() as writing:
        hold = timedelta(seconds=JOB_TIMEOUT)
        writing.lease([host.name for host in hosts], attempt.change.id, now=crew.now(), hold=hold)
    _start_from_before(attempt, hosts, crew)
    attempt.go_on(crew)
    chosen, left_out = _choose(attempt, hosts, crew)
    attempt.go_on(crew)
    ready = _download(attempt, chosen, crew)
    passed: dict[str, Durations] = {}
    for batch in _one_member_at_a_time(_batch(attempt, ready, crew)):
        passed |= rehearse(batch, attempt, crew)
    proven: dict[Platform, dict[tuple[str, str], LockItem]] = {}
    for one in ready:
        if one.host.name in passed:
            items = proven.setdefault(one.platform, {})
            for item in one.items:
                known = items.get((item.name, item.arch))
                names = (*(known.proven_on if known else ()), one.host.name)
                items[item.name, item.arch] = _lock_item(item, names)
    _add_waived(attempt.change, ready, proven)
    if not proven:
        raise Refused(f"no staging host passed. See: orchestrator audit trail {attempt.change.id}")
    unproven = [
        LeftOut(name=i.name, arch=i.arch, version=i.version, reason=f"{one.host.name} did not pass with it")
        for one in ready
        for i in one.items
        if (i.name, i.arch) not in proven.get(one.platform, {})
    ]
    return Proof(
        lock=lock_of({platform: items.values() for platform, items in proven.items()}),
        unproven=(*unproven, *left_out),
        durations=tuple(passed.values()),
    )


def _one_member_at_a_time(batch: Batch) -> list[Batch]:
    """Cut the batch so that no two members of one cluster are rehearsed together."""
    clusters = {plan.host: plan.cluster for plan in batch.plans}
    rounds = [names for wave in waves(batch.names, RolloutPolicy(), clusters) for names in wave.batches]
    return [
        batch.only(names, name=batch.name if number == 1 else f"{batch.name}.r{number}")
        for number, names in enumerate(rounds, start=1)
    ]


def _add_waived(
    change: ChangeRequest, ready: Sequence[Downloaded], proven: dict[Platform, dict[tuple[str, str], LockItem]]
) -> None:
    """Take in what staging did not prove and somebody answers for by name (``unproven:PACKAGE``)."""
    waived = {waiver.subject for waiver in change.waivers}
    for one in ready:
        for item in one.items:
            known = proven.setdefault(one.platform, {})
            if f"unproven:{item.name}" in waived and (item.name, item.arch) not in known:
                known[item.name, item.arch] = _lock_item(item, ())
    for platform in [platform for platform, items in proven.items() if not items]:
        del proven[platform]


def _start_from_before(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> None:
    """Put staging hosts back that an earlier staging of this change has patched: their points are still held."""
    change = attempt.change
    begun = crew.ledger.store.documents(change.id, "staging").get(attempt.name)
    ahead = reports.texts(begun if isinstance(begun, dict) else {}, "ahead")
    plans = [_bare_plan(change, host) for host in hosts if host.name in ahead]
    if not plans:
        return
    batch = _batch_of(attempt, tuple(plans), hosts, crew, name=f"{attempt.name}.before")
    stuck = [f"{r.host}: {r.problem}" for r in put_back(batch, crew, rehearsal=True).values() if r.problem]
    if stuck:
        raise Refused(f"staging hosts could not be put back to where the last staging began: {'; '.join(stuck)}")


def _choose(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> tuple[list[Downloaded], list[LeftOut]]:
    """Scan staging and let the baseline choose."""
    change = attempt.change
    scanned = scan(attempt, Environment.STAGING, hosts, {}, crew, name="scan-staging")
    chosen, left_out, dead = [], {}, []
    for host in hosts:
        result = scanned[host.name]
        report = result.report("scan")
        if result.outcome is not HostOutcome.OK or report is None:
            dead.append(f"{host.name}: {explain(result)}")
            continue
        seen = reports.scan(report)
        selection = select(seen.candidates, change.spec.baseline, now=crew.now())
        left_out.update({(item.name, item.arch): item for item in selection.left_out})
        if selection.chosen:
            chosen.append(Downloaded(host=host, platform=seen.platform, items=selection.chosen))
    if dead:
        crew.ledger.note(change.id, "staging-host-dead", actor=ORCHESTRATOR, data={"hosts": [*dead]})
    if not chosen:
        why = "; ".join(dead) or f"{len(left_out)} newer versions are on offer, and the baseline takes none of them"
        raise Refused(
            f"there is nothing to prove on staging: {why}. Where an earlier change proved these patches and never "
            "reached production, staging is ahead: close that change, or rollback-point release it, and stage again."
        )
    return chosen, list(left_out.values())


def _download(attempt: Attempt, chosen: Sequence[Downloaded], crew: Crew) -> list[Downloaded]:
    """Fetch the whole transaction of each host, and its bytes to the controller (once for each platform)."""
    change = attempt.change
    covered: dict[Platform, set[tuple[str, str]]] = {}
    jobs = []
    for one in chosen:
        keys = {(i.name, i.version) for i in one.items}
        fetch = not keys <= covered.setdefault(one.platform, set())
        covered[one.platform] |= keys
        fetch_to = str(crew.packages.folder) if fetch else ""
        jobs.append(told(one.host, looking_job(change, one.platform.family, one.items, crew, fetch_to=fetch_to)))
    result = run_look(attempt, Environment.STAGING, "download.yml", jobs, crew, name="download")
    ready = [replace(one, items=items) for one in chosen if (items := _transaction(one, result, change, crew))]
    missing = crew.packages.missing({i.sha256 for one in ready for i in one.items if i.sha256})
    if missing:
        names = sorted({i.name for one in ready for i in one.items if i.sha256 in missing})
        raise Refused(f"the bytes of {', '.join(names)} did not arrive on the controller.")
    if not ready:
        raise Refused(f"no staging host could download its patches. See: orchestrator audit trail {change.id}")
    return ready


def _transaction(one: Downloaded, result: JobResult, change: ChangeRequest, crew: Crew) -> tuple[Candidate, ...]:
    outcome = outcome_of(result, one.host.name)
    report = outcome.report("download")
    if outcome.outcome is HostOutcome.OK and report is not None:
        return reports.candidates(report, "items")
    data = plain({"host": one.host.name, "reason": explain(outcome)})
    crew.ledger.note(change.id, "staging-host-failed", actor=ORCHESTRATOR, data=data if isinstance(data, dict) else {})
    return ()


def _batch(attempt: Attempt, ready: Sequence[Downloaded], crew: Crew) -> Batch:
    plans = tuple(
        replace(
            _bare_plan(attempt.change, one.host),
            platform=one.platform,
            items=tuple(_planned(i) for i in one.items),
            rollback_class=_class(one.items),
        )
        for one in ready
    )
    return _batch_of(attempt, plans, [one.host for one in ready], crew, name=attempt.name)


def _class(items: Sequence[Candidate]) -> RollbackClass:
    """Return what a restore on staging can promise: of what cannot be removed again, nothing."""
    return RollbackClass.PACKAGE if all(item.removable for item in items) else RollbackClass.NONE


def _batch_of(attempt: Attempt, plans: tuple[HostPlan, ...], hosts: Sequence[Host], crew: Crew, *, name: str) -> Batch:
    change = attempt.change
    hold = timedelta(seconds=JOB_TIMEOUT)
    with crew.ledger.store.begin() as writing:
        token = writing.lease([plan.host for plan in plans], change.id, now=crew.now(), hold=hold)
    return Batch(
        change=change,
        environment=Environment.STAGING,
        content=attempt.content.digest,
        name=name,
        plans=plans,
        hosts={host.name: host for host in hosts},
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
        lost_after=crew.lost_after,
    )


def _bare_plan(change: ChangeRequest, host: Host) -> HostPlan:
    return HostPlan(
        host=host.name,
        platform=Platform(family=host.family, distribution="", release="", arch=""),
        items=(),
        providers=providers_of(change, host),
        statefulness=host.statefulness,
        cluster=host.cluster,
        zone=host.zone,
        ansible=host.ansible,
        drain=host.drain,
        variables=host.fingerprint,
    )


def _planned(item: Candidate) -> PlannedItem:
    return PlannedItem(
        name=item.name, arch=item.arch, from_version=item.from_version, version=item.version,
        sha256=item.sha256, filename=item.filename, size=item.size,
    )  # fmt: skip


def _lock_item(item: Candidate, proven_on: tuple[str, ...]) -> LockItem:
    return LockItem(
        name=item.name, arch=item.arch, version=item.version, sha256=item.sha256, filename=item.filename,
        size=item.size, origin=item.origin, classification=item.classification, severity=item.severity,
        advisories=item.advisories, proven_on=proven_on,
    )  # fmt: skip
