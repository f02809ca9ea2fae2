"""Host-bound work with one, two and four workers on PostgreSQL: how much sooner it is done."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from benchmarks._telling import arguments, tell
from orchestrator.adapters.store import upgrade
from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.engine.worker import Manner
from orchestrator.flow import execution
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool, pool
from tests.fakes.site import OMAR
from tests.fakes.values import spec
from tests.postgres import Server, running

#: At least so many times sooner with four workers than with one.
LIMIT = 3.5
#: What the hosts of a shard take in each job (s; real ones take more), and how many shards a worker has in hand.
SECONDS, AT_ONCE = 2, 2
ONE_WAVE = spec(rollout=RolloutPolicy(wave=Amount(value=100, percent=True)))


def timed(count: int, hosts: int, folder: Path, server: Server, workers: Pool) -> float:
    """Carry a change with so many workers; return the seconds from its start to its end."""
    folder.mkdir()
    url = server.url(server.new_database())
    upgrade(url)
    disk = DiskSite(
        url=url, folder=str(folder), hosts=hosts, seconds=SECONDS, shard=1, began=time.time(), lease=30,
        at_once=AT_ONCE, pause=Manner().pause,
    )  # fmt: skip
    disk.prepare(ONE_WAVE)
    with disk.opened() as site:
        for _ in range(count):
            workers.start(disk)
        time.sleep(3)  # Starting a worker is not what is measured.
        began = time.monotonic()
        execution.start(site.id, OMAR, site.crew)
        while site.change.state is ChangeState.RUNNING:
            time.sleep(0.05)
        took = time.monotonic() - began
        workers.end_all()
        if site.change.state is not ChangeState.SUCCEEDED:
            raise SystemExit(f"with {count} workers it ended {site.change.state}: {site.why()}")
    return took


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--hosts", type=int, default=24, help="hosts, each a shard of its own")
    options = parser.parse_args()
    hosts = options.hosts
    took: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as folder, running() as server, pool() as workers:
        for count in (1, 2, 4):
            took[count] = timed(count, hosts, Path(folder) / str(count), server, workers)
            print(f"{count} workers: {took[count]:.1f} s", flush=True)
    ratio = took[1] / took[4]
    figures = {
        "seconds": {str(count): round(seconds, 1) for count, seconds in took.items()},
        "sooner_with_four": round(ratio, 2), "hosts": hosts,
    }  # fmt: skip
    holds = ratio >= LIMIT
    return tell("workers", figures, {"sooner_with_four": LIMIT}, holds=holds, keep=options.keep)


if __name__ == "__main__":
    sys.exit(main())
