"""How a change spreads over its hosts: waves, batches and the error budget."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.rollout import Amount, Budget, RolloutPolicy, Wave, budget, tier_of, waves
from orchestrator.domain.run import HostStatus, judge, score
from tests.fakes.values import run

AMOUNTS = st.builds(Amount, value=st.integers(0, 40), percent=st.just(False)) | st.builds(
    Amount, value=st.integers(0, 100), percent=st.just(True)
)
POLICIES = st.builds(RolloutPolicy, canary=st.none() | AMOUNTS, wave=AMOUNTS, batch=AMOUNTS)
HOSTS = st.integers(0, 60).map(lambda count: [f"host{number:03}" for number in range(count)])
STATUSES = st.sampled_from(HostStatus)


@given(HOSTS, POLICIES, st.data())
def test_every_host_is_in_exactly_one_batch(hosts: list[str], policy: RolloutPolicy, data: st.DataObject) -> None:
    cut = waves(hosts, policy, some_clusters(hosts, data))
    assert sorted(all_hosts(cut)) == hosts
    assert [wave.number for wave in cut] == list(range(1, len(cut) + 1))
    assert all(batch for wave in cut for batch in wave.batches)


@given(HOSTS, POLICIES)
def test_hosts_keep_the_order_they_were_given_in(hosts: list[str], policy: RolloutPolicy) -> None:
    given_order = list(reversed(hosts))
    assert all_hosts(waves(given_order, policy)) == given_order


@given(HOSTS, POLICIES, st.data())
def test_clusters_move_hosts_between_batches_and_never_between_waves(
    hosts: list[str], policy: RolloutPolicy, data: st.DataObject
) -> None:
    plain, clustered = waves(hosts, policy), waves(hosts, policy, some_clusters(hosts, data))
    assert [sorted(wave.hosts) for wave in plain] == [sorted(wave.hosts) for wave in clustered]


@given(HOSTS, POLICIES, st.data())
def test_tiers_go_one_after_the_other_and_the_canaries_are_in_the_first(
    hosts: list[str], policy: RolloutPolicy, data: st.DataObject
) -> None:
    tiers = {host: data.draw(st.integers(0, 3)) for host in hosts}
    cut = waves(hosts, policy, tiers=tiers)
    assert sorted(all_hosts(cut)) == hosts
    places = [{tiers[host] for host in wave.hosts} for wave in cut]
    assert all(len(place) == 1 for place in places)
    assert places == sorted(places, key=min)
    assert [wave.number for wave in cut if wave.canary] == ([1] if policy.canary is not None and hosts else [])


def test_hosts_in_no_group_of_the_order_come_last() -> None:
    order = ("app", "web")
    assert [tier_of(groups, order) for groups in (("web", "x"), ("app", "web"), ("x",), ())] == [1, 0, 2, 2]


@given(HOSTS, POLICIES, st.data())
def test_no_batch_holds_two_members_of_one_cluster(
    hosts: list[str], policy: RolloutPolicy, data: st.DataObject
) -> None:
    clusters = some_clusters(hosts, data)
    for batch in chain.from_iterable(wave.batches for wave in waves(hosts, policy, clusters)):
        members = [clusters[host] for host in batch if clusters.get(host)]
        assert len(members) == len(set(members))


@given(HOSTS, POLICIES, st.data())
def test_waves_and_batches_are_within_their_sizes(hosts: list[str], policy: RolloutPolicy, data: st.DataObject) -> None:
    cut = waves(hosts, policy, some_clusters(hosts, data))
    canary = [wave for wave in cut if wave.canary]
    rest = len(hosts) - sum(len(wave.hosts) for wave in canary)
    for wave in cut:
        limit = policy.canary if wave.canary and policy.canary else policy.wave
        assert 1 <= len(wave.hosts) <= limit.at_least_one(len(hosts) if wave.canary else rest)
        assert all(len(batch) <= policy.batch.at_least_one(len(wave.hosts)) for batch in wave.batches)


@given(HOSTS.filter(bool), AMOUNTS)
def test_canary_goes_first_and_there_is_one_of_it(hosts: list[str], size: Amount) -> None:
    cut = waves(hosts, RolloutPolicy(canary=size, wave=Amount(value=5)))
    assert [wave.canary for wave in cut] == [True] + [False] * (len(cut) - 1)
    assert cut[0].hosts == tuple(hosts[: max(1, size.at_least_one(len(hosts)))])


def test_half_of_three_hosts_are_two_waves() -> None:
    cut = waves(["a", "b", "c"], RolloutPolicy(wave=Amount(value=50, percent=True)))
    assert [wave.hosts for wave in cut] == [("a", "b"), ("c",)]


@given(st.integers(0, 500), st.integers(0, 100))
def test_percentage_that_may_fail_is_rounded_down(planned: int, percent: int) -> None:
    allowed = Amount(value=percent, percent=True).allowed(planned)
    assert allowed * 100 <= planned * percent < (allowed + 1) * 100


@given(st.integers(1, 500), st.integers(0, 100))
def test_percentage_that_may_be_unfit_is_rounded_up(planned: int, percent: int) -> None:
    limit = budget(RolloutPolicy(max_unfit=Amount(value=percent, percent=True)), planned).max_unfit
    assert (limit - 1) * 100 < planned * percent <= limit * 100


@given(st.integers(1, 500))
def test_budget_of_nothing_is_tripped_by_the_first_failure(planned: int) -> None:
    for none in (Amount(value=0), Amount(value=0, percent=True)):
        limit = budget(RolloutPolicy(max_failures=none), planned)
        assert limit.tripped_by(failed=0, unfit=0) == ""
        assert "1 of" in limit.tripped_by(failed=1, unfit=0)


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_failed_and_unfit_hosts_have_limits_of_their_own(
    failed: int, unfit: int, may_fail: int, may_be_unfit: int
) -> None:
    limit = Budget(planned=100, max_failures=may_fail, max_unfit=may_be_unfit)
    reason = limit.tripped_by(failed=failed, unfit=unfit)
    assert bool(reason) is (failed > may_fail or unfit > may_be_unfit)
    assert ("failed" in reason) is (failed > may_fail)


@given(st.lists(st.tuples(STATUSES, st.booleans()), max_size=30))
def test_every_kind_of_failure_counts_once(hosts: list[tuple[HostStatus, bool]]) -> None:
    runs = [run(f"h{n}", status, failed=failed) for n, (status, failed) in enumerate(hosts)]
    bad = {HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED}
    count = score(runs)
    assert count.failed == sum(failed or status in bad for status, failed in hosts)
    assert count.planned == len(hosts)


@pytest.mark.parametrize("status", [HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED])
def test_one_host_of_which_nobody_knows_better_stops_a_change_that_allows_none(status: HostStatus) -> None:
    assert judge([run("a", status), run("b", HostStatus.DONE)], budget(RolloutPolicy(), 2)) == (
        "1 of 2 hosts failed, 0 allowed"
    )


def test_host_that_was_put_back_still_counts() -> None:
    assert judge([run("a", HostStatus.RESTORED, failed=True)], budget(RolloutPolicy(), 1))
    assert not judge([run("a", HostStatus.RESTORED)], budget(RolloutPolicy(), 1))


def test_skipped_host_counts_only_where_it_was_unfit() -> None:
    one = RolloutPolicy(max_unfit=Amount(value=1))
    assert not judge([run("a", HostStatus.SKIPPED), run("b", HostStatus.SKIPPED, unfit=True)], budget(one, 2))
    assert "dead or unfit" in judge([run(name, HostStatus.SKIPPED, unfit=True) for name in "ab"], budget(one, 2))


@given(STATUSES)
def test_host_is_open_exactly_as_long_as_something_is_to_be_done_or_found_out(status: HostStatus) -> None:
    ended = {HostStatus.DONE, HostStatus.FAILED, HostStatus.RESTORED, HostStatus.RESTORE_FAILED, HostStatus.SKIPPED}
    assert status.is_settled is (status in ended)
    assert score([run("a", status)]).open == (0 if status in ended else 1)


def some_clusters(hosts: list[str], data: st.DataObject) -> dict[str, str]:
    return {host: data.draw(st.sampled_from(["", "", "db", "mq", "lb"])) for host in hosts}


def all_hosts(cut: tuple[Wave, ...]) -> list[str]:
    return [host for wave in cut for host in wave.hosts]
