"""What is drift and what is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeRequest, ChangeSpec
from orchestrator.domain.drift import content_changes, vanished, voiding, why_drop
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.lock import PatchLock
from orchestrator.domain.plan import Content, ContentFile, PatchPlan
from orchestrator.domain.rollout import Amount, OnTrip, RolloutPolicy, Wave
from tests.fakes.values import NEW, NEWER, OLD, WINDOW, change, host_plan, item, spec

CONTENT = Content(
    files=(
        ContentFile(path="playbooks/patch.yml", sha256="aa"),
        ContentFile(path="roles/x/tasks/main.yml", sha256="bb"),
    ),
    versions={"ansible-core": "2.19.4", "ansible.posix": "2.1.0"},
)
PLAN = PatchPlan(
    change="CHG-0001",
    spec=spec(),
    content=CONTENT,
    waves=(Wave(number=1, canary=False, batches=(("web1", "web2"),)),),
    hosts=(host_plan("web1", item("openssl"), item("curl")), host_plan("web2", item("openssl"))),
    not_included=(),
    lock=PatchLock(),
)
HOSTS = tuple(
    Host(name=name, connection=Connection(address=name), fingerprint=f"variables of {name}")
    for name in ("web1", "web2")
)


def test_nothing_drifted_where_nothing_changed() -> None:
    assert found() == ()


@pytest.mark.parametrize(
    ("content", "difference"),
    [
        (replace(CONTENT, files=CONTENT.files[1:]), "playbooks/patch.yml was removed"),
        (replace(CONTENT, files=(*CONTENT.files, ContentFile(path="new.yml", sha256="cc"))), "new.yml is new"),
        (
            replace(CONTENT, files=(replace(CONTENT.files[0], sha256="a0"), CONTENT.files[1])),
            "playbooks/patch.yml was changed",
        ),
        (replace(CONTENT, versions={"ansible-core": "2.20.0", "ansible.posix": "2.1.0"}), "ansible-core was 2.19.4"),
        (replace(CONTENT, versions={"ansible-core": "2.19.4"}), "ansible.posix was 2.1.0 and is absent"),
        (replace(CONTENT, versions={**CONTENT.versions, "x.y": "1"}), "x.y was absent and is 1"),
    ],
)
def test_changed_content_voids_the_approval_and_is_named(content: Content, difference: str) -> None:
    assert [difference in told for told in found(content=content)] == [True]
    assert [difference in told for told in content_changes(CONTENT, content)] == [True]


@pytest.mark.parametrize(
    "other",
    [
        spec(rollout=RolloutPolicy(max_failures=Amount(value=1))),
        spec(rollout=RolloutPolicy(on_trip=OnTrip.ALL)),
        spec(window=replace(WINDOW, start="2026-11-21T22:00")),
        spec(window=replace(WINDOW, zone="UTC")),
        spec(window=replace(WINDOW, cutoff=timedelta(0))),
    ],
)
def test_changed_policy_or_window_definition_voids_the_approval(other: ChangeSpec) -> None:
    assert len(found(asked=replace(change(of=other), plan_digest=PLAN.digest))) == 1


def test_plan_that_is_not_the_approved_one_voids_the_approval() -> None:
    assert "approved was d1d1" in found(asked=replace(change(), plan_digest="d1" * 32))[0]


def test_what_the_inventory_says_of_a_planned_host_voids_the_approval() -> None:
    assert found(hosts=(replace(HOSTS[0], fingerprint="other"), HOSTS[1])) == (
        "the inventory says something else about web1",
    )


def test_host_that_is_new_in_the_group_is_no_drift() -> None:
    new = Host(name="web3", connection=Connection(address="web3"), fingerprint="new")
    assert found(hosts=(*HOSTS, new)) == ()
    assert vanished(PLAN, (*HOSTS, new)) == {}


def test_vanished_host_is_dropped_and_voids_nothing() -> None:
    assert found(hosts=HOSTS[1:]) == ()
    assert vanished(PLAN, HOSTS[1:]) == {"web1": "no longer in the inventory"}


@pytest.mark.parametrize(
    ("openssl", "curl", "reason"),
    [
        (OLD, OLD, ""),
        (NEW, OLD, ""),
        (NEW, NEW, "already at the locked versions"),
        (NEWER, OLD, f"openssl is {NEWER}, planned from {OLD}"),
        ("", OLD, f"openssl is absent, planned from {OLD}"),
        ("1", "2", f"openssl is 1, planned from {OLD}; curl is 2, planned from {OLD}"),
    ],
    ids=["as planned", "partly patched", "patched", "newer than the lock", "removed", "both moved"],
)
def test_host_is_dropped_for_what_is_installed_and_for_nothing_else(openssl: str, curl: str, reason: str) -> None:
    installed = {"openssl:amd64": openssl, "curl:amd64": curl, "newcomer:amd64": "1"}
    assert why_drop(PLAN.host("web1"), {name: version for name, version in installed.items() if version}) == reason


def test_package_that_was_to_be_new_may_be_absent_and_not_at_another_version() -> None:
    plan = host_plan("web1", item("openssl"), replace(item("libnew"), from_version=""))
    assert why_drop(plan, {"openssl:amd64": OLD}) == ""
    assert "libnew is 1, planned from absent" in why_drop(plan, {"openssl:amd64": OLD, "libnew:amd64": "1"})


def found(
    *, asked: ChangeRequest | None = None, content: Content = CONTENT, hosts: tuple[Host, ...] = HOSTS
) -> tuple[str, ...]:
    return voiding(asked or replace(change(), plan_digest=PLAN.digest), PLAN, content, hosts)
