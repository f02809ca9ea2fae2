"""Windows updates of one host as a state machine: offered, downloaded, pending, installed, and everything else."""

import threading
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from lab.errors import LabError

_NAMESPACE = uuid.UUID("6f0c3e0e-54e4-4d49-8c52-0a7f3a5d9f11")
OUTCOMES = ("installs", "fails", "fails-to-download", "rolls-back")


class State(StrEnum):
    """Where one update stands on the host."""

    AVAILABLE = "available"
    DOWNLOADED = "downloaded"
    PENDING_REBOOT = "pending-reboot"
    INSTALLED = "installed"
    FAILED = "failed"
    ROLLED_BACK = "rolled-back"
    REMOVAL_PENDING = "removal-pending"
    SUPERSEDED = "superseded"


class Event(StrEnum):
    """What happens to one update."""

    DOWNLOADED = "downloaded"
    INSTALLED = "installed"
    INSTALLED_UNTIL_REBOOT = "installed-until-reboot"
    FAILED = "failed"
    BOOTED = "booted"
    UNDONE_BY_BOOT = "undone-by-boot"
    REMOVED = "removed"
    REMOVED_UNTIL_REBOOT = "removed-until-reboot"
    SUPERSEDED = "superseded"


_OFFERED: Mapping[Event, State] = {
    Event.DOWNLOADED: State.DOWNLOADED,
    Event.INSTALLED: State.INSTALLED,
    Event.INSTALLED_UNTIL_REBOOT: State.PENDING_REBOOT,
    Event.FAILED: State.FAILED,
    Event.SUPERSEDED: State.SUPERSEDED,
}
#: The whole life of an update; what is not in it cannot happen.
MOVES: Mapping[State, Mapping[Event, State]] = {
    State.AVAILABLE: _OFFERED,
    State.DOWNLOADED: _OFFERED,
    State.FAILED: _OFFERED,
    State.ROLLED_BACK: _OFFERED,
    State.PENDING_REBOOT: {Event.BOOTED: State.INSTALLED, Event.UNDONE_BY_BOOT: State.ROLLED_BACK},
    State.INSTALLED: {Event.REMOVED: State.AVAILABLE, Event.REMOVED_UNTIL_REBOOT: State.REMOVAL_PENDING},
    State.REMOVAL_PENDING: {Event.BOOTED: State.AVAILABLE},
    State.SUPERSEDED: {},
}
_PENDING = (State.PENDING_REBOOT, State.REMOVAL_PENDING)


@dataclass(slots=True, kw_only=True)
class Update:
    """One update of the catalogue, and where it stands on this host.

    `needs` names KBs that must be installed before it is offered, as a servicing stack update is; `supersedes` names
    KBs that are offered no more once this one is. `exclusive` updates are installed alone or not at all. `build` is the
    revision of Windows that it brings (UBR).
    """

    kb: str
    title: str
    categories: tuple[str, ...] = ("Security Updates",)
    revision: int = 1
    id: str = ""
    reboot: bool = True
    outcome: str = "installs"
    hresult: int = -2145124329
    needs: tuple[str, ...] = ()
    supersedes: tuple[str, ...] = ()
    optional: bool = False
    exclusive: bool = False
    severity: str = ""
    hidden: bool = False
    removable: bool = True
    published: bool = True
    seconds: float = 0.1
    megabytes: int = 50
    build: int = 0
    state: State = State.AVAILABLE

    def __post_init__(self) -> None:
        # Derived, so that the same update has the same UpdateID on every host.
        self.id = self.id or str(uuid.uuid5(_NAMESPACE, f"{self.kb} {self.revision}"))
        if self.outcome not in OUTCOMES:
            raise LabError(f"{self.kb} cannot end with {self.outcome!r}; an update {', '.join(OUTCOMES)}.")

    def move(self, event: Event) -> None:
        to = MOVES[self.state].get(event)
        if to is None:
            raise LabError(f"{self.kb} is {self.state}: {event} cannot happen to it.")
        self.state = to


@dataclass(slots=True)
class Updates:
    """Everything the host's update service knows. Hold `lock` while looking and then acting."""

    catalogue: list[Update] = field(default_factory=list)
    reboot_asked: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._supersede()

    def of(self, kb: str) -> Update | None:
        number = kb.upper().removeprefix("KB")
        return next((one for one in self.catalogue if one.kb == f"KB{number}"), None)

    def by_id(self, update_id: str) -> Update:
        return next(one for one in self.catalogue if one.id == update_id)

    def offered(self) -> list[Update]:
        """List what a search finds: not installed, applicable, and not superseded."""
        with self.lock:
            have = {one.kb for one in self.catalogue if one.state is State.INSTALLED}
            states = (State.AVAILABLE, State.DOWNLOADED, State.FAILED, State.ROLLED_BACK)
            return [
                one for one in self.catalogue if one.published and one.state in states and have.issuperset(one.needs)
            ]

    def installed(self) -> list[Update]:
        """List what the host reports as installed; what waits for a reboot is reported too, as Windows does."""
        with self.lock:
            return [one for one in self.catalogue if one.state in (State.INSTALLED, *_PENDING)]

    @property
    def need_reboot(self) -> bool:
        with self.lock:
            return self.reboot_asked or any(one.state in _PENDING for one in self.catalogue)

    def publish(self, kb: str) -> None:
        """Offer an update that was held back until now; what it supersedes is offered no more."""
        with self.lock:
            update = self.of(kb)
            if update is None:
                raise LabError(f"The catalogue has no {kb}; it has: {', '.join(one.kb for one in self.catalogue)}.")
            update.published = True
            self._supersede()

    def boot(self) -> list[Update]:
        """Settle what waited for the reboot; returns what the boot undid."""
        undone = []
        with self.lock:
            self.reboot_asked = False
            for update in self.catalogue:
                if update.state is State.PENDING_REBOOT and update.outcome == "rolls-back":
                    update.move(Event.UNDONE_BY_BOOT)
                    undone.append(update)
                elif update.state in _PENDING:
                    update.move(Event.BOOTED)
        return undone

    def build(self, base: int) -> int:
        """Return the revision of Windows that runs: the highest that an installed update brought."""
        with self.lock:
            return max([base, *(one.build for one in self.catalogue if one.state is State.INSTALLED)])

    def _supersede(self) -> None:
        newer = [one for one in self.catalogue if one.published]
        for kb in (kb for one in newer for kb in one.supersedes):
            old = self.of(kb)
            if old and Event.SUPERSEDED in MOVES[old.state]:
                old.move(Event.SUPERSEDED)


def told(updates: Iterable[Update]) -> dict[str, str]:
    """Return the state of each update by its KB."""
    return {one.kb: one.state.value for one in updates}
