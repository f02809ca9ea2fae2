"""Hosts that need another Ansible: the plan says so, each job is told, and what is not there stops the change early."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.plan import NOT_INSTALLED
from orchestrator.domain.rollout import Amount, RolloutPolicy
from tests.fakes.site import FakeSite
from tests.fakes.values import spec


@pytest.fixture
def mixed(site: FakeSite) -> FakeSite:
    """Return a site on which web2 and stage1 need an older Ansible, and web3 shares a hypervisor."""
    site.content.versions |= {"legacy/ansible-core": "2.16.14", "legacy/ansible.posix": "1.5.4"}
    for name in ("web2", "stage1"):
        site.inventory.change(name, lambda host: replace(host, ansible="legacy"))
    site.inventory.change("web3", lambda host: replace(host, throttle=("esx1",)))
    site.crew = replace(site.crew, throttle={"esx1": 1})
    return site


def test_plan_names_the_installation_of_each_host_and_its_versions(mixed: FakeSite) -> None:
    mixed.staged()
    plan = mixed.store.plan(mixed.change.digest)
    assert {host.host: host.ansible for host in plan.hosts} == {"web1": "", "web2": "legacy", "web3": "", "web4": ""}
    assert plan.content.versions_of("legacy") == {"ansible-core": "2.16.14", "ansible.posix": "1.5.4"}
    assert plan.content.versions_of("") == {"ansible-core": "2.19.4"}
    assert plan.content.installations == ("legacy",)


def test_digest_of_the_plan_covers_installation_and_versions(mixed: FakeSite) -> None:
    mixed.staged()
    plan = mixed.store.plan(mixed.change.digest)
    newer = replace(plan.content, versions={**plan.content.versions, "legacy/ansible-core": "2.16.15"})
    other = replace(plan.hosts[1], ansible="")
    assert len({plan.digest, replace(plan, content=newer).digest, replace(plan, hosts=(other,)).digest}) == 3


def test_every_job_of_the_walk_is_told_the_hosts_installation_and_groups(mixed: FakeSite) -> None:
    mixed.ran()
    assert mixed.change.state is ChangeState.SUCCEEDED
    mixed.close()
    told = {(job.playbook, one.host, one.ansible, one.throttle) for job in mixed.runner.begun for one in job.hosts}
    playbooks = {playbook for playbook, *_ in told}
    assert {"scan.yml", "download.yml", "protect.yml", "patch.yml", "restore.yml", "release.yml"} <= playbooks
    assert {ansible for _, host, ansible, _ in told if host in ("web2", "stage1")} == {"legacy"}
    assert {ansible for _, host, ansible, _ in told if host in ("web1", "web3", "web4")} == {""}
    assert {throttle for _, host, _, throttle in told if host == "web3"} == {("esx1",)}


def test_rollback_goes_by_the_hosts_installation_too(mixed: FakeSite) -> None:
    mixed.ran()
    mixed.roll_back()
    assert mixed.carry().state is ChangeState.ROLLED_BACK
    back = [job for job in mixed.runner.begun if job.playbook == "restore.yml" and ".l1." in job.id]
    assert {(one.host, one.ansible) for job in back for one in job.hosts} == {
        ("web1", ""), ("web2", "legacy"), ("web3", ""), ("web4", ""),
    }  # fmt: skip


def test_waves_canary_and_batches_are_what_they_were(mixed: FakeSite) -> None:
    mixed.ran(spec(rollout=RolloutPolicy(canary=Amount(value=1), batch=Amount(value=2))))
    assert mixed.runner.jobs("patch.yml") == [("web1",), ("web2", "web3"), ("web4",)]


def test_installation_that_nobody_named_stops_staging_before_any_host_is_asked(mixed: FakeSite) -> None:
    mixed.inventory.change("web4", lambda host: replace(host, ansible="lgacy"))
    mixed.submit()
    assert mixed.stage().state is ChangeState.REQUESTED
    reason = str(mixed.last("staging-failed").data["reason"])
    assert "web4: patch_ansible is 'lgacy'" in reason
    assert "there are: default, legacy" in reason
    assert mixed.runner.begun == []


def test_installation_that_is_not_there_stops_the_changes_that_need_it(mixed: FakeSite) -> None:
    mixed.content.versions = {"ansible-core": "2.19.4", "legacy/ansible-core": NOT_INSTALLED}
    mixed.submit()
    assert mixed.stage().state is ChangeState.REQUESTED
    assert "orchestrator doctor says why" in str(mixed.last("staging-failed").data["reason"])


def test_group_without_a_limit_stops_staging(mixed: FakeSite) -> None:
    mixed.crew = replace(mixed.crew, throttle={"esx2": 1})
    mixed.submit()
    assert mixed.stage().state is ChangeState.REQUESTED
    assert "web3: patch_throttle_group names 'esx1'" in str(mixed.last("staging-failed").data["reason"])
