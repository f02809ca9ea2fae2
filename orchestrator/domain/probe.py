"""What a direct look at a host finds before anything is done to it, and which stage failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of a probe, in order."""

    CONNECT = "connect"
    HOST_KEY = "host key"
    AUTHENTICATE = "authenticate"
    PRIVILEGE = "privilege"
    DISK = "disk"
    PACKAGE_MANAGER = "package manager"
    CLOCK = "clock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a host must offer: free bytes per path, and how many seconds its clock may differ."""

    free: tuple[tuple[str, int], ...] = (("/", 200 << 20), ("/boot", 50 << 20), ("/var", 300 << 20))
    clock_skew: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What was found. ``failed_at`` empty: the host is fit. Pending reboots and rival updaters are told, not failed.

    ``milliseconds`` is the time the whole probe took.
    """

    host: str
    failed_at: Stage | None = None
    detail: str = ""
    pending_reboot: bool = False
    rivals: tuple[str, ...] = ()
    clock_skew: int = 0
    milliseconds: int = 0

    @property
    def is_fit(self) -> bool:
        """Tell whether work may begin on the host."""
        return self.failed_at is None
