"""The change request: what was asked for, and where it stands now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.admission import Durations
from orchestrator.domain.approval import ApprovalPolicy, Vote
from orchestrator.domain.baseline import PatchBaseline
from orchestrator.domain.calendar import MaintenanceWindow, Slot
from orchestrator.domain.health import HealthCheck
from orchestrator.domain.identity import SignedStatement
from orchestrator.domain.rollback import NO_WAY_BACK
from orchestrator.domain.rollout import RolloutPolicy
from orchestrator.errors import Refused


class ChangeKind(StrEnum):
    """ITIL's three kinds."""

    STANDARD = "standard"
    NORMAL = "normal"
    EMERGENCY = "emergency"


class ChangeState(StrEnum):
    """Where a change stands on its way."""

    REQUESTED = "requested"
    STAGING = "staging"
    STAGED = "staged"
    APPROVED = "approved"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    ROLLING_BACK = "rolling-back"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    CLOSED = "closed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def has_ended(self) -> bool:
        """Tell whether nothing more will happen to a change in this state."""
        return self in {ChangeState.CLOSED, ChangeState.REJECTED, ChangeState.CANCELLED}


#: States in which a change needs somebody to carry it.
CARRIED = frozenset({ChangeState.STAGING, ChangeState.RUNNING, ChangeState.ROLLING_BACK})


class RebootPolicy(StrEnum):
    """Whether a host may be rebooted after patching."""

    NEVER = "never"
    IF_REQUIRED = "if-required"
    ALWAYS = "always"


class CloseCode(StrEnum):
    """How a change ended, in ServiceNow's words."""

    SUCCESSFUL = "successful"
    SUCCESSFUL_WITH_ISSUES = "successful with issues"
    UNSUCCESSFUL = "unsuccessful"


class Wanted(StrEnum):
    """What a person has asked of a run; it takes effect between steps."""

    NOTHING = ""
    PAUSE = "pause"
    STOP = "stop"
    ROLL_BACK = "roll-back"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPolicy:
    """Which providers take a host's rollback point (several stack), how long points are held, what is never promised.

    ``providers`` empty: as the inventory says (``patch_rollback``), else ``packages``.
    """

    providers: tuple[str, ...] = ()
    hold: timedelta = timedelta(days=3)
    no_way_back: tuple[str, ...] = NO_WAY_BACK


#: What a host is given before anything was measured.
TEMPLATE_ESTIMATES = Durations(
    patch=timedelta(minutes=10),
    reboot=timedelta(minutes=5),
    verify=timedelta(minutes=1),
    rollback=timedelta(minutes=10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeSpec:
    """Everything a rendered request says; all of it is in the plan that approvers vote on.

    ``production`` and ``staging`` are Ansible host patterns in the inventory of that name. ``min_free`` is in bytes.
    """

    title: str
    kind: ChangeKind = ChangeKind.NORMAL
    reason: str = ""
    priority: str = ""
    reference: str = ""
    template: str = ""
    production: str
    staging: str
    baseline: PatchBaseline = field(default_factory=PatchBaseline)
    rollout: RolloutPolicy = field(default_factory=RolloutPolicy)
    window: MaintenanceWindow
    approval: ApprovalPolicy = field(default_factory=ApprovalPolicy)
    rollback: RollbackPolicy = field(default_factory=RollbackPolicy)
    reboot: RebootPolicy = RebootPolicy.IF_REQUIRED
    restart_services: bool = True
    health: tuple[HealthCheck, ...] = ()
    ignored_units: tuple[str, ...] = ()
    min_free: int = 200 * 1024 * 1024
    estimates: Durations = TEMPLATE_ESTIMATES
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """An exception that somebody answers for: ``rollback:HOST`` or ``unproven:NAME``."""

    subject: str
    reason: str
    by: str
    signed: SignedStatement


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRequest:
    """A request to patch a set of hosts, as it stands now. Immutable; the ledger returns the next one.

    ``source_key`` names where it came from: the same source twice is the same change. ``drifted`` says what differed
    when drift stopped a run; from there only rolling back or stopping leads on. ``lap`` counts the starts and
    resumptions of the run, so that work taken up again after a pause gets jobs of its own.
    """

    id: str
    spec: ChangeSpec
    requester: str
    requested: SignedStatement
    source_key: str
    created_at: datetime
    state: ChangeState = ChangeState.REQUESTED
    version: int = 0
    plan_digest: str = ""
    staged_at: datetime | None = None
    votes: tuple[Vote, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    slot: Slot | None = None
    lap: int = 0
    wanted: Wanted = Wanted.NOTHING
    drifted: str = ""
    issues: tuple[str, ...] = ()
    close_code: CloseCode | None = None

    @property
    def digest(self) -> str:
        """Return the digest of the plan that stands. Raises Refused where there is none."""
        if not self.plan_digest:
            raise Refused(f"change {self.id} has no plan yet; stage it first: orchestrator change stage {self.id}")
        return self.plan_digest

    @property
    def reserved(self) -> Slot:
        """Return the window occurrence that was chosen. Raises Refused where there is none."""
        if self.slot is None:
            raise Refused(f"change {self.id} has no window yet: orchestrator change schedule {self.id}")
        return self.slot

    @property
    def voting_ends(self) -> datetime | None:
        """Return when voting on the plan ends."""
        return self.staged_at + self.spec.approval.deadline if self.staged_at else None
