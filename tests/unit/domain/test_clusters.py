"""One member of a cluster at a time: who holds the others, and who does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.clusters import is_in_service, why_no_drain, why_not_next
from orchestrator.domain.inventory import Connection, Host
from orchestrator.domain.plan import Content, ContentFile
from orchestrator.domain.rollout import Amount, Budget, OneAtATimePer, RolloutPolicy, waves
from orchestrator.domain.run import STILL_DRAINED, HostRun, HostStatus, judge
from tests.fakes.values import run

STATUSES = st.sampled_from(HostStatus)
AMOUNTS = st.integers(1, 20).map(lambda value: Amount(value=value))
#: Up to a dozen hosts, each with what became of it and the cluster it is in.
FLEETS = st.lists(
    st.tuples(STATUSES, st.booleans(), st.booleans(), st.booleans(), st.sampled_from(["", "db", "web"])), max_size=12
).map(lambda rows: [_host(number, *row) for number, row in enumerate(rows)])
WELL = (HostStatus.DONE, HostStatus.RESTORED)


def _host(
    number: int, status: HostStatus, touched: bool, drained: bool, unfit: bool, cluster: str
) -> tuple[HostRun, str]:
    return replace(run(f"host{number}", status, unfit=unfit), touched=touched, drained=drained), cluster


@given(FLEETS)
def test_member_begins_only_when_all_others_of_its_cluster_are_in_service(fleet: list[tuple[HostRun, str]]) -> None:
    runs, clusters = [run for run, _ in fleet], {run.host: cluster for run, cluster in fleet}
    held = why_not_next(runs, clusters, [run.host for run in runs])
    for one in runs:
        others = [
            r for r in runs if r.host != one.host and clusters[one.host] and clusters[r.host] == clusters[one.host]
        ]
        assert (one.host in held) is any(not is_in_service(other) for other in others)


@given(FLEETS)
def test_ordinary_hosts_need_not_be_looked_at(fleet: list[tuple[HostRun, str]]) -> None:
    runs, clusters = [run for run, _ in fleet], {run.host: cluster for run, cluster in fleet}
    remarkable, hosts = [run for run in runs if not run.is_ordinary], [*clusters]
    limits = Budget(planned=len(runs), max_failures=1, max_unfit=1)
    assert why_not_next(remarkable, clusters, hosts) == why_not_next(runs, clusters, hosts)
    assert judge(remarkable, limits) == judge(runs, limits)


@given(FLEETS)
def test_reason_names_another_member_that_is_not_in_service(fleet: list[tuple[HostRun, str]]) -> None:
    runs, clusters = [run for run, _ in fleet], {run.host: cluster for run, cluster in fleet}
    for host, reason in why_not_next(runs, clusters, list(clusters)).items():
        named = [r for r in runs if reason.startswith(f"one at a time per cluster: {r.host}, of {clusters[host]} too,")]
        assert [is_in_service(one) for one in named] == [False]
        assert named[0].host != host


@given(STATUSES, st.booleans(), st.booleans())
def test_drained_or_unfit_host_is_never_in_service(status: HostStatus, touched: bool, drained: bool) -> None:
    assert not is_in_service(replace(run("a", status, unfit=not drained), touched=touched, drained=drained))


@given(STATUSES)
def test_touched_host_is_in_service_when_it_is_well_and_not_before(status: HostStatus) -> None:
    assert is_in_service(replace(run("a", status), touched=True)) is (status in WELL)


@pytest.mark.parametrize("status", [HostStatus.PENDING, HostStatus.SKIPPED])
def test_host_that_was_left_alone_is_in_service(status: HostStatus) -> None:
    assert is_in_service(run("a", status))


@given(st.integers(0, 40), AMOUNTS, AMOUNTS, st.none() | AMOUNTS, st.data())
def test_members_of_a_cluster_have_batches_of_their_own_over_the_whole_change(
    count: int, wave: Amount, batch: Amount, canary: Amount | None, data: st.DataObject
) -> None:
    hosts = [f"host{number}" for number in range(count)]
    clusters = {host: data.draw(st.sampled_from(["", "db", "web"])) for host in hosts}
    policy = RolloutPolicy(wave=wave, batch=batch, canary=canary, one_at_a_time_per=OneAtATimePer.CLUSTER)
    order = list(chain.from_iterable(wave.batches for wave in waves(hosts, policy, clusters)))
    for cluster in ("db", "web"):
        places = [at for at, batch in enumerate(order) for host in batch if clusters[host] == cluster]
        assert len(places) == len(set(places))


@given(st.integers(1, 8), st.data())
def test_walk_that_heeds_the_answer_never_has_two_members_out(count: int, data: st.DataObject) -> None:
    """Walk over one cluster in any order, each host ending somehow: at no time is a second one not in service."""
    runs = {f"host{number}": run(f"host{number}") for number in range(count)}
    clusters = dict.fromkeys(runs, "db")
    for host in data.draw(st.permutations(list(runs))):
        if host in why_not_next(runs.values(), clusters, [host]):
            runs[host] = replace(runs[host], status=HostStatus.SKIPPED)
            continue
        status = data.draw(st.sampled_from([*WELL, HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED]))
        runs[host] = replace(runs[host], status=status, touched=True, drained=status not in WELL)
        assert sum(not is_in_service(one) for one in runs.values()) <= 1


@given(STATUSES, st.booleans())
def test_host_that_is_left_drained_is_told_so_when_nobody_works_on_it(status: HostStatus, drained: bool) -> None:
    told = replace(run("a", status), drained=drained, reason="it broke").account
    assert told.startswith("it broke")
    assert (STILL_DRAINED in told) is (drained and not status.is_at_work)


def a_host(name: str, drain: str) -> Host:
    return Host(name=name, connection=Connection(address=name), drain=drain)


def content(*paths: str) -> Content:
    return Content(files=tuple(ContentFile(path=path, sha256="aa") for path in paths))


def test_role_needs_both_of_its_entry_points() -> None:
    both = content("roles/drain_web/tasks/drain.yml", "roles/drain_web/tasks/undrain.yml")
    assert why_no_drain([a_host("a", "drain_web"), a_host("b", "")], both) == ()
    (reason,) = why_no_drain([a_host(name, "drain_web") for name in "abcde"], content(both.files[0].path))
    assert reason == (
        "a, b, c and 2 more: patch_drain is 'drain_web', and this site has no roles/drain_web/tasks/undrain.yml"
    )


def test_role_may_lie_where_the_site_has_its_roles() -> None:
    elsewhere = content("ours/roles/web/tasks/drain.yml", "ours/roles/web/tasks/undrain.yml")
    assert why_no_drain([a_host("a", "web")], elsewhere) == ()
    assert why_no_drain([a_host("a", "eb")], elsewhere)


def test_role_of_a_collection_is_ansibles_to_find() -> None:
    assert why_no_drain([a_host("a", "site.web.drain")], content()) == ()
