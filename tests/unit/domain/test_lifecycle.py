"""The life of a change: what the table allows, what the guards forbid, and what no walk ever reaches."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote
from orchestrator.domain.change import ChangeRequest, ChangeState
from orchestrator.domain.change import ChangeState as S
from orchestrator.domain.identity import ORCHESTRATOR, Actor
from orchestrator.domain.lifecycle import GUARDS, MOVES, VOIDING, ChangeEvent, Move, advance, requested
from orchestrator.domain.lifecycle import ChangeEvent as E
from orchestrator.errors import IllegalMove, Refused
from tests.fakes.values import DIGEST, EVENING, OPENING, SLOT, agreed, change, spec, vote

DURING = OPENING + timedelta(hours=1)
ALLOWED = [(state, event) for state, moves in MOVES.items() for event in moves]
FORBIDDEN = [(state, event) for state in S for event in E if event not in MOVES[state]]
BEFORE_APPROVAL = {S.REQUESTED, S.STAGING, S.STAGED, S.REJECTED, S.CANCELLED}


def test_every_state_has_a_row() -> None:
    assert set(MOVES) == set(ChangeState)


def test_every_event_but_the_first_is_a_move_of_some_state() -> None:
    assert {event for _, event in ALLOWED} | {E.REQUESTED} == set(ChangeEvent)


def test_every_state_is_reached_from_requested() -> None:
    assert reachable(S.REQUESTED) == set(ChangeState)


@pytest.mark.parametrize("state", list(S))
def test_every_state_leads_to_an_end(state: S) -> None:
    assert any(one.has_ended for one in reachable(state))


@pytest.mark.parametrize("state", list(S))
def test_no_way_leads_out_of_an_ended_state_and_only_of_those(state: S) -> None:
    assert state.has_ended is (not MOVES[state])


@pytest.mark.parametrize(("state", "event"), FORBIDDEN)
def test_event_that_is_not_in_the_table_is_refused(state: S, event: E) -> None:
    with pytest.raises(IllegalMove) as refused:
        advance(agreed(state), event, at=DURING, actor=ORCHESTRATOR)
    assert set(refused.value.allowed) == {one.value for one in MOVES[state]}
    assert all(one.value in str(refused.value) for one in MOVES[state])


@pytest.mark.parametrize(("state", "event"), ALLOWED)
def test_move_goes_where_the_table_says_and_counts_one_up(state: S, event: E) -> None:
    before = replace(agreed(state), version=41)
    move = advance(
        before, event, at=DURING, actor=Actor(name="ben", account="ben", address="10.0.0.9"), data={"why": "x"}
    )
    assert (move.after.state, move.after.version) == (MOVES[state][event], 42)
    assert move.before is before
    fact = move.fact
    assert (fact.chain, fact.change, fact.tag, fact.outcome) == (
        before.id,
        before.id,
        event.value,
        move.after.state.value,
    )
    assert (fact.at, fact.actor, fact.origin, fact.data) == (DURING, "ben", "ben@10.0.0.9", {"why": "x"})


@pytest.mark.parametrize(
    ("state", "event"), [pair for pair in ALLOWED if pair[1] in VOIDING and pair[0] is not S.RUNNING]
)
def test_voiding_move_clears_votes_plan_and_window(state: S, event: E) -> None:
    after = moved(agreed(state), event).after
    assert (after.votes, after.plan_digest, after.staged_at, after.slot) == ((), "", None, None)


@pytest.mark.parametrize(("state", "event"), [pair for pair in ALLOWED if pair[1] not in VOIDING])
def test_other_moves_keep_what_was_agreed(state: S, event: E) -> None:
    before = agreed(state)
    after = moved(before, event).after
    assert replace(after, state=before.state, version=before.version) == before


def test_drift_in_a_run_keeps_the_plan_that_there_is_to_go_back_by() -> None:
    after = moved(agreed(S.RUNNING), E.DRIFT_FOUND).after
    assert (after.state, after.plan_digest, after.votes) == (S.PAUSED, DIGEST, (vote("ben"),))


def test_first_fact_of_a_trail_says_who_asked() -> None:
    fact = requested(change(), at=EVENING, actor=Actor(name="anna", account="anna"), data={"title": "OpenSSL"})
    assert (fact.tag, fact.actor, fact.outcome, fact.chain) == ("requested", "anna", "requested", "CHG-0001")


def test_staged_needs_a_plan() -> None:
    with pytest.raises(Refused, match="no plan yet"):
        moved(change(S.STAGING), E.STAGED)


@pytest.mark.parametrize("event", [E.APPROVED, E.SCHEDULED, E.STARTED, E.RESUMED])
@pytest.mark.parametrize(
    "votes",
    [
        (),
        (vote("anna"),),
        (vote("ben", digest="e2" * 32),),
        (vote("ben", decision=Decision.REJECT),),
        (vote("ben", "service-owner"),),
    ],
    ids=["none", "the requester's", "for another plan", "a no", "from another seat"],
)
def test_no_gate_opens_without_the_votes_that_are_needed(event: E, votes: tuple[Vote, ...]) -> None:
    state = next(state for state in MOVES if event in MOVES[state])
    with pytest.raises(Refused, match="still needs 1 of approver"):
        moved(replace(agreed(state), votes=votes), event)


@pytest.mark.parametrize("event", [E.STARTED, E.RESUMED])
@pytest.mark.parametrize("at", [SLOT.start - timedelta(seconds=1), SLOT.end], ids=["before", "at the end"])
def test_nothing_runs_outside_its_window(event: E, at: datetime) -> None:
    state = next(state for state in MOVES if event in MOVES[state])
    with pytest.raises(Refused, match="may run from"):
        advance(agreed(state), event, at=at, actor=ORCHESTRATOR)


def test_window_that_has_ended_cannot_be_reserved() -> None:
    with pytest.raises(Refused, match="ended at"):
        advance(agreed(S.APPROVED), E.SCHEDULED, at=SLOT.end, actor=ORCHESTRATOR)


def test_run_that_drifted_does_not_go_on() -> None:
    with pytest.raises(Refused, match="stopped by drift"):
        moved(replace(agreed(S.PAUSED), drifted="patch.yml was changed"), E.RESUMED)
    assert moved(agreed(S.PAUSED), E.RESUMED).after.state is S.RUNNING


def test_every_gate_to_the_hosts_is_guarded() -> None:
    into_work = {event for state, event in ALLOWED if MOVES[state][event] is S.RUNNING and state is not S.RUNNING}
    into_agreement = {event for state, event in ALLOWED if MOVES[state][event] in {S.APPROVED, S.SCHEDULED}}
    assert into_work | into_agreement - {E.WINDOW_LOST} <= set(GUARDS)


@given(st.lists(st.sampled_from(E), max_size=25), st.booleans())
def test_no_walk_gets_past_approval_on_the_requesters_own_vote(events: list[E], two_needed: bool) -> None:
    policy = ApprovalPolicy(required={"approver": 2 if two_needed else 1})
    own = (vote("anna"), vote("anna", "approver", "cab"), *((vote("ben"),) if two_needed else ()))
    now = change(of=spec(approval=policy))
    for event in events:
        # Somebody puts all the facts there are into the change; only the votes are not enough.
        claimed = replace(now, plan_digest=DIGEST, staged_at=EVENING, slot=SLOT, votes=own)
        try:
            now = moved(claimed, event).after
        except Refused:
            continue
        assert now.state in BEFORE_APPROVAL


@given(st.lists(st.sampled_from(E), max_size=40))
def test_version_grows_by_one_on_every_walk_and_state_stays_in_the_table(events: list[E]) -> None:
    now = change()
    for event in events:
        try:
            after = moved(replace(now, plan_digest=DIGEST, slot=SLOT, votes=(vote("ben"),)), event).after
        except Refused:
            continue
        assert after.version == now.version + 1
        assert after.state is MOVES[now.state][event]
        now = after


def moved(before: ChangeRequest, event: E) -> Move:
    return advance(before, event, at=DURING, actor=ORCHESTRATOR)


def reachable(start: S) -> set[S]:
    found, waiting = {start}, [start]
    while waiting:
        for state in MOVES[waiting.pop()].values():
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found
