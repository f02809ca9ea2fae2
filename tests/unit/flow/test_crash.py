"""``kill -9`` at any moment: nothing is patched twice, nothing is left unnamed, and the run goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.rollout import Amount, OnTrip, RolloutPolicy
from tests.fakes.machines import Fault
from tests.fakes.runner import Killed, When
from tests.fakes.site import FakeSite
from tests.fakes.values import NEW, OLD, spec
from tests.unit.flow.conftest import NewSite

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2), max_unfit=Amount(value=4)))
#: The jobs of such a run, in order.
RUN = ["protect", "patch", "protect", "patch", "release"]
STAGING = ["scan", "download", "protect", "patch", "restore", "patch again", "release", "scan of production"]


def killed_then_carried(site: FakeSite, nth: int, when: When, act: Callable[[], object] | None = None) -> None:
    """Kill whoever carries the change at a job, and have somebody else carry it on."""
    site.runner.kill_caller(nth, when)
    with pytest.raises(Killed):
        (act or site.carry)()
    site.carry()


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("nth", range(len(RUN)), ids=RUN)
def test_carrier_killed_at_any_job_leaves_every_host_patched_once(site: FakeSite, nth: int, when: When) -> None:
    site.started(TWO_WAVES)
    killed_then_carried(site, nth, when)
    assert site.change.state is ChangeState.SUCCEEDED
    assert set(site.statuses.values()) == {"done"}
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
    assert site.told("host-done") == ["web1", "web2", "web3", "web4"]
    assert [machine.claim for machine in site.production.values()] == ["", "", "", ""]


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER])
@pytest.mark.parametrize("nth", [1, 3], ids=["first patch", "second patch"])
def test_everything_killed_while_hosts_are_patched_leaves_every_host_patched_once(
    site: FakeSite, nth: int, fault: Fault
) -> None:
    site.started(TWO_WAVES)
    site.runner.dies(f"w{1 + nth // 2}.b1.patch", fault)
    killed_then_carried(site, nth, When.DURING)
    assert site.change.state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]
    assert [machine.patched for machine in site.production.values()] == [1, 1, 1, 1]


def test_host_that_goes_on_working_after_everything_was_killed_is_not_patched_again(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies("w1.b1.patch", Fault.LOST_AT_WORK)
    site.runner.kill_caller(1, When.DURING)
    with pytest.raises(Killed):
        site.carry()
    for name in ("web1", "web2"):
        site.machines[name].finish()
    assert site.carry().state is ChangeState.SUCCEEDED
    assert [machine.begun("patch") for machine in site.production.values()] == [1, 1, 1, 1]


def test_host_that_is_still_at_work_after_a_crash_is_not_taken_for_one_that_never_began(site: FakeSite) -> None:
    site.started(spec(rollout=replace(TWO_WAVES.rollout, max_failures=Amount(value=2))))
    site.runner.dies("w1.b1.patch", Fault.LOST_AT_WORK)
    killed_then_carried(site, 1, When.DURING)
    assert {site.statuses[name] for name in ("web1", "web2")} == {"unknown"}
    assert sum("web1" in hosts for hosts in site.runner.jobs("patch.yml")) == 1


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("nth", range(len(STAGING)), ids=STAGING)
def test_carrier_killed_at_any_job_of_staging_goes_on_to_the_same_plan(new_site: NewSite, nth: int, when: When) -> None:
    site = new_site()
    site.submit()
    killed_then_carried(site, nth, when, site.stage)
    assert site.change.state is ChangeState.STAGED
    assert site.machines["stage1"].begun("patch") == 2


def test_staging_taken_up_again_goes_on_where_it_was(site: FakeSite) -> None:
    site.submit()
    killed_then_carried(site, 6, When.BEFORE, site.stage)
    assert len(site.runner.begun) == len(STAGING)
    assert site.machines["stage1"].version == NEW


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("nth", range(3), ids=["restore of wave 2", "restore of wave 1", "release"])
def test_carrier_killed_while_putting_back_goes_on(site: FakeSite, nth: int, when: When) -> None:
    site.ran(TWO_WAVES)
    site.roll_back()
    killed_then_carried(site, nth, when)
    assert site.change.state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}
    assert set(site.statuses.values()) == {"restored"}
    assert site.runner.jobs("restore.yml") == [("web3", "web4"), ("web1", "web2")]


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("nth", [2, 3], ids=["restore", "protect of the next wave"])
def test_host_that_failed_before_the_crash_is_put_back_all_the_same(site: FakeSite, nth: int, when: When) -> None:
    site.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.started(spec(rollout=RolloutPolicy(wave=Amount(value=2), max_failures=Amount(value=1))))
    killed_then_carried(site, nth, when)
    assert site.change.state is ChangeState.SUCCEEDED
    assert site.statuses == {"web1": "restored", "web2": "done", "web3": "done", "web4": "done"}
    assert site.versions == {"web1": OLD, "web2": NEW, "web3": NEW, "web4": NEW}


@pytest.mark.parametrize("when", [When.BEFORE, When.AFTER])
@pytest.mark.parametrize("on_trip", [OnTrip.FAILED, OnTrip.ALL])
@pytest.mark.parametrize("nth", [2, 3], ids=["restore", "release"])
def test_carrier_killed_after_the_budget_tripped_still_stops(
    site: FakeSite, nth: int, on_trip: OnTrip, when: When
) -> None:
    site.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.started(spec(rollout=RolloutPolicy(wave=Amount(value=2), on_trip=on_trip)))
    killed_then_carried(site, nth, when)
    assert site.change.state is (ChangeState.FAILED if on_trip is OnTrip.FAILED else ChangeState.ROLLED_BACK)
    assert site.machines["web3"].journal == []
    assert site.versions["web1"] == OLD


def test_state_before_the_patch_is_not_overwritten_by_whoever_goes_on(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    killed_then_carried(site, 1, When.AFTER)
    before = site.store.documents(site.id, "state.before")["web1"]
    assert isinstance(before, dict)
    assert before["packages"] == {"libssl3:amd64": OLD, "nginx:amd64": "1.22", "openssl:amd64": OLD}


def test_job_is_begun_once_whoever_asks_for_it(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    for _ in range(3):
        site.runner.kill_caller(0, When.AFTER)
        with pytest.raises(Killed):
            site.carry()
    site.carry()
    ids = [job.id for job in site.runner.begun]
    assert len(ids) == len(set(ids))
    assert len(site.runner.asked) > len(ids)


def test_everything_killed_while_hosts_are_protected_costs_no_host(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    killed_then_carried(site, 0, When.DURING)
    assert site.change.state is ChangeState.SUCCEEDED
    assert set(site.versions.values()) == {NEW}


def test_everything_killed_while_hosts_are_put_back_leaves_them_put_back(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    site.roll_back()
    killed_then_carried(site, 0, When.DURING)
    assert site.change.state is ChangeState.ROLLED_BACK


def test_everything_killed_while_hosts_are_let_go_leaves_no_claim(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.dies(".release", Fault.LOST_BEFORE)
    killed_then_carried(site, 4, When.DURING)
    assert [machine.claim for machine in site.production.values()] == ["", "", "", ""]
