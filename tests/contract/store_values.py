"""Part of a store's contract: whatever is written comes back as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.admission import Durations
from orchestrator.domain.audit import GENESIS
from orchestrator.domain.canonical import Plain
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.inventory import Environment
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.domain.metrics import Figures
from orchestrator.domain.plan import PatchPlan, Prediction
from orchestrator.domain.rollback import RollbackPoint
from orchestrator.domain.run import HostRun, HostStatus
from orchestrator.errors import NotFound
from orchestrator.ports import Store
from tests.contract.stored import HOLD, SMALL, a_fact, an_id, anything, noted, opened
from tests.fakes.strategies import ASCII_KEY, PLAIN, any_of
from tests.fakes.values import EVENING, change, run


class ValuesContract:
    """Whatever is written comes back as it was written, and is counted."""

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
