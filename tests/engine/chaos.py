"""One bad night: workers are killed and held still, the network is cut, the database restarts; and it all adds up."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from orchestrator.adapters.store import upgrade
from orchestrator.domain.audit import broken_at
from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.domain.run import HostStatus
from orchestrator.flow import execution
from orchestrator.flow.sticking import is_stuck
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, spec
from tests.processes import lives

#: However many hosts fail, the change goes on: what counts here is that each of them is told truly.
ALL = Amount(value=100, percent=True)
PATIENT = spec(rollout=RolloutPolicy(wave=Amount(value=50, percent=True), max_failures=ALL, max_unfit=ALL))


@dataclass(frozen=True)
class Night:
    """What one round did, and how long it took."""

    seed: int
    deeds: tuple[str, ...]
    seconds: float
    statuses: dict[str, str]


def bad_night(
    seed: int, folder: Path, url: str, pool: Pool, *, restart_database: Callable[[], object], hosts: int = 12
) -> Night:
    """Carry a change through a night of accidents. Raises AssertionError where something does not add up."""
    folder.mkdir()
    upgrade(url)
    disk = DiskSite(url=url, folder=str(folder), hosts=hosts, seconds=0.05, shard=2, began=time.time())
    disk.prepare(PATIENT)
    with disk.opened() as site:
        return _live_through(seed, disk, site, pool, restart_database)


def _live_through(
    seed: int, disk: DiskSite, site: FakeSite, pool: Pool, restart_database: Callable[[], object]
) -> Night:
    dice = random.Random(seed)
    began = time.monotonic()
    execution.start(site.id, OMAR, site.crew)
    workers = [pool.start(disk) for _ in range(4)]
    deeds: list[str] = []
    try:
        while time.monotonic() - began < 4.0:
            time.sleep(dice.uniform(0.1, 0.5))
            deeds.append(_do_something(dice, pool, disk, workers, restart_database))
        for name in site.production:
            disk.machines.cut(name, off=False)
        _wait_for_the_end(site, pool, disk, workers, seed, deeds)
    finally:
        pool.end_all()
    _adds_up(site, disk, f"seed {seed}: {deeds}")
    statuses = {host: run.status.value for host, run in site.runs.items()}
    return Night(seed, tuple(deeds), time.monotonic() - began, statuses)


def _do_something(
    dice: random.Random, pool: Pool, disk: DiskSite, workers: list[int], restart_database: Callable[[], object]
) -> str:
    deed = dice.choices(["kill", "hold", "cut", "mend", "restart", "nothing"], [4, 3, 3, 4, 0.5, 2])[0]
    at = dice.randrange(len(workers))
    host = f"web{dice.randint(1, disk.hosts)}"
    if deed == "kill":
        pool.signal(workers[at], signal.SIGKILL)
        workers[at] = pool.start(disk)
    elif deed == "hold":
        # Longer than its lease: when it wakes up, somebody else has its work.
        pool.signal(workers[at], signal.SIGSTOP)
        time.sleep(dice.uniform(0.2, disk.lease * 1.5))
        pool.signal(workers[at], signal.SIGCONT)
    elif deed in ("cut", "mend"):
        disk.machines.cut(host, off=deed == "cut")
        deed = f"{deed} {host}"
    elif deed == "restart":
        restart_database()
    return deed


def _wait_for_the_end(
    site: FakeSite, pool: Pool, disk: DiskSite, workers: list[int], seed: int, deeds: list[str]
) -> None:
    until = time.monotonic() + 200
    while True:
        for at, worker in enumerate(workers):
            if not lives(worker):
                workers[at] = pool.start(disk)  # As its service manager does for one that was fenced.
        try:
            state = site.change.state
            stuck = is_stuck(site.id, site.ledger)
        except sa.exc.DBAPIError:
            continue
        if state is not ChangeState.RUNNING:
            return
        assert not stuck, f"seed {seed} is stuck after {deeds}: {stuck}"
        assert time.monotonic() < until, f"seed {seed} does not end after {deeds}: {site.statuses} {site.why()}"
        time.sleep(0.1)


def _adds_up(site: FakeSite, disk: DiskSite, night: str) -> None:
    trail = site.store.trail(site.id)
    assert broken_at(trail) == "", night
    assert site.change.state in (ChangeState.SUCCEEDED, ChangeState.FAILED), night
    assert list(disk.machines.collisions()) == [], f"two workers on one host at once: {night}"
    for host, run in site.runs.items():
        machine = disk.machines.look(host)
        assert run.status.is_settled, f"{host} has no outcome, it is {run.status} ({run.reason}): {night}"
        assert machine.begun("patch") <= 1, f"{host} was patched twice: {night}"
        if run.status is HostStatus.DONE:
            assert machine.version == NEW, f"{host} is told to be done: {night}"
        if run.status is HostStatus.SKIPPED:
            assert machine.begun("patch") == 0, f"{host} is told to be skipped: {night}"
        told = [event for event in trail if event.tag.startswith("host-") and event.data.get("host") == host]
        assert told, f"{host} is not in the trail: {night}"
