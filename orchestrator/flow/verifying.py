"""Is it installed, in effect, and as healthy as before: the judgement on hosts that were patched or put back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.health import CheckKind, HealthReport, HostState, compare, not_in_effect
from orchestrator.domain.plan import HostPlan, Prediction, deviations
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.phases import Patched

_ASKS_THE_SERVICE = (CheckKind.HTTP, CheckKind.TCP, CheckKind.COMMAND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a look at a host says: damage (why it counts as failed), and what is told without being damage."""

    host: str
    damage: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def ask_services(batch: Batch, crew: Crew) -> dict[str, tuple[HealthReport, ...]]:
    """Ask the services themselves, as the change's health checks say; all hosts of the batch at once."""
    found: dict[str, list[HealthReport]] = {host: [] for host in batch.names}
    hosts = [batch.hosts[name] for name in batch.names]
    for check in batch.change.spec.health:
        if check.kind in _ASKS_THE_SERVICE and hosts:
            for report in crew.checks[check.kind].check(hosts, check):
                found[report.host].append(report)
    return {host: tuple(reports) for host, reports in found.items()}


def ask_services_once(batch: Batch, crew: Crew, *, kind: str) -> dict[str, tuple[HealthReport, ...]]:
    """Ask the services before the patch, once for this kind of document: after a crash they may be half way."""
    known = crew.ledger.store.documents(batch.change.id, kind, batch.names)
    asked = ask_services(batch.only([name for name in batch.names if name not in known]), crew)
    with crew.ledger.store.begin() as writing:
        for host, found in asked.items():
            told = [{"check": report.check, "passed": report.passed} for report in found]
            writing.keep_document(batch.change.id, kind, host, plain(told))
    for host in batch.names:
        if host in known:
            was = answered(known[host])
            asked[host] = tuple(HealthReport(host=host, check=name, passed=passed) for name, passed in was.items())
    return asked


def answered(document: Plain) -> dict[str, bool]:
    """Read which checks passed before the patch."""
    rows = [row for row in document if isinstance(row, dict)] if isinstance(document, list) else []
    return {str(row.get("check")): bool(row.get("passed")) for row in rows}


def verify(
    batch: Batch,
    patched: Mapping[str, Patched],
    before: Mapping[str, HostState],
    services_before: Mapping[str, tuple[HealthReport, ...]],
    crew: Crew,
) -> dict[str, Verdict]:
    """Judge patched hosts, and keep what was seen as evidence."""
    services = ask_services(batch, crew)
    predictions = {p.host: p for p in crew.ledger.store.predictions(batch.change.plan_digest, batch.names)}
    verdicts, evidence = {}, {}
    for plan in batch.plans:
        host, one = plan.host, patched[plan.host]
        was = {report.check: report.passed for report in services_before.get(host, ())}
        after = tuple(replace(report, before=was.get(report.check)) for report in services[host])
        if one.after is not None:
            after += _compared(batch, host, before.get(host, HostState()), one.after)
        evidence[host] = after
        verdicts[host] = _verdict(plan, one, after, predictions.get(host))
    with crew.ledger.store.begin() as writing:
        for host, reports in evidence.items():
            writing.keep_document(batch.change.id, "health", host, plain(reports))
            if (state := patched[host].after) is not None:
                writing.keep_document(batch.change.id, "state.after", host, plain(state))
    return verdicts


def is_as_before(before: HostState, now: HostState) -> tuple[str, ...]:
    """Return every package whose version or mark is not what it was; kernels that were added may stay.

    Used to prove that a restore restored: an empty answer is the proof.
    """
    names = sorted(before.packages.keys() | now.packages.keys())
    wrong = [
        f"{name} was {before.packages.get(name, 'absent')}, is {now.packages.get(name, 'absent')}"
        for name in names
        if before.packages.get(name) != now.packages.get(name) and not _is_added_kernel(name, before)
    ]
    marks = sorted((set(before.auto) ^ set(now.auto)) & before.packages.keys())
    wrong += [f"{name} has another auto mark" for name in marks]
    wrong += [f"{name} has another hold" for name in sorted(set(before.held) ^ set(now.held))]
    return tuple(wrong)


def installed_as_planned(
    plan: HostPlan, state: HostState, *, left_out: Collection[tuple[str, str]] = ()
) -> tuple[str, ...]:
    """Return every planned item that is not installed at exactly the locked version, nor was left out on purpose."""
    return tuple(
        f"{item.name} is {state.packages.get(f'{item.name}:{item.arch}', 'absent')}, locked is {item.version}"
        for item in plan.items
        if state.packages.get(f"{item.name}:{item.arch}") != item.version and (item.name, item.arch) not in left_out
    )


def _compared(batch: Batch, host: str, before: HostState, after: HostState) -> tuple[HealthReport, ...]:
    spec = batch.change.spec
    return compare(host, before, after, ignored_units=spec.ignored_units, min_free=spec.min_free)


def _verdict(plan: HostPlan, one: Patched, health: tuple[HealthReport, ...], prediction: Prediction | None) -> Verdict:
    damage, warnings = [], []
    if not one.ok:
        damage.append(one.reason)
    elif one.after is None:
        damage.append("patch.yml told nothing of the host's state afterwards")
    if one.after is not None and one.ok:
        gone = {(t.name, t.arch) for t in one.left_out}
        damage += installed_as_planned(plan, one.after, left_out=gone)
        damage += [f"{check.check}: {check.detail or 'did not pass'}" for check in health if check.counts]
        warnings += [f"left out, it was on offer no more: {t.name} {t.after}" for t in one.left_out]
        warnings += [f"not in effect: {reason}" for reason in not_in_effect(one.after)]
        known = [check for check in health if not check.passed and not check.counts]
        warnings += [f"{check.check} did not pass, nor did it before: {check.detail}" for check in known]
    if prediction is not None and one.actual:
        warnings += deviations(prediction.transitions, one.actual)
    return Verdict(host=plan.host, damage=tuple(damage), warnings=tuple(warnings))


def _is_added_kernel(name: str, before: HostState) -> bool:
    kernels = ("linux-image-", "linux-headers-", "linux-modules-", "kernel", "kernel-core", "kernel-default")
    return name not in before.packages and name.startswith(kernels)
