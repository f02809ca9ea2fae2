"""What came of each host while a change runs, and whether the change may go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.canonical import CAME_LATER
from orchestrator.domain.rollout import Budget

#: Said of a host that we took out of service and that is not known to be back.
STILL_DRAINED = "still drained: out of service until somebody puts it back"


class HostStatus(StrEnum):
    """Where one host stands in its own little walk."""

    PENDING = "pending"
    LEASED = "leased"
    CHECKED = "checked"
    PROTECTED = "protected"
    PATCHING = "patching"
    REBOOTING = "rebooting"
    VERIFYING = "verifying"
    RESTORING = "restoring"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    RESTORED = "restored"
    RESTORE_FAILED = "restore-failed"
    SKIPPED = "skipped"

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing more is to be done to the host unless somebody says so."""
        return self in _SETTLED

    @property
    def is_at_rest(self) -> bool:
        """Tell whether nobody works on the host now: settled, waiting for its turn, or of unknown outcome."""
        return not self.is_at_work

    @property
    def is_at_work(self) -> bool:
        """Tell whether a step is going on there that is finished before anything stops."""
        return not self.is_settled and self not in (HostStatus.PENDING, HostStatus.UNKNOWN)


_SETTLED = frozenset(
    {
        HostStatus.DONE,
        HostStatus.FAILED,
        HostStatus.RESTORED,
        HostStatus.RESTORE_FAILED,
        HostStatus.SKIPPED,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRun:
    """One host of a running change.

    ``touched``: something may have been changed on it. ``failed``: it counts against the error budget, for ever, even
    after it was put back. ``unfit``: found dead or unfit before it was touched. ``drained``: we took it out of service,
    or tried to, and have not seen it back. ``warnings`` are told with the result.
    """

    change: str
    host: str
    wave: int
    batch: int
    status: HostStatus = HostStatus.PENDING
    token: int = 0
    touched: bool = False
    failed: bool = False
    unfit: bool = False
    reason: str = ""
    warnings: tuple[str, ...] = ()
    updated_at: datetime | None = None
    drained: bool = field(default=False, metadata=CAME_LATER)

    @property
    def is_ordinary(self) -> bool:
        """Tell whether the host waits for its turn or is done, and nothing about it counts against the change.

        Between two batches nearly all of thousands are so, and no decision needs more than their number.
        """
        waits = self.status is HostStatus.PENDING and not self.touched
        return (waits or self.status is HostStatus.DONE) and not (self.failed or self.unfit or self.drained)

    @property
    def account(self) -> str:
        """Return what there is to say of the host beside its status; an empty text where there is nothing."""
        parts = (self.reason, STILL_DRAINED if self.drained and self.status.is_at_rest else "")
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The count over the whole change."""

    planned: int
    done: int
    failed: int
    unfit: int
    skipped: int
    open: int


def score(runs: Iterable[HostRun]) -> Score:
    """Count where the hosts stand. UNKNOWN counts as failed: nobody may go on as if it were well."""
    hosts = tuple(runs)
    return Score(
        planned=len(hosts),
        done=sum(run.status is HostStatus.DONE for run in hosts),
        failed=sum(run.failed or run.status in _FAILURES for run in hosts),
        unfit=sum(run.unfit for run in hosts),
        skipped=sum(run.status is HostStatus.SKIPPED for run in hosts),
        open=sum(not run.status.is_settled for run in hosts),
    )


_FAILURES = frozenset({HostStatus.FAILED, HostStatus.UNKNOWN, HostStatus.RESTORE_FAILED})


def judge(runs: Iterable[HostRun], budget: Budget) -> str:
    """Return why the change must stop now, or an empty text while it may go on. Ordinary hosts may be left out."""
    count = score(runs)
    return budget.tripped_by(failed=count.failed, unfit=count.unfit)
