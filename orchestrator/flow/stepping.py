"""Do one step of staging with the hosts of a shard; what it finds waits in the store for the next turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from orchestrator.domain.canonical import Plain
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment, Host
from orchestrator.domain.job import HostJob
from orchestrator.domain.lock import Platform
from orchestrator.errors import OrchestratorError, Refused
from orchestrator.flow import proving, reports
from orchestrator.flow.attempting import begun_attempt, hosts_now, hosts_of
from orchestrator.flow.batching import Working
from orchestrator.flow.crew import Attempt, Crew, Held, Stopped
from orchestrator.flow.findings import Findings, end, has_ended
from orchestrator.flow.looking import looked, looking_job, run_look, scan, told
from orchestrator.flow.phases import release
from orchestrator.flow.planning import survey
from orchestrator.flow.proving import Choice
from orchestrator.flow.putting_back import put_back
from orchestrator.flow.rehearsing import rehearse
from orchestrator.flow.sharding import Shard, Task


def stage_shard(shard: Shard, working: Working) -> None:
    """Do a step of staging with the hosts of a shard; what it found waits in the store for the next turn."""
    crew, change = working.crew, working.change()
    attempt = begun_attempt(change, crew)
    if attempt is None or not attempt.is_mine(shard.name) or has_ended(shard, crew.ledger):
        return
    refused = ""
    try:
        if shard.task is not Task.LET_GO:
            attempt.go_on(crew)
        findings = _ACTS[shard.task](shard, attempt, crew)
    except (Stopped, Held):
        return  # The next turn ends the attempt, or waits until it may go on.
    except OrchestratorError as error:
        findings, refused = Findings(), str(error)
    with crew.ledger.store.begin() as writing:
        end(shard, findings, writing, refused=refused)


def _start_over(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Put staging hosts back that an earlier staging of this change has patched: their points are still held."""
    hosts = _mine(shard, hosts_of(attempt, Environment.STAGING, crew))
    plans = tuple(proving.bare_plan(attempt.change, host) for host in hosts)
    batch = proving.batch_of(attempt, plans, hosts, crew, name=shard.name)
    stuck = [f"{r.host}: {r.problem}" for r in put_back(batch, crew, rehearsal=True).values() if r.problem]
    if stuck:
        raise Refused(f"staging hosts could not be put back to where the last staging began: {'; '.join(stuck)}")
    return Findings()


def _scan(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Look at staging hosts."""
    hosts = _mine(shard, hosts_of(attempt, Environment.STAGING, crew))
    found = looked(scan(attempt, Environment.STAGING, hosts, {}, crew, name=shard.name), "scan")
    dead: list[Plain] = [
        f"{host}: {reports.text(told, 'problem')}" for host, told in found.hosts.items() if "problem" in told
    ]
    fact = crew.ledger.fact(attempt.change.id, "staging-host-dead", actor=ORCHESTRATOR, data={"hosts": dead})
    return replace(found, facts=(fact,) if dead else ())


def _download(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Fetch the whole transaction of each host."""
    choice = proving.choose(attempt, hosts_of(attempt, Environment.STAGING, crew), crew)
    jobs = [job for job in _download_jobs(attempt, choice, crew) if job.host in shard.hosts]
    results = run_look(attempt, Environment.STAGING, "download.yml", jobs, crew, name=shard.name)
    found = looked(results, "download")
    facts = [
        crew.ledger.fact(
            attempt.change.id, "staging-host-failed", actor=ORCHESTRATOR,
            data={"host": host, "reason": reports.text(told, "problem")},
        )
        for host, told in found.hosts.items()
        if "problem" in told
    ]  # fmt: skip
    return replace(found, facts=tuple(facts))


def _download_jobs(attempt: Attempt, choice: Choice, crew: Crew) -> Iterator[HostJob]:
    """Give each host's part: the bytes come to the controller once for each platform."""
    covered: dict[Platform, set[tuple[str, str]]] = {}
    for one in choice.chosen:
        keys = {(i.name, i.version) for i in one.items}
        fetch = not keys <= covered.setdefault(one.platform, set())
        covered[one.platform] |= keys
        fetch_to = str(crew.packages.folder) if fetch else ""
        patch_job = looking_job(attempt.change, one.platform.family, one.items, crew, fetch_to=fetch_to)
        yield told(one.host, patch_job)


def _rehearse(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Take staging hosts through the whole cycle."""
    choice = proving.choose(attempt, hosts_of(attempt, Environment.STAGING, crew), crew)
    ready = proving.downloaded(attempt, choice, crew)
    return rehearse(proving.to_rehearse(shard, attempt, ready, crew), attempt, crew)


def _let_go(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """End the claims on staging hosts; the points stay."""
    hosts = _mine(shard, hosts_now(attempt, Environment.STAGING, crew))
    plans = tuple(proving.bare_plan(attempt.change, host) for host in hosts)
    release(proving.batch_of(attempt, plans, hosts, crew, name=shard.name), crew, keep_point=True)
    return Findings()


def _survey(shard: Shard, attempt: Attempt, crew: Crew) -> Findings:
    """Look at production, read-only, with what staging has proved."""
    proof = proving.proof_of(attempt, hosts_of(attempt, Environment.STAGING, crew), crew)
    # That all of them are still the same is seen by the next turn: it need not cost each shard.
    hosts = _mine(shard, hosts_now(attempt, Environment.PRODUCTION, crew))
    return survey(attempt, proof, hosts, crew, name=shard.name)


def _mine(shard: Shard, hosts: Sequence[Host]) -> list[Host]:
    wanted = set(shard.hosts)
    mine = [host for host in hosts if host.name in wanted and host.zone == shard.zone]
    if len(mine) < len(wanted):
        gone = ", ".join(sorted(wanted - {host.name for host in mine}))
        raise Refused(f"the inventory was changed while staging: {gone}. Stage again.")
    return mine


_ACTS: Mapping[Task, Callable[[Shard, Attempt, Crew], Findings]] = {
    Task.START_OVER: _start_over,
    Task.SCAN: _scan,
    Task.DOWNLOAD: _download,
    Task.REHEARSE: _rehearse,
    Task.LET_GO: _let_go,
    Task.SURVEY: _survey,
}
#: What shards do for staging.
TASKS = frozenset(_ACTS)
