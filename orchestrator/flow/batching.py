"""Work on one batch of a running change: check, protect, patch, verify; every status is written before the act."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from orchestrator.domain.admission import Durations
from orchestrator.domain.canonical import Plain, plain
from orchestrator.domain.change import ChangeRequest, Wanted
from orchestrator.domain.health import HostState, not_in_effect
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.journal import Settlement, Step
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.run import HostRun, HostStatus, score
from orchestrator.flow import lockdown
from orchestrator.flow.crew import Batch, Crew
from orchestrator.flow.draining import Turns, undrain, with_hook
from orchestrator.flow.phases import Patched, may_patch, patch, protect
from orchestrator.flow.reconciling import Reconciled, reconcile
from orchestrator.flow.sharding import LEASE
from orchestrator.flow.verifying import Verdict, ask_services_once, verify
from orchestrator.ports import Writing

#: How often a patch phase that nobody saw end is taken up again before a person is asked.
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Working:
    """A change being worked on; everything is read anew from the store, which is the truth."""

    crew: Crew
    change_id: str

    def change(self) -> ChangeRequest:
        """Return the change as it stands now."""
        return self.crew.ledger.store.change(self.change_id)

    def plan(self) -> PatchPlan:
        """Return the plan that was approved."""
        return self.crew.ledger.store.plan(self.change().digest)

    def runs(self, hosts: Sequence[str] | None = None) -> Sequence[HostRun]:
        """Return where the hosts stand: all of the change, or these."""
        return self.crew.ledger.store.runs(self.change_id, hosts)

    def frozen_hosts(self) -> Mapping[str, Host]:
        """Return the hosts as the frozen inventory describes them."""
        content = self.plan().content.digest
        return self.crew.inventory.frozen_hosts(self.change().spec.production, Environment.PRODUCTION, content)

    def batch(self, change: ChangeRequest, names: Sequence[str], *, name: str) -> Batch:
        """Lease hosts of the plan under a new token and return them as a batch."""
        with self.crew.ledger.store.begin() as writing:
            token = writing.lease(names, change.id, now=self.crew.now(), hold=LEASE)
        return self.batch_under(token, change, names, name=name)

    def batch_under(self, token: int, change: ChangeRequest, names: Sequence[str], *, name: str) -> Batch:
        """Return hosts of the plan, leased under this token, as a batch."""
        plan, hosts = self.plan(), self.frozen_hosts()
        batch = Batch(
            change=change,
            environment=Environment.PRODUCTION,
            content=plan.content.digest,
            name=name,
            plans=tuple(plan.by_host[host] for host in names),
            hosts={host: hosts[host] for host in names},
            token=token,
            installation=self.crew.ledger.store.installation(),
            packages_dir=str(self.crew.packages.folder),
        )
        # A host refuses tokens older than one it has seen, so the kit has to know each new one.
        self.crew.kit.write(plan, hosts, {p.host: batch.patch_job(p) for p in batch.plans})
        return batch

    def settle(self, runs: Sequence[HostRun], *, also: Callable[[Writing], object] | None = None) -> None:
        """Write what came of hosts, each with its line in the trail; ``also`` writes in the same transaction."""
        with self.crew.ledger.store.begin() as writing:
            writing.keep_runs([replace(run, updated_at=self.crew.now()) for run in runs])
            for run in runs:
                data: dict[str, Plain] = {"host": run.host, "wave": run.wave, "touched": run.touched}
                if run.reason:
                    data["reason"] = run.reason
                if run.warnings:
                    data["findings"] = [*run.warnings]
                if run.drained:
                    data["drained"] = True
                fact = self.crew.ledger.fact(
                    self.change_id, f"host-{run.status}", actor=ORCHESTRATOR, outcome=run.status.value, data=data
                )
                writing.note(fact)
            if also is not None:
                also(writing)

    def mark(self, runs: Sequence[HostRun]) -> None:
        """Write where hosts stand on their way, without a line in the trail."""
        with self.crew.ledger.store.begin() as writing:
            writing.keep_runs([replace(run, updated_at=self.crew.now()) for run in runs])

    def note(self, tag: str, *, outcome: str = "", data: Mapping[str, Plain] | None = None) -> None:
        """Enter a fact about the change."""
        self.crew.ledger.note(self.change_id, tag, actor=ORCHESTRATOR, outcome=outcome, data=data)

    def tally(self) -> dict[str, Plain]:
        """Return the count over the hosts, for the trail."""
        count = score(self.runs())
        return {"done": count.done, "failed": count.failed, "skipped": count.skipped, "planned": count.planned}


def work(working: Working, batch: Batch, runs: Sequence[HostRun]) -> None:
    """Take the hosts through the phases. Called again after a crash, it finds the jobs that were begun and goes on."""
    crew, turns = working.crew, Turns(batch, working.crew)
    state = {run.host: replace(run, token=batch.token) for run in runs}
    # After a crash, what is begun on a host would itself look like a host that is unfit.
    steps = crew.ledger.store.steps(batch.change.id, batch.names)
    begun = {step.host for step in steps if step.job == batch.job_id(Step.PROTECT)}
    fresh = batch.only([host for host, run in state.items() if not run.touched and host not in begun])
    _preflight(working, fresh, state)
    batch = batch.only(_open(state))
    services = ask_services_once(batch, crew, kind="services.before")
    before = _protect(working, batch, state)
    batch = batch.only(_open(state))
    if not _drain(working, batch, state, turns):
        return
    batch = batch.only(_open(state))
    if not batch.names or _turned_back(working, batch, state, turns, lambda go_on: may_patch(batch, crew, go_on)):
        return
    _mark(working, state, batch.names, status=HostStatus.PATCHING, touched=True)
    began = crew.now() - turns.took
    patched = _patch_until_known(batch, crew)
    _mark(working, state, batch.names, status=HostStatus.VERIFYING)
    done = crew.now()
    verdicts = verify(batch, patched, before, services, crew)
    absent = undrain(batch.only([host for host, verdict in verdicts.items() if not verdict.damage]), crew)
    _conclude(working, state, patched, verdicts, absent)
    _remember(batch, state, patched, crew, patching=done - began, verifying=crew.now() - done)


def _open(state: Mapping[str, HostRun]) -> list[str]:
    return [host for host, run in state.items() if not run.status.is_settled]


def _mark(
    working: Working, state: dict[str, HostRun], names: Sequence[str], *, status: HostStatus, touched: bool = False
) -> None:
    for name in names:
        state[name] = replace(state[name], status=status, touched=state[name].touched or touched)
    working.mark([state[name] for name in names])


def _preflight(working: Working, batch: Batch, state: dict[str, HostRun]) -> None:
    """Look directly; a host that is dead or unfit is skipped and named, and has not been touched."""
    if not batch.names:
        return
    looked = working.crew.probe.look([batch.hosts[name] for name in batch.names], working.crew.needs)
    unfit = []
    for report in looked:
        if not report.is_fit:
            reason = f"unfit at {report.failed_at}: {report.detail}"
            unfit.append(replace(state[report.host], status=HostStatus.SKIPPED, unfit=True, reason=reason))
    with working.crew.ledger.store.begin() as writing:
        for report in looked:
            writing.keep_document(batch.change.id, "probe", report.host, plain(report))
    for run in unfit:
        state[run.host] = run
    working.settle(unfit)
    _mark(working, state, [n for n in batch.names if not state[n].status.is_settled], status=HostStatus.CHECKED)


def _protect(working: Working, batch: Batch, state: dict[str, HostRun]) -> dict[str, HostState]:
    """Protect the hosts; those without a rollback point, and those that are not as planned, are left alone."""
    if not batch.names:
        return {}
    found = protect(batch, working.crew)
    settled = []
    for host, one in found.items():
        if state[host].touched:
            continue  # It is being patched already: what stood in the way then did not stop it.
        if one.problem:
            settled.append(replace(state[host], status=HostStatus.SKIPPED, unfit=True, reason=one.problem))
        elif one.dropped:
            settled.append(replace(state[host], status=HostStatus.SKIPPED, reason=f"dropped: {one.dropped}"))
    for run in settled:
        state[run.host] = run
    working.settle(settled)
    protected = [h for h in batch.names if not state[h].status.is_settled and not state[h].touched]
    _mark(working, state, protected, status=HostStatus.PROTECTED)
    return {host: one.before for host, one in found.items() if one.before is not None}


def _drain(working: Working, batch: Batch, state: dict[str, HostRun], turns: Turns) -> bool:
    """Take hosts out of service where a role does that; False: somebody has turned back before.

    A host that cannot be drained goes back into service, and is left alone.
    """
    hooked = with_hook(batch.only([host for host in batch.names if not state[host].touched]))
    if not hooked.names:
        return True
    turns.finish(hooked)
    if _turned_back(working, batch, state, turns, lambda go_on: turns.may_drain(hooked, go_on)):
        return False
    # Written before the act: a host that was being drained when we died may be out of service.
    for host in hooked.names:
        state[host] = replace(state[host], drained=True)
    working.mark([state[host] for host in hooked.names])
    failed, absent = turns.out(hooked)
    _skip(working, state, failed, absent)
    return True


def _skip(working: Working, state: dict[str, HostRun], reasons: Mapping[str, str], absent: Collection[str]) -> None:
    """Leave untouched hosts alone as unfit; the ``absent`` ones could not be put back into service, either."""
    for host, why in reasons.items():
        state[host] = replace(state[host], status=HostStatus.SKIPPED, unfit=True, drained=host in absent, reason=why)
    working.settle([state[host] for host in reasons])


def _turned_back(
    working: Working,
    batch: Batch,
    state: dict[str, HostRun],
    turns: Turns,
    has_a_place: Callable[[Callable[[], bool]], bool],
) -> bool:
    """Turn back while nothing has been touched, where somebody has asked for it or the cutoff has come.

    The same while the controller has no place for the next phase: waiting must not carry hosts beyond the cutoff.
    Hosts that were drained go back into service.
    """
    if any(state[name].touched for name in batch.names):
        return False
    crew = working.crew

    def goes_on() -> bool:
        change = working.change()
        asked = change.wanted is not Wanted.NOTHING or lockdown.why(crew.ledger)
        return not asked and crew.now() < change.reserved.cutoff

    if has_a_place(goes_on):
        return False
    out = batch.only([host for host in batch.names if state[host].drained])
    absent = turns.back(out)
    for host in out.names:
        state[host] = replace(state[host], drained=False)
    _skip(working, state, absent, absent)
    _mark(working, state, [host for host in batch.names if host not in absent], status=HostStatus.PENDING)
    return True


def _patch_until_known(batch: Batch, crew: Crew) -> dict[str, Patched]:
    """Patch, and settle every host of which Ansible did not see the end by asking the host."""
    patched = patch(batch, crew)
    for attempt in range(2, ATTEMPTS + 1):
        unsure = [host for host, one in patched.items() if not one.is_sure]
        if not unsure:
            break
        known = reconcile(batch.only(unsure), Step.PATCH, crew, suffix=f".{attempt}")
        again = [host for host, one in known.items() if _goes_on(one)]
        patched |= {host: _as_settled(one) for host, one in known.items() if host not in again}
        if not again or attempt == ATTEMPTS:
            break
        patched |= patch(batch.only(again), crew, suffix=f".{attempt}")
    return patched


def _goes_on(one: Reconciled) -> bool:
    """Tell whether the phase is taken up again: never begun, or installed with a restart or reboot still to come."""
    if one.settled.settlement is Settlement.NOT_BEGUN:
        return True
    waiting = one.state is not None and (one.state.reboot_needed or bool(not_in_effect(one.state)))
    return one.settled.settlement is Settlement.DONE and waiting


def _as_settled(one: Reconciled) -> Patched:
    done = one.settled.settlement is Settlement.DONE
    return Patched(
        host=one.host,
        ok=done,
        is_sure=one.settled.settlement in (Settlement.DONE, Settlement.PARTLY),
        reason="" if done else f"{one.settled.settlement}: {one.settled.why}",
        after=one.state,
    )


def _conclude(
    working: Working,
    state: dict[str, HostRun],
    patched: Mapping[str, Patched],
    verdicts: Mapping[str, Verdict],
    absent: Mapping[str, str],
) -> None:
    """Settle the hosts. One that failed, or of which nobody knows, stays drained; so does an ``absent`` one."""
    settled = []
    for host, verdict in verdicts.items():
        run = replace(state[host], warnings=verdict.warnings)
        if host in absent:
            reason = f"patched and verified, but not back in service: {absent[host]}"
            run = replace(run, status=HostStatus.FAILED, failed=True, reason=reason)
        elif not verdict.damage:
            run = replace(run, status=HostStatus.DONE, reason="", drained=False)
        else:
            status = HostStatus.FAILED if patched[host].is_sure else HostStatus.UNKNOWN
            run = replace(run, status=status, failed=True, reason="; ".join(verdict.damage))
        state[host] = run
        settled.append(run)
    working.settle(settled)


def _remember(
    batch: Batch,
    state: Mapping[str, HostRun],
    patched: Mapping[str, Patched],
    crew: Crew,
    *,
    patching: timedelta,
    verifying: timedelta,
) -> None:
    """Keep how long the work took; hosts go side by side, so each is charged the time of the batch."""
    with crew.ledger.store.begin() as writing:
        for host in batch.names:
            if state[host].status is HostStatus.DONE:
                reboot = timedelta(seconds=patched[host].reboot_seconds)
                took = Durations(
                    patch=max(_whole(patching) - reboot, timedelta(0)), reboot=reboot, verify=_whole(verifying),
                    rollback=timedelta(0),
                )  # fmt: skip
                writing.keep_durations(batch.change.id, host, Environment.PRODUCTION, took, crew.now())


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=int(duration.total_seconds()) + 1)
