"""One change of 1,000 and of 10,000 simulated hosts: what worker and commands need for each host, and in memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks._telling import arguments, tell
from orchestrator.adapters.store import upgrade
from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.engine.worker import Manner
from orchestrator.flow import execution
from orchestrator.founding import make_site
from orchestrator.wiring import SystemClock
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool, pool
from tests.fakes.site import OMAR
from tests.fakes.values import spec
from tests.postgres import Server, running

#: Hosts of a shard, as in production.
SHARD = 50
#: With ten times the hosts, a host may cost so many times the processor time, and the worker so much memory (MiB).
GROWTH, MEMORY = 1.2, 1024
#: What a person types about a change that has run.
COMMANDS = {
    "status": ["status"],
    "show": ["change", "show", "CHG-0001"],
    "plan": ["change", "plan", "CHG-0001"],
    "trail": ["audit", "trail", "CHG-0001"],
    "evidence": ["audit", "export", "CHG-0001"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change took: the worker's processor time and the time from start to end (s), and its memory (MiB).

    ``commands`` has the processor time of each command (s).
    """

    cpu: float
    wall: float
    memory: int
    commands: dict[str, float]


def carried(hosts: int, batch: Amount, folder: Path, server: Server, workers: Pool) -> Cost:
    """Carry a change of so many hosts with one worker."""
    folder.mkdir()
    url = server.url(server.new_database())
    upgrade(url)
    disk = DiskSite(
        url=url, folder=str(folder), hosts=hosts, seconds=0, shard=SHARD, began=time.time(), lease=60, has_kit=True,
        pause=Manner().pause,
    )  # fmt: skip
    rollout = RolloutPolicy(wave=Amount(value=100, percent=True), batch=batch)
    commands = {"stage to schedule": timed(lambda: disk.prepare(spec(rollout=rollout)))}
    with disk.opened() as site:
        worker = workers.start(disk)
        time.sleep(3)  # Starting the worker is not what is measured.
        before, began = cpu_of(worker), time.monotonic()
        commands["start"] = timed(lambda: execution.start(site.id, OMAR, site.crew))
        while site.change.state is ChangeState.RUNNING:
            time.sleep(0.5)
        cpu, wall, memory = cpu_of(worker) - before, time.monotonic() - began, memory_of(worker)
        workers.end_all()
        if site.change.state is not ChangeState.SUCCEEDED:
            raise SystemExit(f"with {hosts} hosts it ended {site.change.state}: {site.why()}")
        commands |= asked(url, folder / "cli")
    return Cost(cpu=cpu, wall=wall, memory=memory, commands=commands)


def asked(url: str, folder: Path) -> dict[str, float]:
    """Let a person type commands about the change; return the processor time of each."""
    make_site(folder / "site", folder / "state", at=SystemClock().now())
    with (folder / "site/orchestrator.toml").open("a") as settings:
        settings.write(f'\n[database]\nurl = "{url}"\n')
    people = (folder / "site/people.yml").read_text().replace("[engineer, operator]", "[engineer, operator, auditor]")
    (folder / "site/people.yml").write_text(people)
    return {name: timed(lambda typed=typed: type_in(folder / "site", typed)) for name, typed in COMMANDS.items()}


def type_in(site: Path, typed: list[str]) -> None:
    """Run a command of the site."""
    argv = [sys.executable, "-m", "orchestrator", "--site", str(site), *typed]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"orchestrator {' '.join(typed)} ended with {done.returncode}: {done.stderr}")


def timed(act: Callable[[], object]) -> float:
    """Return the processor time of this process, and of those that it starts and waits for, in seconds."""
    before = _processor()
    act()
    return _processor() - before


def _processor() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def cpu_of(process: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: int) -> int:
    """Return the most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--hosts", type=int, default=10_000, help="hosts of the larger change; the other has a tenth")
    parser.add_argument("--batch", type=int, default=0, help="hosts of a batch; by default all are one")
    options = parser.parse_args()
    batch = Amount(value=options.batch) if options.batch else Amount(value=100, percent=True)
    sizes = options.hosts // 10, options.hosts
    costs: dict[int, Cost] = {}
    with tempfile.TemporaryDirectory() as folder, running() as server, pool() as workers:
        for hosts in sizes:
            cost = costs[hosts] = carried(hosts, batch, Path(folder) / str(hosts), server, workers)
            per_host = f"{cost.cpu / hosts * 1000:.1f} ms of processor for each host"
            print(f"{hosts} hosts: {cost.wall:.0f} s, {per_host}, {cost.memory} MiB", flush=True)
            print("  " + ", ".join(f"{name} {took:.1f} s" for name, took in cost.commands.items()), flush=True)
    few, many = costs[sizes[0]], costs[sizes[1]]
    growth = (many.cpu / sizes[1]) / (few.cpu / sizes[0])
    # Starting a command costs the same however many hosts there are.
    dearest = max((many.commands[name] / sizes[1]) / (few.commands[name] / sizes[0]) for name in few.commands)
    figures = {
        "milliseconds_for_each_host": {str(n): round(cost.cpu / n * 1000, 1) for n, cost in costs.items()},
        "growth": round(growth, 2),
        "growth_of_a_command": round(dearest, 2),
        "memory_mib": many.memory,
        "seconds": {str(n): round(cost.wall) for n, cost in costs.items()},
        "commands": {str(n): {name: round(s, 1) for name, s in cost.commands.items()} for n, cost in costs.items()},
        "shards": options.hosts // SHARD,
    }
    holds = growth <= GROWTH and dearest <= GROWTH and many.memory <= MEMORY
    limit = {"growth": GROWTH, "growth_of_a_command": GROWTH, "memory_mib": MEMORY}
    return tell("scale", figures, limit, holds=holds, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
