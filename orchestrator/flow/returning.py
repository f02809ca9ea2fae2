"""Put hosts of a running or ended change back, newest first, and write down what came of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.canonical import digest
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.flow.batching import Working
from orchestrator.flow.crew import Batch
from orchestrator.flow.draining import with_hook
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.sharding import Shard, Task, cut_up
from orchestrator.flow.verifying import answered, ask_services

#: What has come of putting a host back: it is not tried again by itself.
_ENDED = (HostStatus.RESTORED, HostStatus.RESTORE_FAILED)
#: A host that was touched, and has not gone back, stands so.
CHANGED = frozenset(
    {
        HostStatus.PATCHING,
        HostStatus.REBOOTING,
        HostStatus.VERIFYING,
        HostStatus.RESTORING,
        HostStatus.DONE,
        HostStatus.FAILED,
        HostStatus.UNKNOWN,
    }
)


def back_first(change: ChangeRequest, plan: PatchPlan, runs: Sequence[HostRun]) -> tuple[Shard, ...]:
    """Return, of the hosts that have to go back, the shards that go first: those of the batch that was patched last."""
    waiting = [run for run in runs if run.touched and run.status not in _ENDED]
    if not waiting:
        return ()
    newest = max((run.wave, run.batch) for run in waiting)
    hosts = [run.host for run in waiting if (run.wave, run.batch) == newest]
    # The same name when the same hosts are put back again after a crash, and no other's.
    name = f"l{change.lap}.w{newest[0]}.b{newest[1]}.back{change.version}-{digest(sorted(hosts))[:8]}"
    return cut_up(change, plan, hosts, Task.PUT_BACK, name=name)


def return_shard(shard: Shard, working: Working) -> None:
    """Restore the hosts of a shard; those that went back before are left."""
    runs = [run for run in working.runs(shard.hosts) if run.touched and run.status not in _ENDED]
    hosts = working.frozen_hosts() if runs else {}
    gone = [run for run in runs if run.host not in hosts]
    working.settle([replace(r, status=HostStatus.RESTORE_FAILED, reason="not in the inventory") for r in gone])
    if present := [run for run in runs if run.host in hosts]:
        _return(working, present, name=shard.name)


def _return(working: Working, runs: Sequence[HostRun], *, name: str) -> None:
    batch = working.batch(working.change(), [run.host for run in runs], name=name)
    drained = [run.host for run in runs if run.drained and run.status is not HostStatus.RESTORING]
    hooked = with_hook(batch).names
    working.mark(
        [
            replace(run, status=HostStatus.RESTORING, token=batch.token, drained=run.drained or run.host in hooked)
            for run in runs
        ]
    )
    found = put_back(batch, working.crew, drained=drained, still_bad=lambda back: _services_not_back(working, back))
    settled = []
    for run in runs:
        one = found[run.host]
        status = HostStatus.RESTORE_FAILED if one.problem else HostStatus.RESTORED
        told = "; ".join(text for text in (run.reason, f"restore: {one.problem}" if one.problem else "") if text)
        warnings = (*run.warnings, *one.notes)
        settled.append(
            replace(run, status=status, reason=told, warnings=warnings, token=batch.token, drained=one.drained)
        )
    working.settle(settled)


def _services_not_back(working: Working, batch: Batch) -> dict[str, str]:
    """Return the hosts whose services answered before the patch and do not now."""
    before = working.crew.ledger.store.documents(working.change_id, "services.before", batch.names)
    silent = {}
    for host, reports in ask_services(batch, working.crew).items():
        was = answered(before.get(host))
        bad = [r.check for r in reports if not r.passed and was.get(r.check, True)]
        if bad:
            silent[host] = f"{', '.join(bad)} does not pass after the restore"
    return silent
