"""What exactly will be done: the waves, the hosts, the patches, and the digest that approvals are bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

from orchestrator.domain.admission import Estimate
from orchestrator.domain.baseline import LeftOut
from orchestrator.domain.canonical import CAME_LATER, digest
from orchestrator.domain.change import ChangeSpec, Waiver
from orchestrator.domain.lock import PatchLock, Platform
from orchestrator.domain.rollback import RollbackClass, Statefulness
from orchestrator.domain.rollout import Wave
from orchestrator.errors import NotFound

#: The version of what is not there.
NOT_INSTALLED = "not installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedItem:
    """One package on one host: from this version ("" where it is new) to exactly these bytes."""

    name: str
    arch: str
    from_version: str
    version: str
    sha256: str
    filename: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPlan:
    """What will be done to one host. ``variables`` is the HMAC, under the site key, of all that its inventory says.

    ``ansible`` names the installation that does it, "" the controller's own; its versions are in the content. ``drain``
    names the role that takes the host out of service before the patch and back afterwards, "" where none does.
    """

    host: str
    platform: Platform
    items: tuple[PlannedItem, ...]
    left_out: tuple[LeftOut, ...] = ()
    providers: tuple[str, ...] = ("packages",)
    rollback_class: RollbackClass = RollbackClass.PACKAGE
    statefulness: Statefulness = Statefulness.STATEFUL
    cluster: str = ""
    zone: str = ""
    variables: str = ""
    ansible: str = field(default="", metadata=CAME_LATER)
    drain: str = field(default="", metadata=CAME_LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotIncluded:
    """A host that the query found and the plan leaves alone, and why."""

    host: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentFile:
    """One file of what Ansible will run: path within the site, and sha256 (variable files: HMAC under the site key)."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)  # Without slots: what is cached needs a place.
class Content:
    """All that Ansible will run: the site's files, and the versions of ansible-core and the collections.

    A version of a named installation stands under ``INSTALLATION/NAME``; ansible-core is ``NOT_INSTALLED`` in one that
    is not there.
    """

    files: tuple[ContentFile, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    authors: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Return the digest of files and versions; who wrote them is not part of it."""
        return digest({"files": self.files, "versions": self.versions})

    def versions_of(self, installation: str) -> dict[str, str]:
        """Return the versions in an installation, those of the controller's own for ""; nothing for an unknown one."""
        split = ((*name.rpartition("/"), version) for name, version in self.versions.items())
        return {name: version for where, _, name, version in split if where == installation}

    @property
    def installations(self) -> tuple[str, ...]:
        """Return the names of the installations beside the controller's own."""
        return tuple(sorted({name.rpartition("/")[0] for name in self.versions} - {""}))


@dataclass(frozen=True, kw_only=True)  # Without slots: what is cached needs a place.
class PatchPlan:
    """The thing that is approved and the thing that runs.

    What follows from all hosts is found once: every shard asks for it, and a plan never changes.
    """

    change: str
    spec: ChangeSpec
    content: Content
    waves: tuple[Wave, ...]
    hosts: tuple[HostPlan, ...]
    not_included: tuple[NotIncluded, ...]
    lock: PatchLock
    unproven: tuple[LeftOut, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    population: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the canonical plan; any change to it voids approvals given before."""
        return digest(self)

    def host(self, name: str) -> HostPlan:
        """Return the plan of one host. Raises NotFound."""
        if (plan := self.by_host.get(name)) is None:
            raise NotFound(f"host {name} is not in the plan of change {self.change}")
        return plan

    @cached_property
    def by_host(self) -> Mapping[str, HostPlan]:
        """Return the host plans by name."""
        return {plan.host: plan for plan in self.hosts}

    @cached_property
    def places(self) -> Mapping[str, int]:
        """Return the place of each host in the plan, from 0 on."""
        return {plan.host: place for place, plan in enumerate(self.hosts)}

    @cached_property
    def installations(self) -> tuple[str, ...]:
        """Return the names of the Ansible installations that the hosts need, "" for the controller's own."""
        return tuple(sorted({plan.ansible for plan in self.hosts})) or ("",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """A package's version before and after; an empty text stands for absent."""

    name: str
    arch: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name}:{self.arch} {self.before or 'absent'} -> {self.after or 'absent'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the dry run expects of one host; it stands beside the plan and is not part of the digest.

    ``source``: ``simulation`` by the host's package manager, or ``lock`` where its repository cannot say any more.
    ``advisories`` are those that the host's package manager names for the planned items.
    """

    host: str
    transitions: tuple[Transition, ...]
    source: str
    estimate: Estimate
    problems: tuple[str, ...] = ()
    advisories: tuple[str, ...] = ()

    @property
    def needed(self) -> timedelta:
        """Return the time to reserve for the host."""
        return self.estimate.needed


def deviations(predicted: tuple[Transition, ...], actual: tuple[Transition, ...]) -> tuple[str, ...]:
    """Return in words every difference between what was predicted and what really changed."""
    expected, seen = set(predicted), set(actual)
    missing = [f"predicted but did not happen: {t}" for t in sorted(expected - seen, key=str)]
    return (*missing, *(f"happened but was not predicted: {t}" for t in sorted(seen - expected, key=str)))
