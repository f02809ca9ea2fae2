"""Part of a store's contract: what is listed, in which order, and what is found by what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.change import ChangeState
from orchestrator.domain.inventory import Environment
from orchestrator.domain.run import HostStatus
from orchestrator.errors import StaleChange
from orchestrator.ports import Store
from tests.contract.stored import (
    HOLD,
    a_fact,
    a_move,
    a_plan,
    a_point,
    a_prediction,
    a_step,
    a_task,
    moved,
    noted,
    opened,
    took,
)
from tests.fakes.values import EVENING, change, run


class ListingsContract:
    """What is asked for is found, and nothing else is read."""

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
