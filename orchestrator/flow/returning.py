"""Put hosts of a running or ended change back, newest first, and write down what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.canonical import digest
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.rollout import OnTrip, budget
from orchestrator.domain.run import HostRun, HostStatus, judge
from orchestrator.flow.batching import Working, answered
from orchestrator.flow.crew import Batch
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.verifying import ask_services


def return_failed(working: Working) -> None:
    """Put failed hosts back alone, unless the budget is spent: then the whole change is judged."""
    change = working.change()
    runs = working.runs()
    if judge(runs, budget(change.spec.rollout, len(runs))) or change.spec.rollout.on_trip is OnTrip.NONE:
        return
    failed = [r for r in runs if r.status in (HostStatus.FAILED, HostStatus.RESTORING) and r.touched]
    return_hosts(working, failed)


def return_hosts(working: Working, runs: Sequence[HostRun]) -> None:
    """Restore the hosts, batch by batch, those patched last first."""
    change, hosts = working.change(), working.frozen_hosts() if runs else {}
    for wave, number in sorted({(run.wave, run.batch) for run in runs}, reverse=True):
        mine = [run for run in runs if (run.wave, run.batch) == (wave, number)]
        gone = [run for run in mine if run.host not in hosts]
        working.settle([replace(r, status=HostStatus.RESTORE_FAILED, reason="not in the inventory") for r in gone])
        present = [run for run in mine if run.host in hosts]
        if present:
            _return_batch(working, change, present, name=_name(change, present))


def _name(change: ChangeRequest, runs: Sequence[HostRun]) -> str:
    """Return a name that is the same when the same hosts are put back again after a crash, and no other's."""
    hosts = digest(sorted(run.host for run in runs))[:8]
    return f"l{change.lap}.w{runs[0].wave}.b{runs[0].batch}.back{change.version}-{hosts}"


def _return_batch(working: Working, change: ChangeRequest, runs: Sequence[HostRun], *, name: str) -> None:
    names, hosts = [run.host for run in runs], working.frozen_hosts()
    batch = working.batch(change, names, hosts, name=name)
    working.mark([replace(run, status=HostStatus.RESTORING, token=batch.token) for run in runs])
    found = put_back(batch, working.crew)
    back = [host for host, one in found.items() if not one.problem]
    silent = _services_not_back(working, batch.only(back))
    settled = []
    for run in runs:
        one = found[run.host]
        problem = one.problem or silent.get(run.host, "")
        status = HostStatus.RESTORE_FAILED if problem else HostStatus.RESTORED
        told = "; ".join(text for text in (run.reason, f"restore: {problem}" if problem else "") if text)
        warnings = (*run.warnings, *one.notes)
        settled.append(replace(run, status=status, reason=told, warnings=warnings, token=batch.token))
    working.settle(settled)


def _services_not_back(working: Working, batch: Batch) -> dict[str, str]:
    """Return the hosts whose services answered before the patch and do not now."""
    before = working.crew.ledger.store.documents(working.change_id, "services.before")
    silent = {}
    for host, reports in ask_services(batch, working.crew).items():
        was = answered(before.get(host))
        bad = [r.check for r in reports if not r.passed and was.get(r.check, True)]
        if bad:
            silent[host] = f"{', '.join(bad)} does not pass after the restore"
    return silent
