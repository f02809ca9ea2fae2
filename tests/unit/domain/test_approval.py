"""Who has to agree, who may not be asked, and which votes are worth nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote, refuse_vote, seats_of, why_barred
from orchestrator.domain.identity import Person
from orchestrator.errors import Refused
from tests.fakes.values import DIGEST, EVENING, vote

ROLES = ("approver", "cab", "service-owner")
PEOPLE = ("anna", "ben", "cleo", "dora", "emil")
POLICIES = st.dictionaries(st.sampled_from(ROLES), st.integers(1, 3), min_size=1).map(
    lambda r: ApprovalPolicy(required=r)
)
GIVEN_VOTES = st.lists(
    st.tuples(
        st.sampled_from(PEOPLE),
        st.lists(st.sampled_from(ROLES), unique=True, min_size=1),
        st.sampled_from(Decision),
        st.sampled_from([DIGEST, "e2" * 32]),
    ),
    max_size=10,
).map(lambda rows: [vote(by, *seats, decision=said, digest=of) for by, seats, said, of in rows])
BEN = Person(name="ben", roles=frozenset({"approver", "cab"}), account="ben")
DEADLINE = EVENING + timedelta(days=7)


@given(POLICIES, GIVEN_VOTES)
def test_each_role_needs_its_number_of_different_people(policy: ApprovalPolicy, votes: list[Vote]) -> None:
    barred = frozenset({"anna"})
    worth = {
        (v.approver, seat)
        for v in votes
        for seat in v.seats
        if v.decision is Decision.APPROVE and v.digest == DIGEST and v.approver not in barred
    }
    filled = Counter(seat for _, seat in worth)
    missing = policy.outstanding(votes, digest=DIGEST, barred=barred)
    assert missing == {role: n - filled[role] for role, n in policy.required.items() if n > filled[role]}


def test_two_votes_of_one_person_fill_one_seat() -> None:
    two = ApprovalPolicy(required={"approver": 2})
    assert two.outstanding([vote("ben"), vote("ben")], digest=DIGEST, barred=frozenset()) == {"approver": 1}
    assert two.outstanding([vote("ben"), vote("cleo")], digest=DIGEST, barred=frozenset()) == {}


def test_one_vote_fills_a_seat_of_each_role_the_person_holds() -> None:
    both = ApprovalPolicy(required={"approver": 1, "cab": 1})
    assert seats_of(BEN, both) == ("approver", "cab")
    assert both.outstanding([vote("ben", *seats_of(BEN, both))], digest=DIGEST, barred=frozenset()) == {}


def test_person_who_may_vote_is_not_barred() -> None:
    assert barred(BEN) == ""


@pytest.mark.parametrize(
    ("person", "reason"),
    [
        (replace(BEN, name="anna"), "requested this change"),
        (replace(BEN, acts_for=frozenset({"anna"})), "acts for anna"),
        (replace(BEN, roles=frozenset({"auditor"})), "holds none of the roles"),
    ],
)
def test_person_who_may_not_vote_is_told_why(person: Person, reason: str) -> None:
    assert reason in barred(person)


def test_vote_from_the_requesters_account_does_not_count() -> None:
    assert "from the account of anna" in barred(BEN, account=Person(name="anna"))
    assert barred(BEN, account=BEN) == ""


def test_authors_are_barred_where_the_policy_says_so() -> None:
    assert barred(BEN, authors={"ben"}) == ""
    assert "wrote content" in barred(BEN, authors={"ben"}, exclude_authors=True)
    assert barred(BEN, authors={"cleo"}, exclude_authors=True) == ""


def test_vote_for_the_plan_that_stands_is_taken_until_the_deadline() -> None:
    refuse_vote([], BEN, digest=DIGEST, shown=DIGEST, now=DEADLINE, deadline=DEADLINE)


@pytest.mark.parametrize(
    ("shown", "now", "reason"),
    [
        ("e2" * 32, EVENING, "the plan is d1d1"),
        ("", EVENING, "Read it again"),
        (DIGEST, DEADLINE + timedelta(seconds=1), "voting ended"),
    ],
)
def test_vote_for_another_plan_or_too_late_is_refused(shown: str, now: datetime, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        refuse_vote([], BEN, digest=DIGEST, shown=shown, now=now, deadline=DEADLINE)


def test_vote_is_given_once_for_each_plan() -> None:
    with pytest.raises(Refused, match="voted on this plan already"):
        refuse_vote([vote("ben")], BEN, digest=DIGEST, shown=DIGEST, now=EVENING, deadline=DEADLINE)
    refuse_vote([vote("ben", digest="e2" * 32)], BEN, digest=DIGEST, shown=DIGEST, now=EVENING, deadline=DEADLINE)


def barred(
    person: Person, *, account: Person | None = None, authors: set[str] | None = None, exclude_authors: bool = False
) -> str:
    policy = ApprovalPolicy(exclude_authors=exclude_authors)
    return why_barred(person, requester="anna", voting_account=account, authors=frozenset(authors or ()), policy=policy)
