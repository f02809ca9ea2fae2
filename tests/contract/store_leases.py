"""Part of a store's contract: who may work on a host."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.errors import Refused, StaleChange
from orchestrator.ports import Store
from tests.contract.stored import HOLD, at_once, leased, outcome, run_of
from tests.fakes.values import EVENING


class LeasesContract:
    """A host belongs to one change at a time, and who was overtaken writes nothing."""

    def test_leased_host_names_its_holder_to_others(self, store: Store) -> None:
        leased(store, "CHG-0001", "a", "b")
        with pytest.raises(Refused, match="b by CHG-0001"):
            leased(store, "CHG-0002", "b", "c")
        assert [(one.host, one.change) for one in store.leases()] == [("a", "CHG-0001"), ("b", "CHG-0001")]

    def test_token_grows_with_every_lease_and_is_the_same_for_all_its_hosts(self, store: Store) -> None:
        tokens = [
            leased(store, "CHG-0001", "a", "b"),
            leased(store, "CHG-0002", "c"),
            leased(store, "CHG-0001", "a", "b"),
        ]
        assert tokens == sorted(set(tokens))
        assert {one.host: one.token for one in store.leases()} == {"a": tokens[2], "b": tokens[2], "c": tokens[1]}
        assert store.leases()[0].expires_at == EVENING + HOLD

    def test_who_was_overtaken_on_a_host_writes_nothing_about_it_any_more(self, store: Store) -> None:
        old = leased(store, "CHG-0001", "a", "b")
        with store.begin() as writing:
            writing.keep_runs([run_of("CHG-0001", "a", old), run_of("CHG-0001", "b", old)])
        new = leased(store, "CHG-0001", "a")
        with pytest.raises(StaleChange, match="a: somebody else works there"), store.begin() as writing:
            writing.keep_runs([run_of("CHG-0001", "b", old), run_of("CHG-0001", "a", old)])
        with store.begin() as writing:
            writing.keep_runs([run_of("CHG-0001", "b", old), run_of("CHG-0001", "a", new)])
        assert [run.token for run in store.runs("CHG-0001")] == [new, old]

    def test_freed_and_expired_leases_are_in_nobodys_way(self, store: Store) -> None:
        leased(store, "CHG-0001", "a")
        leased(store, "CHG-0002", "b")
        with store.begin() as writing:
            writing.free("CHG-0001")
        leased(store, "CHG-0003", "a")
        with store.begin() as writing:
            writing.lease(["b"], "CHG-0003", now=EVENING + HOLD, hold=HOLD)
        assert {one.host: one.change for one in store.leases()} == {"a": "CHG-0003", "b": "CHG-0003"}

    def test_lease_holds_to_its_last_microsecond(self, store: Store) -> None:
        moment = timedelta(microseconds=1)
        with store.begin() as writing:
            writing.lease(["a"], "CHG-0001", now=EVENING, hold=HOLD + moment)
        with pytest.raises(Refused), store.begin() as writing:
            writing.lease(["a"], "CHG-0002", now=EVENING + HOLD, hold=HOLD)
        with store.begin() as writing:
            writing.lease(["a"], "CHG-0002", now=EVENING + HOLD + moment, hold=HOLD)

    def test_host_wanted_by_many_at_once_goes_to_one(self, store: Store) -> None:
        came = at_once(8, lambda n: outcome(lambda: leased(store, f"CHG-{n}", "a", "b")))
        assert sorted(came) == ["Refused"] * 7 + ["well"]
        assert len({one.change for one in store.leases()}) == 1
