"""The chain: whatever is done to a trail afterwards, it shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orchestrator.domain.audit import GENESIS, AuditEvent, Fact, broken_at, line, seal
from orchestrator.domain.canonical import canonical, digest
from tests.fakes.strategies import ASCII_KEY, MOMENTS, NUMBERS, PLAIN, TEXT

FACTS = st.builds(
    Fact, chain=TEXT, at=MOMENTS, actor=TEXT, origin=TEXT, tag=TEXT, outcome=TEXT, change=TEXT,
    data=st.dictionaries(ASCII_KEY, PLAIN, max_size=2),
)  # fmt: skip


def chained(facts: list[Fact]) -> list[AuditEvent]:
    trail: list[AuditEvent] = []
    for fact in facts:
        trail.append(seal(fact, seq=len(trail) + 1, prev=trail[-1].hash if trail else GENESIS))
    return trail


TRAILS = st.lists(FACTS, min_size=2, max_size=4).map(chained)
EDITS: dict[str, Callable[[AuditEvent, str, int], AuditEvent]] = {
    "seq": lambda event, _, number: replace(event, seq=number),
    "at": lambda event, _, number: replace(event, at=event.at + timedelta(microseconds=abs(number) + 1)),
    "chain": lambda event, text, _: replace(event, chain=text),
    "actor": lambda event, text, _: replace(event, actor=text),
    "origin": lambda event, text, _: replace(event, origin=text),
    "tag": lambda event, text, _: replace(event, tag=text),
    "outcome": lambda event, text, _: replace(event, outcome=text),
    "change": lambda event, text, _: replace(event, change=text),
    "data": lambda event, text, number: replace(event, data={**event.data, "more": [text, number]}),
    "prev": lambda event, text, _: replace(event, prev=digest(text)),
    "hash": lambda event, text, _: replace(event, hash=digest(text)),
}


@given(TRAILS)
def test_chain_as_it_was_written_is_whole(trail: list[AuditEvent]) -> None:
    assert broken_at(trail) == ""
    assert [event.seq for event in trail] == list(range(1, len(trail) + 1))
    assert trail[0].prev == GENESIS


@given(FACTS, st.integers(1, 10**6))
def test_hash_is_that_of_the_canonical_event_without_it(fact: Fact, seq: int) -> None:
    event = seal(fact, seq=seq, prev=GENESIS)
    said = json.loads(line(event))
    assert said.pop("hash") == event.hash == digest(said)
    assert canonical(said) == json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize("field", AuditEvent.__slots__)
@given(data=st.data())
def test_edited_event_shows_whatever_was_edited(field: str, data: st.DataObject) -> None:
    trail = data.draw(TRAILS)
    at = data.draw(st.integers(0, len(trail) - 1))
    edited = EDITS[field](trail[at], data.draw(TEXT), data.draw(NUMBERS))
    assume(edited != trail[at])
    assert broken_at([*trail[:at], edited, *trail[at + 1 :]])


@given(TRAILS, st.data())
def test_removed_event_shows(trail: list[AuditEvent], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(trail) - 2))
    assert "is missing" in broken_at(trail[:at] + trail[at + 1 :])


@given(TRAILS)
def test_only_the_head_kept_elsewhere_shows_that_the_end_was_cut_off(trail: list[AuditEvent]) -> None:
    assert broken_at(trail[:-1]) == ""
    assert trail[-2].hash != trail[-1].hash


@given(TRAILS, st.data())
def test_reordered_events_show(trail: list[AuditEvent], data: st.DataObject) -> None:
    other = data.draw(st.permutations(trail))
    assume(other != trail)
    assert broken_at(other)


@given(TRAILS, FACTS, st.data())
def test_slipped_in_event_shows(trail: list[AuditEvent], fact: Fact, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(trail) - 1))
    foreign = seal(fact, seq=at + 1, prev=trail[at].prev)
    assert broken_at([*trail[:at], foreign, *trail[at:]])


@given(TRAILS, FACTS, st.data())
def test_event_written_anew_with_a_good_hash_breaks_at_the_next(
    trail: list[AuditEvent], fact: Fact, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(trail) - 2))
    forged = seal(fact, seq=at + 1, prev=trail[at].prev)
    assume(forged != trail[at])
    assert "does not follow" in broken_at([*trail[:at], forged, *trail[at + 1 :]])
