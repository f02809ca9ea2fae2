"""Going back: newest first, one that fails is named, and no machine is reverted over its data."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeSpec, ChangeState
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.lifecycle import ChangeEvent
from orchestrator.domain.rollback import Statefulness
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.errors import IllegalMove, Refused
from orchestrator.flow import closing
from tests.fakes.machines import Fault
from tests.fakes.site import OMAR, FakeSite, with_snapshot
from tests.fakes.values import NEW, OLD, SLOT, spec

TWO_WAVES = spec(rollout=RolloutPolicy(wave=Amount(value=2)))
WEB2_MAY_FAIL = spec(rollout=RolloutPolicy(max_failures=Amount(value=1)))
HTTP = HealthCheck(name="shop", kind=CheckKind.HTTP)


def with_http(of: ChangeSpec) -> ChangeSpec:
    return replace(of, health=(HTTP,))


def test_change_that_succeeded_is_rolled_back_newest_first(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}
    assert site.runner.jobs("restore.yml") == [("web3", "web4"), ("web1", "web2")]
    assert site.told("host-restored") == ["web3", "web4", "web1", "web2"]
    assert site.tags[-1] == "rolled-back"


def test_nothing_is_held_after_a_rollback(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    site.roll_back()
    site.carry()
    assert [machine.claim for machine in site.production.values()] == ["", "", "", ""]
    assert list(site.store.leases()) == []
    assert all(machine.points for machine in site.production.values())


def test_change_that_failed_is_rolled_back(site: FakeSite) -> None:
    site.machines["web3"].suffers("patch.yml", Fault.FAILS)
    site.ran(TWO_WAVES)
    assert site.change.state is ChangeState.FAILED
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}
    assert site.runner.jobs("restore.yml")[-1] == ("web1", "web2")


def test_rollback_carries_its_reason(site: FakeSite) -> None:
    site.ran()
    site.roll_back()
    assert site.last("rollback-started").data == {"reason": "it is slow"}
    assert site.last("rollback-started").actor == "omar"


def test_restore_that_fails_is_named_and_the_others_go_back(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    site.machines["web3"].suffers("restore.yml", Fault.FAILS)
    site.roll_back()
    assert site.carry().state is ChangeState.FAILED
    assert site.versions == {"web1": OLD, "web2": OLD, "web3": NEW, "web4": OLD}
    assert site.statuses["web3"] == "restore-failed"
    assert "the old package is damaged" in str(site.last("failed").data["not_restored"])
    assert any(issue.startswith("web3: ") for issue in site.change.issues)


def test_restore_that_failed_can_be_tried_again(site: FakeSite) -> None:
    site.ran(TWO_WAVES)
    site.machines["web3"].suffers("restore.yml", Fault.FAILS)
    site.roll_back()
    site.carry()
    site.machines["web3"].heals()
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert site.runner.jobs("restore.yml")[-1] == ("web3",)
    assert set(site.versions.values()) == {OLD}


def test_restore_that_says_it_did_and_did_not_is_found_out(site: FakeSite) -> None:
    site.ran()
    site.machines["web1"].points[site.id]["nginx"] = "1.18"
    site.roll_back()
    assert site.carry().state is ChangeState.FAILED
    assert "not as it was: nginx:amd64 was 1.22, is 1.18" in site.runs["web1"].reason


def test_restore_that_fails_within_a_run_costs_the_change_no_other_host(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.machines["web2"].suffers("restore.yml", Fault.FAILS)
    site.ran(WEB2_MAY_FAIL)
    assert site.statuses == {"web1": "done", "web2": "restore-failed", "web3": "done", "web4": "done"}
    assert site.change.state is ChangeState.SUCCEEDED
    assert any("web2: restore-failed" in issue for issue in site.change.issues)


def test_service_that_does_not_answer_after_the_restore_is_a_restore_that_failed(site: FakeSite) -> None:
    def silence() -> None:
        site.machines["web1"].is_served = False

    site.ran(with_http(TWO_WAVES))
    site.runner.during(".restore", silence)
    site.roll_back()
    assert site.carry().state is ChangeState.FAILED
    assert "shop does not pass after the restore" in site.runs["web1"].reason


def test_service_that_was_down_before_is_not_blamed_on_the_patch(site: FakeSite) -> None:
    site.started(with_http(TWO_WAVES))
    site.machines["web1"].is_served = False
    assert site.carry().state is ChangeState.SUCCEEDED
    assert any("shop did not pass, nor did it before" in issue for issue in site.change.issues)


def test_check_may_be_called_in_any_language(site: FakeSite) -> None:
    site.ran(replace(TWO_WAVES, health=(replace(HTTP, name="Büro"),)))
    assert site.change.state is ChangeState.SUCCEEDED


def test_service_that_falls_silent_is_damage(site: FakeSite) -> None:
    def silence() -> None:
        site.machines["web1"].is_served = False

    site.started(with_http(TWO_WAVES))
    site.runner.during("w1.b1.patch", silence)
    assert site.carry().state is ChangeState.FAILED
    assert "shop: did not pass" in site.runs["web1"].reason


def test_rollback_past_the_window_goes_on_and_reports_the_overrun(site: FakeSite) -> None:
    site.ran()
    site.clock.at = SLOT.end - timedelta(seconds=15)
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert site.last("window-overrun").data == {"ended": "2026-11-22T02:00:00Z"}


def test_rollback_within_the_window_reports_no_overrun(site: FakeSite) -> None:
    site.ran()
    site.roll_back()
    site.carry()
    assert "window-overrun" not in site.tags


def test_host_that_vanished_from_the_inventory_still_goes_back(site: FakeSite) -> None:
    site.ran()
    site.inventory.remove("web2")
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert site.versions["web2"] == OLD


def test_rollback_without_points_is_refused(site: FakeSite) -> None:
    site.ran()
    closing.give_up_points(site.change, site.crew)
    with pytest.raises(Refused, match="there is nothing to put back"):
        site.roll_back()
    assert site.change.state is ChangeState.SUCCEEDED


def test_what_was_rolled_back_is_not_rolled_back_again(site: FakeSite) -> None:
    site.ran()
    site.roll_back()
    site.carry()
    with pytest.raises(IllegalMove):
        site.ledger.record(site.change, ChangeEvent.ROLLBACK_STARTED, actor=OMAR)


def test_unknown_host_is_put_back_with_the_others(site: FakeSite) -> None:
    site.machines["web2"].suffers("patch.yml", Fault.GONE)
    site.ran(WEB2_MAY_FAIL)
    assert site.statuses["web2"] == "unknown"
    site.machines["web2"].heals()
    site.roll_back()
    assert site.carry().state is ChangeState.ROLLED_BACK
    assert set(site.versions.values()) == {OLD}


def test_stateless_host_is_reverted_by_its_snapshot(site: FakeSite) -> None:
    for name in ("web2", "stage1"):
        site.inventory.change(name, with_snapshot(Statefulness.STATELESS))
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.ran(WEB2_MAY_FAIL)
    assert site.statuses["web2"] == "restored"
    assert site.providers["snap"].restored == ["stage1", "web2"]
    assert site.versions["web2"] == OLD


@pytest.mark.parametrize("state", [Statefulness.STATEFUL, Statefulness.REPLICATED])
def test_host_with_data_is_not_reverted_by_a_snapshot_by_itself(site: FakeSite, state: Statefulness) -> None:
    site.inventory.change("web2", with_snapshot(state))
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.staged(WEB2_MAY_FAIL)
    site.waive("rollback:web2")
    site.stage()
    site.vote()
    site.schedule()
    site.start()
    site.carry()
    assert site.providers["snap"].restored == []
    assert site.statuses["web2"] == "restore-failed"
    assert "A person has to decide" in site.runs["web2"].reason
    assert site.versions["web2"] == "mixed"


def test_directory_server_never_has_a_snapshot(site: FakeSite) -> None:
    both = {"providers": ("snap", "packages"), "statefulness": Statefulness.DIRECTORY}
    site.inventory.change("web2", lambda host: replace(host, **both))  # type: ignore[arg-type]
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.ran(WEB2_MAY_FAIL)
    assert (site.statuses["web2"], site.versions["web2"]) == ("restored", OLD)
    assert "web2" not in site.providers["snap"].taken
    assert {point.provider for point in site.store.points(site.id) if point.host == "web2"} == {"packages"}


def test_host_with_data_goes_back_by_packages_where_it_has_both(site: FakeSite) -> None:
    both = {"providers": ("packages", "snap"), "statefulness": Statefulness.STATEFUL}
    site.inventory.change("web2", lambda host: replace(host, **both))  # type: ignore[arg-type]
    site.machines["web2"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    site.ran(WEB2_MAY_FAIL)
    assert (site.statuses["web2"], site.versions["web2"]) == ("restored", OLD)
    assert "web2" not in site.providers["snap"].restored
    assert any("snap was not used: the host is stateful" in warning for warning in site.runs["web2"].warnings)


def test_snapshot_that_cannot_be_restored_is_named_and_the_others_go_back(site: FakeSite) -> None:
    for name in ("web1", "web2", "stage1"):
        site.inventory.change(name, with_snapshot(Statefulness.STATELESS))
    site.ran()
    site.providers["snap"].failing = {"web2"}
    site.roll_back()
    assert site.carry().state is ChangeState.FAILED
    assert site.versions == {"web1": OLD, "web2": NEW, "web3": OLD, "web4": OLD}
    assert "snap failed: the snapshot is gone" in site.runs["web2"].reason


def test_host_is_taken_a_point_of_once(site: FakeSite) -> None:
    site.started(TWO_WAVES)
    site.runner.during("w1.b1.protect", site.pause)
    site.carry()
    site.resume()
    site.carry()
    assert sorted(site.providers["packages"].taken) == ["stage1", "web1", "web2", "web3", "web4"]
    assert len(site.store.points(site.id)) == 5
