"""Look at production, read-only, and fix what exactly will be done there with what staging proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from glob import escape

from orchestrator.domain.admission import Durations, estimate
from orchestrator.domain.baseline import LeftOut, leave_out, select
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lock import PatchLock, Platform
from orchestrator.domain.plan import Content, HostPlan, NotIncluded, PatchPlan, PlannedItem, Prediction, Transition
from orchestrator.domain.rollback import PACKAGES, RollbackClass, best, package_class, why_not_by_itself
from orchestrator.domain.rollout import tier_of, waves
from orchestrator.errors import Refused
from orchestrator.flow import reports
from orchestrator.flow.crew import Attempt, Crew
from orchestrator.flow.findings import Findings, found_by
from orchestrator.flow.looking import Look, look_of, looked, scan
from orchestrator.flow.proving import Proof, bare_plan, staging_shards
from orchestrator.flow.sharding import Shard, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A host's place in the plan, or why it has none."""

    host: str
    plan: HostPlan | None = None
    prediction: Prediction | None = None
    reason: str = ""


def make_plan(
    attempt: Attempt, content: Content, proof: Proof, hosts: Sequence[Host], crew: Crew
) -> tuple[PatchPlan, tuple[Prediction, ...]]:
    """Fix the plan by what was found in production. Raises Refused where no host is left to patch."""
    change = attempt.change
    found = _places(attempt, proof, hosts, crew)
    plans = tuple(p.plan for p in found if p.plan is not None)
    if not plans:
        why = "; ".join(f"{p.host}: {p.reason}" for p in found[:5])
        raise Refused(f"there is nothing to patch in production ({why}).")
    clusters = {plan.host: plan.cluster for plan in plans if plan.cluster}
    order = change.spec.rollout.order
    if unknown := [group for group in order if not any(group in host.groups for host in hosts)]:
        raise Refused(f"rollout.order names {', '.join(unknown)}: no host of this change is in such a group.")
    tiers = {host.name: tier_of(host.groups, order) for host in hosts}
    plan = PatchPlan(
        change=change.id,
        spec=change.spec,
        content=content,
        waves=waves([p.host for p in plans], change.spec.rollout, clusters, tiers),
        hosts=plans,
        not_included=tuple(NotIncluded(host=p.host, reason=p.reason) for p in found if p.plan is None),
        lock=proof.lock,
        unproven=proof.unproven,
        waivers=change.waivers,
        population=tuple(host.name for host in hosts),
    )
    return plan, tuple(p.prediction for p in found if p.prediction is not None)


def surveys(attempt: Attempt, hosts: Sequence[Host]) -> tuple[Shard, ...]:
    """Return the shards that look at production."""
    return staging_shards(attempt, hosts, [host.name for host in hosts], Task.SURVEY, name="scan-production")


def survey(attempt: Attempt, proof: Proof, hosts: Sequence[Host], crew: Crew, *, name: str) -> Findings:
    """Scan hosts of production, simulating the lock of each host's platform.

    With one platform in the lock every host is asked about that one at once; with several, the platforms are asked
    for first.
    """
    platforms = [lock.platform for lock in proof.lock.platforms]
    where = Environment.PRODUCTION
    if len(platforms) == 1:
        items = dict.fromkeys((host.name for host in hosts), proof.lock.for_platform(platforms[0]))
        return looked(scan(attempt, where, hosts, items, crew, name=name), "scan")
    first = scan(attempt, where, hosts, {}, crew, name=f"{name}.platforms")
    known = {name: reports.scan(r).platform for name, result in first.items() if (r := result.report("scan"))}
    items = {name: proof.lock.for_platform(platform) for name, platform in known.items()}
    again = [host for host in hosts if items.get(host.name)]
    return looked(first | scan(attempt, where, again, items, crew, name=name), "scan")


def _places(attempt: Attempt, proof: Proof, hosts: Sequence[Host], crew: Crew) -> list[Planned]:
    """Give every host its place, shard by shard: what was found on all of them at once would be a lot to hold."""
    history = crew.ledger.store.durations([host.name for host in hosts], Environment.PRODUCTION)
    places: dict[str, Planned] = {}
    by_name = {host.name: host for host in hosts}
    for shard in surveys(attempt, hosts):
        found = found_by(shard, crew.ledger)
        for name in shard.hosts:
            look = look_of(found[name])
            places[name] = _place(attempt.change, proof, by_name[name], look, history[name], crew)
    return [places[host.name] for host in hosts]


