"""One error budget for the whole change, and a limit of its own for hosts that were dead or unfit beforehand."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.probe import Stage
from orchestrator.domain.rollout import Amount, OnTrip, RolloutPolicy
from orchestrator.domain.run import HostStatus
from tests.fakes.machines import Fault
from tests.fakes.site import FakeSite
from tests.fakes.values import NEW, OLD, spec

PATCH = "patch.yml"
MINUTE = timedelta(minutes=1)


def policy(*, failures: int = 0, unfit: int = 4, on_trip: OnTrip = OnTrip.FAILED, wave: int = 1) -> RolloutPolicy:
    return RolloutPolicy(
        wave=Amount(value=wave), max_failures=Amount(value=failures), max_unfit=Amount(value=unfit), on_trip=on_trip
    )


@pytest.mark.parametrize(
    "fault",
    [Fault.FAILS, Fault.FAILS_HALF_WAY, Fault.LIES, Fault.HURTS, Fault.GONE, Fault.LOST_HALF_WAY, Fault.LOST_AT_WORK],
)
def test_budget_of_nothing_trips_on_the_first_and_later_waves_stay_untouched(site: FakeSite, fault: Fault) -> None:
    site.machines["web2"].suffers(PATCH, fault)
    site.ran(spec(rollout=policy()))
    assert site.change.state is ChangeState.FAILED
    assert site.last("budget-tripped").data["reason"] == "1 of 4 hosts failed, 0 allowed"
    assert [site.versions[name] for name in ("web1", "web3", "web4")] == [NEW, OLD, OLD]
    assert [machine.journal for machine in (site.machines["web3"], site.machines["web4"])] == [[], []]
    assert site.statuses["web3"] == site.statuses["web4"] == "pending"


def test_unreachable_host_counts_as_failure_and_as_unknown(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.GONE)
    site.ran(spec(rollout=policy(failures=1)))
    assert site.runs["web2"].status is HostStatus.UNKNOWN
    assert site.runs["web2"].failed
    assert site.last("succeeded").data["failed"] == 1
    assert any(issue.startswith("web2: unknown") for issue in site.change.issues)


def test_failures_count_over_all_waves(site: FakeSite) -> None:
    for name in ("web1", "web3"):
        site.machines[name].suffers(PATCH, Fault.FAILS)
    site.ran(spec(rollout=policy(failures=1)))
    assert site.change.state is ChangeState.FAILED
    assert site.last("budget-tripped").data["reason"] == "2 of 4 hosts failed, 1 allowed"
    assert site.versions["web4"] == OLD


def test_failed_host_within_the_budget_is_put_back_alone(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.FAILS_HALF_WAY)
    site.ran(spec(rollout=policy(failures=1)))
    assert site.change.state is ChangeState.SUCCEEDED
    assert site.statuses == {"web1": "done", "web2": "restored", "web3": "done", "web4": "done"}
    assert site.versions == {"web1": NEW, "web2": OLD, "web3": NEW, "web4": NEW}
    assert site.runner.jobs("restore.yml") == [("web2",)]
    assert site.told("host-failed") == site.told("host-restored") == ["web2"]


def test_change_with_a_failed_host_succeeds_with_issues(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.HURTS)
    site.ran(spec(rollout=policy(failures=1, wave=4)))
    (issue,) = site.change.issues
    assert issue.startswith("web2: restored (units: no longer running: nginx.service")
    assert site.close().close_code == "successful with issues"


def test_host_put_back_within_the_budget_still_counts(site: FakeSite) -> None:
    for name in ("web1", "web2", "web3"):
        site.machines[name].suffers(PATCH, Fault.FAILS)
    site.ran(spec(rollout=policy(failures=2)))
    assert site.change.state is ChangeState.FAILED
    assert site.hosts_with(HostStatus.RESTORED) == ["web1", "web2", "web3"]
    assert site.runner.jobs("restore.yml") == [("web1",), ("web2",), ("web3",)]
    assert site.told("host-restored") == ["web1", "web2", "web3"]
    assert site.machines["web4"].journal == []


def test_tripped_budget_puts_the_failed_back_and_leaves_the_rest_where_it_is(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.FAILS_HALF_WAY)
    site.ran(spec(rollout=policy(on_trip=OnTrip.FAILED)))
    assert site.versions == {"web1": NEW, "web2": OLD, "web3": OLD, "web4": OLD}
    assert site.statuses == {"web1": "done", "web2": "restored", "web3": "pending", "web4": "pending"}
    assert (site.change.state, site.last("budget-tripped").outcome) == (ChangeState.FAILED, "failed")


def test_tripped_budget_puts_everything_back_where_that_was_voted_on(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.FAILS_HALF_WAY)
    site.ran(spec(rollout=policy(on_trip=OnTrip.ALL)))
    assert set(site.versions.values()) == {OLD}
    assert site.change.state is ChangeState.ROLLED_BACK
    assert site.tags[-1] == "rolled-back"
    assert site.statuses == {"web1": "restored", "web2": "restored", "web3": "skipped", "web4": "skipped"}


def test_tripped_budget_puts_nothing_back_where_that_was_voted_on(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.HURTS)
    site.ran(spec(rollout=policy(on_trip=OnTrip.NONE)))
    assert site.versions == {"web1": NEW, "web2": NEW, "web3": OLD, "web4": OLD}
    assert site.runner.jobs("restore.yml") == []
    assert site.change.state is ChangeState.FAILED


def test_nothing_is_held_after_a_tripped_budget(site: FakeSite) -> None:
    site.machines["web2"].suffers(PATCH, Fault.FAILS)
    site.ran(spec(rollout=policy()))
    assert list(site.store.leases()) == []
    assert [site.machines[name].claim for name in ("web1", "web2")] == ["", ""]
    assert site.machines["web1"].points


def test_host_that_fails_after_the_soak_counts_and_goes_back(site: FakeSite) -> None:
    rollout = RolloutPolicy(canary=Amount(value=2), soak=MINUTE, max_failures=Amount(value=1))
    site.started(spec(rollout=rollout))
    site.runner.during("soak.verify", lambda: site.machines["web2"].units.remove("nginx.service"))
    assert site.carry().state is ChangeState.SUCCEEDED
    assert "after the soak: units: no longer running: nginx.service" in site.runs["web2"].reason
    assert site.statuses == {"web1": "done", "web2": "restored", "web3": "done", "web4": "done"}


def test_canary_that_fails_after_the_soak_stops_the_others(site: FakeSite) -> None:
    site.started(spec(rollout=RolloutPolicy(canary=Amount(value=1), soak=MINUTE)))
    site.runner.during("soak.verify", lambda: site.machines["web1"].units.remove("nginx.service"))
    assert site.carry().state is ChangeState.FAILED
    assert site.versions == {"web1": OLD, "web2": OLD, "web3": OLD, "web4": OLD}
    assert site.machines["web2"].journal == []


def test_two_hosts_of_one_batch_that_fail_at_different_times_both_go_back(site: FakeSite) -> None:
    rollout = RolloutPolicy(canary=Amount(value=2), soak=MINUTE, max_failures=Amount(value=1))
    site.machines["web1"].suffers(PATCH, Fault.FAILS_HALF_WAY)
    site.started(spec(rollout=rollout))
    site.runner.during("soak.verify", lambda: site.machines["web2"].units.remove("nginx.service"))
    assert site.carry().state is ChangeState.FAILED
    assert [site.statuses[name] for name in ("web1", "web2")] == ["restored", "restored"]
    assert set(site.versions.values()) == {OLD}


def test_dead_host_is_skipped_and_named_and_does_not_stop_the_rest(site: FakeSite) -> None:
    site.started(spec(rollout=policy(unfit=1)))
    site.machines["web2"].is_up = False
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.runs["web2"].reason == "unfit at connect: no route to host"
    assert (site.runs["web2"].unfit, site.runs["web2"].touched, site.runs["web2"].failed) == (True, False, False)
    assert site.told("host-skipped") == ["web2"]
    assert site.versions == {"web1": NEW, "web2": OLD, "web3": NEW, "web4": NEW}


@pytest.mark.parametrize("stage", [Stage.HOST_KEY, Stage.PRIVILEGE, Stage.DISK, Stage.PACKAGE_MANAGER, Stage.CLOCK])
def test_unfit_host_is_skipped_with_the_stage_that_failed(site: FakeSite, stage: Stage) -> None:
    site.probe.unfit["web2"] = (stage, "not as it should be")
    site.ran(spec(rollout=policy(unfit=1)))
    assert site.runs["web2"].reason == f"unfit at {stage}: not as it should be"
    assert site.machines["web2"].journal == []


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.FAILS, "failed at 'Act': it broke"), (Fault.LOST_BEFORE, "unreachable: connection reset")],
)
def test_host_that_cannot_be_protected_is_not_patched(site: FakeSite, fault: Fault, reason: str) -> None:
    site.machines["web2"].suffers("protect.yml", fault)
    site.ran(spec(rollout=policy(unfit=1)))
    assert (site.statuses["web2"], site.runs["web2"].reason) == ("skipped", reason)
    assert site.machines["web2"].begun("patch") == 0


def test_host_without_a_rollback_point_is_not_patched(site: FakeSite) -> None:
    site.providers["packages"].failing = {"web2"}
    site.ran(spec(rollout=policy(unfit=1)))
    assert site.runs["web2"].reason == "no rollback point from packages: the datastore is full"
    assert site.versions["web2"] == OLD


def test_point_that_promises_less_than_was_approved_is_no_point(site: FakeSite) -> None:
    site.started(spec(rollout=policy(unfit=1)))
    site.machines["web2"].point_class = "none"
    site.carry()
    assert "would be of class none, approved was package" in site.runs["web2"].reason
    assert site.versions["web2"] == OLD


def test_too_many_unfit_hosts_stop_the_change(site: FakeSite) -> None:
    site.started(spec(rollout=policy(unfit=1)))
    for name in ("web2", "web3"):
        site.machines[name].is_up = False
    assert site.carry().state is ChangeState.FAILED
    assert site.last("budget-tripped").data["reason"] == "2 of 4 hosts were dead or unfit, 1 allowed"
    assert site.versions == {"web1": NEW, "web2": OLD, "web3": OLD, "web4": OLD}


def test_change_that_stops_before_it_touched_a_host_is_cancelled(site: FakeSite) -> None:
    site.started(spec(rollout=policy(unfit=0)))
    site.machines["web1"].is_up = False
    assert site.carry().state is ChangeState.CANCELLED
    assert set(site.versions.values()) == {OLD}


def test_hosts_that_were_dead_do_not_eat_the_error_budget(site: FakeSite) -> None:
    site.started(spec(rollout=policy(failures=1, unfit=2)))
    for name in ("web1", "web2"):
        site.machines[name].is_up = False
    site.machines["web3"].suffers(PATCH, Fault.FAILS)
    assert site.carry().state is ChangeState.SUCCEEDED
    assert site.statuses == {"web1": "skipped", "web2": "skipped", "web3": "restored", "web4": "done"}
