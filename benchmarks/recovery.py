"""How long a change stands still after kill -9, after a worker falls silent, and before a pause takes effect."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks._telling import arguments, tell
from orchestrator.adapters.store import upgrade
from orchestrator.domain.change import ChangeState
from orchestrator.domain.journal import Step
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.flow import execution, operating
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool, pool
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import spec
from tests.postgres import Server, running

#: Seconds: until work goes on after kill -9 where the worker is started again; beyond the lease until another worker
#: has taken over; until nothing new begins after a pause was asked for.
LIMITS = {"resume": 10.0, "take_over_beyond_lease": 10.0, "pause": 5.0}
LEASE = 6.0
ONE_WAVE = spec(rollout=RolloutPolicy(wave=Amount(value=100, percent=True)))


def site_of(folder: Path, server: Server, hosts: int = 40) -> DiskSite:
    """Prepare a change whose hosts each take half a second in each phase, two shards of a host at once."""
    folder.mkdir()
    url = server.url(server.new_database())
    upgrade(url)
    disk = DiskSite(url=url, folder=str(folder), hosts=hosts, seconds=0.5, shard=1, began=time.time(), lease=LEASE)
    disk.prepare(ONE_WAVE)
    return disk


def resumed(disk: DiskSite, workers: Pool) -> float:
    """Kill the only worker in the middle, and start another from nothing; return the seconds until a step begins."""
    with disk.opened() as site:
        worker = workers.start(disk)
        execution.start(site.id, OMAR, site.crew)
        wait(lambda: begun(site) >= 4)
        known, at = begun(site), time.monotonic()
        workers.signal(worker, signal.SIGKILL)
        with pool() as anew:  # A new interpreter, as a service manager starts it.
            anew.start(disk)
            wait(lambda: begun(site) > known)
            took = time.monotonic() - at
            anew.end_all()
    return took


def taken_over(disk: DiskSite, workers: Pool) -> float:
    """Hold one of two workers still; return the seconds until its hosts are worked on by the other."""
    with disk.opened() as site:
        held = workers.start(disk)
        execution.start(site.id, OMAR, site.crew)
        wait(lambda: begun(site) >= 4)
        workers.signal(held, signal.SIGSTOP)
        at, waiting = time.monotonic(), unfinished(site)
        known = tokens(site)
        workers.start(disk)
        wait(lambda: any(tokens(site)[host] > known[host] for host in waiting))
        took = time.monotonic() - at
        workers.signal(held, signal.SIGCONT)
        workers.end_all()
    return took


def paused(disk: DiskSite, workers: Pool) -> float:
    """Ask for a pause; return the seconds until the last host begins that begins at all."""
    with disk.opened() as site:
        workers.start(disk)
        execution.start(site.id, OMAR, site.crew)
        wait(lambda: begun(site) >= 4)
        at, known, last = time.monotonic(), begun(site), 0.0
        operating.pause(site.id, "a pause", OMAR, site.ledger)
        while site.change.state is ChangeState.RUNNING:
            if (now := begun(site)) > known:
                known, last = now, time.monotonic() - at
            time.sleep(0.02)
        if site.change.state is not ChangeState.PAUSED or known == len(site.production):
            raise SystemExit(f"it is {site.change.state} after {known} hosts, and was to be paused")
        workers.end_all()
    return last


def begun(site: FakeSite) -> int:
    """Return on how many hosts work has begun."""
    return len({step.host for step in site.store.steps(site.id) if step.step is Step.PROTECT})


def unfinished(site: FakeSite) -> set[str]:
    """Return the hosts on which a step has begun and not ended."""
    return {step.host for step in site.store.steps(site.id) if step.finished_at is None}


def tokens(site: FakeSite) -> dict[str, int]:
    """Return the fencing token of each host: whoever takes work over draws a newer one before anything else."""
    return {lease.host: lease.token for lease in site.store.leases()}


def wait(told: Callable[[], bool]) -> None:
    """Wait, and not for ever."""
    until = time.monotonic() + 120
    while not told():
        if time.monotonic() > until:
            raise SystemExit("what was waited for did not come")
        time.sleep(0.02)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    worst = dict.fromkeys(LIMITS, 0.0)
    with tempfile.TemporaryDirectory() as folder, running() as server, pool() as workers:
        for number in range(options.rounds):
            for name, measure in (("resume", resumed), ("take_over_beyond_lease", taken_over), ("pause", paused)):
                disk = site_of(Path(folder) / f"{name}{number}", server)
                took = measure(disk, workers) - (LEASE if name == "take_over_beyond_lease" else 0)
                worst[name] = max(worst[name], took)
                print(f"{name}: {took:.1f} s", flush=True)
    holds = all(worst[name] <= limit for name, limit in LIMITS.items())
    figures = {"worst_seconds": {name: round(took, 1) for name, took in worst.items()}, "lease": LEASE}
    return tell("recovery", figures, LIMITS, holds=holds, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
