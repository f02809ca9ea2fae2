"""Look at production, read-only, and fix what exactly will be done there with what staging proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import escape

from orchestrator.domain.admission import Durations, estimate
from orchestrator.domain.baseline import Candidate, LeftOut, leave_out, select
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostJob, HostOutcome, HostResult, Job, JobResult
from orchestrator.domain.lock import LockItem, PatchLock, Platform
from orchestrator.domain.plan import HostPlan, NotIncluded, PatchPlan, PlannedItem, Prediction, Transition
from orchestrator.domain.rollback import PACKAGES, RollbackClass, allowed, best, package_class, why_not_by_itself
from orchestrator.domain.rollout import tier_of, waves
from orchestrator.errors import Refused
from orchestrator.flow import reports
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Crew
from orchestrator.flow.phases import explain, outcome_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What staging found: the lock, what it could not prove, and how long it took."""

    lock: PatchLock
    unproven: tuple[LeftOut, ...]
    durations: tuple[Durations, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A host's place in the plan, or why it has none."""

    host: str
    plan: HostPlan | None = None
    prediction: Prediction | None = None
    reason: str = ""


def make_plan(
    attempt: Attempt, proof: Proof, hosts: Sequence[Host], crew: Crew
) -> tuple[PatchPlan, tuple[Prediction, ...]]:
    """Scan production and fix the plan. Raises Refused where no host is left to patch."""
    change = attempt.change
    scanned = scan_with_lock(attempt, proof, hosts, crew)
    history = crew.ledger.store.durations([host.name for host in hosts], Environment.PRODUCTION)
    found = [_place(change, proof, host, scanned[host.name], history[host.name], crew) for host in hosts]
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
        content=attempt.content,
        waves=waves([p.host for p in plans], change.spec.rollout, clusters, tiers),
        hosts=plans,
        not_included=tuple(NotIncluded(host=p.host, reason=p.reason) for p in found if p.plan is None),
        lock=proof.lock,
        unproven=proof.unproven,
        waivers=change.waivers,
        population=tuple(host.name for host in hosts),
    )
    return plan, tuple(p.prediction for p in found if p.prediction is not None)


def scan_with_lock(attempt: Attempt, proof: Proof, hosts: Sequence[Host], crew: Crew) -> dict[str, HostResult]:
    """Scan production, simulating the lock of each host's platform.

    With one platform in the lock every host is asked about that one at once; with several, the platforms are asked
    for first.
    """
    platforms = [lock.platform for lock in proof.lock.platforms]
    where = Environment.PRODUCTION
    if len(platforms) == 1:
        items = dict.fromkeys((host.name for host in hosts), proof.lock.for_platform(platforms[0]))
        return scan(attempt, where, hosts, items, crew, name="scan-production")
    first = scan(attempt, where, hosts, {}, crew, name="scan-platforms")
    known = {name: reports.scan(r).platform for name, result in first.items() if (r := result.report("scan"))}
    items = {name: proof.lock.for_platform(platform) for name, platform in known.items()}
    again = [host for host in hosts if items.get(host.name)]
    return first | scan(attempt, where, again, items, crew, name="scan-production")


def scan(
    attempt: Attempt,
    environment: Environment,
    hosts: Sequence[Host],
    items: Mapping[str, Sequence[LockItem]],
    crew: Crew,
    *,
    name: str,
) -> dict[str, HostResult]:
    """Run ``scan.yml`` over the hosts, with the lock items that each is to be asked about."""
    if not hosts:
        return {}
    jobs = [told(host, looking_job(attempt.change, host.family, items.get(host.name, ()), crew)) for host in hosts]
    result = run_look(attempt, environment, "scan.yml", jobs, crew, name=name)
    return {host.name: outcome_of(result, host.name) for host in hosts}


def run_look(
    attempt: Attempt, environment: Environment, playbook: str, jobs: Sequence[HostJob], crew: Crew, *, name: str
) -> JobResult:
    """Run a playbook that patches nothing: no step of the journal, at most once for the attempt and the name."""
    job = Job(
        id=f"{attempt.change.id}.{attempt.name}.{name}",
        change=attempt.change.id,
        playbook=playbook,
        environment=environment,
        content=attempt.content.digest,
        hosts=tuple(jobs),
        timeout=JOB_TIMEOUT,
    )
    result = crew.runner.run(job)
    with crew.ledger.store.begin() as writing:
        writing.keep_tasks(job.change, job.id, result.tasks)
    return result


def told(host: Host, patch_job: Mapping[str, Plain]) -> HostJob:
    """Return the host's part in a job."""
    return HostJob(host=host.name, patch_job=patch_job, ansible=host.ansible, throttle=host.throttle)


def looking_job(
    change: ChangeRequest, family: str, items: Sequence[LockItem | Candidate], crew: Crew, *, fetch_to: str = ""
) -> dict[str, Plain]:
    """Return the ``patch_job`` of a playbook that looks or downloads."""
    return {
        "change": change.id,
        "token": {"installation": crew.ledger.store.installation(), "counter": 0},
        "family": family,
        "items": [
            {
                "name": i.name,
                "arch": i.arch,
                "version": i.version,
                "from_version": i.from_version if isinstance(i, Candidate) else "",
                "sha256": i.sha256,
                "filename": i.filename,
                "size": i.size,
            }
            for i in items
        ],
        "exclude": [*change.spec.baseline.exclude],
        "packages_dir": str(crew.packages.folder),
        "fetch_to": fetch_to,
    }


def _place(
    change: ChangeRequest, proof: Proof, host: Host, result: HostResult, history: Sequence[Durations], crew: Crew
) -> Planned:
    """Give one host its place in the plan, or the reason why it has none."""
    report = result.report("scan")
    if result.outcome is not HostOutcome.OK or report is None:
        return Planned(host=host.name, reason=f"could not be looked at when the plan was made: {explain(result)}")
    seen = reports.scan(report)
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


def providers_of(change: ChangeRequest, host: Host) -> tuple[str, ...]:
    """Return which providers take a host's point: as the change says, else the inventory, else packages."""
    return allowed(change.spec.rollback.providers or host.providers or (PACKAGES,), host.statefulness)


def _host_plan(
    change: ChangeRequest,
    host: Host,
    seen: reports.Scan,
    items: tuple[PlannedItem, ...],
    crew: Crew,
    left_out: tuple[LeftOut, ...],
) -> HostPlan:
    providers = providers_of(change, host)
    return HostPlan(
        host=host.name,
        platform=seen.platform,
        items=items,
        left_out=left_out,
        providers=providers,
        rollback_class=_class(change, host, providers, items, seen, crew),
        statefulness=host.statefulness,
        cluster=host.cluster,
        zone=host.zone,
        ansible=host.ansible,
        drain=host.drain,
        variables=host.fingerprint,
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
