"""Proven first: what staging has to show before anybody may vote."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.baseline import PatchBaseline
from orchestrator.domain.change import ChangeState
from orchestrator.domain.health import CheckKind, HealthCheck
from orchestrator.domain.inventory import Environment
from orchestrator.domain.plan import PatchPlan
from orchestrator.domain.rollback import RollbackClass, Statefulness
from orchestrator.flow import staging
from orchestrator.flow.carrying import take_turn, work_on
from orchestrator.flow.sharding import Shard, Task
from tests.fakes.machines import Fault
from tests.fakes.runner import Killed, When
from tests.fakes.site import OMAR, FakeSite, a_host, with_snapshot
from tests.fakes.values import DEBIAN, NEW, NEWER, OLD, sha, spec
from tests.unit.flow.conftest import NewSite

STAGING = Environment.STAGING


def test_staging_applies_restores_and_applies_again(site: FakeSite) -> None:
    site.staged()
    steps = [job.playbook for job in site.runner.begun if job.environment is STAGING]
    assert steps == ["scan.yml", "download.yml", "protect.yml", "patch.yml", "restore.yml", "patch.yml", "release.yml"]
    assert site.machines["stage1"].patched == 2
    assert site.told("staging-host-passed") == ["stage1"]
    assert set(site.versions.values()) == {OLD}


def test_lock_is_what_staging_proved_down_to_the_bytes(site: FakeSite) -> None:
    site.staged()
    (locked,) = plan_of(site).lock.platforms
    assert [(i.name, i.version, i.proven_on) for i in locked.items] == [
        ("libssl3", NEW, ("stage1",)), ("openssl", NEW, ("stage1",)),
    ]  # fmt: skip
    assert {i.sha256 for host in plan_of(site).hosts for i in host.items} == {i.sha256 for i in locked.items}
    assert site.packages.missing({i.sha256 for i in locked.items}) == []


@pytest.mark.parametrize(
    ("playbook", "fault"),
    [
        ("protect.yml", Fault.FAILS),
        ("patch.yml", Fault.FAILS),
        ("patch.yml", Fault.FAILS_HALF_WAY),
        ("patch.yml", Fault.HURTS),
        ("patch.yml", Fault.LOST_AFTER),
        ("restore.yml", Fault.FAILS),
        ("restore.yml", Fault.LOST_BEFORE),
    ],
)
def test_change_that_no_staging_host_passed_is_not_put_to_the_vote(site: FakeSite, playbook: str, fault: Fault) -> None:
    site.machines["stage1"].suffers(playbook, fault)
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "no staging host passed" in str(site.last("staging-failed").data["reason"])
    assert site.told("staging-host-failed") == ["stage1"]
    assert set(site.versions.values()) == {OLD}


def test_restore_that_does_not_bring_the_old_state_back_fails_staging(site: FakeSite) -> None:
    site.runner.during("s1.restore", lambda: site.machines["stage1"].points[site.id].update(nginx="0.1"))
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "the old state is not back" in str(site.last("staging-host-failed").data["reason"])


def test_second_application_that_fails_fails_staging(site: FakeSite) -> None:
    site.runner.during("s1.restore", lambda: site.machines["stage1"].suffers("patch.yml", Fault.FAILS))
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED


def test_item_is_unproven_where_its_only_host_fails(new_site: NewSite) -> None:
    site = new_site(stage=2)
    for name in ("stage2", "web2"):
        site.machines[name].installed["curl"], site.machines[name].offers["curl"] = "1", ["2"]
    site.machines["stage2"].suffers("patch.yml", Fault.FAILS)
    site.staged()
    plan = plan_of(site)
    assert [(one.name, "stage2 did not pass" in one.reason) for one in plan.unproven] == [("curl", True)]
    assert [i.name for i in plan.host("web2").items] == ["libssl3", "openssl"]
    assert [(one.name, "unproven" in one.reason) for one in plan.host("web2").left_out] == [("curl", True)]


def test_item_that_passed_on_another_host_is_proven(new_site: NewSite) -> None:
    site = new_site(stage=2)
    site.machines["stage1"].suffers("patch.yml", Fault.FAILS)
    site.staged()
    assert plan_of(site).lock.platforms[0].items[0].proven_on == ("stage2",)
    assert (site.told("staging-host-failed"), site.told("staging-host-passed")) == (["stage1"], ["stage2"])


def test_proof_holds_for_its_own_platform_only(new_site: NewSite) -> None:
    site = new_site(web=2)
    site.machines["web2"].platform = replace(DEBIAN, release="13")
    site.staged()
    (left,) = plan_of(site).not_included
    assert (left.host, "no staging host of its platform" in left.reason) == ("web2", True)


def test_each_platform_gets_its_own_proof(new_site: NewSite) -> None:
    site = new_site(web=2, stage=2)
    for name in ("stage2", "web2"):
        site.machines[name].platform = replace(DEBIAN, release="13")
    site.staged()
    assert [(str(lock.platform), len(lock.items)) for lock in plan_of(site).lock.platforms] == [
        ("debian 12 amd64 (apt)", 2), ("debian 13 amd64 (apt)", 2),
    ]  # fmt: skip
    assert [host.platform.release for host in plan_of(site).hosts] == ["12", "13"]


def test_new_dependency_is_locked_with_the_rest(site: FakeSite) -> None:
    for machine in site.machines.values():
        machine.also_installs = {"libnew": "1"}
    site.staged()
    assert [(i.name, i.from_version) for i in plan_of(site).host("web1").items] == [
        ("libnew", ""),
        ("libssl3", OLD),
        ("openssl", OLD),
    ]


def test_host_whose_transaction_needs_more_than_was_proven_is_left_out_and_named(site: FakeSite) -> None:
    site.machines["web3"].also_installs = {"libextra": "1"}
    site.staged()
    (left,) = plan_of(site).not_included
    assert (left.host, "libextra:amd64 absent -> 1, which staging has not proved" in left.reason) == ("web3", True)
    assert plan_of(site).population == ("web1", "web2", "web3", "web4")


@pytest.mark.parametrize("trouble", ["dead", "patched", "broken"])
def test_host_with_no_place_in_the_plan_is_named_with_the_reason(site: FakeSite, trouble: str) -> None:
    machine = site.machines["web2"]
    if trouble == "dead":
        machine.is_up, expected = False, "could not be looked at"
    elif trouble == "patched":
        expected = "nothing to do"
        machine.set_to(NEW)
    else:
        machine.problems, expected = ["dpkg was interrupted"], "dpkg was interrupted"
    site.staged()
    (left,) = plan_of(site).not_included
    assert (left.host, expected in left.reason) == ("web2", True)
    assert "web2" in str(site.last("staged").data["not_included"])


def test_dead_staging_host_is_told_and_the_others_prove(new_site: NewSite) -> None:
    site = new_site(stage=2)
    site.machines["stage1"].is_up = False
    site.staged()
    assert "stage1" in str(site.last("staging-host-dead").data["hosts"])
    assert plan_of(site).lock.platforms[0].items[0].proven_on == ("stage2",)


def test_newer_version_than_staging_proved_is_left_out_by_name(site: FakeSite) -> None:
    for machine in site.production.values():
        machine.offers["openssl"] = [NEW, NEWER]
    site.staged()
    (left,) = plan_of(site).host("web1").left_out
    assert left.version == NEWER
    assert left.reason.startswith(f"newer than what staging proved ({NEW})")
    assert [i.version for i in plan_of(site).host("web1").items] == [NEW, NEW]


def test_version_that_the_repository_dropped_is_planned_by_the_lock(site: FakeSite) -> None:
    site.machines["web1"].offers["openssl"] = [NEWER]
    site.staged()
    sources = {one.host: one.source for one in site.store.predictions(site.change.plan_digest)}
    assert (sources["web1"], sources["web2"]) == ("lock", "simulation")
    assert [i.version for i in plan_of(site).host("web1").items] == [NEW, NEW]


def test_bytes_that_did_not_arrive_fail_staging(site: FakeSite) -> None:
    site.packages.lost = {sha("openssl", NEW)}
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "bytes of openssl did not arrive" in str(site.last("staging-failed").data["reason"])


def test_nothing_on_offer_is_said(site: FakeSite) -> None:
    site.submit(replace(spec(), baseline=PatchBaseline(exclude=("*ssl*",))))
    assert site.stage().state is ChangeState.REQUESTED
    assert "nothing to prove on staging" in str(site.last("staging-failed").data["reason"])


def test_restage_puts_staging_hosts_back_first(site: FakeSite) -> None:
    site.staged()
    assert site.machines["stage1"].version == NEW
    site.stage()
    again = [job.playbook for job in site.runner.begun if job.environment is STAGING][7:]
    assert again[:2] == ["restore.yml", "scan.yml"]
    assert site.change.state is ChangeState.STAGED
    assert site.machines["stage1"].patched == 4


def test_staging_host_that_cannot_be_put_back_stops_the_next_attempt(site: FakeSite) -> None:
    site.staged()
    site.machines["stage1"].suffers("restore.yml", Fault.FAILS)
    assert site.stage().state is ChangeState.REQUESTED
    assert "could not be put back" in str(site.last("staging-failed").data["reason"])


@pytest.mark.parametrize("fault", [None, Fault.FAILS_HALF_WAY])
def test_what_shards_found_goes_with_the_end_of_staging(site: FakeSite, fault: Fault | None) -> None:
    during: list[int] = []
    if fault is not None:
        site.machines["stage1"].suffers("patch.yml", fault)
    site.submit()
    site.runner.during("s1.patch", lambda: during.append(len(site.store.documents(site.id, "found"))))
    ends = site.stage().state
    assert ends is (ChangeState.STAGED if fault is None else ChangeState.REQUESTED)
    assert during == [2], "the scan, and what was downloaded"
    assert site.store.documents(site.id, "found") == {}


def test_content_changed_while_staging_fails_it(site: FakeSite) -> None:
    site.runner.during("s1.patch", lambda: site.content.files.update({"playbooks/patch.yml": "other"}))
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "changed while staging" in str(site.last("staging-failed").data["reason"])


def test_hosts_that_change_while_staging_fail_it(site: FakeSite) -> None:
    def edit() -> None:
        site.inventory.change("stage1", lambda host: replace(host, zone="dmz"))
        site.inventory.frozen[site.content.read().digest] = {e: [*h] for e, h in site.inventory.hosts.items()}

    site.runner.during("scan-staging", edit)
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "hosts of the staging inventory were changed" in str(site.last("staging-failed").data["reason"])
    assert site.machines["stage1"].journal == []


def test_host_that_moves_to_another_zone_before_it_is_looked_at_fails_staging(site: FakeSite) -> None:
    def edit() -> None:
        site.inventory.change("web2", lambda host: replace(host, zone="dmz"))
        site.inventory.frozen[site.content.read().digest] = {e: [*h] for e, h in site.inventory.hosts.items()}

    site.submit()
    staging.begin(site.id, OMAR, site.crew)
    while (shards := next_shards(site))[0].task is not Task.SURVEY:
        for shard in shards:
            work_on(shard, site.crew)
    edit()
    for shard in shards:
        work_on(shard, site.crew)
    assert site.carry().state is ChangeState.REQUESTED
    assert site.runner.jobs("scan.yml") == []


def next_shards(site: FakeSite) -> tuple[Shard, ...]:
    turn = take_turn(site.id, site.crew)
    assert isinstance(turn, tuple)
    return turn


def test_look_of_which_nobody_saw_the_end_is_repeated(site: FakeSite) -> None:
    site.runner.dies("scan-staging")
    site.runner.dies("scan-production")
    site.staged()
    assert [job.id.partition(".")[2] for job in site.runner.begun if job.playbook == "scan.yml"] == [
        "s1.scan-staging", "s1.scan-staging.2", "s1.scan-production", "s1.scan-production.2",
    ]  # fmt: skip


def test_rehearsal_that_was_interrupted_is_not_taken_for_a_quick_one(site: FakeSite) -> None:
    site.submit()
    staging.begin(site.id, OMAR, site.crew)
    site.runner.kill_caller(4, When.BEFORE)
    with pytest.raises(Killed):
        site.carry()
    assert site.carry().state is ChangeState.STAGED
    (kept,) = site.store.durations(["stage1"], STAGING)["stage1"]
    assert kept.patch >= timedelta(seconds=site.runner.seconds)


def test_service_that_the_patch_broke_was_well_before_though_somebody_was_killed_between(site: FakeSite) -> None:
    site.runner.during("s1.patch", lambda: setattr(site.machines["stage1"], "is_served", False))
    site.submit(replace(spec(), health=(HealthCheck(name="shop", kind=CheckKind.HTTP),)))
    staging.begin(site.id, OMAR, site.crew)
    site.runner.kill_caller(3, When.AFTER)
    with pytest.raises(Killed):
        site.carry()
    assert site.carry().state is ChangeState.REQUESTED
    assert "shop" in str(site.last("staging-host-failed").data["reason"])


def test_host_in_both_inventories_proves_nothing(site: FakeSite) -> None:
    site.inventory.hosts[STAGING] = [replace(a_host("web1"), groups=("stage",))]
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert "web1: a host cannot prove a change to itself" in str(site.last("staging-failed").data["reason"])
    assert site.runner.begun == []


def test_group_that_matches_nothing_fails_staging(site: FakeSite) -> None:
    site.submit(replace(spec(), staging="nowhere"))
    assert site.stage().state is ChangeState.REQUESTED
    assert "matches no host" in str(site.last("staging-failed").data["reason"])


def test_host_without_an_honest_way_back_is_left_out_until_somebody_answers_for_it(new_site: NewSite) -> None:
    site = new_site(web=2)
    site.inventory.change("web2", with_snapshot(Statefulness.STATEFUL))
    site.staged()
    (left,) = plan_of(site).not_included
    assert (left.host, "waive CHG-0001 rollback:web2" in left.reason) == ("web2", True)
    site.waive("rollback:web2")
    site.stage()
    assert plan_of(site).host("web2").rollback_class is RollbackClass.NONE
    assert [w.subject for w in plan_of(site).waivers] == ["rollback:web2"]


def test_stateless_host_has_an_exact_way_back(site: FakeSite) -> None:
    for name in ("web1", "stage1"):
        site.inventory.change(name, with_snapshot(Statefulness.STATELESS))
    site.staged()
    assert plan_of(site).host("web1").rollback_class is RollbackClass.EXACT
    assert site.providers["snap"].restored == ["stage1"]


def test_directory_server_is_not_reverted_in_rehearsal_either(site: FakeSite) -> None:
    site.inventory.change("stage1", with_snapshot(Statefulness.DIRECTORY))
    site.submit()
    assert site.stage().state is ChangeState.REQUESTED
    assert site.providers["snap"].restored == []
    assert "never reverted" in str(site.last("staging-host-failed").data["reason"])


def test_staging_host_belongs_to_the_change_that_it_proved(site: FakeSite) -> None:
    site.staged()
    first = site.id
    for machine in site.machines.values():
        machine.offers = {name: [NEW, NEWER] for name in machine.offers}
    site.id = site.submit(source="file:2").id
    assert site.stage().state is ChangeState.REQUESTED
    assert f"held are stage1 by {first}" in str(site.last("staging-failed").data["reason"])


def test_staging_host_is_free_when_its_change_is_cancelled(site: FakeSite) -> None:
    site.staged()
    site.cancel()
    assert list(site.store.leases()) == []


def test_staging_that_failed_holds_no_host(site: FakeSite) -> None:
    site.machines["stage1"].suffers("patch.yml", Fault.FAILS)
    site.submit()
    site.stage()
    assert list(site.store.leases()) == []


def test_unproven_item_that_somebody_answers_for_is_planned(new_site: NewSite) -> None:
    site = new_site(stage=2)
    for name in ("stage2", "web2"):
        site.machines[name].installed["curl"], site.machines[name].offers["curl"] = "1", ["2"]
    site.machines["stage2"].suffers("patch.yml", Fault.FAILS)
    site.staged()
    site.waive("unproven:curl")
    site.stage()
    assert "curl" in {i.name for i in plan_of(site).host("web2").items}


def plan_of(site: FakeSite) -> PatchPlan:
    return site.store.plan(site.change.plan_digest)
