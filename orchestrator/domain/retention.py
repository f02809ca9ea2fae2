"""What may go from the state folder: by age, by size, and never what somebody may still need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.audit import AuditEvent
from orchestrator.domain.change import ChangeState

#: The tag with which the trail of a change says that its files of task events were removed.
REMOVED = "task-events-removed"

#: The outcomes of the events with which a change ends.
ENDS = frozenset(state.value for state in ChangeState if state.has_ended)


class HoldingKind(StrEnum):
    """What lies in the state folder because of changes."""

    JOB = "job"
    KIT = "kit"
    LOG = "log"
    CONTENT = "content"
    PACKAGE = "package"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """One thing that is kept: ``size`` in bytes, ``at`` the time of its newest file.

    ``needed_by`` are the changes for which it is kept; nobody, where no change is known that asked for it.
    """

    kind: HoldingKind
    name: str
    size: int
    at: datetime
    needed_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A change as retention sees it: when it ended (None: it is open), and how many rollback points it holds."""

    change: str
    ended_at: datetime | None = None
    points: int = 0

    @property
    def why_kept(self) -> str:
        """Return why nothing of the change may go however old it is, or an empty text."""
        if self.ended_at is None:
            return "it is open"
        return f"it holds {self.points} rollback points" if self.points else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """How long things are kept after a change has ended, and how many bytes at most (0: as many as there are).

    ``size`` shortens ``keep``, the change that ended first goes first; nothing goes before ``at_least``.
    """

    keep: timedelta = timedelta(days=400)
    at_least: timedelta = timedelta(days=90)
    size: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearance:
    """What may go, and what stays: ``changes`` are those of which everything goes, each with the reason.

    ``kept`` are the changes older than the policy's age of which nothing goes, each with the reason; ``left`` are the
    bytes that stay.
    """

    going: tuple[Holding, ...] = ()
    changes: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    left: int = 0

    @property
    def size(self) -> int:
        """Return the bytes that go."""
        return sum(holding.size for holding in self.going)

    def of(self, change: str) -> tuple[Holding, ...]:
        """Return what goes and was kept for this change alone: its jobs and its kit."""
        return tuple(h for h in self.going if h.kind not in _SHARED and change in h.needed_by)

    @property
    def shared(self) -> tuple[Holding, ...]:
        """Return what goes and belongs to no single change."""
        return tuple(h for h in self.going if h.kind in _SHARED or not h.needed_by)


_SHARED = frozenset({HoldingKind.CONTENT, HoldingKind.PACKAGE})


def clear(holdings: Sequence[Holding], past: Iterable[Past], policy: RetentionPolicy, *, now: datetime) -> Clearance:
    """Decide what may go.

    1. A change falls out of retention when it ended ``keep`` ago, holds no rollback point, and something of it is kept.
    2. A holding goes when every change that needs it has fallen out; one that nobody needs, when it is that old itself.
    3. While more than ``size`` would be left, the oldest of what is older than ``at_least`` falls out, too.
    """
    known = {each.change: each for each in past}
    here = {change for holding in holdings for change in holding.needed_by}
    oldest_first = sorted(
        ((each.ended_at, each.change) for each in known.values() if each.ended_at and not each.why_kept),
    )
    fallen: dict[str, str] = {}
    for ended_at, change in oldest_first:
        if change in here and ended_at <= now - policy.keep:
            fallen[change] = f"it ended {ended_at:%Y-%m-%d}, {policy.keep.days} days are kept"
    limit = now - policy.keep
    if policy.size:
        limit = _limit_by_size(holdings, oldest_first, fallen, policy, now)
    going = tuple(holding for holding in holdings if _goes(holding, fallen, limit))
    return Clearance(
        going=going,
        changes=fallen,
        kept={
            each.change: each.why_kept
            for each in known.values()
            if each.change in here and each.why_kept and each.ended_at and each.ended_at <= now - policy.keep
        },
        left=sum(holding.size for holding in holdings) - sum(holding.size for holding in going),
    )


def removed(trail: Iterable[AuditEvent]) -> frozenset[str]:
    """Return the sha256 of every file of task events that the trail says was removed."""
    said: set[str] = set()
    for event in trail:
        digests = event.data.get("removed") if event.tag == REMOVED else None
        if isinstance(digests, list):
            said |= {digest for digest in digests if isinstance(digest, str)}
    return frozenset(said)


def named(trail: Iterable[AuditEvent]) -> frozenset[str]:
    """Return the sha256 of every file of task events that the trail names."""
    said: set[str] = set()
    for event in trail:
        artifacts = event.data.get("artifacts")
        if isinstance(artifacts, dict):
            said |= {digest for digest in artifacts.values() if isinstance(digest, str)}
    return frozenset(said)


def ended_at(trail: Sequence[AuditEvent]) -> datetime | None:
    """Return when a change ended, by its trail: the event that led to a state from which nothing more happens."""
    return next((event.at for event in reversed(trail) if event.outcome in ENDS), None)


def _goes(holding: Holding, fallen: Mapping[str, str], limit: datetime) -> bool:
    return holding.needed_by <= fallen.keys() if holding.needed_by else holding.at <= limit


def _limit_by_size(
    holdings: Sequence[Holding],
    oldest_first: Sequence[tuple[datetime, str]],
    fallen: dict[str, str],
    policy: RetentionPolicy,
    now: datetime,
) -> datetime:
    """Let changes fall out until the rest is small enough; return how old a thing that nobody needs may be."""
    limit = now - policy.keep
    left = sum(holding.size for holding in holdings if not _goes(holding, fallen, limit))
    waiting = {id(h): h.needed_by - fallen.keys() for h in holdings if h.needed_by}
    of: dict[str, list[Holding]] = {}
    for holding in holdings:
        for change in holding.needed_by:
            of.setdefault(change, []).append(holding)
    steps: list[tuple[datetime, str, Holding | None]] = [
        (at, change, None) for at, change in oldest_first if change in of and change not in fallen
    ]
    steps += [(h.at, "", h) for h in holdings if not h.needed_by and h.at > limit]
    for at, change, orphan in sorted(steps, key=lambda step: (step[0], step[1])):
        if left <= policy.size or at > now - policy.at_least:
            break
        if orphan is not None:
            limit, left = max(limit, orphan.at), left - orphan.size
            continue
        fallen[change] = f"it ended {at:%Y-%m-%d}, and more is kept than {policy.size >> 20} MiB"
        for holding in of[change]:
            waiting[id(holding)] = waiting[id(holding)] - {change}
            if not waiting[id(holding)]:
                left -= holding.size
    return limit
