"""How a job is cut: an Ansible run has hosts of one installation only, and no group has too many hosts in work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from orchestrator.domain.inventory import Host
from orchestrator.domain.job import HostJob
from orchestrator.domain.plan import NOT_INSTALLED, Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The share of a job that one Ansible run carries: hosts of one installation ("" is the controller's own)."""

    ansible: str
    hosts: tuple[str, ...]


#: Parts that run side by side.
Round: TypeAlias = tuple[Part, ...]


def cut(hosts: Sequence[HostJob], throttle: Mapping[str, int]) -> tuple[Round, ...]:
    """Cut hosts, in the order given, into rounds that go one after the other, and each round by installation.

    Every host is in exactly one part, and no round has more hosts of a group than ``throttle`` says; a group that it
    does not name has no limit. A host goes as early as its groups allow, so that hosts without a limit all go at once.
    """
    found: list[dict[str, list[str]]] = []
    in_work: list[Counter[str]] = []
    # A round that had no room for these groups has none later: rounds only fill.
    full_before: dict[tuple[str, ...], int] = {}
    for one in hosts:
        groups = tuple(group for group in one.throttle if group in throttle)
        at = full_before.get(groups, 0)
        while at < len(found) and any(in_work[at][group] >= throttle[group] for group in groups):
            at += 1
        full_before[groups] = at
        if at == len(found):
            found.append({})
            in_work.append(Counter())
        found[at].setdefault(one.ansible, []).append(one.host)
        in_work[at].update(groups)
    return tuple(tuple(Part(ansible=name, hosts=tuple(mine)) for name, mine in parts.items()) for parts in found)


def why_not_cut(hosts: Sequence[Host], content: Content, throttle: Mapping[str, int]) -> tuple[str, ...]:
    """Return, in words, each installation and each group that hosts name and that the site does not have."""
    found = []
    for name, mine in _by_name(hosts, lambda host: (host.ansible,) if host.ansible else ()):
        if name not in content.installations:
            there = ", ".join(("default", *content.installations))
            found.append(
                f"{mine}: patch_ansible is {name!r}, which is no Ansible installation of this site; there are: {there} "
                "(in orchestrator.toml, [ansible.installations.NAME])"
            )
        elif content.versions_of(name).get("ansible-core", NOT_INSTALLED) == NOT_INSTALLED:
            found.append(f"{mine}: the Ansible installation {name!r} cannot be used; orchestrator doctor says why")
    for name, mine in _by_name(hosts, lambda host: host.throttle):
        if name not in throttle:
            there = ", ".join(sorted(throttle)) or "none"
            found.append(
                f"{mine}: patch_throttle_group names {name!r}, which has no limit; there are: {there} "
                "(in orchestrator.toml, [limits.throttle])"
            )
    return tuple(found)


def _by_name(hosts: Sequence[Host], names: Callable[[Host], tuple[str, ...]]) -> list[tuple[str, str]]:
    """Return each name with the first of the hosts that use it, in words."""
    users: dict[str, list[str]] = {}
    for host in hosts:
        for name in names(host):
            users.setdefault(name, []).append(host.name)
    shown = {
        name: ", ".join(mine[:3]) + (f" and {len(mine) - 3} more" * (len(mine) > 3)) for name, mine in users.items()
    }
    return sorted(shown.items())
