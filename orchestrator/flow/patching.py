"""Patch a shard: lease its hosts under a new token, and take those that are not settled through the phases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.domain.change import ChangeState, Wanted
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.flow import lockdown
from orchestrator.flow.batching import Working, work
from orchestrator.flow.crew import Batch
from orchestrator.flow.sharding import LEASE, Shard

#: A host that stands so still has to be worked on. What nobody could find out stays unknown: working on such a host
#: again would be guessing. What is on its way back goes back: taken for patched, it could even pass its checks again,
#: as the old version does.
OPEN = frozenset(
    status
    for status in HostStatus
    if not status.is_settled and status not in (HostStatus.UNKNOWN, HostStatus.RESTORING)
)


def patch_shard(shard: Shard, working: Working) -> None:
    """Patch the hosts of a shard; those that are settled are left."""
    change = working.change()
    if change.state is not ChangeState.RUNNING:
        return
    runs = [run for run in working.runs(shard.hosts) if run.status in OPEN]
    if change.wanted is not Wanted.NOTHING or lockdown.why(working.crew.ledger):
        # Shards stand in line: what has not begun when somebody asks for an end does not begin.
        # One that was drained and never touched has to go back into service.
        runs = [run for run in runs if run.touched or run.drained]
    if runs:
        work(working, _lease(working, shard, runs), runs)


def _lease(working: Working, shard: Shard, runs: Sequence[HostRun]) -> Batch:
    """Draw the token here, where it is used: whoever takes the work over draws a newer one, and the hosts refuse us."""
    crew, change = working.crew, working.change()
    names = [run.host for run in runs]
    with crew.ledger.store.begin() as writing:
        token = writing.lease(names, change.id, now=crew.now(), hold=LEASE)
        leased = [run if run.touched else replace(run, status=HostStatus.LEASED) for run in runs]
        writing.keep_runs([replace(run, token=token, updated_at=crew.now()) for run in leased])
    return working.batch_under(token, change, names, name=shard.name)
