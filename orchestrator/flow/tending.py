"""What a person may do for one host, outside the walk of a change: settle a doubt, adopt it."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeState
from orchestrator.domain.identity import Actor
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostOutcome, Job
from orchestrator.domain.journal import Settlement, Step
from orchestrator.domain.run import HostStatus
from orchestrator.errors import NotFound, Refused, Unavailable
from orchestrator.flow.batching import Working
from orchestrator.flow.crew import JOB_TIMEOUT, Crew
from orchestrator.flow.looking import told
from orchestrator.flow.phases import explain, outcome_of
from orchestrator.flow.reconciling import Reconciled, reconcile


def reconcile_by_hand(change_id: str, host: str, actor: Actor, crew: Crew, *, settle: bool) -> Reconciled:
    """Ask a host what became of the patch step of a change; with ``settle``, write its status by the answer.

    Raises NotFound for a host that was not touched, and Refused where there is no doubt about it, or where it is to be
    settled and still at work.
    """
    working = Working(crew=crew, change_id=change_id)
    change = working.change()
    run = next(iter(working.runs([host])), None)
    if run is None or not run.touched:
        raise NotFound(f"change {change_id} has not touched a host {host}; see: orchestrator change show {change_id}")
    if run.status.is_settled:
        why = f" ({run.reason})" if run.reason else ""
        raise Refused(f"{host} is {run.status}{why}: there is no doubt to settle. To look at it: host scan {host}")
    batch = working.batch(change, [host], name=f"hand{len(crew.ledger.store.trail(change_id))}")
    found = reconcile(batch, Step.PATCH, crew, suffix="")[host]
    if change.state not in (ChangeState.RUNNING, ChangeState.PAUSED, ChangeState.ROLLING_BACK):
        with crew.ledger.store.begin() as writing:
            writing.free(change_id)
    if settle:
        if found.settled.settlement is Settlement.STILL_WORKING:
            raise Refused(f"{host} is not settled: {found.settled.why}. Ask again when it has ended.")
        status = {Settlement.DONE: HostStatus.DONE, Settlement.UNKNOWN: HostStatus.UNKNOWN}.get(
            found.settled.settlement, HostStatus.FAILED
        )
        reason = f"settled by {actor.name}: {found.settled.why}"
        working.settle([replace(run, status=status, reason=reason, token=batch.token)])
    return found


def adopt(host: Host, environment: Environment, reason: str, actor: Actor, crew: Crew) -> None:
    """End what another installation has left open on a host, in the host's own journal, under a token of ours."""
    content = crew.content.read()
    crew.content.freeze(content)
    with crew.ledger.store.begin() as writing:
        token = writing.lease([host.name], "adopt", now=crew.now(), hold=crew.now() - crew.now())
        writing.free("adopt")
    patch_job: dict[str, Plain] = {
        "change": "adopt",
        "token": {"installation": crew.ledger.store.installation(), "counter": token},
        "family": host.family,
        "items": [],
        "reason": reason,
    }
    job = Job(
        id=f"adopt.{host.name}.{token}",
        change="adopt",
        playbook="adopt.yml",
        environment=environment,
        content=content.digest,
        hosts=(told(host, patch_job),),
        timeout=JOB_TIMEOUT,
    )
    result = outcome_of(crew.runner.run(job), host.name)
    if result.outcome is not HostOutcome.OK:
        raise Unavailable(f"{host.name} could not be adopted: {explain(result)}")
    crew.ledger.note("", "host-adopted", actor=actor, data={"host": host.name, "reason": reason, "token": token})
