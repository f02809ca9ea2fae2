"""Votes: whose counts, whose does not, and that each is in the trail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote
from orchestrator.domain.change import ChangeState
from orchestrator.errors import IllegalMove, NotPermitted, Refused
from orchestrator.flow import approving
from orchestrator.flow.acting import Caller
from orchestrator.flow.approving import Answer
from tests.fakes.site import FakeSite
from tests.fakes.values import spec

BOTH = ApprovalPolicy(required={"approver": 2, "cab": 1})


def test_last_vote_that_is_needed_approves(site: FakeSite) -> None:
    site.staged(spec(approval=BOTH))
    assert site.vote("ben").state is ChangeState.STAGED
    assert site.vote("cleo").state is ChangeState.APPROVED
    assert site.tags[-3:] == ["voted", "voted", "approved"]
    assert site.last("approved").data["approvers"] == ["ben", "cleo"]


def test_vote_names_its_digest_and_carries_the_voters_signature(site: FakeSite) -> None:
    site.staged()
    (vote,) = site.vote("ben").votes
    assert vote.digest == vote.signed.statement.digest == site.change.plan_digest
    assert site.signers.is_valid(vote.signed)
    assert (vote.signed.statement.signer, vote.signed.statement.decision) == ("ben", "approve")
    assert any(name.startswith("ben.") for name in site.store.documents(site.id, "people"))


def test_requester_cannot_vote(site: FakeSite) -> None:
    site.staged()
    with pytest.raises(Refused, match="nobody approves their own request"):
        site.vote("anna")
    assert (site.change.state, site.change.votes) == (ChangeState.STAGED, ())
    assert site.tags[-1] == "vote-refused"


def test_who_acts_for_the_requester_cannot_vote(site: FakeSite) -> None:
    site.staged()
    with pytest.raises(Refused, match="dora acts for anna"):
        site.vote("dora")
    assert site.change.votes == ()
    assert "acts for anna" in str(site.last("vote-refused").data["reason"])


def test_vote_from_the_requesters_account_does_not_count(site: FakeSite) -> None:
    site.staged()
    answer = Answer(decision=Decision.APPROVE, reason="read it", shown=site.change.plan_digest)
    with pytest.raises(Refused, match="from the account of anna"):
        approving.vote(site.id, answer, Caller(account="anna", key_file="ben"), ledger=site.ledger, desk=site.desk)
    assert site.tags[-1] == "vote-refused"


def test_author_of_the_content_cannot_vote_where_the_policy_says_so(site: FakeSite) -> None:
    site.staged(spec(approval=ApprovalPolicy(exclude_authors=True)))
    with pytest.raises(Refused, match="emil wrote content"):
        site.vote("emil")
    assert site.vote("ben").state is ChangeState.APPROVED


@pytest.mark.parametrize("author", ["emil@example.org", "emil"], ids=["by address", "by account"])
def test_author_is_known_by_address_and_by_account(site: FakeSite, author: str) -> None:
    site.content.authors = (author,)
    site.staged(spec(approval=ApprovalPolicy(exclude_authors=True)))
    with pytest.raises(Refused, match="emil wrote content"):
        site.vote("emil")


@pytest.mark.parametrize("name", ["omar", "mallory"])
def test_who_is_no_approver_cannot_vote(site: FakeSite, name: str) -> None:
    site.staged()
    with pytest.raises(NotPermitted):
        site.vote(name)
    assert site.change.votes == ()


def test_nobody_votes_twice(site: FakeSite) -> None:
    site.staged(spec(approval=BOTH))
    site.vote("ben")
    with pytest.raises(Refused, match="has voted on this plan already"):
        site.vote("ben")
    assert site.tags.count("voted") == 1


def test_answer_to_another_plan_than_the_one_that_stands_is_refused(site: FakeSite) -> None:
    site.staged()
    with pytest.raises(Refused, match="you are answering plan"):
        site.vote("ben", shown="e2" * 32)
    assert site.change.votes == ()


def test_vote_without_a_reason_is_refused(site: FakeSite) -> None:
    site.staged()
    answer = Answer(decision=Decision.APPROVE, reason="  ", shown=site.change.plan_digest)
    with pytest.raises(Refused, match="needs a reason"):
        approving.vote(site.id, answer, site.caller("ben"), ledger=site.ledger, desk=site.desk)


def test_one_veto_ends_the_change(site: FakeSite) -> None:
    site.staged(spec(approval=BOTH))
    site.vote("ben")
    assert site.vote("cleo", Decision.REJECT).state is ChangeState.REJECTED
    assert (site.tags[-1], site.last("rejected").actor) == ("rejected", "cleo")
    with pytest.raises(IllegalMove):
        site.vote("emil")


def test_vote_after_the_deadline_expires_the_plan(site: FakeSite) -> None:
    site.staged()
    site.clock.at += timedelta(days=7, seconds=1)
    with pytest.raises(Refused, match="voting on CHG-0001 ended"):
        site.vote("ben")
    assert (site.change.state, site.change.plan_digest) == (ChangeState.REQUESTED, "")
    assert site.tags[-1] == "vote-expired"


def test_nothing_is_scheduled_on_too_few_votes(site: FakeSite) -> None:
    site.staged(spec(approval=BOTH))
    site.vote("ben")
    with pytest.raises(IllegalMove):
        site.schedule()
    assert "scheduled" not in site.tags


def test_waiver_voids_the_plan_and_is_shown_in_the_next(site: FakeSite) -> None:
    site.staged()
    assert site.waive("rollback:web1").state is ChangeState.REQUESTED
    site.stage()
    (waiver,) = site.store.plan(site.change.plan_digest).waivers
    assert (waiver.subject, waiver.by) == ("rollback:web1", "ben")
    assert site.signers.is_valid(waiver.signed)


def test_requester_waives_nothing_and_nobody_waives_what_is_no_safeguard(site: FakeSite) -> None:
    site.staged()
    with pytest.raises(Refused, match="nobody waives a safeguard of their own"):
        site.waive("rollback:web1", by="anna")
    with pytest.raises(Refused, match="cannot be waived"):
        site.waive("budget:web1")
    assert site.change.waivers == ()


def test_votes_as_they_were_signed_are_genuine(site: FakeSite) -> None:
    site.staged()
    approving.require_genuine(site.vote("ben"), ledger=site.ledger, desk=site.desk)
    assert "vote-not-genuine" not in site.tags


def reworded(vote: Vote) -> Vote:
    return replace(vote, reason="something else")


def of_somebody_else(vote: Vote) -> Vote:
    return replace(vote, approver="cleo")


def of_nobody(vote: Vote) -> Vote:
    return replace(vote, approver="mallory")


def from_another_seat(vote: Vote) -> Vote:
    return replace(vote, seats=("approver", "cab"))


def for_another_plan(vote: Vote) -> Vote:
    return replace(vote, digest="e2" * 32)


def turned_around(vote: Vote) -> Vote:
    statement = replace(vote.signed.statement, decision="reject")
    return replace(vote, signed=replace(vote.signed, statement=statement))


def signed_by_nobody(vote: Vote) -> Vote:
    return replace(vote, signed=replace(vote.signed, signature="forged"))


@pytest.mark.parametrize(
    "forge",
    [reworded, of_somebody_else, of_nobody, from_another_seat, for_another_plan, turned_around, signed_by_nobody],
)
def test_vote_that_was_entered_by_other_means_is_found_out(site: FakeSite, forge: Callable[[Vote], Vote]) -> None:
    site.staged()
    (vote,) = site.vote("ben").votes
    with pytest.raises(NotPermitted, match="is not good"):
        approving.require_genuine(replace(site.change, votes=(forge(vote),)), ledger=site.ledger, desk=site.desk)
    assert site.tags[-1] == "vote-not-genuine"
