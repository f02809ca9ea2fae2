"""One change of 1,000 and of 10,000 simulated hosts: what the worker needs of processor and memory for each host."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.store import upgrade
from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.flow import execution
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool, pool
from tests.fakes.site import OMAR
from tests.fakes.values import spec
from tests.postgres import Server, running

#: Hosts of a shard, as in production.
SHARD = 50
#: With ten times the hosts, a host may cost so many times the processor time, and the worker so much memory (MiB).
GROWTH, MEMORY = 1.2, 1024
ONE_WAVE = spec(rollout=RolloutPolicy(wave=Amount(value=100, percent=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a change took: the worker's processor time (s), the time from start to end (s) and its memory (MiB)."""

    cpu: float
    wall: float
    memory: int


def carried(hosts: int, folder: Path, server: Server, workers: Pool) -> Cost:
    """Carry a change of so many hosts with one worker."""
    folder.mkdir()
    url = server.url(server.new_database())
    upgrade(url)
    disk = DiskSite(
        url=url, folder=str(folder), hosts=hosts, seconds=0, shard=SHARD, began=time.time(), lease=60, has_kit=True
    )
    disk.prepare(ONE_WAVE)
    with disk.opened() as site:
        worker = workers.start(disk)
        time.sleep(3)  # Starting the worker is not what is measured.
        before, began = cpu_of(worker), time.monotonic()
        execution.start(site.id, OMAR, site.crew)
        while site.change.state is ChangeState.RUNNING:
            time.sleep(0.5)
        cost = Cost(cpu=cpu_of(worker) - before, wall=time.monotonic() - began, memory=memory_of(worker))
        workers.end_all()
        if site.change.state is not ChangeState.SUCCEEDED:
            raise SystemExit(f"with {hosts} hosts it ended {site.change.state}: {site.why()}")
    return cost


def cpu_of(process: int) -> float:
    """Return the processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_of(process: int) -> int:
    """Return the most memory that a process has had, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=10_000, help="hosts of the larger change; the other has a tenth")
    parser.add_argument("--keep", action="store_true", help="keep the figures under benchmarks/results")
    options = parser.parse_args()
    costs: dict[int, Cost] = {}
    with tempfile.TemporaryDirectory() as folder, running() as server, pool() as workers:
        for hosts in (options.hosts // 10, options.hosts):
            cost = costs[hosts] = carried(hosts, Path(folder) / str(hosts), server, workers)
            per_host = f"{cost.cpu / hosts * 1000:.1f} ms of processor for each host"
            print(f"{hosts} hosts: {cost.wall:.0f} s, {per_host}, {cost.memory} MiB", flush=True)
    few, many = costs.values()
    growth = (many.cpu / options.hosts) / (few.cpu / (options.hosts // 10))
    figures = {
        "milliseconds_for_each_host": {str(n): round(cost.cpu / n * 1000, 1) for n, cost in costs.items()},
        "growth": round(growth, 2),
        "memory_mib": many.memory,
        "seconds": {str(n): round(cost.wall) for n, cost in costs.items()},
        "shards": options.hosts // SHARD,
        "cores": os.cpu_count(),
    }
    holds = growth <= GROWTH and many.memory <= MEMORY
    limit = {"growth": GROWTH, "memory_mib": MEMORY}
    line = json.dumps({"name": "scale", "figures": figures, "limit": limit, "holds": holds})
    print(line)
    if options.keep:
        kept = Path(__file__).parent / "results" / "scale.json"
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(line + "\n")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
