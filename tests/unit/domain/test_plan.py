"""The plan, its digest, what the dry run predicted, and the lock it is made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.store.codec import decode, encode
from orchestrator.domain.canonical import plain
from orchestrator.domain.lock import LockItem, Platform, lock_of
from orchestrator.domain.plan import HostPlan, PatchPlan, Transition, deviations
from orchestrator.errors import NotFound
from tests.fakes.strategies import any_of
from tests.fakes.values import DEBIAN, NEW, OLD

NAMES = st.sampled_from(["openssl", "curl", "nginx"])
TRANSITIONS = st.lists(
    st.builds(Transition, name=NAMES, arch=st.just("amd64"), before=st.sampled_from(["", OLD]), after=st.just(NEW)),
    unique=True,
).map(tuple)


@given(TRANSITIONS, TRANSITIONS)
def test_every_difference_between_prediction_and_result_is_told_once(
    predicted: tuple[Transition, ...], actual: tuple[Transition, ...]
) -> None:
    told = deviations(predicted, actual)
    assert len(told) == len(set(predicted) ^ set(actual))
    assert sum("did not happen" in text for text in told) == len(set(predicted) - set(actual))
    assert deviations(actual, actual) == ()


def test_deviation_reads_as_what_happened() -> None:
    removed = Transition(name="nginx", arch="amd64", before=OLD, after="")
    assert deviations((), (removed,)) == (f"happened but was not predicted: nginx:amd64 {OLD} -> absent",)


@given(any_of(PatchPlan))
def test_hosts_of_a_plan_are_found_by_name(plan: PatchPlan) -> None:
    assert set(plan.by_host) == {host.host for host in plan.hosts}
    for host in plan.hosts:
        assert plan.host(host.host).host == host.host
    with pytest.raises(NotFound):
        plan.host("no such host, too long for any")


def test_lock_does_not_depend_on_who_was_proven_first() -> None:
    items = [locked(name) for name in ("openssl", "curl")]
    ubuntu = replace(DEBIAN, distribution="ubuntu", release="24.04")
    forwards: dict[Platform, list[LockItem]] = {DEBIAN: items, ubuntu: items}
    backwards = {ubuntu: items[::-1], DEBIAN: items[::-1]}
    assert lock_of(forwards) == lock_of(backwards)
    assert [item.name for item in lock_of(forwards).for_platform(ubuntu)] == ["curl", "openssl"]


def test_lock_speaks_only_for_the_platform_it_was_proven_on() -> None:
    lock = lock_of({DEBIAN: [locked("openssl")]})
    for other in ({"release": "13"}, {"arch": "arm64"}, {"distribution": "ubuntu"}, {"family": "dnf"}):
        assert lock.for_platform(replace(DEBIAN, **other)) == ()
    assert lock.platforms[0].item("openssl", "amd64") == locked("openssl")
    assert lock.platforms[0].item("openssl", "arm64") is None
    assert set(lock.files) == {"sha of openssl"}


def test_plan_without_another_ansible_is_written_as_before_there_were_any() -> None:
    host = HostPlan(host="web1", platform=DEBIAN, items=())
    told, named = plain(host), plain(replace(host, ansible="legacy"))
    assert isinstance(told, dict)
    assert isinstance(named, dict)
    assert "ansible" not in told
    assert named == {**told, "ansible": "legacy"}
    assert decode(HostPlan, encode(host)) == host
    assert decode(HostPlan, encode(replace(host, ansible="legacy"))).ansible == "legacy"


def locked(name: str) -> LockItem:
    return LockItem(name=name, arch="amd64", version=NEW, sha256=f"sha of {name}", filename=f"{name}.deb", size=1)
