"""Turns decide, and reach no host: whatever is done to one is done in a shard of its zone."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import StaleChange
from orchestrator.flow import sharding
from orchestrator.flow.carrying import take_turn, work_on
from orchestrator.flow.concluding import Conclusion, conclude
from orchestrator.flow.sharding import Shard, Task
from tests.fakes.machines import Fault
from tests.fakes.runner import Killed, When
from tests.fakes.site import FakeSite
from tests.fakes.values import spec
from tests.unit.flow.conftest import NewSite

CANARY = RolloutPolicy(canary=Amount(value=2), soak=timedelta(minutes=1), max_failures=Amount(value=1))
EVERYTHING = replace(spec(rollout=CANARY), health=(HealthCheck(name="shop", kind=CheckKind.HTTP),))


@pytest.fixture
def zoned(new_site: NewSite) -> FakeSite:
    """Return a site with hosts of two zones, and of none."""
    site = new_site(web=6, stage=3)
    for name in site.machines:
        zone = ("", "dmz", "plant")[int(name[-1]) % 3]
        site.inventory.change(name, partial(replace, zone=zone))
    return site


def reached(site: FakeSite) -> Counter[str]:
    """Return how often every host was reached so far, whatever for."""
    jobs = [one.host for job in site.runner.begun for one in job.hosts]
    return Counter([*jobs, *(host for hosts in (*site.probe.looked, *site.check.asked) for host in hosts)])


def carried(site: FakeSite) -> list[Shard]:
    """Carry a change, and check who reaches which host; return the shards."""
    zones = {host.name: host.zone for hosts in site.inventory.hosts.values() for host in hosts}
    worked_on: list[Shard] = []
    while True:
        before = reached(site)
        turn = take_turn(site.id, site.crew)
        assert reached(site) == before, "a turn reaches no host"
        if turn is None:
            return worked_on
        if isinstance(turn, Conclusion):
            with suppress(StaleChange):
                conclude(turn, site.ledger)
            continue
        for shard in turn:
            before = reached(site)
            work_on(shard, site.crew)
            now = {*(reached(site) - before)}
            assert now <= set(shard.hosts)
            assert {zones[host] for host in now} <= {shard.zone}
        worked_on += turn


def test_every_host_is_reached_in_shards_of_its_zone_alone(zoned: FakeSite) -> None:
    zoned.machines["web3"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    zoned.submit(EVERYTHING)
    zoned.stage_now()
    shards = carried(zoned)
    zoned.vote()
    zoned.schedule()
    zoned.start()
    shards += carried(zoned)
    zoned.roll_back()
    shards += carried(zoned)
    assert zoned.change.state is ChangeState.ROLLED_BACK
    assert {shard.task for shard in shards} == {*Task} - {Task.START_OVER, Task.LET_GO}
    assert {shard.zone for shard in shards} == {"", "dmz", "plant"}


def test_second_staging_starts_over_in_each_zone(zoned: FakeSite) -> None:
    zoned.staged()
    zoned.stage_now()
    first = carried(zoned)[:3]
    assert {(shard.task, shard.zone) for shard in first} == {(Task.START_OVER, zone) for zone in ("", "dmz", "plant")}
    assert zoned.change.state is ChangeState.STAGED


def test_no_two_shards_of_a_change_have_one_name(zoned: FakeSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "SHARD", 1)
    zoned.submit(EVERYTHING)
    zoned.stage_now()
    shards = carried(zoned)
    zoned.vote()
    zoned.schedule()
    zoned.start()
    shards += carried(zoned)
    names = [shard.name for shard in shards]
    assert len(names) == len(set(names))
    assert len({job.id for job in zoned.runner.begun}) == len(zoned.runner.begun)


def test_what_was_surveyed_in_other_zones_is_not_looked_at_again_after_a_crash(zoned: FakeSite) -> None:
    zoned.submit()
    zoned.stage_now()
    zoned.runner.during("scan-production.s2", lambda: zoned.runner.kill_caller(0, When.BEFORE))
    with pytest.raises(Killed):
        zoned.carry()
    looked = len(zoned.runner.jobs("scan.yml"))
    zoned.carry()
    assert zoned.change.state is ChangeState.STAGED
    assert len(zoned.runner.jobs("scan.yml")) == looked + 1


def test_zone_that_cannot_do_its_part_ends_staging_with_the_reason(zoned: FakeSite) -> None:
    zoned.submit()
    zoned.stage_now()
    with zoned.store.begin() as writing:
        writing.lease(["stage2"], "CHG-0099", now=zoned.clock.now(), hold=timedelta(hours=1))
    assert zoned.carry().state is ChangeState.REQUESTED
    assert "stage2 by CHG-0099" in str(zoned.last("staging-failed").data["reason"])


def first_shards(site: FakeSite) -> tuple[Shard, ...]:
    turn = take_turn(site.id, site.crew)
    assert isinstance(turn, tuple)
    return turn


def test_shard_that_has_ended_is_left_by_whoever_is_late(zoned: FakeSite) -> None:
    zoned.submit()
    zoned.stage_now()
    shard = first_shards(zoned)[0]
    work_on(shard, zoned.crew)
    asked = len(zoned.runner.asked)
    work_on(shard, zoned.crew)
    assert len(zoned.runner.asked) == asked


def test_shard_of_an_earlier_attempt_does_nothing_any_more(zoned: FakeSite) -> None:
    zoned.submit()
    zoned.stage_now()
    late = first_shards(zoned)[0]
    zoned.content.files["playbooks/patch.yml"] = "other"
    assert zoned.carry().state is ChangeState.REQUESTED
    zoned.stage_now()
    first_shards(zoned)
    work_on(late, zoned.crew)
    assert zoned.runner.asked == []


def test_canary_that_has_soaked_is_looked_at_once(zoned: FakeSite) -> None:
    zoned.started(EVERYTHING)
    shards = [shard for shard in carried(zoned) if shard.task is Task.SOAKED]
    asked = len(zoned.runner.asked)
    for shard in shards:
        work_on(shard, zoned.crew)
    assert len(zoned.runner.asked) == asked
    assert shards
