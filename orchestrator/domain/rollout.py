"""How a change spreads over its hosts, and how much may go wrong before it stops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from orchestrator.domain.canonical import CAME_LATER


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A number of hosts, or a percentage of the planned ones."""

    value: int
    percent: bool = False

    def allowed(self, total: int) -> int:
        """Return the number allowed out of ``total``, a percentage rounded down: 0 means that the first one trips."""
        return total * self.value // 100 if self.percent else self.value

    def at_least_one(self, total: int) -> int:
        """Return the size of a wave or batch out of ``total``: rounded up, so that half of three are two waves."""
        return max(1, min(total, self.rounded_up(total)))

    def rounded_up(self, total: int) -> int:
        """Return the number out of ``total``, a percentage rounded up."""
        return -(-total * self.value // 100) if self.percent else self.value

    def __str__(self) -> str:
        return f"{self.value}%" if self.percent else str(self.value)


class OnTrip(StrEnum):
    """What happens to the hosts when the error budget is spent."""

    FAILED = "failed"
    ALL = "all"
    NONE = "none"


class OneAtATimePer(StrEnum):
    """Of which hosts only one may be out of service at a time, over the whole change."""

    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPolicy:
    """The shape of a rollout.

    ``canary`` hosts go first and ``soak`` is waited after them; the rest is cut into waves of ``wave``; ``batch`` hosts
    of a wave are worked on together. ``max_failures`` is for the whole change, ``max_unfit`` for hosts that were found
    dead or unfit before they were touched: a percentage of it is rounded up, since one dead host in a small fleet is no
    reason to leave the others open. Two members of one cluster are never in one batch; with ``one_at_a_time_per`` a
    member is left alone, too, as long as one that came before it is not known to be in service (domain/clusters.py).
    ``order`` names inventory groups, one for each tier: a tier begins when the one before it has ended.
    """

    canary: Amount | None = None
    wave: Amount = Amount(value=100, percent=True)
    batch: Amount = Amount(value=100, percent=True)
    soak: timedelta = timedelta(0)
    max_failures: Amount = Amount(value=0)
    max_unfit: Amount = Amount(value=10, percent=True)
    on_trip: OnTrip = OnTrip.FAILED
    one_at_a_time_per: OneAtATimePer | None = field(default=None, metadata=CAME_LATER)
    order: tuple[str, ...] = field(default=(), metadata=CAME_LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Hosts patched before the next wave may begin, cut into batches that go one after the other."""

    number: int
    canary: bool
    batches: tuple[tuple[str, ...], ...]

    @property
    def hosts(self) -> tuple[str, ...]:
        """Return all hosts of the wave, in the order of their batches."""
        return tuple(host for batch in self.batches for host in batch)


def waves(
    hosts: Sequence[str],
    policy: RolloutPolicy,
    clusters: Mapping[str, str] | None = None,
    tiers: Mapping[str, int] | None = None,
) -> tuple[Wave, ...]:
    """Cut the hosts, in the order given, into waves and batches.

    Every host is in exactly one batch, no batch holds two members of one cluster (host -> cluster name), and no wave
    hosts of two tiers (host -> place): a lower place goes first, and has the canaries.
    """
    by_tier: dict[int, list[str]] = {}
    for host in hosts:
        by_tier.setdefault((tiers or {}).get(host, 0), []).append(host)
    groups: list[tuple[bool, Sequence[str]]] = []
    for tier in sorted(by_tier):
        rest = by_tier[tier]
        if policy.canary is not None and not groups:
            size = policy.canary.at_least_one(len(rest))
            groups.append((True, rest[:size]))
            rest = rest[size:]
        size = policy.wave.at_least_one(len(rest)) if rest else 1
        groups += [(False, rest[at : at + size]) for at in range(0, len(rest), size)]
    return tuple(
        Wave(number=number, canary=canary, batches=_batches(group, policy.batch, clusters or {}))
        for number, (canary, group) in enumerate(groups, start=1)
    )


def tier_of(groups: Sequence[str], order: Sequence[str]) -> int:
    """Return a host's place by its inventory groups: the first group of the order that it is in, or after all."""
    return next((place for place, group in enumerate(order) if group in groups), len(order))


def _batches(hosts: Sequence[str], batch: Amount, clusters: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    size = batch.at_least_one(len(hosts))
    open_batches: list[list[str]] = []
    members: list[set[str]] = []
    first_with_room = 0
    for host in hosts:
        cluster = clusters.get(host, "")
        at = first_with_room
        while at < len(open_batches) and (len(open_batches[at]) >= size or (cluster and cluster in members[at])):
            at += 1
        if at == len(open_batches):
            open_batches.append([])
            members.append(set())
        open_batches[at].append(host)
        members[at].add(cluster)
        while first_with_room < len(open_batches) and len(open_batches[first_with_room]) >= size:
            first_with_room += 1
    return tuple(tuple(batch) for batch in open_batches)


def cut(batch: Sequence[str], zones: Mapping[str, str], size: int) -> tuple[tuple[str, ...], ...]:
    """Cut a batch into pieces of at most ``size`` hosts of one zone, in the order in which the zones come up.

    Every host is in exactly one piece, and the pieces differ by at most one host within a zone.
    """
    by_zone: dict[str, list[str]] = {}
    for host in batch:
        by_zone.setdefault(zones.get(host, ""), []).append(host)
    pieces = []
    for hosts in by_zone.values():
        count = -(-len(hosts) // size)
        pieces += [tuple(hosts[len(hosts) * at // count : len(hosts) * (at + 1) // count]) for at in range(count)]
    return tuple(pieces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How many hosts of the whole change may fail, and how many may turn out unfit beforehand."""

    planned: int
    max_failures: int
    max_unfit: int

    def tripped_by(self, *, failed: int, unfit: int) -> str:
        """Return why the change must stop, or an empty text while it may go on."""
        if failed > self.max_failures:
            return f"{failed} of {self.planned} hosts failed, {self.max_failures} allowed"
        if unfit > self.max_unfit:
            return f"{unfit} of {self.planned} hosts were dead or unfit, {self.max_unfit} allowed"
        return ""


def budget(policy: RolloutPolicy, planned: int) -> Budget:
    """Return the budget that a policy gives a change of so many planned hosts."""
    return Budget(
        planned=planned,
        max_failures=policy.max_failures.allowed(planned),
        max_unfit=policy.max_unfit.rounded_up(planned),
    )
