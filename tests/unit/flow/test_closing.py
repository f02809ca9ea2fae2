"""Closing: what is given up, what is kept, and how it is said to have ended."""

from __future__ import annotations

import pytest

from orchestrator.domain.change import ChangeState, CloseCode
from orchestrator.domain.inventory import Environment
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.rollback import Statefulness
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import IllegalMove, Refused
from orchestrator.flow import closing
from tests.fakes.machines import Fault
from tests.fakes.site import OMAR, FakeSite, with_snapshot
from tests.fakes.values import NEW, OLD, spec

ONE_MAY_FAIL = spec(rollout=RolloutPolicy(max_failures=Amount(value=1)))


def test_points_are_given_up_here_and_on_the_hosts(site: FakeSite) -> None:
    site.ran()
    assert site.held_points() == ["stage1", "web1", "web2", "web3", "web4"]
    site.close()
    assert site.held_points() == []
    assert not any(machine.points for machine in site.machines.values())
    assert sorted(map(str, site.told("point-released"))) == ["stage1", "web1", "web2", "web3", "web4"]
    assert list(site.store.leases()) == []


def test_points_of_staging_are_given_up_with_the_others(site: FakeSite) -> None:
    site.ran()
    site.close()
    assert site.runner.jobs("release.yml", Environment.STAGING) == [("stage1",), ("stage1",)]
    assert site.machines["stage1"].points == {}


@pytest.mark.parametrize("fault", [Fault.GONE, Fault.LOST_AT_WORK])
def test_point_of_an_unknown_host_is_kept(site: FakeSite, fault: Fault) -> None:
    site.machines["web2"].suffers("patch.yml", fault)
    site.ran(ONE_MAY_FAIL)
    closed = site.close()
    assert closed.state is ChangeState.CLOSED
    assert site.held_points() == ["web2"]
    assert "web2: the packages point is kept, the host ended unknown" in str(site.last("closed").data["not_released"])


def test_point_of_a_failed_host_is_kept(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.machines["web2"].suffers("restore.yml", Fault.FAILS)
    site.ran(ONE_MAY_FAIL)
    site.close()
    assert site.held_points() == ["web2"]
    assert list(site.machines["web2"].points) == [site.id]


def test_clean_change_is_closed_as_successful(site: FakeSite) -> None:
    site.ran()
    assert site.close().close_code is CloseCode.SUCCESSFUL
    assert site.last("closed").data["code"] == "successful"


def test_change_with_issues_is_closed_as_such(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.FAILS)
    site.ran(ONE_MAY_FAIL)
    assert site.close().close_code is CloseCode.SUCCESSFUL_WITH_ISSUES


@pytest.mark.parametrize("rolled_back", [True, False])
def test_failed_or_rolled_back_change_is_closed_as_unsuccessful(site: FakeSite, rolled_back: bool) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.FAILS)
    site.ran()
    if rolled_back:
        site.roll_back()
        site.carry()
    assert site.close().close_code is CloseCode.UNSUCCESSFUL


@pytest.mark.parametrize("step", ["submit", "staged", "scheduled", "started"])
def test_change_on_its_way_is_not_closed(site: FakeSite, step: str) -> None:
    getattr(site, step)()
    with pytest.raises(IllegalMove):
        site.close()
    assert "closed" not in site.tags


def test_closed_change_is_not_closed_again(site: FakeSite) -> None:
    site.ran()
    site.close()
    with pytest.raises(IllegalMove):
        site.close()


def test_host_that_does_not_give_its_point_up_is_named_and_the_point_stays(site: FakeSite) -> None:
    site.ran()
    site.machines["web2"].suffers("release.yml", Fault.FAILS)
    site.close()
    assert site.held_points() == ["web2"]
    assert "web2: the disk is read-only" in str(site.last("closed").data["not_released"])


def test_points_of_single_hosts_are_given_up_by_name(site: FakeSite) -> None:
    site.ran()
    assert closing.give_up_points(site.change, site.crew, hosts=["web1"]) == []
    assert site.held_points() == ["stage1", "web2", "web3", "web4"]


def test_points_of_one_host_after_the_other_are_given_up(site: FakeSite) -> None:
    site.ran()
    closing.give_up_points(site.change, site.crew, hosts=["web1"])
    assert closing.give_up_points(site.change, site.crew, hosts=["web2"]) == []
    assert site.held_points() == ["stage1", "web3", "web4"]


def test_snapshot_that_its_provider_keeps_is_still_held(site: FakeSite) -> None:
    for name in ("web2", "stage1"):
        site.inventory.change(name, with_snapshot(Statefulness.STATELESS))
    site.ran()
    site.providers["snap"].failing = {"web2"}
    site.close()
    assert "web2: the snapshot is busy" in str(site.last("closed").data["not_released"])
    assert site.held_points() == ["web2"]


def test_point_of_a_vanished_host_is_named(site: FakeSite) -> None:
    site.ran()
    site.inventory.remove("web2")
    site.close()
    assert site.held_points() == ["web2"]
    assert "web2" in str(site.last("closed").data["not_released"])


def test_staging_is_put_back_where_the_change_never_reached_production(site: FakeSite) -> None:
    site.machines["web1"].suffers("patch.yml", Fault.FAILS)
    site.ran()
    assert site.machines["stage1"].version == NEW
    site.close()
    assert site.machines["stage1"].version == OLD
    assert site.held_points() == []


def test_staging_stays_patched_where_production_is(site: FakeSite) -> None:
    site.ran()
    site.close()
    assert site.machines["stage1"].version == NEW


def test_staging_of_a_cancelled_change_is_put_back_with_its_points(site: FakeSite) -> None:
    site.staged()
    site.cancel()
    assert closing.give_up_points(site.change, site.crew) == []
    assert (site.machines["stage1"].version, site.held_points()) == (OLD, [])
    assert list(site.store.leases()) == []


def test_staging_of_a_change_whose_plan_was_voided_is_put_back_with_its_points(site: FakeSite) -> None:
    site.staged()
    site.waive("rollback:web1")
    site.cancel()
    assert closing.give_up_points(site.change, site.crew) == []
    assert (site.machines["stage1"].version, site.held_points()) == (OLD, [])


def test_last_way_back_of_a_host_goes_where_somebody_names_it(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.GONE)
    site.ran(ONE_MAY_FAIL)
    site.close()
    site.machines["web2"].heals()
    assert closing.give_up_points(site.change, site.crew, hosts=["web2"]) == []
    assert site.held_points() == []


@pytest.mark.parametrize("state", ["scheduled", "started"])
def test_points_of_a_change_under_way_are_not_given_up(site: FakeSite, state: str) -> None:
    getattr(site, state)()
    with pytest.raises(Refused, match="may still be needed"):
        closing.give_up_points(site.change, site.crew)
    assert site.held_points() == ["stage1"]


def test_rollback_is_over_when_the_change_is_closed(site: FakeSite) -> None:
    site.ran()
    site.close()
    with pytest.raises(IllegalMove):
        site.ledger.record(site.change, ChangeEvent.ROLLBACK_STARTED, actor=OMAR)


def test_host_that_did_not_answer_twice_is_asked_a_third_time(site: FakeSite) -> None:
    site.ran()
    site.machines["web2"].is_up = False
    for _ in range(2):
        assert [problem.partition(":")[0] for problem in closing.give_up_points(site.change, site.crew)] == ["web2"]
    site.machines["web2"].is_up = True
    assert closing.give_up_points(site.change, site.crew) == []
    assert site.held_points() == []
    assert site.machines["web2"].points == {}
