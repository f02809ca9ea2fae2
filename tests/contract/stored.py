"""Values that are written into a store, and what is done with it, for the parts of its contract."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from threading import Barrier
from typing import TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from orchestrator.domain.admission import Durations, Estimate
from orchestrator.domain.audit import AuditEvent, Fact
from orchestrator.domain.change import ChangeRequest
from orchestrator.domain.identity import ORCHESTRATOR
from orchestrator.domain.inventory import Environment
from orchestrator.domain.job import TaskResult
from orchestrator.domain.journal import Step, StepRecord
from orchestrator.domain.lifecycle import ChangeEvent, Move, advance, requested
from orchestrator.domain.lock import PatchLock
from orchestrator.domain.plan import Content, PatchPlan, Prediction
from orchestrator.domain.rollback import RollbackClass, RollbackPoint
from orchestrator.domain.run import HostRun
from orchestrator.errors import Refused, StaleChange
from orchestrator.ports import Store, Writing
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
