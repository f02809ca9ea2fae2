"""When work may happen: maintenance windows, told in local time and kept in UTC.

Local time lives in this module alone. A wall-clock time that the zone skips (spring) is refused; one that comes twice
(autumn) means the first; a duration is elapsed time, so a window over such a night is neither longer nor shorter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchestrator.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class MaintenanceWindow:
    """The definition that approvals are bound to: local start ``YYYY-MM-DDTHH:MM``, zone, duration, cutoff.

    ``cutoff`` is how long before the end nothing that can still be turned back goes on.
    """

    start: str
    zone: str
    duration: timedelta
    cutoff: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One occurrence of a window, in UTC; ``cutoff`` is the moment at which work that can be turned back is."""

    start: datetime
    end: datetime
    cutoff: datetime

    def is_open(self, at: datetime) -> bool:
        """Tell whether the window is open at this moment (its end is not part of it)."""
        return self.start <= at < self.end

    def overlaps(self, other: Slot) -> bool:
        """Tell whether both are open at some moment."""
        return self.start < other.end and other.start < self.end


def occurrence(window: MaintenanceWindow) -> Slot:
    """Return when the window is open, in UTC.

    Raises InvalidInput where the zone is unknown, or the start is no time or does not exist there.
    """
    start = to_utc(window.start, window.zone)
    end = start + window.duration
    return Slot(start=start, end=end, cutoff=end - window.cutoff)


def to_utc(local: str, zone: str) -> datetime:
    """Return the UTC time of a wall-clock time such as ``2026-11-21T22:00`` in an IANA zone. Raises InvalidInput."""
    try:
        info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidInput(f"the time zone {zone!r} is unknown; use a name such as Europe/Berlin or UTC.") from error
    try:
        wall = datetime.fromisoformat(local)
    except ValueError as error:
        raise InvalidInput(f"{local!r} is no local time; write it as 2026-11-21T22:00.") from error
    if wall.tzinfo is not None:
        raise InvalidInput(f"{local!r} carries an offset; give the local time alone and the zone beside it.")
    at = wall.replace(tzinfo=info, fold=0).astimezone(UTC)
    if at.astimezone(info).replace(tzinfo=None) != wall:
        raise InvalidInput(f"{local} does not exist in {zone}: the clocks skip it that night. Choose another start.")
    return at


def in_zone(at: datetime, zone: str) -> str:
    """Return a UTC time as people of that zone read it: ``2026-11-21 22:00 CET``."""
    return at.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M %Z")
