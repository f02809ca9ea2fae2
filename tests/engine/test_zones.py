"""A zone is a whole promise: nobody but the workers of its zone ever reaches a host, whatever is done to it."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.store import upgrade
from orchestrator.domain.change import ChangeSpec, ChangeState
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.flow import execution
from orchestrator.flow.sticking import is_stuck
from tests.engine.disk_site import DiskSite
from tests.engine.pool import Pool
from tests.fakes.machines import Fault
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, OLD, spec
from tests.postgres import Server

ZONES = {"web1": "dmz", "web2": "plant", "web3": "dmz", "web4": "plant", "stage1": "dmz", "stage2": "plant"}
CANARIES = Amount(value=2)
#: Canaries that soak in both zones, a service that is asked, and one host of a zone that fails and goes back.
EVERYTHING = replace(
    spec(rollout=RolloutPolicy(canary=CANARIES, soak=timedelta(seconds=20), max_failures=Amount(value=1))),
    health=(HealthCheck(name="shop", kind=CheckKind.HTTP),),
)
PATIENCE = 60.0


def asked_for(server: Server, folder: Path, of: ChangeSpec) -> DiskSite:
    url = server.url(server.new_database())
    upgrade(url)
    disk = DiskSite(url=url, folder=str(folder), hosts=4, stage=2, seconds=0.01, shard=50, began=time.time(), lease=30)
    disk.ask(of, ZONES)
    return disk


def comes_to(site: FakeSite, state: ChangeState) -> None:
    until = time.monotonic() + PATIENCE
    while site.change.state is not state:
        assert not is_stuck(site.id, site.ledger), is_stuck(site.id, site.ledger)
        assert time.monotonic() < until, f"it is {site.change.state}: {site.why()}"
        time.sleep(0.1)


@pytest.mark.postgres
@pytest.mark.timeout(180)
def test_every_phase_of_a_host_is_carried_out_by_a_worker_of_its_zone(
    server: Server, workers: Pool, tmp_path: Path
) -> None:
    disk = asked_for(server, tmp_path, EVERYTHING)
    failing = disk.machines.look("web3")
    failing.suffers("patch.yml", Fault.FAILS_HALF_WAY)
    disk.machines.keep(failing)
    with disk.opened() as site:
        site.stage_now()
        for zones in ((), ("dmz",), ("plant",)):
            workers.start(replace(disk, zones=zones))
        comes_to(site, ChangeState.STAGED)
        site.vote()
        site.schedule()
        execution.start(site.id, OMAR, site.crew_with_ledger())
        comes_to(site, ChangeState.SUCCEEDED)
        assert site.statuses == {"web1": "done", "web2": "done", "web3": "restored", "web4": "done"}
        assert "soak" in {step.job.split(".")[2] for step in site.store.steps(site.id, ["web1"])}
        site.roll_back()
        comes_to(site, ChangeState.ROLLED_BACK)
    workers.end_all()
    assert disk.machines.reached() == {"dmz from dmz", "plant from plant"}
    assert {disk.machines.look(name).version for name in ZONES if name.startswith("web")} == {OLD}
    assert {disk.machines.look(name).version for name in ZONES if name.startswith("stage")} == {NEW}


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_hosts_wait_for_a_worker_of_their_zone_and_are_left_alone_until_there_is_one(
    server: Server, workers: Pool, tmp_path: Path
) -> None:
    disk = asked_for(server, tmp_path, spec())
    with disk.opened() as site:
        site.stage_now()
        for zones in ((), ("plant",)):
            workers.start(replace(disk, zones=zones))
        _wait_for(tmp_path / "workers.log", "hosts of zone dmz wait for a worker")
        _wait_for(tmp_path / "hosts" / "reached", "plant from plant")
        assert site.change.state is ChangeState.STAGING
        assert disk.machines.reached() == {"plant from plant"}
        workers.start(replace(disk, zones=("dmz",)))
        comes_to(site, ChangeState.STAGED)
    workers.end_all()
    assert disk.machines.reached() == {"dmz from dmz", "plant from plant"}


@pytest.mark.postgres
@pytest.mark.timeout(120)
def test_what_a_dead_worker_has_begun_waits_for_another_of_its_zone(
    server: Server, workers: Pool, tmp_path: Path
) -> None:
    disk = replace(asked_for(server, tmp_path, spec()), seconds=0.5, lease=2)
    with disk.opened() as site:
        site.stage_now()
        dead = [workers.start(replace(disk, zones=zones)) for zones in ((), ("plant",), ("dmz",))][-1]
        _wait_for(tmp_path / "hosts" / "reached", "dmz from dmz")
        workers.signal(dead, signal.SIGKILL)
        _wait_for(tmp_path / "workers.log", "is dead: its work is taken over")
        _wait_for(tmp_path / "workers.log", "hosts of zone dmz wait for a worker")
        assert site.change.state is ChangeState.STAGING
        workers.start(replace(disk, zones=("dmz",)))
        comes_to(site, ChangeState.STAGED)
        assert {machine.begun("patch") for machine in map(disk.machines.look, ("stage1", "stage2"))} == {2}
    workers.end_all()
    assert disk.machines.reached() == {"dmz from dmz", "plant from plant"}


def _wait_for(file: Path, text: str) -> None:
    until = time.monotonic() + PATIENCE
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < until, f"nobody says {text!r}"
        time.sleep(0.1)
