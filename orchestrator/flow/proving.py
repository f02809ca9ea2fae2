"""What staging has found so far, read from the store: what is to be proved, with which bytes, and who passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.admission import Durations
from orchestrator.domain.baseline import Candidate, LeftOut, select
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.lock import LockItem, PatchLock, Platform, lock_of
from orchestrator.domain.plan import HostPlan, PlannedItem
from orchestrator.domain.rollback import PACKAGES, RollbackClass, allowed
from orchestrator.domain.rollout import RolloutPolicy, waves
from orchestrator.errors import Refused
from orchestrator.flow import reports
from orchestrator.flow.crew import JOB_TIMEOUT, Attempt, Batch, Crew
from orchestrator.flow.findings import found_by
from orchestrator.flow.looking import look_of
from orchestrator.flow.sharding import Shard, Task, by_zone


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """What one staging host's transaction consists of: as the baseline chose it, or as it was downloaded."""

    host: Host
    platform: Platform
    items: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What the baseline chose for each staging host, and what it left out."""

    chosen: tuple[Downloaded, ...]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What staging found: the lock, what it could not prove, and how long it took."""

    lock: PatchLock
    unproven: tuple[LeftOut, ...]
    durations: tuple[Durations, ...]


def staging_shards(
    attempt: Attempt, hosts: Sequence[Host], names: Sequence[str], task: Task, *, name: str = ""
) -> tuple[Shard, ...]:
    """Cut hosts into shards: the same ones whenever it is asked in this attempt."""
    zones = {host.name: host.zone for host in hosts}
    whole = f"{attempt.name}.{name}" if name else attempt.name
    return by_zone(attempt.change.id, zones, names, task, name=whole)


def scans(attempt: Attempt, hosts: Sequence[Host]) -> tuple[Shard, ...]:
    """Return the shards that look at staging."""
    return staging_shards(attempt, hosts, [host.name for host in hosts], Task.SCAN, name="scan-staging")


def choose(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> Choice:
    """Let the baseline choose from what the scans found. Raises Refused where there is nothing to prove."""
    looks = {host: look_of(told) for one in scans(attempt, hosts) for host, told in found_by(one, crew.ledger).items()}
    chosen, left_out, dead = [], {}, []
    for host in hosts:
        look = looks[host.name]
        if look.report is None:
            dead.append(f"{host.name}: {look.problem}")
            continue
        seen = reports.scan(look.report)
        selection = select(seen.candidates, attempt.change.spec.baseline, now=attempt.begun_at)
        left_out.update({(item.name, item.arch): item for item in selection.left_out})
        if selection.chosen:
            chosen.append(Downloaded(host=host, platform=seen.platform, items=selection.chosen))
    if not chosen:
        why = "; ".join(dead) or f"{len(left_out)} newer versions are on offer, and the baseline takes none of them"
        raise Refused(
            f"there is nothing to prove on staging: {why}. Where an earlier change proved these patches and never "
            "reached production, staging is ahead: close that change, or rollback-point release it, and stage again."
        )
    return Choice(chosen=tuple(chosen), left_out=tuple(left_out.values()))


def downloads(attempt: Attempt, choice: Choice) -> tuple[Shard, ...]:
    """Return the shards that download what was chosen."""
    hosts = [one.host for one in choice.chosen]
    return staging_shards(attempt, hosts, [host.name for host in hosts], Task.DOWNLOAD, name="download")


def downloaded(attempt: Attempt, choice: Choice, crew: Crew) -> tuple[Downloaded, ...]:
    """Return what was downloaded. Raises Refused where nothing was, or bytes did not arrive."""
    looks = {
        host: look_of(told) for one in downloads(attempt, choice) for host, told in found_by(one, crew.ledger).items()
    }
    items = {host: reports.candidates(look.report, "items") for host, look in looks.items() if look.report is not None}
    ready = tuple(replace(one, items=items[one.host.name]) for one in choice.chosen if items.get(one.host.name))
    missing = crew.packages.missing({i.sha256 for one in ready for i in one.items if i.sha256})
    if missing:
        names = sorted({i.name for one in ready for i in one.items if i.sha256 in missing})
        raise Refused(f"the bytes of {', '.join(names)} did not arrive on the controller.")
    if not ready:
        raise Refused(f"no staging host could download its patches. See: orchestrator audit trail {attempt.change.id}")
    return ready


def rounds(attempt: Attempt, ready: Sequence[Downloaded]) -> list[tuple[Shard, ...]]:
    """Return the shards of each round of the rehearsal: no two members of one cluster are in one round."""
    hosts = [one.host for one in ready]
    clusters = {host.name: host.cluster for host in hosts if host.cluster}
    batches = [b for wave in waves([host.name for host in hosts], RolloutPolicy(), clusters) for b in wave.batches]
    return [
        staging_shards(attempt, hosts, names, Task.REHEARSE, name="" if number == 1 else f"r{number}")
        for number, names in enumerate(batches, start=1)
    ]


def prove(attempt: Attempt, choice: Choice, ready: Sequence[Downloaded], crew: Crew) -> Proof:
    """Return what the rehearsal proved. Raises Refused where no host passed."""
    passed = _passed(attempt, ready, crew)
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
        unproven=(*unproven, *choice.left_out),
        durations=tuple(passed.values()),
    )


