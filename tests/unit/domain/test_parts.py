"""How a job is cut into Ansible runs: by installation, and by the limits of groups."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.job import HostJob
from orchestrator.domain.parts import Part, cut, why_not_cut
from orchestrator.domain.plan import NOT_INSTALLED, Content

GROUPS = st.lists(st.sampled_from(["esx1", "esx2", "mirror", "free"]), unique=True, max_size=3).map(tuple)
LIMITS = st.dictionaries(st.sampled_from(["esx1", "esx2", "mirror", "unused"]), st.integers(1, 5))


@st.composite
def batches(draw: st.DrawFn) -> list[HostJob]:
    count = draw(st.integers(0, 40))
    return [
        HostJob(
            host=f"host{number:02}", patch_job={}, ansible=draw(st.sampled_from(["", "legacy", "newer"])),
            throttle=draw(GROUPS),
        )
        for number in range(count)
    ]  # fmt: skip


@given(batches(), LIMITS)
def test_every_host_is_in_exactly_one_part(hosts: list[HostJob], limits: dict[str, int]) -> None:
    parts = [part for parts in cut(hosts, limits) for part in parts]
    assert sorted(host for part in parts for host in part.hosts) == [one.host for one in hosts]
    assert all(part.hosts for part in parts)


@given(batches(), LIMITS)
def test_a_part_has_hosts_of_one_installation_only(hosts: list[HostJob], limits: dict[str, int]) -> None:
    installation = {one.host: one.ansible for one in hosts}
    for parts in cut(hosts, limits):
        assert len({part.ansible for part in parts}) == len(parts)
        assert all(installation[host] == part.ansible for part in parts for host in part.hosts)


@given(batches(), LIMITS)
def test_a_group_never_has_more_hosts_in_work_than_its_limit(hosts: list[HostJob], limits: dict[str, int]) -> None:
    groups = {one.host: one.throttle for one in hosts}
    for parts in cut(hosts, limits):
        in_work = Counter(group for part in parts for host in part.hosts for group in groups[host])
        assert all(in_work[group] <= limit for group, limit in limits.items())


@given(batches(), LIMITS)
def test_hosts_without_a_limit_all_go_at_once(hosts: list[HostJob], limits: dict[str, int]) -> None:
    free = {one.host for one in hosts if not set(one.throttle) & limits.keys()}
    first = {host for part in next(iter(cut(hosts, limits)), ()) for host in part.hosts}
    assert free <= first


@given(batches())
def test_one_installation_and_no_limit_are_one_run(hosts: list[HostJob]) -> None:
    plain = [HostJob(host=one.host, patch_job={}) for one in hosts]
    assert cut(plain, {}) == (((Part(ansible="", hosts=tuple(one.host for one in plain)),),) if plain else ())


def test_one_limit_takes_no_more_rounds_than_it_has_to() -> None:
    hosts = [HostJob(host=f"host{number}", patch_job={}, throttle=("esx1",)) for number in range(7)]
    assert [[len(part.hosts) for part in parts] for parts in cut(hosts, {"esx1": 3})] == [[3], [3], [1]]


def test_what_hosts_name_and_nobody_has_is_told_once_with_what_there_is() -> None:
    hosts = [a_host(f"web{number}", ansible="lgacy", throttle=("esx9",)) for number in range(1, 6)]
    content = Content(files=(), versions={"ansible-core": "2.19.4", "legacy/ansible-core": "2.16.14"})
    told = why_not_cut(hosts, content, {"esx1": 2})
    assert len(told) == 2
    assert "web1, web2, web3 and 2 more: patch_ansible is 'lgacy'" in told[0]
    assert "there are: default, legacy" in told[0]
    assert "'esx9', which has no limit; there are: esx1" in told[1]


def test_an_installation_that_is_not_there_is_told_before_anything_is_done_with_it() -> None:
    content = Content(files=(), versions={"ansible-core": "2.19.4", "legacy/ansible-core": NOT_INSTALLED})
    told = why_not_cut([a_host("web1", ansible="legacy"), a_host("web2")], content, {})
    assert told == ("web1: the Ansible installation 'legacy' cannot be used; orchestrator doctor says why",)


def a_host(name: str, *, ansible: str = "", throttle: tuple[str, ...] = ()) -> Host:
    return Host(name=name, connection=Connection(address=name), ansible=ansible, throttle=throttle)
