"""Values to begin a test with; each takes what the test is about and fills in the rest."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from orchestrator.domain.approval import ApprovalPolicy, Decision, Vote
from orchestrator.domain.calendar import MaintenanceWindow, Slot
from orchestrator.domain.change import ChangeRequest, ChangeSpec, ChangeState
from orchestrator.domain.identity import SignedStatement, Statement
from orchestrator.domain.lock import Platform
from orchestrator.domain.plan import HostPlan, PlannedItem
from orchestrator.domain.rollout import RolloutPolicy
from orchestrator.domain.run import HostRun, HostStatus

#: The evening before the window, its opening, and its zone.
EVENING = datetime(2026, 11, 21, 18, 0, tzinfo=UTC)
OPENING = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
WINDOW = MaintenanceWindow(
    start="2026-11-21T23:00", zone="Europe/Berlin", duration=timedelta(hours=4), cutoff=timedelta(minutes=30)
)
SLOT = Slot(start=OPENING, end=OPENING + timedelta(hours=4), cutoff=OPENING + timedelta(hours=3, minutes=30))
DEBIAN = Platform(family="apt", distribution="debian", release="12", arch="amd64")
OLD, NEW, NEWER = "3.0.19-1", "3.0.20-1", "3.0.21-1"
DIGEST = "d1" * 32


def spec(
    *, rollout: RolloutPolicy | None = None, approval: ApprovalPolicy | None = None, window: MaintenanceWindow = WINDOW
) -> ChangeSpec:
    return ChangeSpec(
        title="OpenSSL",
        production="web",
        staging="stage",
        window=window,
        rollout=rollout or RolloutPolicy(),
        approval=approval or ApprovalPolicy(),
    )


def signed(
    subject: str = "request", *, by: str = "anna", of: str = DIGEST, decision: str = "request"
) -> SignedStatement:
    said = Statement(
        subject=subject,
        change="CHG-0001",
        digest=of,
        decision=decision,
        reason="CVE",
        signer=by,
        at="2026-11-21T18:00:00Z",
    )
    return SignedStatement(statement=said, signature=f"signature of {by}", key=f"ssh-ed25519 {by}")


def vote(
    by: str, *seats: str, digest: str = DIGEST, decision: Decision = Decision.APPROVE, at: datetime = EVENING
) -> Vote:
    return Vote(
        approver=by,
        seats=seats or ("approver",),
        decision=decision,
        digest=digest,
        reason="read and agreed",
        at=at,
        account=by,
        signed=signed("vote", by=by, of=digest, decision=decision.value),
    )


def change(state: ChangeState = ChangeState.REQUESTED, *, of: ChangeSpec | None = None) -> ChangeRequest:
    """Return a change as it looks before anything was planned."""
    return ChangeRequest(
        id="CHG-0001",
        spec=of or spec(),
        requester="anna",
        requested=signed(),
        source_key="file:openssl.yml",
        created_at=EVENING,
        state=state,
    )


def agreed(state: ChangeState = ChangeState.STAGED, *, of: ChangeSpec | None = None) -> ChangeRequest:
    """Return a change with a plan, the vote that it needs and a window, so that no guard stands in its way."""
    return replace(change(state, of=of), plan_digest=DIGEST, staged_at=EVENING, votes=(vote("ben"),), slot=SLOT)


def item(name: str = "openssl", *, before: str = OLD, after: str = NEW) -> PlannedItem:
    return PlannedItem(
        name=name, arch="amd64", from_version=before, version=after,
        sha256=sha(name, after), filename=f"{name}_{after}_amd64.deb", size=1000,
    )  # fmt: skip


def sha(name: str, version: str) -> str:
    """Return a stand-in for the sha256 of a package's bytes, the same wherever it is asked for."""
    return hashlib.sha256(f"{name} {version}".encode()).hexdigest()


def host_plan(name: str = "web1", *items: PlannedItem) -> HostPlan:
    return HostPlan(host=name, platform=DEBIAN, items=items or (item(),), variables=f"variables of {name}")


def run(host: str, status: HostStatus = HostStatus.PENDING, *, failed: bool = False, unfit: bool = False) -> HostRun:
    return HostRun(change="CHG-0001", host=host, wave=1, batch=1, status=status, failed=failed, unfit=unfit)
