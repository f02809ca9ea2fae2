"""What may go: by age, by size, and never what is still needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, seal
from orchestrator.domain.canonical import Plain
from orchestrator.domain.retention import (
    REMOVED,
    Holding,
    HoldingKind,
    Past,
    RetentionPolicy,
    clear,
    ended_at,
    named,
    removed,
)
from tests.fakes.values import EVENING as NOW

DAY = timedelta(days=1)
POLICY = RetentionPolicy(keep=100 * DAY, at_least=10 * DAY)
OLD, YOUNG, NEW = (Past(change=name, ended_at=NOW - days * DAY) for name, days in (("A", 120), ("B", 50), ("C", 5)))


def job(change: str, *, size: int = 10) -> Holding:
    return kept(HoldingKind.JOB, f"{change}.w1", change, size=size)


def kept(kind: HoldingKind, name: str, *needed_by: str, size: int = 10, age: timedelta = DAY) -> Holding:
    return Holding(kind=kind, name=name, size=size, at=NOW - age, needed_by=frozenset(needed_by))


def going(*holdings: Holding, past: tuple[Past, ...] = (OLD, YOUNG, NEW), policy: RetentionPolicy = POLICY) -> set[str]:
    return {holding.name for holding in clear(holdings, past, policy, now=NOW).going}


def test_what_ended_long_ago_goes_and_says_why() -> None:
    found = clear([job("A"), job("B")], [OLD, YOUNG], POLICY, now=NOW)
    assert [h.name for h in found.going] == ["A.w1"]
    assert found.changes == {"A": "it ended 2026-07-24, 100 days are kept"}
    assert (found.size, found.left) == (10, 10)


def test_nothing_of_an_open_change_goes_however_old_it_is() -> None:
    assert going(kept(HoldingKind.JOB, "A.w1", "A", age=999 * DAY), past=(Past(change="A"),)) == set()


def test_change_that_holds_a_point_keeps_everything_and_that_is_told() -> None:
    found = clear([job("A")], [replace(OLD, points=2)], POLICY, now=NOW)
    assert (found.going, found.kept) == ((), {"A": "it holds 2 rollback points"})


def test_package_goes_with_the_last_change_that_needs_it() -> None:
    package = kept(HoldingKind.PACKAGE, "5a", "A", "B")
    assert going(package) == set()
    assert going(package, past=(OLD, replace(YOUNG, ended_at=NOW - 101 * DAY))) == {"5a"}


def test_what_nobody_needs_goes_by_its_own_age() -> None:
    assert going(kept(HoldingKind.CONTENT, "c1", age=101 * DAY), kept(HoldingKind.CONTENT, "c2", age=99 * DAY)) == {
        "c1"
    }


def test_thing_of_a_change_that_is_not_known_stays() -> None:
    assert going(kept(HoldingKind.KIT, "Z", "Z", age=999 * DAY)) == set()


def test_size_takes_the_oldest_first_and_stops_when_it_is_enough() -> None:
    older = Past(change="D", ended_at=NOW - 60 * DAY)
    holdings = (job("B", size=30), job("D", size=30), job("C", size=30))
    assert going(*holdings, past=(YOUNG, NEW, older), policy=replace(POLICY, size=60)) == {"D.w1"}
    assert going(*holdings, past=(YOUNG, NEW, older), policy=replace(POLICY, size=59)) == {"D.w1", "B.w1"}


def test_size_never_takes_what_is_younger_than_the_least_age() -> None:
    found = clear([job("C", size=90)], [NEW], replace(POLICY, size=1), now=NOW)
    assert (found.going, found.left) == ((), 90)


def test_size_counts_a_shared_package_when_its_last_change_goes() -> None:
    older = Past(change="D", ended_at=NOW - 60 * DAY)
    holdings = (job("B"), job("D"), kept(HoldingKind.PACKAGE, "5a", "B", "D", size=100))
    assert going(*holdings, past=(YOUNG, older), policy=replace(POLICY, size=15)) == {"B.w1", "D.w1", "5a"}


def test_size_takes_what_nobody_needs_in_its_turn() -> None:
    orphan = kept(HoldingKind.PACKAGE, "5a", age=70 * DAY, size=50)
    assert going(job("B"), orphan, past=(YOUNG,), policy=replace(POLICY, size=20)) == {"5a"}


CHANGES = ("A", "B", "C", "D")
AGES = st.integers(0, 200).map(lambda days: days * DAY)
PASTS = st.lists(st.none() | AGES, min_size=4, max_size=4).map(
    lambda ages: [
        Past(change=c, ended_at=None if a is None else NOW - a, points=len(c) if a and a.days % 7 == 0 else 0)
        for c, a in zip(CHANGES, ages, strict=True)
    ]
)
HOLDINGS = st.lists(
    st.builds(
        Holding,
        kind=st.sampled_from(HoldingKind),
        name=st.text("ab", max_size=3),
        size=st.integers(0, 100),
        at=AGES.map(lambda age: NOW - age),
        needed_by=st.frozensets(st.sampled_from(CHANGES)),
    ),
    max_size=12,
)


@given(holdings=HOLDINGS, past=PASTS, size=st.integers(0, 300))
def test_whatever_is_kept_nothing_needed_goes_and_the_sum_is_right(
    holdings: list[Holding], past: list[Past], size: int
) -> None:
    found = clear(holdings, past, replace(POLICY, size=size), now=NOW)
    free = {p.change for p in past if p.ended_at and not p.points and p.ended_at <= NOW - POLICY.at_least}
    for holding in found.going:
        assert holding.needed_by <= free if holding.needed_by else holding.at <= NOW - POLICY.at_least
    assert found.size + found.left == sum(holding.size for holding in holdings)
    for holding in holdings:
        due = all(
            p.ended_at and not p.points and p.ended_at <= NOW - POLICY.keep
            for p in past
            if p.change in holding.needed_by
        )
        if holding.needed_by and due:
            assert holding in found.going


def trail(*facts: tuple[str, str, dict[str, Plain]]) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for tag, outcome, data in facts:
        fact = Fact(chain="A", at=NOW + len(events) * DAY, actor="o", origin="o", tag=tag, outcome=outcome, data=data)
        events.append(seal(fact, seq=len(events) + 1, prev=events[-1].hash if events else GENESIS))
    return events


def test_trail_tells_what_it_names_and_what_was_removed() -> None:
    events = trail(
        ("phase-finished", "finished", {"artifacts": {"events": "e1", "tasks": "t1"}}),
        (REMOVED, "", {"removed": ["e1"], "reason": "old"}),
        ("other", "", {"removed": ["x"]}),
    )
    assert named(events) == {"e1", "t1"}
    assert removed(events) == {"e1"}


@pytest.mark.parametrize("end", ["closed", "cancelled", "rejected"])
def test_change_ended_with_the_event_that_led_there(end: str) -> None:
    events = trail(("requested", "requested", {}), (end, end, {}), ("points-given-up", "", {}))
    assert ended_at(events) == NOW + DAY
    assert ended_at(events[:1]) is None
