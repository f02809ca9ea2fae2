"""A place to go back to: what it promises, and whether a machine may be put back by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from fnmatch import fnmatchcase


class RollbackClass(StrEnum):
    """How honest going back is: the machine as it was, the packages as they were, or nothing."""

    EXACT = "exact"
    PACKAGE = "package"
    NONE = "none"


class Statefulness(StrEnum):
    """What a host keeps, as the inventory says it (``patch_state``); stateful unless said otherwise."""

    STATELESS = "stateless"
    STATEFUL = "stateful"
    REPLICATED = "replicated"
    DIRECTORY = "directory"


#: Why a directory server has no machine snapshot.
NEVER_REVERTED = "a directory server is never reverted to a snapshot: it would repeat update numbers"
#: The provider that takes back what was installed and leaves the machine as it is.
PACKAGES = "packages"

#: Packages that cannot honestly be taken back: data formats on disk, or what everything running depends on.
NO_WAY_BACK: tuple[str, ...] = (
    "dbus*",
    "glibc*",
    "libc6*",
    "mariadb-server*",
    "mongodb*",
    "mysql-server*",
    "postgresql",
    "postgresql-[0-9]*",
    "postgresql-server*",
    "slapd",
    "systemd",
)

_WORST = (RollbackClass.EXACT, RollbackClass.PACKAGE, RollbackClass.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackPoint:
    """A restorable state of one host, taken before anything on it is touched.

    ``reference`` is what the provider needs to find it again; ``size`` is in bytes; a point is a lease that ends at
    ``expires_at`` or when it is released.
    """

    change: str
    host: str
    provider: str
    rollback_class: RollbackClass
    reference: Mapping[str, str] = field(default_factory=dict)
    size: int = 0
    taken_at: datetime
    expires_at: datetime
    restored_at: datetime | None = None
    released_at: datetime | None = None

    @property
    def is_held(self) -> bool:
        """Tell whether the point still exists."""
        return self.released_at is None


@dataclass(frozen=True, slots=True, kw_only=True)
class PointTaken:
    """What a provider answers for one host: a point, or why there is none (then nothing on the host may be touched)."""

    host: str
    point: RollbackPoint | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PutBack:
    """What a provider answers for one host that was to be restored."""

    host: str
    restored: bool
    problem: str = ""


def package_class(names: Iterable[str], deny: Iterable[str] = NO_WAY_BACK) -> RollbackClass:
    """Return the class that the ``packages`` provider can honestly promise: that of the worst package."""
    patterns = tuple(deny)
    no_way = any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
    return RollbackClass.NONE if no_way else RollbackClass.PACKAGE


def worst(classes: Iterable[RollbackClass]) -> RollbackClass:
    """Return the worst of several classes; of nothing at all, ``exact``."""
    return max(classes, key=_WORST.index, default=RollbackClass.EXACT)


def best(classes: Iterable[RollbackClass]) -> RollbackClass:
    """Return the best of several stacked providers; of none, ``none``."""
    return min(classes, key=_WORST.index, default=RollbackClass.NONE)


def allowed(providers: Iterable[str], state: Statefulness) -> tuple[str, ...]:
    """Return the providers that may be used for a host at all.

    For a directory server nobody takes a snapshot of the machine: one that exists gets restored one day, by whoever
    finds it.
    """
    return tuple(name for name in providers if state is not Statefulness.DIRECTORY or name == PACKAGES)


def why_not_by_itself(rollback_class: RollbackClass, state: Statefulness, *, out_of_service: bool) -> str:
    """Return why this host must not be put back without a person, or an empty text where it may.

    A machine snapshot takes data back too, so only hosts that keep none, or that were out of service from the point
    to the restore, go back by themselves; a directory server never does.
    """
    if rollback_class is not RollbackClass.EXACT:
        return ""
    if state is Statefulness.DIRECTORY:
        return NEVER_REVERTED
    if state is Statefulness.STATELESS or out_of_service:
        return ""
    return f"the host is {state}: reverting the machine would take its data back to the time of the snapshot"
