"""Hosts that are taken out of service: before the patch, and back after it, whatever goes wrong in between."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.inventory import Environment
from orchestrator.domain.journal import Step
from orchestrator.domain.rollout import Amount, OneAtATimePer, OnTrip, RolloutPolicy
from orchestrator.domain.run import STILL_DRAINED
from orchestrator.flow import closing, lockdown
from tests.fakes.machines import Fault, Machine
from tests.fakes.runner import Killed, When
from tests.fakes.site import OMAR, FakeSite
from tests.fakes.values import NEW, OLD, spec
from tests.unit.flow.conftest import NewSite

ROLE = "site.web.drain"
SOME = Amount(value=4)
PATIENT = RolloutPolicy(batch=Amount(value=1), max_failures=SOME, max_unfit=SOME)


@pytest.fixture
def drained(site: FakeSite) -> FakeSite:
    """Return a site whose web1, web2 and stage1 are taken out of service for the work; web3 and web4 are not."""
    for name in ("web1", "web2", "stage1"):
        site.inventory.change(name, lambda host: replace(host, drain=ROLE))
    return site


def in_service(site: FakeSite) -> dict[str, bool]:
    return {name: machine.in_service for name, machine in site.production.items()}


def playbooks(site: FakeSite, environment: Environment = Environment.PRODUCTION) -> list[str]:
    looks = ("scan.yml", "download.yml", "release.yml")
    return [j.playbook for j in site.runner.begun if j.environment is environment and j.playbook not in looks]


def test_host_is_out_of_service_from_before_the_patch_until_it_is_verified(drained: FakeSite) -> None:
    drained.ran()
    assert drained.change.state is ChangeState.SUCCEEDED
    assert playbooks(drained) == ["protect.yml", "drain.yml", "patch.yml", "undrain.yml"]
    assert [m.patched_in_service for m in drained.production.values()] == [0, 0, 1, 1]
    assert set(in_service(drained).values()) == {True}
    assert not any(run.drained for run in drained.runs.values())


def test_only_hosts_with_a_hook_are_drained_and_no_job_runs_without_one(drained: FakeSite) -> None:
    drained.ran(spec(rollout=RolloutPolicy(wave=Amount(value=2))))
    assert drained.runner.jobs("drain.yml") == drained.runner.jobs("undrain.yml") == [("web1", "web2")]


def test_job_is_told_the_role_that_the_plan_names(drained: FakeSite) -> None:
    drained.ran()
    told = {(one.host, one.patch_job.get("drain")) for job in drained.runner.begun for one in job.hosts}
    assert {("web1", ROLE), ("web2", ROLE)} <= told
    assert not any(host in ("web3", "web4") and role for host, role in told)
    plan = drained.store.plan(drained.change.digest)
    assert [host.drain for host in plan.hosts] == [ROLE, ROLE, "", ""]
    other = replace(plan.hosts[0], drain="site.web.other")
    assert replace(plan, hosts=(other, *plan.hosts[1:])).digest != plan.digest


def test_draining_is_in_the_journal_as_other_steps_are(drained: FakeSite) -> None:
    drained.ran()
    steps = [(s.step, s.outcome) for s in drained.store.steps(drained.id, ["web1"]) if ".l1." in s.job]
    assert [step for step, _ in steps] == [Step.PROTECT, Step.DRAIN, Step.PATCH, Step.UNDRAIN, Step.RELEASE]
    assert {outcome for _, outcome in steps} == {"ok"}


def test_time_that_draining_takes_counts_as_time_of_the_patch(drained: FakeSite) -> None:
    drained.runner.during(".l1.w1.b1.drain", lambda: drained.clock.pass_by(100))
    drained.ran()
    (took,) = drained.store.durations(["web1"], Environment.PRODUCTION)["web1"]
    assert took.patch.total_seconds() == 100 + 10 + 10 + 1


def test_rehearsal_drains_staging_hosts_for_each_patch_and_for_the_way_back(drained: FakeSite) -> None:
    drained.staged()
    assert playbooks(drained, Environment.STAGING) == [
        "protect.yml",
        "drain.yml", "patch.yml", "undrain.yml",
        "drain.yml", "restore.yml", "undrain.yml",
        "drain.yml", "patch.yml", "undrain.yml",
    ]  # fmt: skip
    assert drained.machines["stage1"].in_service


def test_role_that_the_site_does_not_have_stops_the_change_before_staging(site: FakeSite) -> None:
    site.inventory.change("web2", lambda host: replace(host, drain="drain_web"))
    site.content.files["roles/drain_web/tasks/drain.yml"] = "cc"
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    reason = str(site.last("staging-failed").data["reason"])
    assert reason == "web2: patch_drain is 'drain_web', and this site has no roles/drain_web/tasks/undrain.yml"


# What goes wrong.


def test_host_that_cannot_be_drained_is_left_untouched_and_goes_back_into_service(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("drain.yml", Fault.FAILS)
    drained.ran(spec(rollout=PATIENT))
    run = drained.runs["web1"]
    assert (run.status, run.unfit, run.touched, run.drained) == ("skipped", True, False, False)
    assert run.reason == "drain: failed at 'Act': it broke"
    assert drained.versions["web1"] == OLD
    assert set(in_service(drained).values()) == {True}
    assert drained.told("host-skipped") == ["web1"]


def test_host_that_could_neither_be_drained_nor_put_back_is_named_as_out_of_service(drained: FakeSite) -> None:
    for playbook in ("drain.yml", "undrain.yml"):
        drained.machines["web1"].suffers(playbook, Fault.FAILS)
    drained.ran(spec(rollout=PATIENT))
    run = drained.runs["web1"]
    assert (run.status, run.drained) == ("skipped", True)
    assert run.account == f"drain: failed at 'Act': it broke; undrain: failed at 'Act': it broke; {STILL_DRAINED}"
    assert drained.last("host-skipped").data["drained"] is True
    assert any(STILL_DRAINED in issue for issue in drained.change.issues)


def test_host_that_failed_stays_drained_and_is_named(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    drained.ran(spec(rollout=replace(PATIENT, on_trip=OnTrip.NONE)))
    run = drained.runs["web1"]
    assert (run.status, run.drained) == ("failed", True)
    assert in_service(drained) == {"web1": False, "web2": True, "web3": True, "web4": True}
    assert drained.last("host-failed").data["drained"] is True
    assert any("web1" in issue and STILL_DRAINED in issue for issue in drained.change.issues)


def test_host_of_which_nobody_knows_stays_drained(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("patch.yml", Fault.GONE)
    drained.ran(spec(rollout=PATIENT))
    run = drained.runs["web1"]
    assert (run.status, run.drained) == ("unknown", True)
    assert STILL_DRAINED in run.account


def test_failed_host_is_back_in_service_when_it_was_put_back(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    drained.ran(spec(rollout=PATIENT))
    run = drained.runs["web1"]
    assert (run.status, run.drained, run.failed) == ("restored", False, True)
    assert set(in_service(drained).values()) == {True}
    assert STILL_DRAINED not in run.account


def test_host_that_could_not_be_put_back_stays_drained(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    drained.machines["web1"].suffers("restore.yml", Fault.FAILS)
    drained.ran(spec(rollout=PATIENT))
    assert (drained.runs["web1"].status, drained.runs["web1"].drained) == ("restore-failed", True)
    assert not in_service(drained)["web1"]


def test_host_whose_service_is_not_well_after_the_way_back_stays_drained(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    drained.started(replace(spec(rollout=PATIENT), health=(HealthCheck(name="shop", kind=CheckKind.HTTP),)))
    drained.runner.during(".patch", lambda: setattr(drained.machines["web1"], "is_served", False))
    drained.carry()
    run = drained.runs["web1"]
    assert (run.status, run.drained) == ("restore-failed", True)
    assert "shop does not pass after the restore" in run.reason
    assert not in_service(drained)["web1"]


def test_host_that_is_patched_and_cannot_be_put_into_service_has_failed(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("undrain.yml", Fault.FAILS)
    drained.ran(spec(rollout=replace(PATIENT, on_trip=OnTrip.NONE)))
    run = drained.runs["web1"]
    assert (run.status, run.failed, run.drained) == ("failed", True, True)
    assert run.reason == "patched and verified, but not back in service: undrain: failed at 'Act': it broke"
    assert drained.versions["web1"] == NEW


def test_host_that_is_as_before_and_not_in_service_was_not_put_back(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("undrain.yml", Fault.FAILS)
    drained.ran(spec(rollout=PATIENT))
    run = drained.runs["web1"]
    assert (run.status, run.drained, drained.versions["web1"]) == ("restore-failed", True, OLD)
    assert "restore: as before, but not back in service: undrain: failed at 'Act': it broke" in run.reason


def test_rollback_takes_each_host_out_of_service_for_the_way_back(drained: FakeSite) -> None:
    drained.ran()
    drained.roll_back()
    assert drained.carry().state is ChangeState.ROLLED_BACK
    assert playbooks(drained)[-3:] == ["drain.yml", "restore.yml", "undrain.yml"]
    assert set(in_service(drained).values()) == {True}


def test_host_goes_back_though_it_cannot_be_drained(drained: FakeSite) -> None:
    drained.ran()
    drained.machines["web1"].suffers("drain.yml", Fault.FAILS)
    drained.roll_back()
    assert drained.carry().state is ChangeState.ROLLED_BACK
    assert drained.runs["web1"].warnings == ("was put back in service, since drain: failed at 'Act': it broke",)
    assert drained.runs["web2"].warnings == ()


def test_staging_host_that_failed_stays_drained_until_it_goes_back(drained: FakeSite) -> None:
    drained.machines["stage1"].suffers("patch.yml", Fault.FAILS_HALF_WAY)
    drained.submit()
    drained.stage()
    assert not drained.machines["stage1"].in_service
    assert STILL_DRAINED in str(drained.last("staging-host-failed").data["reason"])
    drained.machines["stage1"].heals()
    assert drained.stage().state is ChangeState.STAGED
    assert drained.machines["stage1"].in_service


def test_staging_host_of_a_cancelled_change_goes_back_out_of_service(drained: FakeSite) -> None:
    drained.staged()
    drained.cancel()
    closing.give_up_points(drained.change, drained.crew)
    assert playbooks(drained, Environment.STAGING)[-3:] == ["drain.yml", "restore.yml", "undrain.yml"]
    assert drained.machines["stage1"].in_service


# Pauses and crashes.


def test_pause_while_hosts_are_drained_puts_them_back_into_service(drained: FakeSite) -> None:
    drained.started()
    drained.runner.during(".drain", drained.pause)
    assert drained.carry().state is ChangeState.PAUSED
    assert set(in_service(drained).values()) == {True}
    assert set(drained.versions.values()) == {OLD}
    assert set(drained.statuses.values()) == {"pending"}
    drained.resume()
    assert drained.carry().state is ChangeState.SUCCEEDED
    assert [m.patched_in_service for m in drained.production.values()] == [0, 0, 1, 1]
    assert set(in_service(drained).values()) == {True}


def test_host_that_a_pause_leaves_drained_is_skipped_and_named(drained: FakeSite) -> None:
    drained.machines["web1"].suffers("undrain.yml", Fault.FAILS)
    drained.started()
    drained.runner.during(".drain", drained.pause)
    assert drained.carry().state is ChangeState.PAUSED
    run = drained.runs["web1"]
    assert (run.status, run.unfit, run.drained, run.touched) == ("skipped", True, True, False)
    assert in_service(drained) == {"web1": False, "web2": True, "web3": True, "web4": True}


def test_full_controller_drains_nobody_beyond_the_cutoff(drained: FakeSite) -> None:
    drained.started()
    drained.runner.during(".protect", lambda: setattr(drained.runner, "full", True))
    assert drained.carry().state is ChangeState.PAUSED
    assert drained.runner.jobs("drain.yml") == []


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("ending", ["drain", "undrain"])
def test_crash_in_a_draining_leaves_no_host_behind(drained: FakeSite, ending: str, when: When) -> None:
    drained.started()
    nth = {"drain": 1, "undrain": 3}[ending]
    drained.runner.kill_caller(nth, when)
    with pytest.raises(Killed):
        drained.carry()
    assert drained.carry().state is ChangeState.SUCCEEDED
    assert [m.patched for m in drained.production.values()] == [1, 1, 1, 1]
    assert [m.patched_in_service for m in drained.production.values()] == [0, 0, 1, 1]
    assert set(in_service(drained).values()) == {True}


def test_host_that_a_dead_worker_left_drained_is_seen_to_before_a_pause(drained: FakeSite) -> None:
    drained.started()
    drained.runner.kill_caller(1, When.AFTER)
    with pytest.raises(Killed):
        drained.carry()
    assert not in_service(drained)["web1"]
    drained.pause()
    assert drained.carry().state is ChangeState.PAUSED
    assert set(in_service(drained).values()) == {True}
    assert not any(run.drained for run in drained.runs.values())


def test_undraining_that_was_cut_short_is_seen_through_before_the_next_draining(drained: FakeSite) -> None:
    drained.started()
    drained.runner.during(".drain", lambda: lockdown.begin("power is unstable", OMAR, drained.ledger))
    drained.runner.kill_caller(2, When.DURING)
    with pytest.raises(Killed):
        drained.carry()
    # Nothing was paused yet: the next worker goes on where the last one died.
    lockdown.lift("power is back", OMAR, drained.ledger)
    assert drained.carry().state is ChangeState.SUCCEEDED
    endings = [job.id.rpartition("b1.")[2] for job in drained.runner.begun if "drain" in job.id and ".l1." in job.id]
    assert endings == ["drain", "undrain.turned1", "undrain.turned1.2", "drain.turn2", "undrain"]
    assert [m.patched_in_service for m in drained.production.values()] == [0, 0, 1, 1]
    assert set(in_service(drained).values()) == {True}


# One at a time.


@pytest.fixture
def clustered(drained: FakeSite) -> FakeSite:
    """Return a site whose web1, web2 and web3 are one cluster; web4 is in none."""
    for name in ("web1", "web2", "web3"):
        drained.inventory.change(name, lambda host: replace(host, cluster="shop"))
    return drained


ONE_AT_A_TIME = replace(PATIENT, one_at_a_time_per=OneAtATimePer.CLUSTER, on_trip=OnTrip.NONE)


@pytest.mark.parametrize("fault", [Fault.FAILS, Fault.HURTS, Fault.GONE])
def test_next_member_does_not_begin_while_one_is_not_in_service(clustered: FakeSite, fault: Fault) -> None:
    clustered.machines["web1"].suffers("patch.yml", fault)
    clustered.ran(spec(rollout=ONE_AT_A_TIME))
    status = clustered.runs["web1"].status
    assert clustered.statuses == {"web1": status, "web2": "skipped", "web3": "skipped", "web4": "done"}
    reason = f"one at a time per cluster: web1, of shop too, is {status}, and drained"
    assert clustered.runs["web2"].reason == reason
    assert not clustered.runs["web2"].unfit


def test_member_that_was_found_dead_holds_the_others(clustered: FakeSite) -> None:
    clustered.started(spec(rollout=ONE_AT_A_TIME))
    clustered.machines["web1"].is_up = False
    clustered.carry()
    assert clustered.statuses == {"web1": "skipped", "web2": "skipped", "web3": "skipped", "web4": "done"}
    assert clustered.runs["web3"].reason == "one at a time per cluster: web1, of shop too, is skipped, as unfit"


def test_next_member_begins_when_the_one_before_was_put_back(clustered: FakeSite) -> None:
    clustered.machines["web1"].suffers("patch.yml", Fault.FAILS)
    clustered.ran(spec(rollout=replace(ONE_AT_A_TIME, on_trip=OnTrip.FAILED)))
    assert clustered.statuses == {"web1": "restored", "web2": "done", "web3": "done", "web4": "done"}


def test_without_the_word_the_next_member_begins_within_the_budget(clustered: FakeSite) -> None:
    clustered.machines["web1"].suffers("patch.yml", Fault.FAILS)
    clustered.ran(spec(rollout=replace(ONE_AT_A_TIME, one_at_a_time_per=None)))
    assert clustered.statuses == {"web1": "failed", "web2": "done", "web3": "done", "web4": "done"}


def test_never_two_members_are_out_of_service_at_once(clustered: FakeSite) -> None:
    clustered.inventory.change("web3", lambda host: replace(host, drain=ROLE))
    members = [clustered.machines[name] for name in ("web1", "web2", "web3")]
    clustered.runner.watch = lambda job: out.append(sum(not m.in_service for m in members))
    out: list[int] = []
    clustered.started(spec(rollout=RolloutPolicy(one_at_a_time_per=OneAtATimePer.CLUSTER)))
    clustered.carry()
    clustered.roll_back()
    assert clustered.carry().state is ChangeState.ROLLED_BACK
    assert set(out) == {0, 1}


def test_staging_members_of_one_cluster_are_rehearsed_one_after_the_other(new_site: NewSite) -> None:
    site = new_site(stage=3)
    for name in ("stage1", "stage3"):
        site.inventory.change(name, lambda host: replace(host, cluster="shop", drain=ROLE))
    out: list[int] = []
    machines: list[Machine] = list(site.by_environment[Environment.STAGING].values())
    site.runner.watch = lambda job: out.append(sum(not m.in_service for m in machines))
    site.staged()
    assert set(out) == {0, 1}
    assert site.runner.jobs("protect.yml", Environment.STAGING) == [("stage1", "stage2"), ("stage3",)]
    (proven,) = {item.proven_on for item in site.store.plan(site.change.plan_digest).lock.platforms[0].items}
    assert set(proven) == {"stage1", "stage2", "stage3"}
