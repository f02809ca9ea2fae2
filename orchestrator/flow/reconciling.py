"""Outcome unknown is a state, and it is settled by asking the host, never by guessing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.health import HostState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.job import HostOutcome, HostResult
from orchestrator.domain.journal import Settled, Settlement, Step, StepRecord, settle
from orchestrator.domain.plan import HostPlan
from orchestrator.flow import phases, reports
from orchestrator.flow.crew import Batch, Crew

#: Seconds between two looks at a host that does not answer, or that is still at work.
PAUSE = 3.0

_BEFORE = "journal-before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What the host itself says became of the step, and its state now, where it could be asked."""

    host: str
    settled: Settled
    state: HostState | None = None


def reconcile(batch: Batch, step: Step, crew: Crew, *, suffix: str) -> dict[str, Reconciled]:
    """Ask every host of the batch what became of a step of which we do not know the end.

    1. Wait for the hosts to answer, as long as they may be silent.
    2. Look: journal of the host, installed packages.
    3. Settle; a host that still works is waited for, as long as its transaction may take.
    """
    began = crew.now()
    found: dict[str, Reconciled] = {}
    open_hosts, attempt = list(batch.names), 0
    while open_hosts:
        answering = _answering(batch.only(open_hosts), crew)
        attempt += 1
        if answering:
            asked, name = batch.only(answering), f"{suffix}.{attempt}"
            before = _journals_before(asked, name, crew)
            for host, result in phases.look(asked, crew, suffix=name).items():
                found[host] = _settled(batch, host, step, result, before.get(host, 0), crew)
        open_hosts = [h for h in open_hosts if h not in found or _may_change(found[h])]
        works = any(host in found and _works(found[host]) for host in open_hosts)
        least = batch.transaction_limit if works else timedelta(0)
        for host in [*open_hosts]:
            if crew.now() >= began + max(batch.silence_limit(host), least):
                found.setdefault(host, Reconciled(host=host, settled=_silent(batch, host)))
                open_hosts.remove(host)
        if open_hosts:
            crew.ledger.clock.sleep(PAUSE)
    _note(batch, step, found, crew)
    return found


def _answering(batch: Batch, crew: Crew) -> list[str]:
    looked = crew.probe.look([batch.hosts[name] for name in batch.names], crew.needs)
    return [report.host for report in looked if report.is_answering]


def _journals_before(batch: Batch, name: str, crew: Crew) -> dict[str, int]:
    """Return how long the hosts' journals were known to be before a look began.

    It is kept: whoever goes on after a crash is told of the look again, and knows of longer ones by then.
    """
    store, change, job = crew.ledger.store, batch.change.id, batch.job_id(f"{Step.VERIFY.value}{name}")
    kept = store.documents(change, _BEFORE, [job]).get(job)
    if not isinstance(kept, dict):
        known = store.documents(change, "journal", batch.names)
        kept = {host: reports.number(row, "length") for host, row in known.items() if isinstance(row, dict)}
        with crew.ledger.store.begin() as writing:
            writing.keep_document(change, _BEFORE, job, kept)
    return {host: reports.number(kept, host) for host in batch.names}


def _settled(batch: Batch, host: str, step: Step, result: HostResult, before: int, crew: Crew) -> Reconciled:
    report = result.report("state")
    if result.outcome is not HostOutcome.OK or report is None:
        return Reconciled(host=host, settled=replace(_silent(batch, host), why=phases.explain(result)))
    plan = next(p for p in batch.plans if p.host == host)
    ours = _our_record(batch, plan, step, crew)
    if reports.journal_length(report) < before:
        reverted = "the host's journal is shorter than it was: somebody has reverted the host"
        return Reconciled(
            host=host,
            settled=Settled(settlement=Settlement.UNKNOWN, why=reverted),
            state=reports.state(report),
        )
    theirs, at_work = reports.host_journal(report), reports.is_at_work(report)
    told = settle(plan, ours, theirs, reports.packages(report), at_work=at_work)
    return Reconciled(host=host, settled=told, state=reports.state(report))


def _our_record(batch: Batch, plan: HostPlan, step: Step, crew: Crew) -> StepRecord:
    mine = [s for s in crew.ledger.store.steps(batch.change.id, [plan.host]) if s.step is step]
    return mine[0]


def _works(known: Reconciled) -> bool:
    return known.settled.settlement is Settlement.STILL_WORKING


def _may_change(known: Reconciled) -> bool:
    return _works(known) or known.state is None


def _silent(batch: Batch, host: str) -> Settled:
    wait = int(batch.silence_limit(host).total_seconds())
    return Settled(settlement=Settlement.UNKNOWN, why=f"the host did not answer for {wait} s")


def _note(batch: Batch, step: Step, found: dict[str, Reconciled], crew: Crew) -> None:
    with crew.ledger.store.begin() as writing:
        for host, known in sorted(found.items()):
            writing.note(
                crew.ledger.fact(
                    batch.change.id,
                    "host-reconciled",
                    actor=ORCHESTRATOR,
                    outcome=known.settled.settlement.value,
                    data={"host": host, "step": step.value, "why": known.settled.why},
                )
            )
