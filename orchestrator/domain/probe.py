"""What a direct look at a host finds before anything is done to it, and which stage failed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """The stages of a probe, in order."""

    CONNECT = "connect"
    TLS = "TLS"
    HOST_KEY = "host key"
    AUTHENTICATE = "authenticate"
    RUN = "run"
    PARSE = "parse"
    PRIVILEGE = "privilege"
    DISK = "disk"
    PACKAGE_MANAGER = "package manager"
    UPDATE_SERVICE = "update service"
    CLOCK = "clock"


#: What a host fails at that has let us in and has told everything.
_TOLD = frozenset({Stage.DISK, Stage.PACKAGE_MANAGER, Stage.UPDATE_SERVICE, Stage.CLOCK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a host must offer: free bytes per path, on Windows on its system drive, and seconds its clock may differ.

    A cumulative update unpacks to some GiB beside what it replaces.
    """

    free: tuple[tuple[str, int], ...] = (("/", 200 << 20), ("/boot", 50 << 20), ("/var", 300 << 20))
    system_drive: int = 4 << 30
    clock_skew: int = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What was found. ``failed_at`` empty: the host is fit. Pending reboots and rival updaters are told, not failed.

    ``is_refused``: the host was shown the account's password, and did not take it. ``uptime`` is in seconds, and
    ``update_server`` is where the host is told to look for updates; both are of Windows hosts. ``milliseconds`` is the
    time the whole probe took.
    """

    host: str
    failed_at: Stage | None = None
    detail: str = ""
    pending_reboot: bool = False
    rivals: tuple[str, ...] = ()
    clock_skew: int = 0
    is_refused: bool = False
    uptime: int = 0
    update_server: str = ""
    milliseconds: int = 0

    @property
    def is_fit(self) -> bool:
        """Tell whether work may begin on the host."""
        return self.failed_at is None

    @property
    def is_answering(self) -> bool:
        """Tell whether the host lets us in and can be asked, fit or not."""
        return self.is_fit or self.failed_at in _TOLD
