"""What was begun on a host and what came of it: our record, the host's own, and how a doubt is settled.

``started`` is committed before the act and ``finished`` after it, so a crash leaves a step that was begun and not
finished: then the host is asked, and nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.domain.plan import HostPlan


class Step(StrEnum):
    """A phase of work on a host, as both journals name it."""

    CHECK = "check"
    PROTECT = "protect"
    DRAIN = "drain"
    PATCH = "patch"
    VERIFY = "verify"
    UNDRAIN = "undrain"
    REBOOT = "reboot"
    RESTORE = "restore"
    RELEASE = "release"


class Outcome(StrEnum):
    """What came of a step; OPEN: begun, and nothing is known yet."""

    OPEN = ""
    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One step on one host in our journal. ``job`` names the supervised process that carried it."""

    change: str
    host: str
    step: Step
    token: int
    job: str
    started_at: datetime
    finished_at: datetime | None = None
    outcome: Outcome = Outcome.OPEN
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRecord:
    """One line of the journal that the host keeps itself. ``at`` is in epoch seconds."""

    at: int
    change: str
    step: str
    installation: str
    counter: int
    event: str
    outcome: str = ""
    detail: str = ""


class Settlement(StrEnum):
    """What the host's own record says about a step that we began and never saw end."""

    DONE = "done"
    NOT_BEGUN = "not-begun"
    PARTLY = "partly-done"
    STILL_WORKING = "still-working"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The settlement and the evidence for it, in words."""

    settlement: Settlement
    why: str


def settle(
    plan: HostPlan,
    ours: StepRecord,
    theirs: Sequence[HostRecord],
    packages: dict[str, str],
    *,
    expected_records: int = 0,
    at_work: bool = True,
) -> Settled:
    """Settle what became of the patch step, from the host's journal and what is installed now.

    1. A journal shorter than we know it to have been was taken back by a snapshot: unknown.
    2. Everything at the locked version, and the step ended or nothing of it is open: done.
    3. The step never began, and everything is at the old version: not begun.
    4. It began and did not end: still working, as long as a process is ``at_work`` on the host.
    5. Otherwise partly done: it ended badly, or a power cut or a kill ended its process.
    """
    if len(theirs) < expected_records:
        return Settled(settlement=Settlement.UNKNOWN, why="the host's journal is shorter than it was: it was reverted")
    mine = [r for r in theirs if r.change == ours.change and r.step == ours.step and r.counter >= ours.token]
    words = [r for r in mine if r.event in ("begin", "end")]
    # What ended has begun, even where so long a journal no longer shows it. A step may be taken up again after it has
    # ended: only the last word says whether somebody is at work.
    begun, is_open = bool(words), bool(words) and words[-1].event == "begin"
    ended = [r for r in words if r.event == "end"]
    new = [i for i in plan.items if packages.get(f"{i.name}:{i.arch}", "") == i.version]
    old = [i for i in plan.items if packages.get(f"{i.name}:{i.arch}", "") == i.from_version]
    counts = f"{len(new)} of {len(plan.items)} packages are at the locked version"
    if is_open and at_work:
        return Settled(
            settlement=Settlement.STILL_WORKING, why=f"the host began the step and has not ended it; {counts}"
        )
    if len(new) == len(plan.items):
        return Settled(settlement=Settlement.DONE, why=f"{counts}, and nothing is at work on the host")
    if not mine and len(old) == len(plan.items):
        return Settled(settlement=Settlement.NOT_BEGUN, why="the host never began the step; nothing has changed on it")
    if begun or new:
        how = "broke off on the host" if is_open else f"ended {ended[-1].outcome if ended else 'unseen'}"
        return Settled(settlement=Settlement.PARTLY, why=f"the step {how}; {counts}")
    return Settled(settlement=Settlement.UNKNOWN, why=f"versions are neither the old nor the locked ones; {counts}")
