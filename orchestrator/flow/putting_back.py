"""Put hosts back to their rollback points; one that fails is named, and the others still go back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.health import HostState
from orchestrator.domain.job import HostOutcome
from orchestrator.domain.journal import Step
from orchestrator.domain.plan import HostPlan
from orchestrator.domain.rollback import RollbackClass, RollbackPoint, why_not_by_itself
from orchestrator.flow import reports
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.draining import drain, undrain, with_hook
from orchestrator.flow.phases import explain, occasion, outcome_of, run_again_if_it_died, subject
from orchestrator.flow.verifying import is_as_before


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of putting one host back: ``problem`` empty means that it is as it was, and that this was checked.

    ``drained``: it was taken out of service, or had been before, and is not back.
    """

    host: str
    problem: str = ""
    state: HostState | None = None
    notes: tuple[str, ...] = ()
    drained: bool = False


def put_back(
    batch: Batch,
    crew: Crew,
    *,
    rehearsal: bool = False,
    drained: Collection[str] = (),
    still_bad: Callable[[Batch], Mapping[str, str]] | None = None,
) -> dict[str, Restored]:
    """Restore every host of the batch, out of service, and put those into service again that are as they were.

    A host that cannot be drained goes back all the same; that is noted, but for those that were ``drained`` before.
    ``still_bad`` looks at the hosts that were restored, and tells of each that is not well what is wrong with it.
    """
    not_out = drain(batch, crew, suffix=".back")
    found = _restore(batch, crew, rehearsal=rehearsal)
    restored = batch.only([host for host, one in found.items() if not one.problem])
    for host, why in still_bad(restored).items() if still_bad else ():
        found[host] = replace(found[host], problem=why)
    well = batch.only([host for host, one in found.items() if not one.problem])
    absent = undrain(well, crew, suffix=".back")
    for host in with_hook(batch).names:
        problem = f"as before, but not back in service: {absent[host]}" if host in absent else found[host].problem
        notes = () if host in drained or host not in not_out else (f"was put back in service, since {not_out[host]}",)
        found[host] = replace(found[host], problem=problem, notes=(*found[host].notes, *notes), drained=bool(problem))
    return found


def _restore(batch: Batch, crew: Crew, *, rehearsal: bool) -> dict[str, Restored]:
    """Restore the hosts from the points that are held for them.

    1. Snapshots first, where the machine may be reverted by itself. 2. ``restore.yml`` on every host: the exact old
    packages where no snapshot did it, and the ``restored`` record with the current token in the host's own journal.
    3. Compare with the state before.
    """
    points = _points(batch, crew)
    notes = _revert_machines(batch, points, crew, rehearsal=rehearsal)
    able = [p.host for p in batch.plans if not _blocked(p, points.get(p.host, ()), notes)]
    again = batch.only(able)
    result = run_again_if_it_died(again, Step.RESTORE, "restore.yml", crew) if able else None
    before = crew.ledger.store.documents(batch.change.id, "state.before", batch.names)
    found = {}
    for plan in batch.plans:
        host = plan.host
        if (blocked := _blocked(plan, points.get(host, ()), notes)) or result is None:
            found[host] = Restored(host=host, problem=blocked, notes=notes.get(host, ()))
            continue
        one = outcome_of(result, host)
        report = one.report("state")
        state = reports.state(report) if report is not None else None
        problem = explain(one) if one.outcome is not HostOutcome.OK else _still_different(before.get(host), state)
        found[host] = Restored(host=host, problem=problem, state=state, notes=notes.get(host, ()))
    _keep(batch, points, found, crew)
    return found


def _points(batch: Batch, crew: Crew) -> dict[str, tuple[RollbackPoint, ...]]:
    held = [p for p in crew.ledger.store.points(batch.change.id, batch.names) if p.is_held]
    return {host: tuple(p for p in held if p.host == host) for host in batch.names}


def _revert_machines(
    batch: Batch, points: dict[str, tuple[RollbackPoint, ...]], crew: Crew, *, rehearsal: bool
) -> dict[str, tuple[str, ...]]:
    """Restore the machine snapshots that may be restored; return what is to be told of each host."""
    notes: dict[str, tuple[str, ...]] = {}
    plans = {plan.host: plan for plan in batch.plans}
    wanted: dict[str, list[RollbackPoint]] = {}
    for host, held in points.items():
        for point in held:
            if point.provider == "packages":
                continue
            # In rehearsal the data of a staging host may go; a directory server is not reverted there either.
            reason = why_not_by_itself(point.rollback_class, plans[host].statefulness, out_of_service=rehearsal)
            if reason:
                notes[host] = (*notes.get(host, ()), f"{point.provider} was not used: {reason}")
            else:
                wanted.setdefault(point.provider, []).append(point)
    for name, these in sorted(wanted.items()):
        subjects = [subject(batch, plans[point.host]) for point in these]
        where = occasion(batch, crew, f"restore-{name}")
        for answer in crew.providers[name].restore(these, subjects, where):
            if not answer.restored:
                notes[answer.host] = (*notes.get(answer.host, ()), f"{name} failed: {answer.problem}")
    return notes


def _blocked(plan: HostPlan, points: Sequence[RollbackPoint], notes: dict[str, tuple[str, ...]]) -> str:
    """Return why no restore of packages can follow: there is no such point, and the snapshot was not restored."""
    if not points:
        return "no rollback point is held for this host"
    by_packages = any(p.provider == "packages" and p.rollback_class is not RollbackClass.NONE for p in points)
    if by_packages or plan.host not in notes:
        return ""
    return "; ".join(notes[plan.host]) + ". A person has to decide."


def _still_different(before: Plain, state: HostState | None) -> str:
    if state is None or not isinstance(before, dict):
        return "restore.yml told nothing of the host's state"
    wrong = is_as_before(reports.kept_state(before), state)
    return f"not as it was: {'; '.join(wrong[:5])}" if wrong else ""


def _keep(batch: Batch, points: dict[str, tuple[RollbackPoint, ...]], found: dict[str, Restored], crew: Crew) -> None:
    with crew.ledger.store.begin() as writing:
        for host, one in found.items():
            if not one.problem:
                writing.keep_points([replace(p, restored_at=crew.now()) for p in points[host]])
            if one.state is not None:
                writing.keep_document(batch.change.id, "state.restored", host, plain(one.state))
