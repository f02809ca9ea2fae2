"""The patch lock: what staging proved, down to the bytes, and which hosts of production it speaks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.domain.baseline import Classification


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Platform:
    """What makes two hosts alike enough that a proof on one holds for the other."""

    family: str
    distribution: str
    release: str
    arch: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.release} {self.arch} ({self.family})"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockItem:
    """One proven package: exactly these bytes. ``size`` is in bytes; ``proven_on`` names the staging hosts.

    Where the bytes are the host's own affair, as with updates of Windows, ``sha256`` is empty and the version says
    it all.
    """

    name: str
    arch: str
    version: str
    sha256: str
    filename: str
    size: int
    origin: str = ""
    classification: Classification = Classification.UNKNOWN
    severity: str = ""
    advisories: tuple[str, ...] = ()
    proven_on: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Return ``name:arch``, as package managers and our reports call a package."""
        return f"{self.name}:{self.arch}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLock:
    """The proven items of one platform, sorted by name and architecture."""

    platform: Platform
    items: tuple[LockItem, ...]

    def item(self, name: str, arch: str) -> LockItem | None:
        """Return the proven item of this package, if there is one."""
        return next((item for item in self.items if (item.name, item.arch) == (name, arch)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchLock:
    """What a change may install, platform by platform."""

    platforms: tuple[PlatformLock, ...] = ()

    def for_platform(self, platform: Platform) -> tuple[LockItem, ...]:
        """Return the items proven for this platform, none where staging has no such host."""
        return next((lock.items for lock in self.platforms if lock.platform == platform), ())

    @property
    def files(self) -> dict[str, LockItem]:
        """Return every item of which bytes are kept, by its sha256."""
        return {item.sha256: item for lock in self.platforms for item in lock.items if item.sha256}


def lock_of(proven: Mapping[Platform, Iterable[LockItem]]) -> PatchLock:
    """Put the proven items of several platforms in one lock, in an order that does not depend on who came first."""
    return PatchLock(
        platforms=tuple(
            PlatformLock(platform=platform, items=tuple(sorted(items, key=lambda item: (item.name, item.arch))))
            for platform, items in sorted(proven.items())
        )
    )