def proof_of(attempt: Attempt, hosts: Sequence[Host], crew: Crew) -> Proof:
    """Return what staging proved, when all its shards have ended."""
    choice = choose(attempt, hosts, crew)
    return prove(attempt, choice, downloaded(attempt, choice, crew), crew)


def to_rehearse(shard: Shard, attempt: Attempt, ready: Sequence[Downloaded], crew: Crew) -> Batch:
    """Return the batch of a shard of the rehearsal."""
    mine = [one for one in ready if one.host.name in shard.hosts]
    plans = tuple(
        replace(
            bare_plan(attempt.change, one.host),
            platform=one.platform,
            items=tuple(_planned(i) for i in one.items),
            rollback_class=_class(one.items),
        )
        for one in mine
    )
    return batch_of(attempt, plans, [one.host for one in mine], crew, name=shard.name)


def batch_of(attempt: Attempt, plans: tuple[HostPlan, ...], hosts: Sequence[Host], crew: Crew, *, name: str) -> Batch:
    """Lease staging hosts under a new token and return them as a batch."""
    change = attempt.change
    hold = timedelta(seconds=JOB_TIMEOUT)
    with crew.ledger.store.begin() as writing:
        token = writing.lease([plan.host for plan in plans], change.id, now=crew.now(), hold=hold)
    return Batch(
        change=change,
        environment=Environment.STAGING,
        content=attempt.content,
        name=name,
        plans=plans,
        hosts={host.name: host for host in hosts},
        token=token,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
        lost_after=crew.lost_after,
    )


def bare_plan(change: ChangeRequest, host: Host) -> HostPlan:
    """Return the plan of a host before it is known what is to be done to it."""
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


def providers_of(change: ChangeRequest, host: Host) -> tuple[str, ...]:
    """Return which providers take a host's point: as the change says, else the inventory, else packages."""
    return allowed(change.spec.rollback.providers or host.providers or (PACKAGES,), host.statefulness)


def _passed(attempt: Attempt, ready: Sequence[Downloaded], crew: Crew) -> dict[str, Durations]:
    """Return how long the cycle took on each host that passed."""
    found = {}
    for shards in rounds(attempt, ready):
        for shard in shards:
            for host, told in found_by(shard, crew.ledger).items():
                if "problem" not in told:
                    found[host] = took(patch=reports.number(told, "patch"), rollback=reports.number(told, "rollback"))
    return found


def took(*, patch: int, rollback: int) -> Durations:
    """Return what a cycle took, in seconds. A host is charged the time of its batch, with the reboots and checks."""
    none = timedelta(0)
    return Durations(patch=timedelta(seconds=patch), reboot=none, verify=none, rollback=timedelta(seconds=rollback))


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


def _class(items: Sequence[Candidate]) -> RollbackClass:
    """Return what a restore on staging can promise: of what cannot be removed again, nothing."""
    return RollbackClass.PACKAGE if all(item.removable for item in items) else RollbackClass.NONE


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
