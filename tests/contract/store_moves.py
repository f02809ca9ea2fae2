"""Part of a store's contract: transactions, whoever writes at the same moment."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.audit import GENESIS, broken_at
from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.errors import NotFound, StaleChange
from orchestrator.ports import Store
from tests.contract.stored import (
    Crash,
    a_fact,
    a_move,
    a_plan,
    all_at_once,
    at_once,
    everything,
    moved,
    noted,
    opened,
    outcome,
)
from tests.fakes.values import change


class MovesContract:
    """A move stands with all that belongs to it or not at all, and nothing comes twice."""

    def test_move_writes_change_event_and_outbox_together(self, store: Store) -> None:
        first = opened(store, change())
        event = moved(store, a_move(first))
        assert store.change(first.id).state is ChangeState.STAGING
        assert store.change(first.id).version == 1
        assert [e.tag for e in store.trail(first.id)] == ["requested", "staging-started"]
        assert [e.tag for e in store.undelivered()] == ["requested", "staging-started"]
        assert event == store.trail(first.id)[-1]

    def test_second_move_from_the_same_version_is_refused_and_leaves_nothing(self, store: Store) -> None:
        read = opened(store, change())
        moved(store, a_move(read))
        with pytest.raises(StaleChange, match="moved by somebody else"):
            all_at_once(store, a_move(read))
        assert [e.tag for e in store.trail(read.id)] == ["requested", "staging-started"]
        nothing_is_left(store, read.id)

    def test_nothing_of_a_transaction_that_fails_stays(self, store: Store) -> None:
        read = opened(store, change())
        with pytest.raises(Crash):
            all_at_once(store, a_move(read), then=Crash())
        assert store.change(read.id) == read
        assert [e.tag for e in store.trail(read.id)] == [e.tag for e in store.undelivered()] == ["requested"]
        nothing_is_left(store, read.id)

    def test_what_is_written_is_not_seen_before_it_stands(self, store: Store) -> None:
        read = opened(store, change())
        with store.begin() as writing:
            writing.move(a_move(read))
            everything(writing, read.id)
            assert store.change(read.id) == read
            nothing_is_left(store, read.id)
        assert store.change(read.id).version == 1

    def test_change_that_is_not_there_cannot_be_moved(self, store: Store) -> None:
        with pytest.raises(StaleChange), store.begin() as writing:
            writing.move(a_move(change()))
        assert list(store.trail("CHG-0001")) == []

    def test_same_id_or_same_source_is_entered_once(self, store: Store) -> None:
        first = opened(store, change())
        for again in (replace(first, id="CHG-0002"), replace(first, source_key="other")):
            with pytest.raises(StaleChange, match="entered by somebody else"):
                opened(store, again)
        assert list(store.changes()) == [first]
        assert [e.chain for e in store.undelivered()] == [first.id]

    def test_same_source_entered_by_many_at_once_is_one_change(self, store: Store) -> None:
        came = at_once(8, lambda n: outcome(lambda: opened(store, replace(change(), id=f"CHG-{n}"))))
        assert sorted(came) == ["StaleChange"] * 7 + ["well"]
        assert len(store.changes()) == 1

    def test_of_forty_moves_of_one_change_at_once_one_stands(self, store: Store) -> None:
        read = opened(store, change())
        came = at_once(40, lambda _: outcome(lambda: moved(store, a_move(read))))
        assert sorted(came) == ["StaleChange"] * 39 + ["well"]
        assert store.change(read.id).version == 1
        assert broken_at(store.trail(read.id)) == ""
        assert len(store.trail(read.id)) == len(store.undelivered()) == 2

    def test_forty_changes_moved_at_once_all_stand(self, store: Store) -> None:
        read = [opened(store, replace(change(), id=f"CHG-{n:04}", source_key=f"{n}")) for n in range(40)]
        at_once(40, lambda n: moved(store, a_move(read[n])))
        assert {one.version for one in store.changes([ChangeState.STAGING])} == {1}
        assert [head.count for head in store.heads()] == [2] * 40
        assert len(store.undelivered()) == 80

    def test_chain_has_no_gap_whoever_writes_to_it_at_once(self, store: Store) -> None:
        def write(number: int) -> None:
            for turn in range(10):
                noted(store, replace(a_fact("site"), tag=f"writer-{number}-{turn}"))

        at_once(8, write)
        trail = store.trail("site")
        assert broken_at(trail) == ""
        assert [event.seq for event in trail] == list(range(1, 81))
        assert len({event.tag for event in trail}) == 80
        (head,) = store.heads()
        assert (head.chain, head.count, head.head) == ("site", 80, trail[-1].hash)

    def test_trail_is_read_from_where_somebody_left_off(self, store: Store) -> None:
        events = [noted(store, a_fact("site")) for _ in range(3)]
        assert list(store.trail("site", after=1)) == events[1:]
        assert list(store.trail("site", after=3)) == []

    def test_chains_are_numbered_each_for_itself(self, store: Store) -> None:
        for chain in ("b", "a", "b"):
            noted(store, a_fact(chain))
        assert [(head.chain, head.count) for head in store.heads()] == [("a", 1), ("b", 2)]
        assert [event.prev for event in store.trail("a")] == [GENESIS]

    def test_ids_are_drawn_once_however_many_ask(self, store: Store) -> None:
        drawn = at_once(8, lambda _: [store.next_change_id() for _ in range(5)])
        assert sorted(one for some in drawn for one in some) == [f"CHG-{n:04}" for n in range(1, 41)]

    def test_installation_is_one_whoever_asks_first(self, store: Store) -> None:
        asked = at_once(8, lambda _: store.installation())
        assert len({*asked, store.installation()}) == 1
        assert asked[0]


def nothing_is_left(store: Store, of: str) -> None:
    assert not [*store.runs(of), *store.steps(of), *store.points(of), *store.leases()]
    assert store.documents(of, "health") == {}
    assert store.durations(["a"], Environment.STAGING) == {"a": []}
    with pytest.raises(NotFound):
        store.plan(a_plan().digest)
