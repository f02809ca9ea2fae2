"""Spans as they follow from the record."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, seal
from orchestrator.domain.journal import Outcome, Step, StepRecord
from orchestrator.domain.tracing import Span, spans
from tests.fakes.values import EVENING

MINUTE = timedelta(minutes=1)
RUN = [("requested", "requested"), ("started", "running"), ("phase-finished", "finished"), ("failed", "failed")]


def trail(*events: tuple[str, str]) -> list[AuditEvent]:
    """Return events a minute apart: tag, and what the change then was."""
    made: list[AuditEvent] = []
    for number, (tag, outcome) in enumerate(events):
        fact = Fact(
            chain="C", change="C", at=EVENING + number * MINUTE, actor="omar", origin="", tag=tag, outcome=outcome,
            data={},
        )  # fmt: skip
        made.append(seal(fact, seq=number + 1, prev=made[-1].hash if made else GENESIS))
    return made


def step(job: str, minute: float, outcome: Outcome = Outcome.OK, *, is_open: bool = False) -> StepRecord:
    began = EVENING + minute * MINUTE
    return StepRecord(
        change="C", host="web1", step=Step.PATCH, token=1, job=job, started_at=began,
        finished_at=None if is_open else began + MINUTE / 2, outcome=outcome,
    )  # fmt: skip


def told(found: Sequence[Span]) -> list[tuple[str, str, str]]:
    return [(span.name, str(span.attributes.get(f"patch.{span.name}", "")), span.problem) for span in found]


def test_same_record_gives_the_same_spans_and_another_installation_another_trace() -> None:
    steps = [step("C.l1.w1.b1.s1.patch", 1.1)]
    once, again, elsewhere = (spans(place, "C", trail(*RUN), steps) for place in ("here", "here", "there"))
    assert once == again
    assert {span.id for span in once}.isdisjoint(span.id for span in elsewhere)
    assert {(len(span.trace), len(span.id)) for span in once} == {(32, 16)}


def test_change_that_is_still_at_work_has_no_spans_yet() -> None:
    assert spans("here", "C", trail(*RUN[:3]), [step("C.l1.w1.b1.patch", 1.1)]) == ()
    assert spans("here", "C", trail(*RUN, ("rollback-started", "rolling-back")), []) == ()


def test_only_the_last_time_at_work_is_told() -> None:
    events = trail(*RUN, ("rollback-started", "rolling-back"), ("rolled-back", "rolled-back"))
    steps = [step("C.l1.w1.b1.patch", 1.1), step("C.l1.w1.b1.back5-ab.patch", 4.1)]
    found = spans("here", "C", events, steps)
    assert told(found)[:3] == [("change", "C", ""), ("wave", "l1.w1", ""), ("shard", "l1.w1.b1.back5-ab", "")]
    assert (found[0].began, found[0].ended) == (EVENING + 4 * MINUTE, EVENING + 5 * MINUTE)


def test_step_that_went_wrong_says_so_and_one_that_nobody_saw_end_ends_with_the_run() -> None:
    steps = [step("C.l1.w1.b1.patch", 1.1, Outcome.FAILED), step("C.l1.w1.b1.patch.2", 1.2, Outcome.OPEN, is_open=True)]
    root, wave, shard, failed, unseen = spans("here", "C", trail(*RUN), steps)
    assert (root.problem, wave.problem, failed.problem, unseen.problem) == (
        "failed",
        "",
        "failed",
        "nobody saw its end",
    )
    assert unseen.ended == wave.ended == shard.ended == root.ended
    assert [span.parent for span in (wave, shard, failed, unseen)] == [root.id, wave.id, shard.id, shard.id]
