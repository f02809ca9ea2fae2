"""Wait after the canary wave, and look at it again before the others follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.domain.canonical import plain
from orchestrator.domain.change import ChangeRequest, ChangeState, Wanted
from orchestrator.domain.health import HealthReport, compare
from orchestrator.domain.job import HostOutcome
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollout import Wave
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.flow import lockdown, reports
from orchestrator.flow.batching import Working
from orchestrator.flow.findings import Findings, end, has_ended, still_open
from orchestrator.flow.ledger import Ledger
from orchestrator.flow.phases import explain, look
from orchestrator.flow.sharding import Shard, Task, cut_up
from orchestrator.flow.verifying import ask_services


def soak(working: Working, change: ChangeRequest, plan: PatchPlan, wave: Wave) -> bool:
    """Wait until the canary wave has soaked; False: something was asked for meanwhile, and the caller looks again."""
    canary = _canary(plan, wave)
    if canary is None or "canary" in working.crew.ledger.store.documents(change.id, "soak"):
        return True
    until = _until(change, _patched(working, canary)) or working.crew.now() + change.spec.rollout.soak
    while (left := (until - working.crew.now()).total_seconds()) > 0:
        if working.change().wanted is not Wanted.NOTHING or lockdown.why(working.crew.ledger):
            return False
        working.crew.ledger.clock.sleep(min(1.0, left))
    return True


def soak_left(change: ChangeRequest, ledger: Ledger) -> timedelta | None:
    """Return how long the canaries of a running change still soak; None where nothing does."""
    if change.state is not ChangeState.RUNNING or not change.spec.rollout.soak:
        return None
    canaries = {w.number for w in ledger.store.plan(change.digest).waves if w.canary}
    runs = [run for run in ledger.store.runs(change.id) if run.wave in canaries]
    until = _until(change, [run for run in runs if run.status is HostStatus.DONE])
    if until is None or not all(run.status.is_settled for run in runs):
        return None
    return until - ledger.clock.now() if until > ledger.clock.now() else None


def soaked_first(working: Working, change: ChangeRequest, plan: PatchPlan, wave: Wave) -> tuple[Shard, ...]:
    """Return shards of the canaries that have soaked and were not looked at again; without a soak, nobody looks.

    What has failed after all is seen by the caller, which looks first for hosts that failed.
    """
    canary, ledger = _canary(plan, wave), working.crew.ledger
    if canary is None or "canary" in ledger.store.documents(change.id, "soak"):
        return ()
    # All of the wave: what the shards are must not depend on what they find.
    hosts = [host for batch in canary.batches for host in batch] if change.spec.rollout.soak else []
    if left := still_open(cut_up(change, plan, hosts, Task.SOAKED, name=f"l{change.lap}.soak"), ledger):
        return left
    with ledger.store.begin() as writing:
        well = [run.host for run in _patched(working, canary)]
        writing.keep_document(change.id, "soak", "canary", {"hosts": plain(well)})
    return ()


def look_after_soak(shard: Shard, working: Working) -> None:
    """Look again at canaries that have soaked; one that is not well any more has failed."""
    crew, change = working.crew, working.change()
    if change.state is not ChangeState.RUNNING or has_ended(shard, crew.ledger):
        return
    patched = [run for run in working.runs(shard.hosts) if run.status is HostStatus.DONE]
    told = _looked_at_again(working, change, patched, name=shard.name) if patched else []
    working.settle(told, also=lambda writing: end(shard, Findings(), writing))


def _canary(plan: PatchPlan, wave: Wave) -> Wave | None:
    return next((w for w in plan.waves if w.canary and w.number < wave.number), None)


def _until(change: ChangeRequest, patched: Sequence[HostRun]) -> datetime | None:
    ended = [run.updated_at for run in patched if run.updated_at]
    return max(ended) + change.spec.rollout.soak if ended else None


def _patched(working: Working, canary: Wave) -> list[HostRun]:
    return [run for run in working.runs() if run.wave == canary.number and run.status is HostStatus.DONE]


def _looked_at_again(working: Working, change: ChangeRequest, runs: Sequence[HostRun], *, name: str) -> list[HostRun]:
    """Return the canaries of which there is something to tell: they have failed after all, or have new warnings."""
    crew, names = working.crew, [run.host for run in runs]
    batch = working.batch(change, names, name=name)
    looked, services = look(batch, crew), ask_services(batch, crew)
    before = crew.ledger.store.documents(change.id, "state.after", names)
    soaked = []
    for run in runs:
        result, found = looked[run.host], services[run.host]
        report, earlier, lost = result.report("state"), before.get(run.host), ""
        if result.outcome is not HostOutcome.OK or report is None:
            lost = explain(result)
        else:
            was = reports.kept_state(earlier) if isinstance(earlier, dict) else reports.state(report)
            found = (*found, *compare(run.host, was, reports.state(report), ignored_units=change.spec.ignored_units))
        soaked.append(_soaked(replace(run, token=batch.token), lost, [r for r in found if not r.passed]))
    known = {run.host: run.warnings for run in runs}
    return [run for run in soaked if run.failed or run.warnings != known[run.host]]


def _soaked(run: HostRun, lost: str, found: Sequence[HealthReport]) -> HostRun:
    """Return the canary with what was found, or as failed: ``lost`` is why it could not be looked at."""
    warnings = [f"after the soak: {r.check}: {r.detail}" for r in found if r.advisory]
    reasons = [lost] if lost else []
    reasons += [f"{r.check}: {r.detail or 'did not pass'}" for r in found if not r.advisory]
    run = replace(run, warnings=(*run.warnings, *warnings))
    if not reasons:
        return run
    return replace(run, status=HostStatus.FAILED, failed=True, reason=f"after the soak: {'; '.join(reasons)}")
