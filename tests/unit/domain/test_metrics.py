"""The figures say what is recorded, and nothing is left out where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.change import ChangeState
from orchestrator.domain.metrics import Figures, Measure, Observed, measures
from orchestrator.domain.rollback import RollbackClass, RollbackPoint
from orchestrator.domain.rollout import Amount, RolloutPolicy
from orchestrator.domain.run import HostStatus
from tests.fakes.values import EVENING as NOW
from tests.fakes.values import change, run, spec

NOTHING = Observed(figures=Figures(), runs={}, points=(), checkpoint_at=None, unattended=0, version="1")
POINT = RollbackPoint(
    change="CHG-0001", host="web1", provider="packages", rollback_class=RollbackClass.PACKAGE,
    taken_at=NOW, expires_at=NOW + timedelta(days=1),
)  # fmt: skip


def found(observed: Observed) -> dict[str, Measure]:
    return {measure.name: measure for measure in measures(observed, now=NOW)}


def value(observed: Observed, name: str, **labels: str) -> float:
    (sample,) = (sample for sample in found(observed)[name].samples if sample.labels == labels)
    return sample.value


def test_every_state_and_status_is_there_from_the_beginning() -> None:
    measure = found(NOTHING)["changes"]
    assert {sample.labels["state"] for sample in measure.samples} == {state.value for state in ChangeState}
    assert {sample.value for sample in measure.samples} == {0}
    assert len(found(NOTHING)["hosts"].samples) == len(HostStatus)


def test_counts_of_the_database_are_told() -> None:
    figures = Figures(changes={"running": 2}, hosts={"unknown": 3}, steps=4, events=5, backlog=6)
    observed = replace(NOTHING, figures=figures, unattended=1)
    assert value(observed, "changes", state="running") == 2
    assert value(observed, "hosts", status="unknown") == 3
    names = ("steps_running", "audit_events", "outbox_events", "changes_unattended")
    assert [value(observed, name) for name in names] == [4, 5, 6, 1]
    assert [name for name, measure in found(observed).items() if measure.is_counter] == ["audit_events"]


def test_age_of_the_oldest_step_is_told_and_0_without_one() -> None:
    assert value(NOTHING, "oldest_step_seconds") == 0
    old = replace(NOTHING, figures=Figures(steps=1, oldest_step=NOW - timedelta(minutes=5)))
    assert value(old, "oldest_step_seconds") == 300


def test_budget_of_an_open_change_is_told_with_what_it_has_spent() -> None:
    wanted = spec(rollout=RolloutPolicy(max_failures=Amount(value=2)))
    hosts = [run("a", HostStatus.DONE), run("b", HostStatus.UNKNOWN), run("c", HostStatus.RESTORED, failed=True)]
    observed = replace(NOTHING, runs={"CHG-0001": (change(of=wanted), hosts), "CHG-0002": (change(), [])})
    assert value(observed, "budget_hosts", change="CHG-0001") == 2
    assert value(observed, "budget_spent_hosts", change="CHG-0001") == 2
    assert value(observed, "hosts_open", change="CHG-0001") == 1
    assert len(found(observed)["budget_hosts"].samples) == 1


def test_points_beyond_their_time_are_counted_among_those_held() -> None:
    observed = replace(NOTHING, points=(POINT, replace(POINT, expires_at=NOW)))
    assert value(observed, "rollback_points_held") == 2
    assert value(observed, "rollback_points_expired") == 1


def test_checkpoint_that_was_never_made_has_no_age() -> None:
    assert found(NOTHING)["checkpoint_age_seconds"].samples == ()
    assert value(replace(NOTHING, checkpoint_at=NOW - timedelta(hours=1)), "checkpoint_age_seconds") == 3600
