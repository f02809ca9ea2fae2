"""What every database has to keep. Subclass ``StoreContract`` and give it the fixture ``store``: an empty one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from itertools import count
from threading import Barrier
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.admission import Durations, Estimate
from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, broken_at
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import TaskResult
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.domain.lifecycle import ChangeEvent, Move, advance, requested
from orchestrator.domain.lock import PatchLock
from orchestrator.domain.metrics import Figures
from orchestrator.domain.plan import Content, PatchPlan, Prediction
from orchestrator.domain.rollback import RollbackClass, RollbackPoint
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.errors import NotFound, Refused, StaleChange
from orchestrator.ports import Store, Writing
from tests.fakes.strategies import ASCII_KEY, PLAIN, any_of
from tests.fakes.values import EVENING, change, run

T = TypeVar("T")
SMALL = st.integers(0, 10**6)
HOLD = timedelta(hours=12)
NUMBERS = count(1)
#: The store of a test is kept through all examples: each brings ids of its own.
anything = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.differing_executors],
)


class StoreContract:
    """Subclass it, with the fixture ``store``."""

    @anything
    @given(value=any_of(ChangeRequest), version=SMALL)
    def test_change_comes_back_as_it_was_written(self, store: Store, value: ChangeRequest, version: int) -> None:
        new = replace(value, id=an_id(), source_key=an_id(), version=version)
        opened(store, new)
        assert store.change(new.id) == store.change_from(new.source_key) == new
        assert new in store.changes([new.state])

    @anything
    @given(plan=any_of(PatchPlan), beside=st.lists(any_of(Prediction), max_size=3, unique_by=lambda one: one.host))
    def test_plan_comes_back_under_its_digest(self, store: Store, plan: PatchPlan, beside: list[Prediction]) -> None:
        with store.begin() as writing:
            writing.keep_plan(plan, beside)
        assert store.plan(plan.digest) == plan
        assert store.plan(plan.digest).digest == plan.digest
        assert list(store.predictions(plan.digest)) == sorted(beside, key=lambda one: one.host)

    @anything
    @given(value=any_of(HostRun), wave=SMALL, batch=SMALL)
    def test_run_comes_back_as_it_was_written(self, store: Store, value: HostRun, wave: int, batch: int) -> None:
        new = replace(value, change=an_id(), wave=wave, batch=batch)
        with store.begin() as writing:
            writing.keep_runs([new])
        assert list(store.runs(new.change)) == [new]

    @anything
    @given(value=any_of(StepRecord))
    def test_step_comes_back_as_it_was_written(self, store: Store, value: StepRecord) -> None:
        new = replace(value, change=an_id())
        with store.begin() as writing:
            writing.keep_steps([new])
        assert list(store.steps(new.change)) == [new]

    @anything
    @given(value=any_of(RollbackPoint))
    def test_point_comes_back_as_it_was_written(self, store: Store, value: RollbackPoint) -> None:
        new = replace(value, change=an_id())
        with store.begin() as writing:
            writing.keep_points([new])
        assert list(store.points(new.change)) == [new]
        assert (new in store.points()) is new.is_held

    @anything
    @given(document=PLAIN, kind=ASCII_KEY, name=ASCII_KEY)
    def test_document_comes_back_as_it_was_written(self, store: Store, document: Plain, kind: str, name: str) -> None:
        of = an_id()
        with store.begin() as writing:
            writing.keep_document(of, kind, name, document)
        assert store.documents(of, kind) == {name: document}

    @anything
    @given(data=st.dictionaries(ASCII_KEY, PLAIN, max_size=3), value=any_of(ChangeRequest))
    def test_event_comes_back_as_it_was_sealed(
        self, store: Store, data: dict[str, Plain], value: ChangeRequest
    ) -> None:
        chain = an_id()
        fact = replace(a_fact(chain), data=data, actor=value.requester, at=value.created_at)
        event = noted(store, fact)
        assert list(store.trail(chain)) == [event]
        assert (event.seq, event.prev, event.data, event.at) == (1, GENESIS, data, value.created_at)

    @anything
    @given(took=any_of(Durations))
    def test_durations_come_back_as_they_were_written(self, store: Store, took: Durations) -> None:
        of, host = an_id(), an_id()
        with store.begin() as writing:
            writing.keep_durations(of, host, Environment.STAGING, took, EVENING)
        assert store.durations([host], Environment.STAGING) == {host: [took]}

    def test_empty_store_counts_nothing(self, store: Store) -> None:
        assert store.figures() == Figures()

    def test_what_is_there_is_counted(self, store: Store) -> None:
        first, second = (
            replace(change(), id=an_id(), source_key=an_id()),
            replace(change(), id=an_id(), source_key=an_id()),
        )
        for each in (first, second):
            opened(store, each)
        step = StepRecord(change=first.id, host="web1", step=Step.PATCH, token=1, job="one", started_at=EVENING)
        later = replace(step, job="two", started_at=EVENING + HOLD)
        with store.begin() as writing:
            writing.keep_runs([replace(run(host, HostStatus.DONE), change=first.id) for host in ("web1", "web2")])
            writing.keep_steps([later, step, replace(step, job="three", outcome=Outcome.OK)])
            event = writing.note(a_fact(first.id))
            writing.delivered([event])
        assert store.figures() == Figures(
            changes={"requested": 2}, hosts={"done": 2}, steps=2, oldest_step=EVENING, events=3, backlog=2
        )

    def test_what_is_not_there_is_said(self, store: Store) -> None:
        with pytest.raises(NotFound, match="CHG-0404"):
            store.change("CHG-0404")
        with pytest.raises(NotFound, match="no plan"):
            store.plan("d1" * 32)
        assert store.change_from("nowhere") is None
        assert store.last_checkpoint() is None
        for nothing in (
            store.changes(),
            store.runs("x"),
            store.steps("x"),
            store.points(),
            store.trail("x"),
            store.heads(),
        ):
            assert list(nothing) == []

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
        self.nothing_is_left(store, read.id)

    def test_nothing_of_a_transaction_that_fails_stays(self, store: Store) -> None:
        read = opened(store, change())
        with pytest.raises(Crash):
            all_at_once(store, a_move(read), then=Crash())
        assert store.change(read.id) == read
        assert [e.tag for e in store.trail(read.id)] == [e.tag for e in store.undelivered()] == ["requested"]
        self.nothing_is_left(store, read.id)

    def test_what_is_written_is_not_seen_before_it_stands(self, store: Store) -> None:
        read = opened(store, change())
        with store.begin() as writing:
            writing.move(a_move(read))
            everything(writing, read.id)
            assert store.change(read.id) == read
            self.nothing_is_left(store, read.id)
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

    def test_changes_are_listed_by_state_and_oldest_first(self, store: Store) -> None:
        for number in (10000, 2, 9999):
            opened(store, replace(change(), id=f"CHG-{number:04}", source_key=f"{number}"))
        moved(store, a_move(store.change("CHG-0002")))
        assert [one.id for one in store.changes()] == ["CHG-0002", "CHG-9999", "CHG-10000"]
        assert [one.id for one in store.changes([ChangeState.STAGING, ChangeState.CLOSED])] == ["CHG-0002"]
        assert list(store.changes([ChangeState.CLOSED])) == []

    def test_plan_kept_again_takes_the_newer_predictions(self, store: Store) -> None:
        plan, first, second = a_plan(), a_prediction("web1"), a_prediction("web2")
        for beside in (first, second):
            with store.begin() as writing:
                writing.keep_plan(plan, [beside])
        assert list(store.predictions(plan.digest)) == [second]

    def test_predictions_are_found_by_host(self, store: Store) -> None:
        plan, beside = a_plan(), [a_prediction(host) for host in ("web1", "web2", "web3")]
        with store.begin() as writing:
            writing.keep_plan(plan, beside)
        assert list(store.predictions(plan.digest, ["web3", "web1", "other"])) == [beside[0], beside[2]]
        assert not store.predictions(plan.digest, [])

    def test_remarkable_hosts_are_those_that_do_not_just_wait_or_are_done(self, store: Store) -> None:
        settled = replace(run("by-hand", HostStatus.DONE), failed=True)
        with store.begin() as writing:
            writing.keep_runs([run("b", HostStatus.FAILED), run("a"), run("c", HostStatus.DONE), settled])
            writing.keep_runs([replace(run("d"), change="CHG-0002", status=HostStatus.FAILED)])
        assert [one.host for one in store.remarkable("CHG-0001")] == ["b", "by-hand"]
        with store.begin() as writing:
            writing.keep_runs([run("b", HostStatus.DONE), run("a", HostStatus.LEASED)])
        assert [one.host for one in store.remarkable("CHG-0001")] == ["a", "by-hand"]

    def test_first_and_last_batch_are_those_that_have_such_a_host(self, store: Store) -> None:
        done, waiting = HostStatus.DONE, HostStatus.PENDING
        places = [
            ("a", 1, 1, done),
            ("b", 1, 2, done),
            ("e", 2, 1, waiting),
            ("c", 1, 2, waiting),
            ("d", 1, 2, waiting),
        ]
        with store.begin() as writing:
            writing.keep_runs([replace(run(host, status), wave=w, batch=b) for host, w, b, status in places])
        assert [one.host for one in store.first_batch("CHG-0001", [waiting, HostStatus.LEASED])] == ["c", "d"]
        assert [one.host for one in store.last_batch("CHG-0001", [done])] == ["b"]
        assert [one.host for one in store.last_batch("CHG-0001", [waiting])] == ["e"]
        assert not store.first_batch("CHG-0001", [HostStatus.LEASED])
        assert not store.last_batch("CHG-0001", [HostStatus.LEASED])
        assert not store.first_batch("CHG-0002", [waiting])

    def test_runs_are_listed_by_wave_batch_and_name_and_written_over(self, store: Store) -> None:
        runs = [
            replace(run(host), wave=wave, batch=batch)
            for wave, batch, host in [(2, 1, "a"), (1, 2, "b"), (1, 1, "d"), (1, 1, "c")]
        ]
        with store.begin() as writing:
            writing.keep_runs(runs)
        with store.begin() as writing:
            writing.keep_runs([replace(runs[0], reason="later")])
            writing.keep_runs([])
        assert [(one.host, one.reason) for one in store.runs("CHG-0001")] == [
            ("c", ""),
            ("d", ""),
            ("b", ""),
            ("a", "later"),
        ]

    def test_tasks_are_found_by_host_and_outcome_until_they_are_forgotten(self, store: Store) -> None:
        first = [a_task(0, "web1", "ok"), a_task(1, "web2", "failed"), a_task(2, "web1", "failed")]
        with store.begin() as writing:
            writing.keep_tasks("CHG-0001", "b", [a_task(0, "web9", "ok")])
            writing.keep_tasks("CHG-0001", "b", [])
            writing.keep_tasks("CHG-0001", "a", first)
            writing.keep_tasks("CHG-0002", "c", [a_task(0, "web1", "ok")])
        told = [(one.job, one.number, one.host, one.message) for one in store.tasks("CHG-0001")]
        assert told == [("a", 0, "web1", ""), ("a", 1, "web2", "why"), ("a", 2, "web1", "why")]
        assert [one.number for one in store.tasks("CHG-0001", "web1")] == [0, 2]
        assert [one.number for one in store.tasks("CHG-0001", "web1", ["failed", "unreachable"])] == [2]
        with store.begin() as writing:
            writing.forget_tasks("CHG-0001")
        assert not store.tasks("CHG-0001")
        assert len(store.tasks("CHG-0002")) == 1

    def test_hosts_that_are_asked_for_are_all_that_is_read(self, store: Store) -> None:
        with store.begin() as writing:
            writing.keep_runs([run("a"), run("b")])
            writing.keep_steps([a_step("a", "job.patch"), a_step("b", "job.patch")])
            for name in ("a", "b"):
                writing.keep_document("CHG-0001", "probe", name, {"host": name})
        assert [one.host for one in store.runs("CHG-0001", ["b"])] == ["b"]
        assert [one.host for one in store.steps("CHG-0001", ["b", "c"])] == ["b"]
        assert [*store.documents("CHG-0001", "probe", ["b"])] == ["b"]
        assert not store.points("CHG-0001", [])
        assert not store.runs("CHG-0001", [])

    def test_step_is_known_by_change_host_and_job(self, store: Store) -> None:
        begun = a_step("b", "job.patch")
        with store.begin() as writing:
            writing.keep_steps(
                [begun, a_step("a", "job.patch"), replace(a_step("a", "job.protect"), started_at=EVENING - HOLD)]
            )
        with store.begin() as writing:
            writing.keep_steps([replace(begun, finished_at=EVENING)])
        assert [(s.host, s.job) for s in store.steps("CHG-0001")] == [
            ("a", "job.protect"),
            ("a", "job.patch"),
            ("b", "job.patch"),
        ]
        assert store.steps("CHG-0001")[-1].finished_at == EVENING

    def test_steps_are_listed_in_the_order_they_began_to_the_microsecond(self, store: Store) -> None:
        half = timedelta(microseconds=500_000)
        steps = [replace(a_step("a", f"job{n}"), started_at=EVENING + n * half) for n in (0, 1, 2, 3)]
        with store.begin() as writing:
            writing.keep_steps(steps[::-1])
        assert [s.job for s in store.steps("CHG-0001")] == ["job0", "job1", "job2", "job3"]

    def test_points_are_held_until_they_are_released(self, store: Store) -> None:
        points = [a_point("CHG-0001", "a"), a_point("CHG-0002", "a"), replace(a_point("CHG-0001", "a"), provider="lvm")]
        with store.begin() as writing:
            writing.keep_points(points)
        with store.begin() as writing:
            writing.keep_points([replace(points[0], released_at=EVENING)])
        assert [(p.provider, p.is_held) for p in store.points("CHG-0001")] == [("lvm", True), ("packages", False)]
        assert [(p.change, p.provider) for p in store.points()] == [("CHG-0001", "lvm"), ("CHG-0002", "packages")]

    def test_document_is_known_by_change_kind_and_name(self, store: Store) -> None:
        with store.begin() as writing:
            for of, kind, name in [
                ("c", "health", "b"),
                ("c", "health", "a"),
                ("c", "probe", "a"),
                ("d", "health", "a"),
            ]:
                writing.keep_document(of, kind, name, [of, kind, name])
            writing.keep_document("c", "health", "b", {"later": True})
        assert store.documents("c", "health") == {"a": ["c", "health", "a"], "b": {"later": True}}
        assert list(store.documents("c", "health")) == ["a", "b"]
        with store.begin() as writing:
            writing.forget_documents("c", "health")
        left = [(of, kind) for of in "cd" for kind in ("health", "probe") if store.documents(of, kind)]
        assert left == [("c", "probe"), ("d", "health")]

    def test_durations_are_listed_newest_last_for_hosts_and_environment(self, store: Store) -> None:
        with store.begin() as writing:
            for number, of in enumerate(["CHG-3", "CHG-1", "CHG-2"]):
                writing.keep_durations(of, "a", Environment.PRODUCTION, took(number), EVENING + number * HOLD)
            writing.keep_durations("CHG-1", "a", Environment.STAGING, took(9), EVENING)
            writing.keep_durations("CHG-3", "a", Environment.PRODUCTION, took(7), EVENING)
        found = store.durations(["a", "b"], Environment.PRODUCTION)
        assert found == {"a": [took(7), took(1), took(2)], "b": []}
        assert store.durations(["a"], Environment.PRODUCTION, "CHG-2") == {"a": [took(2)]}

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

    def test_event_is_undelivered_until_somebody_says_so(self, store: Store) -> None:
        events = [
            noted(store, replace(a_fact(chain), tag=tag)) for chain, tag in [("b", "one"), ("a", "two"), ("b", "three")]
        ]
        assert [event.tag for event in store.undelivered()] == ["one", "two", "three"]
        assert [event.tag for event in store.undelivered(limit=2)] == ["one", "two"]
        with store.begin() as writing:
            writing.delivered([events[0], events[1]])
        assert list(store.undelivered()) == [events[2]]
        assert len(store.trail("b")) == 2

    def test_checkpoint_is_kept_once_and_the_newest_is_found(self, store: Store) -> None:
        for seq in (1, 2):
            with store.begin() as writing:
                writing.keep_checkpoint(seq, b"document %d\xff" % seq, b"signature")
        with pytest.raises(StaleChange, match="checkpoint 2"), store.begin() as writing:
            writing.keep_checkpoint(2, b"another", b"signature")
        assert store.last_checkpoint() == (b"document 2\xff", b"signature")

    def nothing_is_left(self, store: Store, of: str) -> None:
        assert not [*store.runs(of), *store.steps(of), *store.points(of), *store.leases()]
        assert store.documents(of, "health") == {}
        assert store.durations(["a"], Environment.STAGING) == {"a": []}
        with pytest.raises(NotFound):
            store.plan(a_plan().digest)


class Crash(Exception):
    """Whatever may happen between two statements."""


def all_at_once(store: Store, move: Move, *, then: Exception | None = None) -> None:
    with store.begin() as writing:
        everything(writing, move.before.id)
        writing.move(move)
        if then is not None:
            raise then


def everything(writing: Writing, of: str) -> None:
    """Write something of every kind."""
    writing.note(a_fact(of))
    writing.keep_plan(a_plan(), [])
    writing.keep_runs([run("a")])
    writing.keep_steps([a_step("a", "job")])
    writing.keep_points([a_point(of, "a")])
    writing.keep_document(of, "health", "a", {})
    writing.keep_durations(of, "a", Environment.STAGING, took(1), EVENING)
    writing.lease(["a"], of, now=EVENING, hold=HOLD)


def opened(store: Store, new: ChangeRequest) -> ChangeRequest:
    with store.begin() as writing:
        writing.open(new, requested(new, at=EVENING, actor=ORCHESTRATOR, data={}))
    return new


def a_move(read: ChangeRequest) -> Move:
    return advance(read, ChangeEvent.STAGING_STARTED, at=EVENING, actor=ORCHESTRATOR)


def moved(store: Store, move: Move) -> object:
    with store.begin() as writing:
        return writing.move(move)


def noted(store: Store, fact: Fact) -> AuditEvent:
    with store.begin() as writing:
        return writing.note(fact)


def leased(store: Store, of: str, *hosts: str) -> int:
    with store.begin() as writing:
        return writing.lease(hosts, of, now=EVENING, hold=HOLD)


def run_of(of: str, host: str, token: int) -> HostRun:
    return HostRun(change=of, host=host, wave=1, batch=1, token=token)


def a_fact(chain: str) -> Fact:
    return Fact(chain=chain, at=EVENING, actor="orchestrator", origin="orchestrator", tag="noted")


def a_plan() -> PatchPlan:
    return PatchPlan(
        change="CHG-0001",
        spec=change().spec,
        content=Content(files=()),
        waves=(),
        hosts=(),
        not_included=(),
        lock=PatchLock(),
    )


def a_prediction(host: str) -> Prediction:
    return Prediction(host=host, transitions=(), source="lock", estimate=Estimate(needed=HOLD, source="template"))


def a_task(number: int, host: str, outcome: str) -> TaskResult:
    message = "" if outcome == "ok" else "why"
    return TaskResult(
        number=number, host=host, task="Do it", action="command", outcome=outcome, milliseconds=5, message=message
    )


def a_step(host: str, job: str) -> StepRecord:
    return StepRecord(change="CHG-0001", host=host, step=Step.PATCH, token=1, job=job, started_at=EVENING)


def a_point(of: str, host: str) -> RollbackPoint:
    return RollbackPoint(
        change=of, host=host, provider="packages", rollback_class=RollbackClass.PACKAGE, taken_at=EVENING,
        expires_at=EVENING + HOLD,
    )  # fmt: skip


def took(minutes: int) -> Durations:
    nothing = timedelta(0)
    return Durations(patch=timedelta(minutes=minutes), reboot=nothing, verify=nothing, rollback=nothing)


def an_id() -> str:
    return f"CHG-{next(NUMBERS):06}"


def outcome(act: Callable[[], object]) -> str:
    """Return ``well``, or the name of the error that was raised on purpose."""
    try:
        act()
    except (StaleChange, Refused) as error:
        return type(error).__name__
    return "well"


def at_once(many: int, act: Callable[[int], T]) -> list[T]:
    """Do something many times at the same moment, each in a thread of its own."""
    gate = Barrier(many)

    def wait_and_act(number: int) -> T:
        gate.wait()
        return act(number)

    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(wait_and_act, range(many)))
