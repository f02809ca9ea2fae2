"""Does a host still fit before the window ends: how long the work takes, and the last moment to begin it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestrator.domain.calendar import Slot

#: Fewer measured runs than this say too little about a 95th percentile.
ENOUGH_HISTORY = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long the parts of one host's work took, or may take. ``rollback`` is zero where none was needed."""

    patch: timedelta
    reboot: timedelta
    verify: timedelta
    rollback: timedelta

    @property
    def total(self) -> timedelta:
        """Return the sum that has to fit: forward, and back again."""
        return self.patch + self.reboot + self.verify + self.rollback


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The time to reserve for a host, and where the figure comes from: ``history``, ``staging`` or ``template``."""

    needed: timedelta
    source: str


def estimate(history: Sequence[Durations], staging: Sequence[Durations], template: Durations) -> Estimate:
    """Return the 95th percentile of the *sum* from history, else the slowest of staging, else the template's sum.

    A run that needed no rollback still has to reserve time for one: the longest rollback known is taken instead.
    """
    known = [sample.rollback for sample in (*history, *staging) if sample.rollback]
    rollback = max(known, default=template.rollback)
    if len(history) >= ENOUGH_HISTORY:
        return Estimate(needed=percentile95([_with(sample, rollback) for sample in history]), source="history")
    if staging:
        return Estimate(needed=max(_with(sample, rollback) for sample in staging), source="staging")
    return Estimate(needed=template.total, source="template")


def percentile95(values: Sequence[timedelta]) -> timedelta:
    """Return the smallest value that at least 95 % of the values do not exceed (nearest rank). Needs one value."""
    ordered = sorted(values)
    rank = -(-len(ordered) * 95 // 100)
    return ordered[max(rank, 1) - 1]


def last_safe_start(slot: Slot, needed: timedelta) -> datetime:
    """Return the last moment at which a host that needs so long may begin: before the cutoff in any case."""
    return min(slot.end - needed, slot.cutoff)


def why_too_late(slot: Slot, needed: timedelta, now: datetime) -> str:
    """Return why a host must not begin now, or an empty text where it may."""
    if not slot.is_open(now):
        return f"the window is open from {slot.start:%Y-%m-%d %H:%MZ} to {slot.end:%Y-%m-%d %H:%MZ}"
    if now >= slot.cutoff:
        return f"the cutoff was at {slot.cutoff:%H:%MZ}"
    last = last_safe_start(slot, needed)
    if now > last:
        return f"{int(needed.total_seconds())} s are needed; the last safe start was {last:%H:%M:%SZ}"
    return ""


def _with(sample: Durations, rollback: timedelta) -> timedelta:
    return sample.patch + sample.reboot + sample.verify + max(sample.rollback, rollback)
