"""Who has to agree to a plan, who still has not, and who may not be asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.identity import Person, SignedStatement
from orchestrator.errors import Refused


class Decision(StrEnum):
    """A person's answer to a plan."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One person's answer to one exact plan, with the seats (roles) it was given from and the person's signature."""

    approver: str
    seats: tuple[str, ...]
    decision: Decision
    digest: str
    reason: str
    at: datetime
    account: str
    signed: SignedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """How many people of each role must agree, and until when (counted from staging).

    ``exclude_authors``: nobody who wrote the change's content counts.
    """

    required: Mapping[str, int] = field(default_factory=lambda: {"approver": 1})
    deadline: timedelta = timedelta(days=7)
    exclude_authors: bool = False

    def outstanding(self, votes: Iterable[Vote], *, digest: str, barred: frozenset[str]) -> dict[str, int]:
        """Return the roles still missing. One person's vote fills one seat of each role that the person holds."""
        given: dict[str, set[str]] = {}
        for vote in votes:
            if vote.decision is Decision.APPROVE and vote.digest == digest and vote.approver not in barred:
                for seat in vote.seats:
                    given.setdefault(seat, set()).add(vote.approver)
        missing = {role: count - len(given.get(role, ())) for role, count in self.required.items()}
        return {role: count for role, count in missing.items() if count > 0}


def seats_of(person: Person, policy: ApprovalPolicy) -> tuple[str, ...]:
    """Return the roles of the policy that this person can fill."""
    return tuple(sorted(person.roles & policy.required.keys()))


def why_barred(
    person: Person, *, requester: str, voting_account: Person | None, authors: frozenset[str], policy: ApprovalPolicy
) -> str:
    """Return why this person may not vote on the change, or an empty text.

    ``voting_account`` is the person under whose operating-system account the vote is given, ``authors`` the names of
    those who wrote the content.
    """
    if person.name == requester:
        return f"{person.name} requested this change, and nobody approves their own request"
    if requester in person.acts_for:
        return f"{person.name} acts for {requester}, who requested this change"
    if voting_account is not None and voting_account.name == requester:
        return f"the vote is given from the account of {requester}, who requested this change"
    if policy.exclude_authors and person.name in authors:
        return f"{person.name} wrote content that this change would run"
    if not seats_of(person, policy):
        return f"{person.name} holds none of the roles asked for: {', '.join(sorted(policy.required))}"
    return ""


def refuse_vote(
    votes: Iterable[Vote], person: Person, *, digest: str, shown: str, now: datetime, deadline: datetime
) -> None:
    """Raise Refused where a vote comes too late, twice, or for another plan than the one that stands (``digest``)."""
    if shown != digest:
        raise Refused(
            f"you are answering plan {shown[:12]}, but the plan is {digest[:12]} now. "
            "Read it again (change plan ID) and answer that one."
        )
    if now > deadline:
        raise Refused(f"voting ended at {deadline:%Y-%m-%d %H:%MZ}. Stage the change again to ask anew.")
    if any(vote.approver == person.name and vote.digest == digest for vote in votes):
        raise Refused(f"{person.name} has voted on this plan already; a vote is given once.")