def _place(
    change: ChangeRequest, proof: Proof, host: Host, look: Look, history: Sequence[Durations], crew: Crew
) -> Planned:
    """Give one host its place in the plan, or the reason why it has none."""
    if look.report is None:
        return Planned(host=host.name, reason=f"could not be looked at when the plan was made: {look.problem}")
    seen = reports.scan(look.report)
    if not proof.lock.for_platform(seen.platform):
        return Planned(host=host.name, reason=f"no staging host of its platform, {seen.platform}, proved anything")
    if seen.simulation is None:
        return Planned(host=host.name, reason="scan.yml simulated nothing")
    items, foreign = _items(proof.lock, seen.platform, seen.simulation)
    if foreign or seen.simulation.problems:
        return Planned(host=host.name, reason="; ".join((*seen.simulation.problems, *foreign)))
    if not items:
        return Planned(host=host.name, reason="nothing to do: it is at the locked versions already")
    plan = _host_plan(change, host, seen, items, crew, _left_out(change, proof, seen, crew))
    if plan.rollback_class is RollbackClass.NONE and f"rollback:{host.name}" not in {w.subject for w in change.waivers}:
        return Planned(
            host=host.name,
            reason="no honest way back (class none); to take it all the same: "
            f"orchestrator change waive {change.id} rollback:{host.name} --reason …",
        )
    return Planned(host=host.name, plan=plan, prediction=_predict(change, proof, plan, seen, history))


def _items(
    lock: PatchLock, platform: Platform, simulation: reports.Simulation
) -> tuple[tuple[PlannedItem, ...], list[str]]:
    """Return the items for a host, and what its transaction would need beyond the lock."""
    proven = {(i.name, i.arch): i for i in lock.for_platform(platform)}
    items, foreign = [], []
    wanted = simulation.applicable if simulation.unavailable else simulation.transitions or simulation.applicable
    for change in sorted(wanted, key=lambda t: (t.name, t.arch)):
        item = proven.get((change.name, change.arch))
        if item is None or (change.after and change.after != item.version):
            foreign.append(f"its package manager would also do {change}, which staging has not proved")
            continue
        items.append(
            PlannedItem(
                name=item.name, arch=item.arch, from_version=change.before, version=item.version,
                sha256=item.sha256, filename=item.filename, size=item.size,
            )
        )  # fmt: skip
    return tuple(items), foreign


def _left_out(change: ChangeRequest, proof: Proof, seen: reports.Scan, crew: Crew) -> tuple[LeftOut, ...]:
    """Return every newer version on offer that this change does not install here, and why."""
    selection = select(seen.candidates, change.spec.baseline, now=crew.now())
    proven = {(i.name, i.arch): i for i in proof.lock.for_platform(seen.platform)}
    more = []
    for candidate in selection.chosen:
        item = proven.get((candidate.name, candidate.arch))
        if item is None:
            reason = "unproven: no staging host of this platform passed with it"
        elif item.version != candidate.version:
            reason = f"newer than what staging proved ({item.version})"
        else:
            continue
        more.append(leave_out(candidate, reason))
    return (*selection.left_out, *more)


def _host_plan(
    change: ChangeRequest,
    host: Host,
    seen: reports.Scan,
    items: tuple[PlannedItem, ...],
    crew: Crew,
    left_out: tuple[LeftOut, ...],
) -> HostPlan:
    bare = bare_plan(change, host)
    return replace(
        bare,
        platform=seen.platform,
        items=items,
        left_out=left_out,
        rollback_class=_class(change, host, bare.providers, items, seen, crew),
    )


def _class(
    change: ChangeRequest,
    host: Host,
    providers: Sequence[str],
    items: Sequence[PlannedItem],
    seen: reports.Scan,
    crew: Crew,
) -> RollbackClass:
    """Return the best class among the providers that may be used without a person."""
    names = [item.name for item in items]
    stays = seen.simulation.irremovable if seen.simulation else ()
    classes = []
    for name in providers:
        promised = crew.classes.get(name, RollbackClass.NONE)
        if name == PACKAGES:
            promised = package_class(names, (*change.spec.rollback.no_way_back, *map(escape, stays)))
        if not why_not_by_itself(promised, host.statefulness, out_of_service=False):
            classes.append(promised)
    return best(classes)


def _predict(
    change: ChangeRequest, proof: Proof, plan: HostPlan, seen: reports.Scan, history: Sequence[Durations]
) -> Prediction:
    simulation = seen.simulation
    simulated = simulation is not None and not simulation.unavailable and bool(simulation.transitions)
    planned = tuple(Transition(name=i.name, arch=i.arch, before=i.from_version, after=i.version) for i in plan.items)
    names = {(i.name, i.arch) for i in plan.items}
    advisories = {a for c in seen.candidates if (c.name, c.arch) in names for a in c.advisories}
    return Prediction(
        host=plan.host,
        transitions=simulation.transitions if simulation is not None and simulated else planned,
        source="simulation" if simulated else "lock",
        estimate=estimate(history, proof.durations, change.spec.estimates),
        advisories=tuple(sorted(advisories)),
    )
