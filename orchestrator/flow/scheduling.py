"""Give an approved change its place in time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from orchestrator.domain.admission import last_safe_start, why_too_late
from orchestrator.domain.calendar import Slot, occurrence
from orchestrator.domain.canonical import rfc3339
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import Actor
from orchestrator.domain.inventory import Environment
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollback import RollbackClass
from orchestrator.errors import Refused
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.drifting import Drift, refuse_drift
from orchestrator.flow.ledger import Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How the work fits the window: when each host must begin at the latest, and how long all of it may take."""

    slot: Slot
    last_safe_starts: dict[str, datetime]
    whole: timedelta

    @property
    def fits_whole(self) -> bool:
        """Tell whether all batches fit, one after the other; if not, the rest goes on another night."""
        return self.whole <= self.slot.end - self.slot.start


def fit(change: ChangeRequest, plan: PatchPlan, ledger: Ledger) -> Fit:
    """Return how the plan fits the window of its request."""
    slot = occurrence(change.spec.window)
    needed = {p.host: p.needed for p in ledger.store.predictions(plan.digest)}
    whole = sum(
        (max(needed[host] for host in batch) for wave in plan.waves for batch in wave.batches), start=timedelta(0)
    )
    soak = change.spec.rollout.soak if any(wave.canary for wave in plan.waves) else timedelta(0)
    starts = {host: last_safe_start(slot, time) for host, time in needed.items()}
    return Fit(slot=slot, last_safe_starts=starts, whole=whole + soak)


def schedule(change_id: str, actor: Actor, crew: Crew) -> ChangeRequest:
    """Reserve the window. Raises Refused where it has passed, or not even the first host fits in it any more."""
    change = crew.ledger.store.change(change_id)
    plan = crew.ledger.store.plan(change.digest)
    if change.state is not ChangeState.PAUSED:
        drift = refuse_drift(change, crew)
        _prepare_kit(change, plan, drift, crew)
    fitting = fit(change, plan, crew.ledger)
    now = max(crew.now(), fitting.slot.start)
    first = plan.waves[0].batches[0]
    needed = {p.host: p.needed for p in crew.ledger.store.predictions(plan.digest, first)}
    if reasons := [why for host in first if (why := why_too_late(fitting.slot, needed[host], now))]:
        raise Refused(
            f"change {change.id} does not fit its window: {reasons[0]}. Submit it with a longer or later one."
        )
    return crew.ledger.record(
        replace(change, slot=fitting.slot),
        ChangeEvent.SCHEDULED,
        actor=actor,
        data={
            "start": rfc3339(fitting.slot.start),
            "end": rfc3339(fitting.slot.end),
            "fits_whole": fitting.fits_whole,
            "class_none": sum(h.rollback_class is RollbackClass.NONE for h in plan.hosts),
        },
    )


def _prepare_kit(change: ChangeRequest, plan: PatchPlan, drift: Drift, crew: Crew) -> None:
    """Write the rollback kit and try it now, outside of the window; the run only renews its tokens."""
    present = tuple(host for host in plan.hosts if host.host in drift.hosts)
    batch = Batch(
        change=change,
        environment=Environment.PRODUCTION,
        content=plan.content.digest,
        name="kit",
        plans=present,
        hosts=drift.hosts,
        token=0,
        installation=crew.ledger.store.installation(),
        packages_dir=str(crew.packages.folder),
    )
    jobs = {host.host: batch.patch_job(host) for host in present}
    crew.kit.write(plan, drift.hosts, jobs)
