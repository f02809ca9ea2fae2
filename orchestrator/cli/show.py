"""What a change and its plan look like on a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.text import Text

from orchestrator.cli.output import answer, coloured, facts, say, table
from orchestrator.domain.baseline import OPEN
from orchestrator.domain.calendar import in_zone
from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.change import CARRIED, ChangeRequest, ChangeState, Wanted
from orchestrator.domain.plan import HostPlan, PatchPlan, Prediction
from orchestrator.domain.rollout import Wave
from orchestrator.domain.run import HostRun
from orchestrator.flow.scheduling import Fit

#: Of more hosts than this only those are listed of which there is something to say, and alike ones are told together.
_LISTED = 100
_NEXT = {
    ChangeState.REQUESTED: "orchestrator change stage {id} --yes",
    ChangeState.STAGING: "orchestrator change watch {id}",
    ChangeState.STAGED: "orchestrator change plan {id}, then: change approve {id} --plan DIGEST --reason …",
    ChangeState.APPROVED: "orchestrator change schedule {id} --yes",
    ChangeState.SCHEDULED: "orchestrator change start {id} --yes (when its window is open)",
    ChangeState.RUNNING: "orchestrator change watch {id}",
    ChangeState.ROLLING_BACK: "orchestrator change watch {id}",
    ChangeState.PAUSED: "orchestrator change resume {id} --yes, or: change cancel {id} --roll-back --reason …",
    ChangeState.SUCCEEDED: "orchestrator change close {id} --yes, or: orchestrator change rollback {id} --reason …",
    ChangeState.FAILED: "orchestrator change show {id}; then rollback, or close",
    ChangeState.ROLLED_BACK: "orchestrator change close {id} --yes",
    ChangeState.CANCELLED: "orchestrator rollback-point release {id} --yes (puts back what it did to staging)",
    ChangeState.REJECTED: "orchestrator rollback-point release {id} --yes (puts back what it did to staging)",
    ChangeState.CLOSED: "orchestrator audit export {id}",
}


def next_command(change: ChangeRequest) -> str:
    """Return what to type next, or an empty text where the change has ended."""
    return _NEXT.get(change.state, "").format(id=change.id)


def next_step(change: ChangeRequest) -> None:
    """Say what to type next."""
    if command := next_command(change):
        say(f"Next: {command}", style="dim")


def done(change: ChangeRequest, text: str, *, as_json: bool) -> None:
    """Say what was done and what comes next; for programs, where the change stands."""
    if as_json:
        answer(summary(change))
        return
    say(text)
    next_step(change)


def summary(change: ChangeRequest) -> dict[str, Plain]:
    """Return a change in a few words, for lists in JSON."""
    return {
        "change": change.id,
        "state": change.state.value,
        "kind": change.spec.kind.value,
        "requester": change.requester,
        "title": change.spec.title,
        "plan": change.plan_digest,
        "slot": plain(change.slot),
        "next": next_command(change),
    }


def change(
    change: ChangeRequest, runs: Sequence[HostRun], *, is_carried: bool, stopped: str = "", everyone: bool = False
) -> None:
    """Show where a change stands; with ``everyone``, each host of it however many there are.

    ``stopped`` says why nobody can carry it, where that is known.
    """
    spec, zone = change.spec, change.spec.window.zone
    pairs: list[tuple[str, str | Text]] = [
        ("change", f"{change.id}  {spec.title}"),
        ("state", coloured(change.state)),
        ("kind", f"{spec.kind}, requested by {change.requester} at {in_zone(change.created_at, zone)}"),
        ("hosts", f"{spec.production} in production, proved on {spec.staging} in staging"),
        ("window", f"{spec.window.start} {zone}, {duration(spec.window.duration.total_seconds())}"),
    ]
    if spec.reference:
        pairs.append(("ticket", spec.reference))
    if change.plan_digest:
        pairs.append(("plan", change.plan_digest))
    pairs += [
        ("vote", f"{v.approver} ({', '.join(v.seats)}): {v.decision}, {v.reason} ({in_zone(v.at, zone)})")
        for v in change.votes
    ]
    pairs += [("waiver", f"{w.subject} by {w.by}: {w.reason}") for w in change.waivers]
    if change.state in (ChangeState.STAGING, ChangeState.RUNNING, ChangeState.ROLLING_BACK):
        alone = f"nobody: it stands still. Take it up: orchestrator change resume {change.id} --yes"
        pairs.append(("carried", "by a living process" if is_carried else Text(alone, style="red")))
        if stopped:
            pairs.append(("stopped", Text(stopped, style="red")))
    if asked := stopping(change, runs):
        pairs.append(("asked", Text(asked, style="yellow")))
    if change.drifted:
        pairs.append(("drift", Text(change.drifted, style="red")))
    if change.close_code:
        pairs.append(("closed", change.close_code))
    pairs += [("issue", Text(issue, style="yellow")) for issue in change.issues]
    facts(pairs)
    if runs:
        say()
        hosts(runs, everyone=everyone)
    say()
    if change.state in CARRIED and not is_carried:
        say(f"Next: orchestrator change resume {change.id} --yes", style="dim")
    else:
        next_step(change)


def stopping(change: ChangeRequest, runs: Sequence[HostRun]) -> str:
    """Say what was asked of a run and has not come yet, and which hosts are still at work; else an empty text."""
    if change.wanted is Wanted.NOTHING:
        return ""
    busy = [run.host for run in runs if run.status.is_at_work]
    still = f"still at work: {', '.join(busy[:5])}{' …' if len(busy) > 5 else ''}" if busy else "no host is at work"
    return f"to {change.wanted.replace('-', ' ')}, not stopped yet; {still}"


def hosts(runs: Sequence[HostRun], *, everyone: bool = False) -> None:
    """Show where the hosts stand: of many, those of which there is something to say, and how many others there are."""
    all_of_them = everyone or len(runs) <= _LISTED
    listed = [run for run in runs if all_of_them or not run.is_ordinary or run.account or run.warnings]
    rows = [
        (r.host, f"{r.wave}.{r.batch}", coloured(r.status), "; ".join((r.account, *r.warnings)).strip("; "))
        for r in listed
    ]
    if rows:
        table(("host", "wave", "status", "what there is to say"), rows)
    others = Counter(run.status for run in runs)
    others.subtract(run.status for run in listed)
    if told := ", ".join(f"{count} {status}" for status, count in sorted(others.items()) if count):
        say(
            f"{'And beside these: ' if rows else ''}{told}. Every host: orchestrator change show {runs[0].change} --all"
        )


def plan(change: ChangeRequest, plan: PatchPlan, predictions: Sequence[Prediction], fitting: Fit) -> None:
    """Show the plan as approvers decide on it."""
    spec, content = change.spec, plan.content
    versions = _versions(content.versions_of(""))
    facts(
        [
            ("plan", Text(plan.digest, style="bold cyan")),
            ("change", f"{change.id}  {spec.title}"),
            ("reason", spec.reason or "-"),
            ("rollout", _rollout(plan)),
            (
                "reboot",
                f"{spec.reboot}; services on replaced files are {'restarted' if spec.restart_services else 'left'}",
            ),
            ("checks", ", ".join(["units", "failed units", "ports", *(c.name for c in spec.health)])),
            ("content", f"{content.digest[:12]}, {len(content.files)} files, {versions}"),
            *_other_ansibles(plan),
            *_drains(plan),
        ]
    )
    say()
    waves(plan)
    say()
    _host_table(plan, {p.host: p for p in predictions}, fitting, spec.window.zone)
    _items(plan)
    _left_out(plan)
    fit(change, fitting)


def waves(plan: PatchPlan) -> None:
    """Show the waves and batches."""
    for wave in plan.waves:
        kind = "canary" if wave.canary else "wave"
        if len(wave.hosts) <= _LISTED:
            say(f"{kind} {wave.number}: " + " then ".join("+".join(batch) for batch in wave.batches))
        else:
            say(f"{kind} {wave.number}: {few(wave.hosts)}, in {_batches(wave)}")


def _batches(wave: Wave) -> str:
    sizes = {len(batch) for batch in wave.batches}
    if len(wave.batches) == 1:
        return "one batch"
    each = f"{min(sizes)} to {max(sizes)}" if len(sizes) > 1 else f"{max(sizes)}"
    return f"{len(wave.batches)} batches of {each} hosts"


def fit(change: ChangeRequest, fitting: Fit) -> None:
    """Show how the plan fits its window."""
    zone, slot = change.spec.window.zone, fitting.slot
    say(f"window  {in_zone(slot.start, zone)} to {in_zone(slot.end, zone)}, cutoff {in_zone(slot.cutoff, zone)}")
    needs = duration(fitting.whole.total_seconds())
    if fitting.fits_whole:
        say(f"        all batches one after the other need at most {needs}, rollback included")
    else:
        say(f"        all batches need up to {needs}: what does not fit is left for a later window", style="yellow")


def _host_table(plan: PatchPlan, predictions: Mapping[str, Prediction], fitting: Fit, zone: str) -> None:
    names: dict[tuple[str, ...], list[str]] = {}
    for host in plan.hosts:
        prediction = predictions[host.host]
        told = (
            str(host.platform),
            str(len(host.items)),
            f"{host.rollback_class} ({'+'.join(host.providers)})",
            f"{int(prediction.needed.total_seconds())} s ({prediction.estimate.source})",
            in_zone(fitting.last_safe_starts[host.host], zone),
            prediction.source,
        )
        names.setdefault(told if len(plan.hosts) > _LISTED else (*told, host.host), []).append(host.host)
    rows = [(few(alike), *told[:6]) for told, alike in names.items()]
    table(("host", "platform", "patches", "way back", "time to reserve", "last safe start", "predicted by"), rows)


def _items(plan: PatchPlan) -> None:
    say()
    spread: Counter[tuple[str, str, str]] = Counter(
        (item.name, item.from_version, item.version) for host in plan.hosts for item in host.items
    )
    known = {(i.name, i.version): i for lock in plan.lock.platforms for i in lock.items}
    rows = []
    for (name, before, after), count in sorted(spread.items()):
        item = known.get((name, after))
        kind = f"{item.classification} {item.severity}".strip() if item else ""
        told = ", ".join(item.advisories) if item else ""
        rows.append((name, before or "(new)", after, str(count), kind, told, ", ".join(item.proven_on) if item else ""))
    table(("package", "from", "to", "hosts", "kind", "advisories", "proven on"), rows)


def _left_out(plan: PatchPlan) -> None:
    say()
    for host in plan.not_included:
        say(f"not included: {host.host}: {host.reason}", style="yellow")
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for planned in plan.hosts:
        for item in planned.left_out:
            reasons.setdefault((item.name, item.version, item.reason), []).append(planned.host)
    for (name, version, reason), where in sorted(reasons.items(), key=lambda pair: (OPEN not in pair[0][2], pair[0])):
        say(f"not patched: {name} {version} on {few(where)}: {reason}", style="yellow")
    for waiver in plan.waivers:
        say(f"waived by {waiver.by}: {waiver.subject}: {waiver.reason}", style="yellow")


def _rollout(plan: PatchPlan) -> str:
    rollout = plan.spec.rollout
    soak = f", soak {duration(rollout.soak.total_seconds())}" if rollout.soak else ""
    single = f", one at a time per {rollout.one_at_a_time_per}" if rollout.one_at_a_time_per else ""
    tiers = f", tier by tier ({', '.join(rollout.order)})" if rollout.order else ""
    return (
        f"{len(plan.hosts)} hosts in {len(plan.waves)} waves{tiers}{soak}{single}; {rollout.max_failures} may fail, "
        f"then: on_trip {rollout.on_trip}; {rollout.max_unfit} may be unfit"
    )


def _drains(plan: PatchPlan) -> list[tuple[str, str]]:
    """Tell which hosts are taken out of service for the work, and by which role."""
    users: dict[str, list[str]] = {}
    for host in plan.hosts:
        if host.drain:
            users.setdefault(host.drain, []).append(host.host)
    return [("drained", f"{few(names)} by {role}") for role, names in sorted(users.items())]


def _versions(versions: Mapping[str, str]) -> str:
    rest = {name: version for name, version in versions.items() if name != "ansible-core"}
    return f"ansible-core {versions.get('ansible-core', '?')} and {collections(rest)}"


def _other_ansibles(plan: PatchPlan) -> list[tuple[str, str]]:
    """Tell of each Ansible installation beside the controller's own: its versions, and the hosts that need it."""
    users: dict[str, list[str]] = {}
    for host in plan.hosts:
        users.setdefault(host.ansible, []).append(host.host)
    return [
        (f"ansible {name}", f"{_versions(plan.content.versions_of(name))}, for {few(users[name])}")
        for name in sorted(users)
        if name
    ]


def collections(versions: Mapping[str, str]) -> str:
    """Return in words what there is beside ansible-core: by name where it is little."""
    if len(versions) > 3:
        return f"{len(versions)} collections and packages"
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) or "no collections"


def duration(seconds: float) -> str:
    """Return a time in words, such as ``2 h 5 min``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min"), (rest, "s")) if n) or "0 s"


def few(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def host_items(host: HostPlan) -> str:
    """Return a host's patches in one line."""
    return ", ".join(f"{item.name} {item.version}" for item in host.items)
